"""What goes wrong between a sensor and a data lake (docs/faults.md).

Each fault alters one day of samples in place, within one episode. `injector` decides when and whom they strike.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forecast.simulator.arrays import Ints
from forecast.simulator.config import DAY_S
from forecast.simulator.sensors import Day

#: What DCGM writes for "blank": 0x7FFFFFF0.
BLANK = 2_147_483_632.0


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


def _late(day: Day, episode: Episode) -> Altered:
    """Deliver the rows only with the next day, as a collector does that lost its uplink and buffered."""
    day.withheld[episode.cells] = True
    return ROWS


def _future(day: Day, episode: Episode) -> Altered:
    """Stamp the rows a day ahead, as a machine does that came up with a wrong date."""
    day.time_us[episode.cells] += DAY_S * 1_000_000
    return ROWS


@dataclass(frozen=True)
class Fault:
    """How a fault strikes.

    Attributes:
        alter: changes the cells of an episode and names the signals it touched; `ROWS` for whole rows.
        least_h, most_h: duration; one sample when both are 0, until midnight when both are 24.
        whole_hall: strikes all servers of a hall at once.
        until_midnight: lasts to the end of its day.
    """

    alter: Callable[[Day, Episode], Altered]
    least_h: float
    most_h: float
    whole_hall: bool = False
    until_midnight: bool = False


EPISODIC = {
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
    "late": Fault(_late, 1, 6, whole_hall=True, until_midnight=True),
    "future": Fault(_future, 0.25, 3),
}
#: Faults that last. The rate of `new_entity` is the share of servers that join late, of `removed_entity` the
#: probability per day that a server leaves for good, of `schema_drift` that per day of an exporter's upgrade.
LASTING = ("new_entity", "removed_entity", "schema_drift")
#: What the upgrade calls the site's columns from then on.
RENAMED = {"temperature_c": "gpu_temperature_c"}
#: Every fault that can be asked for.
FAULTS = (*EPISODIC, *LASTING)
