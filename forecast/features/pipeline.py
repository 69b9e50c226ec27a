"""Telemetry as it arrives to the gridded table that fills the panel: the one path of training, backtest and serving."""

import polars as pl

from forecast.contracts.errors import DataError
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.features.align import align
from forecast.features.repair import check_units, repair
from forecast.features.rollup import roll_up


def build(telemetry: pl.LazyFrame, topology: Topology, spec: ForecastSpec, where: str = "telemetry") -> pl.LazyFrame:
    """Columns `time`, `entity_id` and the past channels of `spec`, on the grid, for every level; lazy, unordered.

    Raises:
        DataError: a channel that `spec` needs is missing, nothing was observed, or a unit cannot be what it claims.
    """
    columns = telemetry.collect_schema().names()
    missing = [name for name in spec.past if name not in columns]
    if missing:
        raise DataError(
            f"{where}: no column {', '.join(missing)}, which this forecast needs; found {', '.join(columns)}."
        )
    needed = telemetry.select("time", "entity_id", *spec.past)
    _check_observed(needed, spec, where)
    check_units(needed, topology, where)
    return roll_up(align(repair(needed), spec.step_s), topology)


def _check_observed(telemetry: pl.LazyFrame, spec: ForecastSpec, where: str) -> None:
    counts = telemetry.select(pl.len().alias("rows"), *(pl.col(name).count() for name in spec.targets)).collect()
    empty = [name for name, count in counts.row(0, named=True).items() if count == 0]
    if "rows" in empty:
        raise DataError(f"{where}: no rows of known entities in the time range; check the path, the ids and `until`.")
    if empty:
        raise DataError(f"{where}: {empty[0]} was never observed; check its column and that its values are numbers.")
