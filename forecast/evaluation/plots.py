"""The report's charts: data in, an SVG string out; and one picture as PNG."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from forecast.evaluation.report import FanChart
from forecast.evaluation.svg import COLOURS, chart, to_svg
from forecast.wording import OURS, digits, method_title, percent, quantity, readable_unit, target_title

#: matplotlib's own type does not know that times can be coordinates.
Axes = Any

#: Central shares a fan shows, widest first, each with the opacity of its band.
BANDS = {0.98: 0.16, 0.80: 0.22, 0.50: 0.34}

#: Colour and dash of each method; the dash repeats what the colour says.
_LINES: dict[str, tuple[str, Any]] = {
    OURS: ("forecast", "-"),
    "persistence": ("limit", (0, (5, 2))),
    "seasonal_naive_24h": ("second", (0, (1, 1.4))),
    "seasonal_naive_168h": ("third", (0, (5, 2, 1, 2))),
}


def reliability_svg(calibration: pl.DataFrame, target: str) -> str:
    """Draw observed against nominal probability for one target.

    Args:
        calibration: columns `nominal` and `observed`, shares in 0..1.
        target: signal name, for the label and the ids.
    """
    rows = calibration.sort("nominal")
    with chart(3.6, 3.3, f"reliability {target}") as figure:
        axes = _beside_diagonal(figure, rows["nominal"], rows["observed"])
        axes.set(xlabel="nominal probability", ylabel="share of outcomes at or below")
        return to_svg(figure, f"Reliability curve, {target_title(target)}: {_pairs(rows)}")


def exceedance_svg(exceedance: pl.DataFrame, target: str) -> str:
    """Draw how often a limit was passed against the probability that was told, for one target.

    Args:
        exceedance: columns `forecast` and `observed`, shares in 0..1, and `count`; a row per bin.
        target: signal name, for the label and the ids.
    """
    rows = exceedance.sort("forecast")
    with chart(3.6, 3.3, f"exceedance {target}") as figure:
        axes = _beside_diagonal(figure, rows["forecast"], rows["observed"])
        axes.set(xlabel="probability told", ylabel="share of steps over the limit")
        triples = rows.select("forecast", "observed", "count").iter_rows()
        said = ", ".join(f"{percent(told)} told {percent(came)} of {count:,}" for told, came, count in triples)
        return to_svg(figure, f"Limit passed, {target_title(target)}: {said}")


def _beside_diagonal(figure: Figure, told: pl.Series, came: pl.Series) -> Axes:
    """Shares that came, over those that were told: on the diagonal where every word is kept."""
    axes = figure.add_subplot(aspect="equal", xlim=(0, 1), ylim=(0, 1))
    axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=0.9, linestyle=(0, (4, 3)))
    axes.plot(told, came, color=COLOURS["forecast"], marker="o", markersize=4, clip_on=False)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    return axes


def _pairs(rows: pl.DataFrame) -> str:
    pairs = rows.select("nominal", "observed").iter_rows()
    return ", ".join(f"{percent(nominal, 0)} quantile {percent(observed)}" for nominal, observed in pairs)


def horizon_svg(horizon: pl.DataFrame, target: str) -> str:
    """Draw WQL by lead time, a line per method, for one target.

    Args:
        horizon: columns `method`, `lead_h` (hours) and `wql`.
        target: signal name, for the label and the ids.
    """
    with chart(5.6, 3.3, f"horizon {target}") as figure:
        axes = figure.add_subplot(xlabel="lead time, h", ylabel="weighted quantile loss")
        for (method,), rows in horizon.sort("lead_h").group_by("method", maintain_order=True):
            colour, dash = _LINES.get(str(method), ("muted", "-"))
            width = 2.0 if method == OURS else 1.4
            style = {"color": COLOURS[colour], "linestyle": dash, "linewidth": width}
            axes.plot(rows["lead_h"], rows["wql"], label=method_title(str(method)), **style)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        figure.legend(loc="outside upper left", ncols=2, handlelength=2.6)
        return to_svg(figure, f"Weighted quantile loss by lead time, {target_title(target)}")


def fan_chart_svg(fan: FanChart, quantile_levels: tuple[float, ...]) -> str:
    """Draw one entity's forecast over what was observed; see `FanChart` for the shapes."""
    with chart(5.6, 2.9, f"fan {fan.entity_id} {fan.signal}") as figure:
        _draw_fan(figure.add_subplot(), fan, quantile_levels)
        return to_svg(figure, fan_label(fan, quantile_levels))


def save_fan_chart_png(charts: list[FanChart], path: Path, quantile_levels: tuple[float, ...]) -> Path:
    """Draw `charts` below each other on white, with a legend, at 200 dots per inch; return `path`."""
    with chart(8.0, 0.5 + 2.4 * len(charts), "picture") as figure:
        panels = figure.subplots(len(charts), 1, sharex=True, squeeze=False)[:, 0]
        for axes, fan in zip(panels, charts, strict=True):
            _draw_fan(axes, replace(fan, champion=None), quantile_levels)
            axes.set_title(f"{target_title(fan.signal)} of {fan.entity_id}", loc="left", fontsize=10, weight="bold")
        figure.align_ylabels()
        _add_legend(figure, panels[0], band_opacity(quantile_levels))
        figure.savefig(path, dpi=200, facecolor="white")
    return path


def fan_label(fan: FanChart, quantile_levels: tuple[float, ...]) -> str:
    """Say what a fan chart shows to someone who cannot see it."""
    median = fan.quantiles[quantile_levels.index(0.5)]
    return (
        f"{target_title(fan.signal)} of {fan.entity_id}: median between {quantity(np.nanmin(median), fan.unit)} "
        f"and {quantity(np.nanmax(median), fan.unit)}, limit {quantity(fan.limit, fan.unit)}"
    )


def central_bands(quantile_levels: Sequence[float]) -> dict[float, tuple[int, int]]:
    """Pick the central intervals to draw, widest first, out of the levels there are.

    Args:
        quantile_levels: ascending, symmetric about the median (Q).

    Returns:
        The share an interval covers → indices of its lower and upper quantile. Each of `BANDS` is represented by the
        nearest share available, so deciles show 60 % in place of 50 %.
    """
    count = len(quantile_levels)
    shares = {round(1 - 2 * level, 6): (place, count - 1 - place) for place, level in enumerate(quantile_levels)}
    shares = {share: pair for share, pair in shares.items() if share > 0}
    nearest = [min(shares, key=lambda share: abs(share - wanted)) for wanted in BANDS if shares]
    return {share: shares[share] for share in nearest}


def band_opacity(quantile_levels: Sequence[float]) -> dict[float, float]:
    """Return each band's share → its opacity as seen, which adds up where bands lie on each other."""
    seen = 1 - np.cumprod(1 - np.array(list(BANDS.values())))
    return dict(zip(central_bands(quantile_levels), seen.round(2).tolist(), strict=False))


def _add_legend(figure: Figure, axes: Axes, opacity: dict[float, float]) -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), handlelength=1.6)
    for handle, seen in zip(legend.legend_handles, opacity.values(), strict=False):
        if handle is not None:
            handle.set_alpha(seen)


def _draw_fan(axes: Axes, fan: FanChart, quantile_levels: tuple[float, ...]) -> None:
    shown = 2 * len(fan.valid_time)  # enough of the past to see a rhythm, without squeezing the forecast
    past = np.asarray(fan.history, dtype=np.float64)[-shown:]
    drawn = fan.quantiles if fan.champion is None else np.concatenate([fan.quantiles, fan.champion])
    values = np.concatenate([past, fan.observed, drawn.ravel()])
    factor, unit = readable_unit(fan.unit, float(np.nanmax(np.abs(values))))
    _draw_bands(axes, fan.valid_time, fan.quantiles * factor, quantile_levels)
    if fan.champion is not None:
        _draw_champion(axes, fan.valid_time, fan.champion * factor, quantile_levels)
    times = [*fan.history_time[-shown:], *fan.valid_time]
    observed = np.concatenate([past, fan.observed]) * factor
    axes.plot(times, observed, color=COLOURS["ink"], linewidth=0.9, label="observed", zorder=3)
    _draw_limit(axes, fan.limit * factor, unit, top=float(np.nanmax(values)) * factor)
    _mark_issue(axes, fan.valid_time[0])
    axes.set_ylabel(unit)
    axes.margins(x=0)


def _draw_bands(axes: Axes, times: list[datetime], quantiles: np.ndarray, levels: tuple[float, ...]) -> None:
    for (share, (low, high)), opacity in zip(central_bands(levels).items(), BANDS.values(), strict=False):
        band = {"color": COLOURS["forecast"], "alpha": opacity, "linewidth": 0}
        axes.fill_between(times, quantiles[low], quantiles[high], label=f"{percent(share, 0)} interval", **band)
    axes.plot(times, quantiles[levels.index(0.5)], color=COLOURS["forecast"], linewidth=1.8, label="median", zorder=4)


def _draw_champion(axes: Axes, times: list[datetime], quantiles: np.ndarray, levels: tuple[float, ...]) -> None:
    """Lines on top of the bands: where the two agree, the fan stays as it was."""
    style = {"color": COLOURS["third"], "zorder": 5}
    axes.plot(times, quantiles[levels.index(0.5)], linewidth=1.4, linestyle=(0, (5, 2)), **style)
    for edge in next(iter(central_bands(levels).values()), ()):
        axes.plot(times, quantiles[edge], linewidth=0.9, linestyle=(0, (1, 1.5)), **style)


def _draw_limit(axes: Axes, limit: float, unit: str, top: float) -> None:
    if not np.isfinite(limit):
        return
    bottom = axes.get_ylim()[0]
    text = f"limit {digits(limit)} {unit}"
    style = {"color": COLOURS["limit"], "fontsize": 8.5, "ha": "right", "va": "bottom"}
    if limit > top + (top - bottom):  # drawing it would press the fan flat
        axes.text(1, 1.01, f"{text} ↑", transform=axes.transAxes, **style)
        return
    axes.axhline(limit, color=COLOURS["limit"], linewidth=1.2, linestyle=(0, (6, 3)), label="limit")
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate(text, (1, limit), (-2, 3), **place, **style)


def _mark_issue(axes: Axes, forecast_time: datetime) -> None:
    axes.axvline(forecast_time, color=COLOURS["muted"], linewidth=0.8, linestyle=(0, (2, 2)))
    style = {"color": COLOURS["muted"], "fontsize": 8, "ha": "right", "va": "bottom"}
    place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate("issued", (forecast_time, 0), (-3, 2), **place, **style)
