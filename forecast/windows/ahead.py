"""What is known ahead of every entity at one forecast time, beyond its clock; `gather` gives the same on the device.

Both compute in whole seconds and milliwatts, so that sums do not depend on their order, and in double precision where
values are divided or joined by a line: the two agree to the bit.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.specs import FUTURE, ForecastSpec
from forecast.contracts.tables import JOB_SCHEDULE, WEATHER
from forecast.contracts.topology import Topology
from forecast.features.gridded import Floats
from forecast.features.news import News
from forecast.features.outlook import OUTLOOK_NAMES, Outlook, outlook
from forecast.features.schedule import MILLI, SCHEDULE_NAMES, SCHEDULED, Ints, Promises, promises
from forecast.features.weather import HOUR_S, WEATHER_NAMES, Doubles, Versions, versions
from forecast.windows.outlook import outlook_at
from forecast.windows.overlap import overlap


@dataclass(frozen=True, eq=False)
class Ahead:
    """Schedule and weather with the times from which each part was known; None where nobody told any.

    Attributes:
        weather: by site.
        site: `[N]`, index of each entity's site.
        schedule: by entity.
        outlook: what is expected of it; None where nobody asks.
        news: whether its jobs are believed: of one that is no longer kept up they are unknown.
        set_aside: rows that break their contract, with `reason` and `count`.
    """

    weather: Versions | None = None
    site: Ints | None = None
    schedule: Promises | None = None
    outlook: Outlook | None = None
    news: News | None = None
    set_aside: pl.DataFrame = field(default_factory=pl.DataFrame)

    @classmethod
    def of(
        cls, topology: Topology, spec: ForecastSpec, jobs: pl.LazyFrame | None, weather: pl.LazyFrame | None
    ) -> "Ahead":
        """Take from the tables what `spec.future` names.

        Args:
            jobs, weather: contracts JOB_SCHEDULE and WEATHER; None where there is none.

        Raises:
            DataError: a column that is missing or of another type.
        """
        sources = {FUTURE[name].source for name in spec.future}
        told = {
            table: table.sift(frame, table.name)
            for table, frame, source in ((JOB_SCHEDULE, jobs, "schedule"), (WEATHER, weather, "weather"))
            if frame is not None and source in sources
        }
        asked = not set(spec.future).isdisjoint(OUTLOOK_NAMES)
        sites = tuple(topology.table["site"].unique().sort())
        return cls(
            versions(told[WEATHER].good, sites) if WEATHER in told else None,
            np.array([sites.index(name) for name in topology.table["site"]]),
            promises(told[JOB_SCHEDULE].good, topology) if JOB_SCHEDULE in told else None,
            outlook(told[JOB_SCHEDULE].good, topology) if JOB_SCHEDULE in told and asked else None,
            News.of(told[JOB_SCHEDULE].good) if JOB_SCHEDULE in told else None,
            pl.concat(sifted.report for sifted in told.values()) if told else pl.DataFrame(),
        )

    def at(self, origin_s: int, spec: ForecastSpec, entities: int) -> dict[str, Floats]:
        """Covariates over the horizon from `origin_s` (seconds since 1970) by name, `[N, H]` each, NaN = unknown."""
        unknown = np.full((entities, spec.horizon_steps), np.nan, np.float32)
        told = dict.fromkeys((*WEATHER_NAMES, *SCHEDULE_NAMES, *OUTLOOK_NAMES), unknown)
        if self.weather is not None and self.site is not None:
            values = weather_at(self.weather, origin_s, spec)
            told |= {name: values[self.site, :, index] for index, name in enumerate(WEATHER_NAMES)}
        if self.schedule is not None:
            values = schedule_at(self.schedule, origin_s, spec)
            told |= {name: values[index] for index, name in enumerate(SCHEDULE_NAMES)}
        if self.outlook is not None:
            values = outlook_at(self.outlook, origin_s, spec)
            told |= {name: values[index] for index, name in enumerate(OUTLOOK_NAMES)}
        if not self.believed(np.array(origin_s)):
            told |= dict.fromkeys((SCHEDULED, *OUTLOOK_NAMES), unknown)
        return told

    def believed(self, origin_s: Ints) -> NDArray[np.bool_]:
        """Whether the schedule is kept up, as far as was known at some times."""
        return np.ones(origin_s.shape, np.bool_) if self.news is None else self.news.believed(origin_s)


def weather_at(known: Versions, origin_s: int, spec: ForecastSpec) -> Floats:
    """Weather in the middle of each step as known at `origin_s`, `[site, H, 2]`: on a line between two hours."""
    hour, share = middles(origin_s, spec)
    before, after = (_hour_at(known, hour + offset, origin_s) for offset in (0, 1))
    rise = (after - before) * share[:, None]
    return (before + rise).astype(np.float32)


def middles(origin_s: int, spec: ForecastSpec) -> tuple[Ints, Doubles]:
    """The hour (since 1970) in which the middle of each step lies, and how far into it, 0 to 1; `[H]` both."""
    twice = 2 * origin_s + spec.step_s * (2 * np.arange(spec.horizon_steps) + 1)
    return twice // (2 * HOUR_S), twice % (2 * HOUR_S) / (2 * HOUR_S)


def _hour_at(known: Versions, hour: Ints, origin_s: int) -> Doubles:
    """What `origin_s` knew of some hours, `[site, H, 2]`."""
    sites, hours, _ = known.known_from.shape
    at = hour - known.first_hour
    inside = (at >= 0) & (at < hours)
    result = np.full((sites, len(hour), len(WEATHER_NAMES)), np.nan)
    at = at[inside]
    newest = (known.known_from[:, at] <= origin_s).sum(axis=2) - 1
    values = np.take_along_axis(known.values[:, at], newest.clip(0)[..., None, None], axis=2)[:, :, 0]
    result[:, inside] = np.where(newest[..., None] >= 0, values, np.nan)
    return result


def schedule_at(known: Promises, origin_s: int, spec: ForecastSpec) -> Floats:
    """Means over each step as known at `origin_s`, `[SCHEDULE_NAMES, N, H]`."""
    entities, shape = len(known.leaves), (len(SCHEDULE_NAMES), len(known.leaves), spec.horizon_steps)
    held = (known.known_from_s <= origin_s) & (known.known_until_s > origin_s) & (known.end_s > origin_s)
    slot = (known.covariate * entities + known.entity)[held]
    edges = [(edge[held] - origin_s).clip(0, spec.horizon_steps * spec.step_s) for edge in (known.start_s, known.end_s)]
    amount, count = (
        overlap(slot, edges, weight[held], spec, shape[0] * shape[1]).reshape(shape)
        for weight in (known.amount, known.count)
    )
    scheduled, struck, *imposed = range(len(SCHEDULE_NAMES))
    values = np.full(shape, np.nan)
    if origin_s >= known.since_s:
        sure = count[scheduled] == 0
        values[scheduled][sure] = amount[scheduled][sure] / (MILLI * spec.step_s)
        values[struck] = np.minimum(amount[struck] / (known.leaves[:, None] * spec.step_s), 1.0)
    for row in imposed:
        there = count[row] > 0
        values[row][there] = amount[row][there] / (MILLI * count[row][there])
    return values.astype(np.float32)
