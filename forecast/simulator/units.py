"""How each unit that was installed differs from its data sheet."""

from dataclasses import dataclass

import numpy as np

from forecast.simulator.arrays import Floats
from forecast.simulator.fleet import Fleet
from forecast.simulator.streams import stream

#: Energy spread over eight GPUs doing identical work, from least to most (constants.md §2).
UNIT_SPREAD = 0.057
#: Spread of thermal resistance between units, log-normal: half of what the PCIe cards of constants.md §2 show, as those
#: also differ in slot and chassis [D].
RESISTANCE_SPREAD = 0.07


@dataclass(frozen=True)
class Units:
    """How each unit differs from its data sheet; every array `[N]`.

    Attributes:
        mean_power_ratio, hot_power_ratio: dynamic power over nominal, of the average and of the hottest die.
        resistance_ratio: thermal resistance over nominal.
        approach_k: inlet above the hall's supply at full rack load; grows from the bottom of a rack to its top.
        sensor_gain: what the power meter multiplies by; within ±1 % [K].
    """

    mean_power_ratio: Floats
    hot_power_ratio: Floats
    resistance_ratio: Floats
    approach_k: Floats
    sensor_gain: Floats


def draw_units(fleet: Fleet) -> Units:
    """Draw the units that were installed."""
    rng = stream(fleet.config.seed, "units")
    count = len(fleet.server_ids)
    die_count = fleet.column("die_count")
    dies = 1.0 + rng.uniform(-0.5, 0.5, (count, int(die_count.max()))) * UNIT_SPREAD
    present = np.arange(dies.shape[1]) < die_count[:, None]
    height = np.concatenate([(rack.servers - rack.servers[0] + 0.5) / len(rack.servers) for rack in fleet.racks])
    low_k, high_k = fleet.column("approach_low_k"), fleet.column("approach_high_k")
    return Units(
        mean_power_ratio=np.where(present, dies, 0.0).sum(axis=1) / die_count,
        hot_power_ratio=np.where(present, dies, 0.0).max(axis=1),
        resistance_ratio=np.exp(np.clip(rng.normal(0.0, 1.0, count), -2.5, 2.5) * RESISTANCE_SPREAD),
        approach_k=low_k + (high_k - low_k) * height,
        sensor_gain=1.0 + rng.uniform(-0.01, 0.01, count),
    )
