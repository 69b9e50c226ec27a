"""Irregular samples to the regular grid."""

import polars as pl

from forecast.features.repair import signals_in
from forecast.features.sums import mean


def align(telemetry: pl.LazyFrame, step_s: int) -> pl.LazyFrame:
    """The mean of the observed samples in each grid step, labelled with the step's start.

    A step whose samples are all null, or that has none, stays unobserved. Only samples inside a step enter it, so a
    step never knows what came after it.
    """
    step = pl.col("time").dt.truncate(f"{step_s}s")
    means = [mean(pl.col(name)).alias(name) for name in signals_in(telemetry)]
    return telemetry.group_by("entity_id", step).agg(means)
