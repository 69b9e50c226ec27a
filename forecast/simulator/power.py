"""From utilisation to watts: dies, the rest of the board, fans, leakage, and what conversion loses on the way."""

from typing import TypeVar

import numpy as np

from forecast.simulator.arrays import Floats, Ints
from forecast.simulator.fleet import Fleet

#: P_in = (P_out + c)/η, first the node's DC-DC stage, then the rectifier (constants.md §3, ExaDigiT RAPS).
DC_DC_W, DC_DC_EFFICIENCY = 13.0, 0.98
RECTIFIER_W, RECTIFIER_EFFICIENCY = 17.0, 0.96
#: Leakage grows by 0.3-0.6 % of static power per kelvin (constants.md §5); data-sheet power holds at the reference [K].
LEAKAGE_PER_K = 0.0045
LEAKAGE_REFERENCE_C = 60.0
#: Air flow that planners assume [K].
_PLANNED_FLOW = 0.6

Number = TypeVar("Number", float, Floats)


def wall_power_w(out_w: Number) -> Number:
    """Return the power drawn from the feed by a server whose boards use `out_w`."""
    return ((out_w + DC_DC_W) / DC_DC_EFFICIENCY + RECTIFIER_W) / RECTIFIER_EFFICIENCY


class PowerModel:
    """Power of every server; arrays `[N]`, in W."""

    def __init__(self, fleet: Fleet) -> None:
        self.die_count = fleet.column("die_count")
        self.die_idle_w = fleet.column("die_idle_w")
        self.die_swing_w = fleet.column("die_peak_w") - self.die_idle_w
        self.rest_idle_w = fleet.column("rest_idle_w")
        self.rest_swing_w = fleet.column("rest_peak_w") - self.rest_idle_w
        self.fan_peak_w = fleet.column("fan_peak_w")

    def die_w(self, utilization: Floats, cap_ratio: float = 1.0) -> Floats:
        """Return the power of one nominal die, at most `cap_ratio` of its peak."""
        demand_w = self.die_idle_w + self.die_swing_w * utilization
        return np.minimum(demand_w, cap_ratio * (self.die_idle_w + self.die_swing_w))

    def leakage_w(self, die_c: Floats) -> Floats:
        """Return what one die draws beyond its data sheet at temperature `die_c`."""
        return LEAKAGE_PER_K * self.die_idle_w * (die_c - LEAKAGE_REFERENCE_C)

    def server_w(self, die_w: Floats, utilization: Floats, flow: Floats) -> Floats:
        """Return wall power, from the mean power of a die and the fans' flow as a ratio of full speed."""
        rest_w = self.rest_idle_w + self.rest_swing_w * utilization
        return wall_power_w(self.die_count * die_w + rest_w + self.fan_peak_w * flow * flow * flow)


def nominal_wall_w(fleet: Fleet, servers: Ints, utilization: Floats) -> Floats:
    """Return what a data sheet predicts for `servers` `[K]` at `utilization` `[K]`."""
    model = PowerModel(fleet)
    full = np.zeros((2, len(fleet.server_ids)))
    full[1] = 1.0
    # Power is affine in utilisation, so its ends say everything.
    idle_w, peak_w = (model.server_w(model.die_w(u), u, np.full_like(u, _PLANNED_FLOW)) for u in full)
    return idle_w[servers] + (peak_w - idle_w)[servers] * utilization
