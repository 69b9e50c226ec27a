"""The forecasts that a report draws: the busiest entity of each level, at the last origin of the backtest."""

from dataclasses import replace

import numpy as np
import polars as pl

from forecast.contracts.signals import TARGETS
from forecast.evaluation.report import FanChart
from forecast.predictor import Forecast
from forecast.windows.panel import Panel

#: Days of history before the fan.
_HISTORY_DAYS = 2


def fan_charts(forecast: Forecast, panel: Panel, champion: Forecast | None = None) -> list[FanChart]:
    """A chart per target of one entity of each level, with what came true.

    Args:
        forecast: what is drawn.
        panel: what was observed.
        champion: the forecast of the version in service for the same time, to draw beside.
    """
    origin = panel.step(forecast.time)
    first = origin - min(_HISTORY_DAYS * forecast.spec.day_steps, forecast.spec.context_steps)
    shown = panel.read(first, origin + forecast.spec.horizon_steps)
    charts = []
    for level in forecast.topology.levels:
        entity = _busiest(forecast, level)
        for target, name in enumerate(forecast.spec.targets):
            chart = _chart(forecast, panel, shown[target, entity], (entity, name))
            beside = champion.outputs.quantiles[entity, target] if champion else None
            charts.append(replace(chart, champion=beside))
    return charts


def _busiest(forecast: Forecast, level: str) -> int:
    """The entity of `level` whose load is expected to be highest relative to its limit."""
    table = forecast.topology.table
    middle = forecast.spec.quantile_levels.index(0.5)
    load = pl.Series(forecast.outputs.quantiles[:, 0, middle].mean(axis=-1).astype(np.float64))
    share = load / table[TARGETS[forecast.spec.targets[0]].limit].fill_null(1.0)
    return int(pl.select(pl.when(table["level"] == level).then(share).arg_max()).item())


def _chart(forecast: Forecast, panel: Panel, values: np.ndarray, what: tuple[int, str]) -> FanChart:
    """The chart of an (entity, target) whose observed `values` end with the horizon."""
    (entity, name), spec = what, forecast.spec
    row = forecast.topology.table.row(entity, named=True)
    origin = panel.step(forecast.time)
    first = origin + spec.horizon_steps - len(values)
    limit = row[TARGETS[name].limit]
    return FanChart(
        entity_id=row["entity_id"],
        level=row["level"],
        signal=name,
        unit=TARGETS[name].unit,
        history_time=[panel.time(step) for step in range(first, origin)],
        history=values[: origin - first],
        valid_time=[panel.time(step) for step in range(origin, origin + spec.horizon_steps)],
        quantiles=forecast.outputs.quantiles[entity, spec.targets.index(name)],
        observed=values[origin - first :],
        limit=float("nan") if limit is None else limit,
    )
