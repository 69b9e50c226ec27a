"""The site's wall clock: people and their traffic follow local time, across daylight-saving changes too."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from forecast.simulator.arrays import Bools, Floats


def local_hours(first: datetime, count: int, step_s: int, time_zone: str) -> tuple[Floats, Bools]:
    """Return the local hour of day in [0, 24) and whether it is a weekend, at `count` UTC instants from `first`."""
    last = first + timedelta(seconds=step_s * (count - 1))
    instants = pl.datetime_range(first, last, timedelta(seconds=step_s), eager=True).dt.convert_time_zone(time_zone)
    hours = instants.dt.hour() + instants.dt.minute() / 60 + instants.dt.second() / 3600
    return hours.to_numpy().astype(np.float64), (instants.dt.weekday() >= 6).to_numpy()
