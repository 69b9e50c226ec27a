"""Levels above the measured ones: what a rack, row, hall or site draws and how near its tightest point is."""

import polars as pl

from forecast.contracts.topology import Topology
from forecast.features.repair import signals_in
from forecast.features.sums import total

#: Below this share of nameplate observed, a level is unobserved: a missing server is not a falling load.
MIN_COVERAGE = 0.5


def roll_up(gridded: pl.LazyFrame, topology: Topology) -> pl.LazyFrame:
    """Gridded telemetry of every entity: measured where it is, rolled up from the leaves below where it is not.

    Power is the observed sum scaled by the nameplate that did not report. Temperature is the reading of the point with
    the least headroom, expressed against the entity's own limit, so that headroom at any level is the least below it;
    among equal limits that is the maximum. Other signals are means weighted by nameplate.
    """
    ancestors = topology.ancestors()
    if ancestors.is_empty():
        return gridded
    signals = signals_in(gridded)
    rolled = (
        _leaves(gridded, topology, ancestors)
        .group_by(pl.col("ancestor_id").alias("entity_id"), "time")
        .agg(_rolled(name, topology).alias(name) for name in signals)
    )
    # Measured rows first: where both exist, the first observed value wins.
    both = pl.concat([gridded.with_columns(rank=0), rolled.with_columns(rank=1)], how="diagonal_relaxed")
    return both.group_by("entity_id", "time").agg(pl.col(name).sort_by("rank").drop_nulls().first() for name in signals)


def _leaves(gridded: pl.LazyFrame, topology: Topology, ancestors: pl.DataFrame) -> pl.LazyFrame:
    """Each leaf's row once per ancestor, with its weight and limits and those of the ancestor."""
    nameplate = pl.col("power_limit_w")
    table = topology.table.select(
        pl.col("entity_id").alias("leaf_id"),
        nameplate.fill_null(nameplate.mean()).fill_null(1.0).alias("weight"),
        pl.col("temperature_limit_c").alias("leaf_limit_c"),
    )
    above = topology.table.select(
        pl.col("entity_id").alias("ancestor_id"), pl.col("temperature_limit_c").alias("ancestor_limit_c")
    )
    pairs = ancestors.join(table, on="leaf_id").join(above, on="ancestor_id")
    total = pl.col("weight").sum().over("ancestor_id").alias("total_weight")
    return gridded.join(pairs.with_columns(total).lazy(), left_on="entity_id", right_on="leaf_id")


def _rolled(name: str, topology: Topology) -> pl.Expr:
    value, weight = pl.col(name), pl.col("weight")
    reporting = total(weight.filter(value.is_not_null()))
    coverage = reporting / pl.col("total_weight").first()
    if name == "power_w":
        rolled = total(value) / coverage
    elif name == "temperature_c":
        limits_known = topology.table["temperature_limit_c"].null_count() == 0
        margin = pl.col("leaf_limit_c") - value
        rolled = pl.col("ancestor_limit_c").first() - margin.min() if limits_known else value.max()
    else:
        rolled = total(value * weight) / reporting
    return pl.when(coverage >= MIN_COVERAGE).then(rolled)
