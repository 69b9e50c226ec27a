"""The cooling plant of each hall.

A chiller that tires in the heat, free cooling in the cold, and a supply that rises when there is more heat than
capacity.
"""

import numpy as np

from forecast.simulator.arrays import Floats
from forecast.simulator.config import CoolingConfig
from forecast.simulator.fleet import Fleet
from forecast.simulator.heat import exact_step

#: Chilled water at rated conditions, and COP of the air-cooled machine (constants.md §5).
RATED_EVAPORATOR_C = 6.67
RATED_COP = 3.0
#: The capacity curve turns unphysical above (constants.md §5).
MAX_CAPACITY_RATIO = 1.6
#: Left uncooled under its rated heat, the supply warms by 10 K in 20 min: §5 gives 10-30 min for the plant [D].
LOOP_S_PER_K = 120.0
#: Walls, racks and slab follow within 2-8 h (§5), and take up 2 % of rated heat per kelvin [D].
MASS_TAU_S = 4 * 3600.0
MASS_PER_K = 0.02
#: Wet-bulb distance over which free cooling takes over from the chillers [K].
FREE_COOLING_SPAN_K = 4.0
#: Pumps: 8.47 kW per CDU of three 120 kW racks (constants.md §3); fans of air handlers [K]. W per W of heat.
PUMP_RATIO = 8.47 / 360
AIR_HANDLER_RATIO = 0.05


def chiller_capacity_ratio(outdoor_c: Floats, evaporator_c: Floats) -> Floats:
    """Return available over rated capacity (EnergyPlus electric chiller, air-cooled; constants.md §5)."""
    delta = (outdoor_c - 35) / 2.778 - (evaporator_c - RATED_EVAPORATOR_C)
    return np.minimum(0.94484 - 0.05701 * delta + 0.001855 * delta**2, MAX_CAPACITY_RATIO)


def chiller_power_ratio(capacity_ratio: Floats, load_ratio: Floats) -> Floats:
    """Return electrical power over rated capacity.

    Args:
        capacity_ratio: from `chiller_capacity_ratio`.
        load_ratio: heat removed over available capacity, in [0, 1].
    """
    full_load = 2.333 - 1.975 * capacity_ratio + 0.6121 * capacity_ratio**2
    part_load = 0.03303 + 0.6852 * load_ratio + 0.2818 * load_ratio**2
    return np.asarray(full_load * part_load * capacity_ratio / RATED_COP)


class Plant:
    """Cooling of every hall; arrays `[halls]`.

    Attributes:
        overshoot_k: how far air and coolant supply are above their set-points.
    """

    def __init__(self, fleet: Fleet, config: CoolingConfig, step_s: float) -> None:
        nameplate_w, liquid = fleet.column("nameplate_w"), fleet.liquid
        self.total_w = np.bincount(fleet.hall_of, nameplate_w)
        liquid_w = np.bincount(fleet.hall_of, nameplate_w * liquid)
        self.rated_w = config.capacity_ratio * self.total_w
        self._mover_ratio = AIR_HANDLER_RATIO + (PUMP_RATIO - AIR_HANDLER_RATIO) * liquid_w / self.total_w
        self._free_below_c = config.free_cooling_wet_bulb_c
        exchange, drive = MASS_PER_K / LOOP_S_PER_K, 1 / LOOP_S_PER_K
        matrix = np.array([[-exchange, exchange], [1 / MASS_TAU_S, -1 / MASS_TAU_S]])
        self._keep, self._gain = exact_step(matrix, np.array([drive, 0.0]), step_s)
        self._state = np.zeros((2, len(self.total_w)))

    @property
    def overshoot_k(self) -> Floats:
        return np.asarray(self._state[0])

    def advance(self, heat_w: Floats, outdoor_c: float, wet_bulb_c: float, working: Floats | float = 1.0) -> Floats:
        """Move on by one step under constant heat; return the electrical power of cooling in W.

        The controller removes just what brings the supply back to its set-point, and no more than it can.

        Args:
            working: share of the plant that works, in (0, 1]; the rest neither cools nor draws.
        """
        capacity = chiller_capacity_ratio(np.asarray(outdoor_c), RATED_EVAPORATOR_C + self.overshoot_k)
        free = float(np.clip((self._free_below_c - wet_bulb_c) / FREE_COOLING_SPAN_K, 0.0, 1.0))
        heat = heat_w / self.rated_w
        unheated_k = self._keep @ self._state
        removed = np.clip(heat + unheated_k[0] / self._gain[0], 0.0, capacity * working)
        self._state = unheated_k + self._gain[:, None] * (heat - removed)
        load = (1 - free) * removed / (capacity * working)
        chiller = np.where(free < 1.0, chiller_power_ratio(capacity, load) * working, 0.0)
        return np.asarray((chiller + self._mover_ratio * removed) * self.rated_w)
