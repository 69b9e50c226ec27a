"""Fleet trees and telemetry written by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from forecast.contracts.tables import TOPOLOGY
from forecast.contracts.topology import Topology

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def node(
    entity_id: str | None, level: str | None = "server", parent: str | None = None, **fields: Any
) -> dict[str, Any]:
    """One row of a topology, whose limits are 1000 W and 90 °C unless `fields` says otherwise."""
    row = {"entity_id": entity_id, "level": level, "parent_id": parent}
    usual = {"sku": "box", "power_limit_w": 1000.0, "temperature_limit_c": 90.0, "site": "here", "time_zone": "UTC"}
    return {**row, **usual, **fields}


def table_of(*nodes: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(nodes), schema=dict(TOPOLOGY.required))


def tree_of(*nodes: dict[str, Any]) -> Topology:
    return Topology.of(table_of(*nodes))


def at(minutes: float) -> datetime:
    """So many minutes after the Monday on which hand-written telemetry begins."""
    return MONDAY + timedelta(minutes=minutes)


def samples(*rows: tuple[str, float, float | None], signal: str = "power_w") -> pl.LazyFrame:
    """Telemetry of one signal from (entity, minutes, value)."""
    schema = {"entity_id": pl.String, "time": pl.Datetime("us", "UTC"), signal: pl.Float64}
    return pl.LazyFrame([(entity, at(minutes), value) for entity, minutes, value in rows], schema, orient="row")


def values_of(frame: pl.LazyFrame, signal: str = "power_w") -> dict[tuple[str, float], float | None]:
    """Telemetry of one signal as {(entity, minutes): value}."""
    rows = frame.select("entity_id", "time", signal).collect().iter_rows()
    found = [((entity, (time - MONDAY).total_seconds() / 60), value) for entity, time, value in rows]
    assert len(dict(found)) == len(found), "a key repeats"
    return dict(found)
