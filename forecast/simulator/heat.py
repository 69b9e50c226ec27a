"""Heat on its way out of the hottest die of each server: die → sink or cold plate → chassis air or coolant.

The three resistances act in a row, so the temperature rise is a sum of first-order stages (a Foster chain), each of
which has an exact step. Any step length is stable, and the steady state is T = T_inlet + P·ΣR.
"""

from dataclasses import dataclass

import numpy as np

from forecast.simulator.arrays import Floats
from forecast.simulator.fleet import Fleet
from forecast.simulator.units import Units

#: Convection: R_sink ∝ flow^−0.8 (constants.md §5).
FLOW_EXPONENT = -0.8
#: Fans idle at this flow, and run fully open near the limit [K]. Coolant flow is constant.
FAN_LOW_FLOW = 0.4
FAN_OPENS_C = 50.0
FAN_FULL_BELOW_LIMIT_K = 5.0


def relax(state: Floats, target: Floats, keep: Floats) -> Floats:
    """Return a first-order state after a step in which its target is constant; `keep` is exp(−step/τ)."""
    return target + (state - target) * keep


def exact_step(matrix: Floats, drive: Floats, step_s: float) -> tuple[Floats, Floats]:
    """Return (Φ, Γ) with x(t + step) = Φ·x + Γ·u for dx/dt = matrix·x + drive·u and constant u.

    Exponential of the augmented matrix by scaling, Taylor series and squaring.
    """
    size = len(matrix)
    augmented = np.zeros((size + 1, size + 1))
    augmented[:size, :size], augmented[:size, size] = matrix * step_s, drive * step_s
    halvings = max(0, int(np.ceil(np.log2(max(np.abs(augmented).sum(axis=1).max(), 1e-300)))) + 4)
    small = augmented / 2.0**halvings
    term = result = np.eye(size + 1)
    for order in range(1, 14):
        term = term @ small / order
        result = result + term
    for _ in range(halvings):
        result = result @ result
    return result[:size, :size], result[:size, size]


@dataclass(frozen=True)
class Outlook:
    """Where the die will be after one step: `free_c + gain_k_per_w · power`. Arrays `[N]`."""

    free_c: Floats
    gain_k_per_w: Floats
    sink_k_per_w: Floats
    keep_sink: Floats


class DieHeat:
    """Temperatures of the hottest die of every server; arrays `[N]`."""

    def __init__(self, fleet: Fleet, units: Units, step_s: float) -> None:
        self.die_k_per_w = fleet.column("die_sink_k_per_w") * units.resistance_ratio
        self.sink_k_per_w = fleet.column("sink_supply_k_per_w") * units.resistance_ratio
        self.downstream_k_per_w = fleet.column("downstream_k") / fleet.column("die_peak_w")
        self._keep_die = np.exp(-step_s / fleet.column("die_tau_s"))
        self._keep_chassis = np.exp(-step_s / fleet.column("chassis_tau_s"))
        self._steps_per_sink_tau = step_s / fleet.column("sink_tau_s")
        self._air = ~fleet.liquid
        self._fan_full_c = fleet.column("max_operating_c") - FAN_FULL_BELOW_LIMIT_K
        self.die_k = self.sink_k = np.zeros(len(self._air))
        self.chassis_c = np.full(len(self._air), 25.0)

    @property
    def die_c(self) -> Floats:
        """Temperature of the hottest die."""
        return self.chassis_c + self.sink_k + self.die_k

    def flow(self) -> Floats:
        """Return the flow that fans choose from the die's temperature, as a ratio of full flow."""
        opening = np.clip((self.die_c - FAN_OPENS_C) / (self._fan_full_c - FAN_OPENS_C), 0.0, 1.0)
        return np.where(self._air, FAN_LOW_FLOW + (1 - FAN_LOW_FLOW) * opening, 1.0)

    def outlook(self, inlet_c: Floats, flow: Floats) -> Outlook:
        """Return how the die will respond to power in the coming step."""
        slower = flow**FLOW_EXPONENT
        sink_k_per_w = self.sink_k_per_w * slower
        keep_sink = np.exp(-self._steps_per_sink_tau / slower)  # τ = R·C grows with R
        keep_die, keep_chassis = self._keep_die, self._keep_chassis
        free_c = self.die_k * keep_die + self.sink_k * keep_sink + inlet_c + (self.chassis_c - inlet_c) * keep_chassis
        gain = (
            self.die_k_per_w * (1 - keep_die)
            + sink_k_per_w * (1 - keep_sink)
            + self.downstream_k_per_w * (1 - keep_chassis)
        )
        return Outlook(free_c, gain, sink_k_per_w, keep_sink)

    def advance(self, outlook: Outlook, power_w: Floats, inlet_c: Floats) -> None:
        """Move on by one step under constant `power_w` of the hottest die."""
        self.die_k = relax(self.die_k, power_w * self.die_k_per_w, self._keep_die)
        self.sink_k = relax(self.sink_k, power_w * outlook.sink_k_per_w, outlook.keep_sink)
        self.chassis_c = relax(self.chassis_c, inlet_c + power_w * self.downstream_k_per_w, self._keep_chassis)
