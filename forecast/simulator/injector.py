"""When faults strike and whom, and the truth about it.

Rates are probabilities: of one episode per day, in each server (or each hall, where a whole collector goes wrong). What
events take from the record is taken on their days.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl

from forecast.contracts.errors import ConfigError
from forecast.contracts.tables import FAULTS as FAULT_TABLE
from forecast.contracts.tables import UTC
from forecast.simulator.arrays import Floats, Ints
from forecast.simulator.config import DAY_S
from forecast.simulator.faults import EPISODIC, FAULTS, RENAMED, ROWS, Altered, Episode, Fault
from forecast.simulator.fleet import Fleet
from forecast.simulator.sensors import Day
from forecast.simulator.streams import stream

#: What the truth calls sensors that an event silenced.
SENSORS_LOST = "sensors_lost"
#: Newly racked servers report from some moment of the first two days [K].
_JOINS_WITHIN_DAYS = 2


class FaultInjector:
    """Breaks the days of one record in order, and remembers what it broke."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._rates = dict(fleet.config.faults)
        for name, rate in self._rates.items():
            if name not in FAULTS:
                raise ConfigError(f"source.fleet.faults: unknown fault {name!r}; known are {', '.join(FAULTS)}.")
            if not 0 <= rate <= 1:
                raise ConfigError(f"source.fleet.faults.{name} is {rate}; it is a probability per day, from 0 to 1.")
        self._truth: list[tuple[str, str, str, int, int]] = []
        self._opens_s = fleet.from_day[: len(fleet.server_ids)] * DAY_S
        self._joins_s, self._leaves_s = self._draw_joins(), self._draw_leaves()
        self._drifts_on_day = self._draw_drift()
        self._losses = self._draw_losses()
        self._upgraded = self._draw_upgrades()

    def inject(self, samples: Day, day: int) -> None:
        """Alter the samples of one day in place."""
        for name, fault in EPISODIC.items():
            if name in self._rates:
                self._strike(name, fault, samples, day)
        step_s = self._fleet.config.step_s
        time_s = day * DAY_S + step_s * np.arange(len(samples.present))[:, None]
        servers = slice(0, len(self._joins_s))
        samples.present[:, servers] &= (time_s >= self._joins_s) & (time_s < self._leaves_s)
        for lost in self._losses.get(day, ()):
            samples.present[:, lost] = False
        if day >= self._drifts_on_day or day in self._upgraded:
            samples.renamed.update(RENAMED)

    def truth(self) -> pl.DataFrame:
        """Return every episode, contract FAULTS; an empty `signal` means whole rows."""
        columns = ("fault", "entity_id", "signal", "start_s", "end_s")
        types = (pl.String, pl.String, pl.String, pl.Int64, pl.Int64)
        frame = pl.DataFrame(self._truth, schema=dict(zip(columns, types, strict=True)), orient="row")
        origin = pl.lit(self._fleet.config.origin, dtype=UTC)
        return frame.select(
            "fault",
            "entity_id",
            "signal",
            start_time=origin + pl.duration(seconds="start_s"),
            end_time=origin + pl.duration(seconds="end_s"),
        ).sort(FAULT_TABLE.key)

    def _strike(self, name: str, fault: Fault, samples: Day, day: int) -> None:
        rng = stream(self._fleet.config.seed, "fault", name, day)
        step_s = self._fleet.config.step_s
        for struck in self._victims(fault, rng, self._rates[name]):
            entities = struck[self._opens_s[struck] <= day * DAY_S]
            if not len(entities):
                continue
            first, last = _span(fault, rng, len(samples.present), step_s)
            altered = fault.alter(samples, Episode(first, last, entities, rng))
            start_s = day * DAY_S + first * step_s
            self._remember(name, entities, altered, start_s, day * DAY_S + last * step_s)

    def _victims(self, fault: Fault, rng: np.random.Generator, rate: float) -> Iterator[Ints]:
        fleet = self._fleet
        if fault.whole_hall:
            groups: list[Ints] = [np.flatnonzero(fleet.hall_of == hall) for hall in range(len(fleet.hall_ids))]
        else:
            groups = list(np.arange(len(fleet.server_ids))[:, None])
        struck = np.flatnonzero(rng.random(len(groups)) < rate)
        return (groups[index] for index in struck)

    def _remember(self, name: str, entities: Iterable[int], altered: Altered, start_s: int, end_s: int) -> None:
        ids = self._fleet.server_ids
        self._truth += [(name, ids[at], signal, int(start_s), int(end_s)) for at in entities for signal in altered]

    def _draw_joins(self) -> Ints:
        """Return when each server begins to report, in seconds from the origin, `[N]`."""
        config, count = self._fleet.config, len(self._fleet.server_ids)
        rng = stream(config.seed, "fault", "new_entity")
        late = rng.random(count) < self._rates.get("new_entity", 0.0)
        late_s = np.where(late, _grid(rng.uniform(0, _JOINS_WITHIN_DAYS, count) * DAY_S, config.step_s), 0)
        joins_s = self._opens_s + late_s
        for server in np.flatnonzero(late_s * (self._opens_s < config.end_s)):
            until_s = min(joins_s[server], config.end_s)
            self._remember("new_entity", [int(server)], ROWS, self._opens_s[server], until_s)
        return joins_s

    def _draw_leaves(self) -> Ints:
        """Return when each server reports no more, in seconds from the origin, `[N]`."""
        config, count = self._fleet.config, len(self._fleet.server_ids)
        rng = stream(config.seed, "fault", "removed_entity")
        # A draw that never comes true within the record is as good as never.
        stays_days = rng.exponential(1.0, count) / max(self._rates.get("removed_entity", 0.0), 1e-9)
        leaves_s = self._opens_s + _grid(np.minimum(stays_days, config.days) * DAY_S, config.step_s)
        for server in np.flatnonzero(leaves_s < config.end_s):
            self._remember("removed_entity", [int(server)], ROWS, leaves_s[server], config.end_s)
        return leaves_s

    def _draw_drift(self) -> float:
        """Return the first day, from 1 on, with other column names; it strikes the files of the whole site."""
        config = self._fleet.config
        after_days = stream(config.seed, "fault", "schema_drift").exponential(1.0)
        day = 1 + after_days // max(self._rates.get("schema_drift", 0.0), 1e-9)
        if day < config.days:
            self._truth += [("schema_drift", config.site, name, int(day) * DAY_S, config.end_s) for name in RENAMED]
        return float(day)

    def _draw_losses(self) -> dict[int, list[Ints]]:
        """Return the servers that send nothing, by day; each event strikes what is in service when it begins."""
        config = self._fleet.config
        lost: dict[int, list[Ints]] = {}
        for event in config.events.sensor_losses:
            there = np.flatnonzero(self._opens_s <= event.day * DAY_S)
            rng = stream(config.seed, "event", SENSORS_LOST, event.day)
            struck = np.sort(rng.permutation(there)[: round(event.share * len(there))])
            for day in range(event.day, min(event.day + event.days, config.days)):
                lost.setdefault(day, []).append(struck)
                self._remember(SENSORS_LOST, struck, ROWS, day * DAY_S, (day + 1) * DAY_S)
        return lost

    def _draw_upgrades(self) -> set[int]:
        """Return the days on which an upgraded exporter writes other column names."""
        config = self._fleet.config
        upgrades = config.events.exporter_upgrades
        days = {day for event in upgrades for day in range(event.day, min(event.day + event.days, config.days))}
        for day in sorted(days):
            span_s = (day * DAY_S, (day + 1) * DAY_S)
            self._truth += [("schema_drift", config.site, name, *span_s) for name in RENAMED]
        return days


def _span(fault: Fault, rng: np.random.Generator, steps: int, step_s: int) -> tuple[int, int]:
    """Draw the steps `[first, last)` of one episode within its day."""
    length = round(rng.uniform(fault.least_h, fault.most_h) * 3600 / step_s)
    length = min(max(length, 1), steps)
    if fault.until_midnight:
        return steps - length, steps
    first = int(rng.integers(0, steps - length + 1)) if fault.least_h < 24 else 0
    return first, first + length


def _grid(seconds: Floats, step_s: int) -> Ints:
    return (seconds // step_s).astype(np.int64) * step_s
