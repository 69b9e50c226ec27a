"""A lake of small files about a fleet of five servers, as a source of known parts; what its panel on disk must be."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.testing import assert_array_equal
from trees import MONDAY, node, tree_of

from forecast.contracts.specs import ForecastSpec
from forecast.contracts.version import key_of
from forecast.traces.trace import Part, Trace
from forecast.windows.panel import Panel
from forecast.windows.store import Updated

SPEC = ForecastSpec(
    step_s=3600,
    context_steps=4,
    horizon_steps=2,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c"),
    quantile_levels=(0.1, 0.5, 0.9),
)
SERVERS = tuple("abcde")
TREE = tree_of(
    node("site", "site"),
    node("hall", "hall", "site"),
    node("rack", "rack", "hall"),
    *(node(name, "server", "rack") for name in SERVERS),
)


@dataclass(frozen=True)
class Stretch:
    """What one file holds: hours since MONDAY, of some servers; another seed is another content."""

    first_hour: int
    hours: int
    servers: str = "abcde"
    seed: int = 0

    def table(self) -> pl.DataFrame:
        """A sample or two per hour, some missing, some repeated, some impossible."""
        random = np.random.default_rng([self.first_hour + 10_000, self.hours, self.seed])
        place = np.repeat(np.arange(self.hours * 2), len(self.servers))
        minutes = 60 * self.first_hour + 30 * place + random.uniform(0, 29, place.size).round(3)
        power = (500 + 200 * np.sin(minutes / 200) + random.normal(0, 20, place.size)).round()
        power[random.random(place.size) < 0.03] = -1.0
        rows = pl.DataFrame(
            {
                "time": [MONDAY + timedelta(minutes=minute) for minute in minutes],
                "entity_id": list(self.servers) * (self.hours * 2),
                "power_w": power,
                "temperature_c": (25 + power / 20 + random.normal(0, 1, place.size)).round(1),
            },
            schema_overrides={"time": pl.Datetime("us", "UTC")},
        )
        kept = rows.filter(pl.Series(random.random(place.size) < 0.9))
        return pl.concat([kept, kept.filter(pl.Series(random.random(kept.height) < 0.05))])


def trace_of(files: Mapping[str, Stretch], until: str | None = None) -> Trace:
    """The files by name, in the order of their names."""
    tables = {name: files[name].table() for name in sorted(files)}
    parts = tuple(
        Part(name, key_of(repr(files[name])), *table.select(pl.col("time").min(), last=pl.col("time").max()).row(0))
        for name, table in tables.items()
    )
    return Trace(pl.concat(tables.values()).lazy(), TREE, key_of(parts), parts).before(until)


def by_day(days: int) -> dict[str, Stretch]:
    return {f"day-{day:02}": Stretch(24 * day, 24) for day in range(days)}


def same(one: Panel, other: Panel) -> None:
    assert (one.start, one.step_s, one.channels, one.entities) == (
        other.start,
        other.step_s,
        other.channels,
        other.entities,
    )
    assert_array_equal(one.read(0, one.steps), other.read(0, other.steps))


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def check_folder(folder: Path, updated: Updated) -> None:
    """It holds what the panel is made of and nothing else."""
    assert files_in(folder) == {"manifest.json", ".lock", *(day.file for day in updated.days)}
