"""The page that comes with a bundle: how good the forecast is, and how much room the fleet has left.

One HTML file that fetches nothing, for the operator who relies on the forecast and the engineer who trained it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from forecast.evaluation.drift.measure import Drift
from forecast.evaluation.findings import findings
from forecast.evaluation.score_table import score_groups
from forecast.evaluation.verdict_table import verdict_table
from forecast.wording import moment, percent, quantity, target_title

#: Rows of the headroom table; the rest of a large fleet is in the forecasts.
HEADROOM_ROWS = 20


@dataclass(frozen=True)
class FanChart:
    """One entity's forecast of one target, over what was observed.

    Attributes:
        entity_id, level: the entity and its place in the fleet tree.
        signal, unit: the target and its SI unit.
        history_time, history: observed before `forecast_time` [L], NaN where missing.
        valid_time: steps forecast [H]; the first is `forecast_time`.
        quantiles: [Q, H], in `unit`.
        observed: what came true [H], NaN where missing or not known yet.
        limit: in `unit`, NaN if unknown.
        champion: quantiles of the version in service, [Q, H] like ours; None where there is none.
    """

    entity_id: str
    level: str
    signal: str
    unit: str
    history_time: list[datetime]
    history: np.ndarray
    valid_time: list[datetime]
    quantiles: np.ndarray
    observed: np.ndarray
    limit: float
    champion: np.ndarray | None = None


@dataclass(frozen=True)
class Report:
    """What the page shows; any frame or list may be empty, and any number NaN.

    Attributes:
        title: the forecast's name.
        facts: bundle id, training range, code version and the like, in the order they are shown.
        quantile_levels: ascending, symmetric about the median (Q).
        scores: columns target, level, method, wql, mae (SI), mase, coverage_80, coverage_98 (shares), windows.
        calibration: columns target, nominal, observed (share of outcomes at or below the quantile).
        horizon: columns target, method, lead_h (hours), wql.
        headroom: columns entity_id, level, target, unit, headroom (SI), confidence (share), until; tightest first.
        charts: the fans to draw.
        exceedance: of the probability that a limit is passed, as `Backtest.exceedance`.
        verdict: the gate's, as plain data; empty where nothing was judged.
        drift: since the version in service was made; None where none was measured.
    """

    title: str
    facts: dict[str, str]
    quantile_levels: tuple[float, ...]
    scores: pl.DataFrame
    calibration: pl.DataFrame
    horizon: pl.DataFrame
    headroom: pl.DataFrame
    charts: list[FanChart]
    exceedance: pl.DataFrame = field(default_factory=pl.DataFrame)
    verdict: dict[str, Any] = field(default_factory=dict)
    drift: Drift | None = None


def write_report(report: Report, path: Path) -> Path:
    """Write the page to `path`, making its folder; return `path`. The same report gives the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, Path(__file__).parents[1]]),  # the style is every page's
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(moment=moment, percent=percent, quantity=quantity, target_title=target_title)
    page = environment.get_template("report.html.j2").render(_context(report))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _context(report: Report) -> dict[str, Any]:
    # matplotlib is slow to import; only the page needs it
    from forecast.evaluation import plots, svg  # noqa: PLC0415
    from forecast.evaluation.drift.section import section  # noqa: PLC0415

    drawable = [fan for fan in report.charts if _drawable(fan)]
    return {
        "title": report.title,
        "facts": report.facts,
        "findings": findings(report.scores, report.calibration, report.headroom),
        "verdict": report.verdict,
        "verdict_table": verdict_table(report.verdict),
        "drift": section(report.drift) if report.drift else None,
        "score_groups": score_groups(report.scores),
        "reliability": _by_target(report.calibration, "observed", plots.reliability_svg),
        "exceedance": _by_target(report.exceedance, "observed", plots.exceedance_svg),
        "brier": {} if report.exceedance.is_empty() else _brier(report.exceedance),
        "horizon": _by_target(report.horizon, "wql", plots.horizon_svg),
        "fans": [(fan, Markup(plots.fan_chart_svg(fan, report.quantile_levels))) for fan in drawable],  # noqa: S704
        "undrawn": [fan for fan in report.charts if not _drawable(fan)],
        "beside": any(fan.champion is not None for fan in drawable),
        "bands": plots.band_opacity(report.quantile_levels),
        "headroom": report.headroom.head(HEADROOM_ROWS).to_dicts(),
        "headroom_left_out": max(0, len(report.headroom) - HEADROOM_ROWS),
        "colours": svg.COLOURS,
    }


def _brier(exceedance: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Scores by target."""
    rows = exceedance.unique("target", maintain_order=True).select("target", "brier", "climatology", "skill")
    return {row["target"]: row for row in rows.to_dicts()}


def _drawable(fan: FanChart) -> bool:
    return fan.quantiles.size > 0 and bool(np.isfinite(fan.quantiles).any(axis=1).all())


def _by_target(frame: pl.DataFrame, value: str, draw: Callable[[pl.DataFrame, str], str]) -> list[tuple[str, Markup]]:
    """Draw each target that has a finite `value`; the SVG is our own markup, with every text in it escaped."""
    if frame.is_empty():
        return []
    seen = frame.filter(pl.col(value).cast(pl.Float64).is_finite())
    targets = seen["target"].unique(maintain_order=True)
    return [(target, Markup(draw(seen.filter(target=target), target))) for target in targets]  # noqa: S704
