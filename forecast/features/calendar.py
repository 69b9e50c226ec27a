"""Time of day and week as the site's people live it: the known-ahead covariates of every forecast."""

from datetime import datetime, timedelta
from math import tau

import polars as pl

from forecast.contracts.specs import CALENDAR


def calendar(start: datetime, steps: int, step_s: int, time_zone: str) -> pl.DataFrame:
    """Covariates of `steps` grid steps from `start` (UTC): a float32 column per name in `CALENDAR`.

    Angles turn once a local day and once a local week (Monday 00:00 = 0); daylight saving shifts them with the clock.
    """
    end = start + timedelta(seconds=step_s * steps)
    times = pl.datetime_range(start, end, f"{step_s}s", closed="left", time_zone="UTC", eager=True)
    local = times.dt.convert_time_zone(time_zone)
    day = (local.dt.hour().cast(pl.Float64) + local.dt.minute() / 60 + local.dt.second() / 3600) / 24
    week = (local.dt.weekday() - 1 + day) / 7
    angles = {"day": day * tau, "week": week * tau}
    waves = {f"{name}_{wave}": getattr(angle, wave)() for name, angle in angles.items() for wave in ("sin", "cos")}
    return pl.DataFrame(waves).select(pl.col(CALENDAR).cast(pl.Float32))
