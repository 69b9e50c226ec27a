"""What goes wrong between a sensor and a data lake (OPERATIONS.md §2), and the truth about it.

Each fault alters one day of samples in place, in cells it names. Rates are probabilities: of one episode per day, in
each server (or each hall, where a whole collector goes wrong).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from forecast.contracts.errors import ConfigError
from forecast.contracts.tables import FAULTS as FAULT_TABLE
from forecast.contracts.tables import UTC
from forecast.simulator.arrays import Ints
from forecast.simulator.config import DAY_S
from forecast.simulator.fleet import Fleet
from forecast.simulator.sensors import Day
from forecast.simulator.streams import stream

#: What DCGM writes for "blank": 0x7FFFFFF0.
BLANK = 2_147_483_632.0
#: Newly racked servers report from some moment of the first two days.
_JOINS_WITHIN_DAYS = 2


@dataclass(frozen=True)
class Episode:
    """The cells of one fault: steps `[first, last)` of one day, of some entities.

    Attributes:
        entities: indices of the entities.
        rng: for what the fault itself draws.
    """

    first: int
    last: int
    entities: Ints
    rng: np.random.Generator

    @property
    def cells(self) -> tuple[slice, Ints]:
        return slice(self.first, self.last), self.entities


Altered = tuple[str, ...]
ROWS: Altered = ("",)


def _duplicate(day: Day, episode: Episode) -> Altered:
    """Repeat the rows identically, as a retry does."""
    day.repeated[episode.cells] = True
    return ROWS


def _gap(day: Day, episode: Episode) -> Altered:
    """Lose the rows."""
    day.present[episode.cells] = False
    return ROWS


def _out_of_order(day: Day, episode: Episode) -> Altered:
    """Put the rows behind the rest of their day, as a buffer flushed late does."""
    day.held_back[episode.cells] = True
    return ROWS


def _skewed_clock(day: Day, episode: Episode) -> Altered:
    """Set the sender's clock ahead, by less than half a step so that no sample takes the place of another."""
    step_us = int(day.time_us[1, 0] - day.time_us[0, 0])
    day.time_us[episode.cells] += int(step_us * episode.rng.uniform(0.1, 0.5))
    return ROWS


def _stuck_sensor(day: Day, episode: Episode) -> Altered:
    """Repeat the values of the two main sensors from the beginning of the episode."""
    for name in ("power_w", "temperature_c"):
        day.signals[name][episode.cells] = day.signals[name][episode.first, episode.entities]
    return ("power_w", "temperature_c")


def _spike(day: Day, episode: Episode) -> Altered:
    """Add 35-60 K for one sample."""
    day.signals["temperature_c"][episode.cells] += np.float32(np.round(episode.rng.uniform(35, 60)))
    return ("temperature_c",)


def _sentinel(day: Day, episode: Episode) -> Altered:
    """Send the driver's blank for lack of a value."""
    day.signals["temperature_c"][episode.cells] = BLANK
    return ("temperature_c",)


def _kilowatt(day: Day, episode: Episode) -> Altered:
    """Send kW where W belong, after an exporter's upgrade."""
    day.signals["power_w"][episode.cells] /= 1000
    return ("power_w",)


def _fahrenheit(day: Day, episode: Episode) -> Altered:
    """Send °F where °C belong, from an exporter that was localised."""
    for name in ("temperature_c", "inlet_c"):
        day.signals[name][episode.cells] = day.signals[name][episode.cells] * 1.8 + 32
    return ("temperature_c", "inlet_c")


def _conflicting_duplicate(day: Day, episode: Episode) -> Altered:
    """Repeat the rows with another power, as two collectors that disagree do."""
    day.repeated[episode.cells] = True
    day.disagreeing[episode.cells] = True
    return ROWS


def _storm(day: Day, episode: Episode) -> Altered:
    """Drop between a third and four fifths of all rows, as an overloaded collector does."""
    kept = episode.rng.random((episode.last - episode.first, len(episode.entities))) > episode.rng.uniform(0.33, 0.8)
    day.present[episode.cells] &= kept
    return ROWS


@dataclass(frozen=True)
class Fault:
    """How a fault strikes.

    Attributes:
        alter: changes the cells of an episode and names the signals it touched; `ROWS` for whole rows.
        least_h, most_h: duration; one sample when both are 0, until midnight when both are 24.
        whole_hall: strikes all servers of a hall at once.
    """

    alter: Callable[[Day, Episode], Altered]
    least_h: float
    most_h: float
    whole_hall: bool = False


_EPISODIC = {
    "duplicate": Fault(_duplicate, 0.25, 3),
    "conflicting_duplicate": Fault(_conflicting_duplicate, 0.25, 3),
    "out_of_order": Fault(_out_of_order, 0.25, 3),
    "skewed_clock": Fault(_skewed_clock, 2, 12),
    "stuck_sensor": Fault(_stuck_sensor, 2, 12),
    "spike": Fault(_spike, 0, 0),
    "sentinel": Fault(_sentinel, 0, 2),
    "kilowatt": Fault(_kilowatt, 24, 24, whole_hall=True),
    "fahrenheit": Fault(_fahrenheit, 24, 24, whole_hall=True),
    "gap": Fault(_gap, 0.25, 8),
    "storm": Fault(_storm, 1, 6, whole_hall=True),
}
#: Faults that last. The rate of `new_entity` is the share of servers that join late, of `removed_entity` the
#: probability per day that a server leaves for good.
_LASTING = ("new_entity", "removed_entity")
#: Every fault that can be asked for.
FAULTS = (*_EPISODIC, *_LASTING)


class FaultInjector:
    """Breaks the days of one record in order, and remembers what it broke."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._rates = dict(fleet.config.faults)
        for name, rate in self._rates.items():
            if name not in FAULTS:
                raise ConfigError(f"unknown fault {name!r}; known are {', '.join(FAULTS)}.")
            if not 0 <= rate <= 1:
                raise ConfigError(f"the rate of fault {name!r} is {rate}; it is a probability per day, from 0 to 1.")
        self._truth: list[tuple[str, str, str, int, int]] = []
        self._joins_s, self._leaves_s = self._draw_membership()

    def inject(self, samples: Day, day: int) -> None:
        """Alter the samples of one day in place."""
        for name, fault in _EPISODIC.items():
            if name in self._rates:
                self._strike(name, fault, samples, day)
        step_s = self._fleet.config.step_s
        time_s = day * DAY_S + step_s * np.arange(len(samples.present))[:, None]
        servers = slice(0, len(self._joins_s))
        samples.present[:, servers] &= (time_s >= self._joins_s) & (time_s < self._leaves_s)

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
        for entities in self._victims(fault, rng, self._rates[name]):
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
        self._truth += [(name, ids[entity], signal, start_s, end_s) for entity in entities for signal in altered]

    def _draw_membership(self) -> tuple[Ints, Ints]:
        """Return when each server starts and stops to report, in seconds from the origin, `[N]` each."""
        config, count = self._fleet.config, len(self._fleet.server_ids)
        rng = stream(config.seed, "fault", "membership")
        late = rng.random(count) < self._rates.get("new_entity", 0.0)
        joins_s = np.where(late, _grid(rng.uniform(0, _JOINS_WITHIN_DAYS, count) * DAY_S, config.step_s), 0)
        daily = self._rates.get("removed_entity", 0.0)
        stays_days = rng.exponential(1.0, count) / daily if daily else np.full(count, np.inf)
        leaves_s = np.where(
            stays_days < config.days, _grid(np.minimum(stays_days, config.days) * DAY_S, config.step_s), config.end_s
        )
        for server in np.flatnonzero(joins_s > 0):
            self._remember("new_entity", [int(server)], ROWS, 0, min(int(joins_s[server]), config.end_s))
        for server in np.flatnonzero(leaves_s < config.end_s):
            self._remember("removed_entity", [int(server)], ROWS, int(leaves_s[server]), config.end_s)
        return joins_s, leaves_s


def _span(fault: Fault, rng: np.random.Generator, steps: int, step_s: int) -> tuple[int, int]:
    """Draw the steps `[first, last)` of one episode within its day."""
    length = round(rng.uniform(fault.least_h, fault.most_h) * 3600 / step_s)
    length = min(max(length, 1), steps)
    first = int(rng.integers(0, steps - length + 1)) if fault.least_h < 24 else 0
    return first, first + length


def _grid(seconds: np.ndarray[tuple[int, ...], np.dtype[np.float64]], step_s: int) -> Ints:
    return (seconds // step_s).astype(np.int64) * step_s
