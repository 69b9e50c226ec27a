"""Where the fleet is tight: the one question every dispatcher asks first."""

from datetime import timedelta

import numpy as np
import polars as pl

from forecast.contracts.errors import ConfigError
from forecast.contracts.signals import TARGETS
from forecast.predictor import Forecast


def tightest(forecast: Forecast, confidence: float = 0.9) -> pl.DataFrame:
    """The least headroom each entity keeps with `confidence` at every single step of the horizon, tightest first.

    Returns:
        Columns `entity_id, level, time_zone, target, unit, headroom, share, confidence, until` (end of the horizon,
        UTC); `share` is the headroom over the limit, which orders the rows. Entities without a limit are left out, and
        those of which nothing was observed: no headroom is promised there, which is not the same as none left.

    Raises:
        ConfigError: the forecast has no quantile at `confidence`.
    """
    levels, tail = forecast.spec.quantile_levels, round(1 - confidence, 9)
    if tail not in levels:
        raise ConfigError(f"confidence {confidence:g} leaves {tail:g}, which is none of {', '.join(map(str, levels))}.")
    level = levels.index(tail)
    until = forecast.time + timedelta(seconds=forecast.spec.step_s * forecast.spec.horizon_steps)
    rows = []
    for index, name in enumerate(forecast.spec.targets):
        least = np.nanmin(np.nan_to_num(forecast.outputs.headroom[:, index, level], nan=np.inf), axis=-1)
        least[forecast.unobserved[:, index]] = np.inf
        rows.append(
            forecast.topology.table.select(
                "entity_id",
                "level",
                "time_zone",
                target=pl.lit(name),
                unit=pl.lit(TARGETS[name].unit),
                headroom=pl.Series(least.astype(np.float64)),
                share=pl.Series(least.astype(np.float64)) / pl.col(TARGETS[name].limit),
                confidence=pl.lit(confidence),
                until=pl.lit(until),
            ).filter(pl.col("headroom").is_finite())
        )
    return pl.concat(rows).sort("target", "share", maintain_order=True)
