"""What the rows say before they are gridded: how many, whose, from when to when, how often."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.topology import Topology
from forecast.features.absence import LEFT_S

#: Samples of so many entities of a level, over the end of the record, tell how often one comes.
_ASKED, _ASKED_FOR = 20, timedelta(days=2)

#: Of these names of strangers a report quotes the first.
_QUOTED = 3


@dataclass(frozen=True, eq=False)
class Spoken:
    """Who spoke, and when.

    Attributes:
        rows: as they came; `unknown_rows` of them of entities that the topology lacks, `unknown` the first of these.
        first_s, last_s: `[signal, entity]`, first and last sample in seconds since 1970, usable or not; NaN for none.
        interval_s: (signal, level) to the typical time between samples.
    """

    rows: int
    unknown_rows: int
    unknown: tuple[str, ...]
    first_s: NDArray[np.float64]
    last_s: NDArray[np.float64]
    interval_s: Mapping[tuple[str, str], float]

    def expected_s(self) -> NDArray[np.float64]:
        """Until when a sample is expected, `[signal, entity]`: to the end, or to the last one of who left."""
        if np.isnan(self.last_s).all():
            return self.last_s
        end = np.nanmax(self.last_s)
        return np.where(end - self.last_s < LEFT_S, end, self.last_s)


def spoken(
    telemetry: pl.LazyFrame, topology: Topology, signals: tuple[str, ...], start: datetime, end: datetime
) -> Spoken:
    """Count the rows of everybody, in a pass over all and one over the end.

    Args:
        telemetry: contract TELEMETRY, rows that break it included.
        topology, signals: the axes.
        start, end: between which times samples are believed, inclusive.
    """
    found = telemetry.collect_schema()
    entity = pl.col("entity_id").cast(pl.String)
    there = [name for name in signals if name in found]
    believed = pl.col("time").is_between(start, end)
    times = [
        getattr(pl.col("time").filter(believed & pl.col(name).is_not_null()), edge)().alias(f"{name} {edge}")
        for name in there
        for edge in ("min", "max")
    ]
    by_entity = telemetry.group_by(entity).agg(pl.len().alias("rows"), *times).collect(engine="streaming")
    strangers = by_entity.filter(~pl.col("entity_id").is_in(topology.entities) & pl.col("entity_id").is_not_null())
    mine = pl.DataFrame({"entity_id": topology.entities}).join(by_entity, on="entity_id", how="left")
    return Spoken(
        rows=int(by_entity["rows"].sum()),
        unknown_rows=int(strangers["rows"].sum()),
        unknown=tuple(strangers["entity_id"].sort().head(_QUOTED)),
        first_s=_seconds(mine, signals, "min"),
        last_s=_seconds(mine, signals, "max"),
        interval_s=_intervals(telemetry.filter(believed, pl.col("time") > end - _ASKED_FOR), topology, there, mine),
    )


def _seconds(table: pl.DataFrame, signals: tuple[str, ...], edge: str) -> NDArray[np.float64]:
    nothing = np.full(len(table), np.nan)
    columns = [f"{name} {edge}" for name in signals]
    seconds = [
        (table[name].dt.epoch("us") / 1e6).fill_null(float("nan")).to_numpy() if name in table.columns else nothing
        for name in columns
    ]
    return np.array(seconds)


def _intervals(
    newest: pl.LazyFrame, topology: Topology, signals: list[str], mine: pl.DataFrame
) -> dict[tuple[str, str], float]:
    """Median time between samples of a signal at a level, s, of some of its entities."""
    level = dict(topology.table.select("entity_id", "level").iter_rows())
    spoke = mine.filter(pl.any_horizontal(pl.col(f"{name} min").is_not_null() for name in signals))["entity_id"]
    asked = [one for at in topology.levels for one in _spread([name for name in spoke if level[name] == at])]
    entity = pl.col("entity_id").cast(pl.String)
    samples = newest.filter(entity.is_in(asked)).select("time", entity, *signals).collect()
    found: dict[tuple[str, str], float] = {}
    for signal in signals:
        times = samples.filter(pl.col(signal).is_not_null()).select("time", "entity_id").unique().sort("time")
        apart = times.select(
            pl.col("entity_id").replace_strict(level, return_dtype=pl.String).alias("level"),
            pl.col("time").diff().over("entity_id").dt.total_microseconds().alias("us"),
        )
        medians = apart.group_by("level").agg(pl.col("us").median() / 1e6).drop_nulls()
        found |= {(signal, str(at)): float(seconds) for at, seconds in medians.iter_rows()}
    return found


def _spread(names: list[str]) -> list[str]:
    """Some of the names, evenly spread."""
    return names[:: max(len(names) // _ASKED, 1)][:_ASKED]
