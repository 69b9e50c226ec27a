"""Drift as a section of the report: the most drifted comparisons, and where outcomes fell among the quantiles."""

from typing import Any

import numpy as np
from markupsafe import Markup

from forecast.evaluation.drift.judge import Array
from forecast.evaluation.drift.measure import Drift
from forecast.evaluation.svg import COLOURS, chart, to_svg
from forecast.wording import digits, percent, target_title

#: Rows of the table; all are in drift.json.
_ROWS = 12


def section(drift: Drift) -> dict[str, Any]:
    """What the page shows."""
    found = sum(row.drifted for row in drift.rows)
    return {
        "reason": drift.reason,
        "drifted": drift.drifted,
        "version": drift.version,
        "known_until": drift.known_until,
        "until": drift.until,
        "rows": [
            {
                "finding": row.finding()[:1].upper() + row.finding()[1:],
                "days": f"{row.days} d",
                "times": digits(row.times),
                "p": _chance(row.p),
                "drifted": row.drifted,
            }
            for row in drift.rows[:_ROWS]
        ],
        "left_out": max(len(drift.rows) - _ROWS, 0),
        "left_out_drifted": max(found - _ROWS, 0),
        "pit": [
            (target, Markup(pit_svg(usual, newest, drift.quantile_levels, target)))  # noqa: S704  our own markup
            for target, (usual, newest) in drift.pit.items()
        ],
    }


def pit_svg(usual: Array, newest: Array, levels: tuple[float, ...], target: str) -> str:
    """Draw where outcomes fell among the quantiles of one target: density over probability, 1 if calibrated.

    Args:
        usual, newest: shares of outcomes between the quantiles, `[Q + 1]`.
        levels: of the quantiles, `[Q]`.
        target: signal name, for the label and the ids.
    """
    edges = np.array([0.0, *levels, 1.0])
    with chart(3.6, 2.6, f"pit {target}") as figure:
        axes = figure.add_subplot(xlim=(0, 1), xlabel="forecast probability", ylabel="density of outcomes")
        axes.axhline(1, color=COLOURS["muted"], linewidth=0.9, linestyle=(0, (4, 3)))
        axes.stairs(newest / np.diff(edges), edges, fill=True, color=COLOURS["forecast"], alpha=0.35, label="newest")
        axes.stairs(usual / np.diff(edges), edges, color=COLOURS["ink"], linewidth=1.2, label="usual")
        axes.set_ylim(bottom=0)
        figure.legend(loc="outside upper left", ncols=2, handlelength=1.6)
        inside = f"{percent(newest[1:-1].sum())} of the newest outcomes within the outermost quantiles"
        return to_svg(figure, f"Places of outcomes among the quantiles, {target_title(target)}: {inside}")


def _chance(p: float | None) -> str:
    if p is None:
        return "–"
    return "below 0.001" if p < 0.001 else digits(p)
