"""What instruments make of the truth: noise, gain, and the resolution of their digits."""

from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import polars as pl

from forecast.contracts.signals import SIGNALS
from forecast.simulator.arrays import Bools, Floats, Ints, Samples
from forecast.simulator.fleet import Fleet
from forecast.simulator.streams import stream
from forecast.simulator.units import Units

#: Standard deviation of noise and the step of a digit: boards report whole watts and whole degrees, inlet sensors
#: half degrees, plant meters 100 W [K].
POWER_NOISE_RATIO, POWER_DIGIT_W = 0.004, 1.0
DIE_NOISE_K, DIE_DIGIT_K = 0.3, 1.0
INLET_NOISE_K, INLET_DIGIT_K = 0.15, 0.5
UTILIZATION_DIGIT = 0.01
#: Second copies of a disagreeing row say this much more.
DISAGREEMENT = np.float32(1.1)
COOLING_NOISE_RATIO, COOLING_DIGIT_W = 0.005, 100.0


Flat = TypeVar("Flat", Ints, Samples, Bools)


@dataclass
class Day:
    """One day of samples, dense: every array is `[steps, entities]`, servers first and then halls.

    Attributes:
        time_us: start of the interval, in microseconds since 1970, as the sender's clock has it.
        signals: a value per signal; NaN where the entity has no such sensor.
        present: whether a row is sent at all.
        repeated: whether it is sent twice.
        disagreeing: whether the second copy has another power.
        held_back: whether it is sent only after the rest of the day.
        withheld: whether it is sent only with the next day.
        renamed: signal to the column name that the exporter writes instead.
    """

    time_us: Ints
    signals: dict[str, Samples]
    present: Bools
    repeated: Bools
    disagreeing: Bools
    held_back: Bools
    withheld: Bools
    renamed: dict[str, str] = field(default_factory=dict)

    def late_table(self, entity_ids: tuple[str, ...]) -> pl.DataFrame:
        """Return the rows that were withheld, as they arrive with the next day, contract TELEMETRY."""
        return replace(self, present=self.present & self.withheld, withheld=np.zeros_like(self.withheld)).table(
            entity_ids
        )

    def table(self, entity_ids: tuple[str, ...]) -> pl.DataFrame:
        """Return the rows in the order they were sent, contract TELEMETRY but for columns that were renamed."""
        columns = np.argsort(np.array(entity_ids), kind="stable")

        def flat(cells: Flat) -> Flat:
            return cells[:, columns].ravel()

        rows, copy = _sending_order(flat(self.present & ~self.withheld), flat(self.repeated), flat(self.held_back))
        times = pl.Series("time", flat(self.time_us)[rows])
        signals = {name: flat(cells)[rows] for name, cells in self.signals.items()}
        signals["power_w"][copy & flat(self.disagreeing)[rows]] *= DISAGREEMENT
        ids = np.broadcast_to(columns, self.present.shape).ravel()[rows]
        table = pl.DataFrame(
            {
                "time": times.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
                "entity_id": pl.Series(entity_ids).gather(ids),
                **signals,
            }
        )
        return table.with_columns(pl.col(list(signals)).fill_nan(None)).rename(self.renamed)


def _sending_order(present: Bools, repeated: Bools, held_back: Bools) -> tuple[Ints, Bools]:
    """Return the cells in the order of their rows, and which rows are second copies."""
    rows = np.repeat(np.arange(len(present)), np.where(present, 1 + repeated, 0))
    rows = rows[np.argsort(held_back[rows], kind="stable")]
    return rows, np.concatenate([[False], rows[1:] == rows[:-1]])


def measure(fleet: Fleet, units: Units, day: int, truth: dict[str, Floats]) -> Day:
    """Return the samples of UTC day number `day`.

    Args:
        truth: per signal `[steps, N]`; `supply_c` and `cooling_power_w` are `[steps, halls]`.
    """
    rng = stream(fleet.config.seed, "sensors", day)
    power_w, cooling_w = truth["power_w"], truth["cooling_power_w"]
    servers = {
        "power_w": _digits(power_w * units.sensor_gain * _noise(rng, power_w, POWER_NOISE_RATIO, 1.0), POWER_DIGIT_W),
        "temperature_c": _digits(_noise(rng, power_w, DIE_NOISE_K, truth["temperature_c"]), DIE_DIGIT_K),
        "inlet_c": _digits(_noise(rng, power_w, INLET_NOISE_K, truth["inlet_c"]), INLET_DIGIT_K),
        "utilization_ratio": _digits(truth["utilization_ratio"], UTILIZATION_DIGIT),
    }
    halls = {
        "inlet_c": _digits(_noise(rng, cooling_w, INLET_NOISE_K, truth["supply_c"]), INLET_DIGIT_K),
        "cooling_power_w": _digits(cooling_w * _noise(rng, cooling_w, COOLING_NOISE_RATIO, 1.0), COOLING_DIGIT_W),
    }
    shape = (len(power_w), power_w.shape[1] + cooling_w.shape[1])
    return Day(
        time_us=np.broadcast_to(_times_us(fleet, day)[:, None], shape).copy(),
        signals={name: _side_by_side(shape, servers.get(name), halls.get(name)) for name in SIGNALS},
        present=np.broadcast_to(fleet.from_day <= max(day, 0), shape).copy(),
        repeated=np.zeros(shape, dtype=bool),
        disagreeing=np.zeros(shape, dtype=bool),
        held_back=np.zeros(shape, dtype=bool),
        withheld=np.zeros(shape, dtype=bool),
    )


def _times_us(fleet: Fleet, day: int) -> Ints:
    config = fleet.config
    start_s = int(config.origin.timestamp()) + day * 86_400
    return np.arange(start_s, start_s + 86_400, config.step_s) * 1_000_000


def _side_by_side(shape: tuple[int, int], servers: Samples | None, halls: Samples | None) -> Samples:
    both = np.full(shape, np.nan, dtype=np.float32)
    if servers is not None:
        both[:, : servers.shape[1]] = servers
    if halls is not None:
        both[:, shape[1] - halls.shape[1] :] = halls
    return both


def _noise(rng: np.random.Generator, like: Floats, deviation: float, around: Floats | float) -> Floats:
    """Draw bounded noise around `around`; the bound of 3 deviations keeps glitches the business of `faults`."""
    return np.asarray(around + deviation * np.clip(rng.standard_normal(like.shape), -3.0, 3.0))


def _digits(values: Floats, digit: float) -> Samples:
    return (np.round(values / digit) * digit).astype(np.float32)
