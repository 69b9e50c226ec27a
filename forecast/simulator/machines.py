"""All servers and halls together, one physical step at a time: work → power → heat → supply air and coolant."""

from dataclasses import dataclass

import numpy as np

from forecast.simulator.arrays import Floats
from forecast.simulator.events import Conditions, Events
from forecast.simulator.fleet import Fleet
from forecast.simulator.heat import DieHeat
from forecast.simulator.plant import Plant
from forecast.simulator.power import PowerModel
from forecast.simulator.units import Units

#: Share of a rack's approach that remains when it idles: recirculation falls with the rack's heat [K].
IDLE_APPROACH = 0.5


@dataclass(frozen=True)
class Reading:
    """The physical state during one step: servers `[N]`, halls `[halls]`."""

    power_w: Floats
    temperature_c: Floats
    inlet_c: Floats
    supply_c: Floats
    cooling_power_w: Floats


class Machines:
    """The physical site. It starts idle and cool; give it a few hours of work before taking readings."""

    def __init__(self, fleet: Fleet, units: Units) -> None:
        config = fleet.config
        self._units = units
        self.events = Events(fleet)
        self._power = PowerModel(fleet)
        self.heat = DieHeat(fleet, units, config.substep_s)
        self.plant = Plant(fleet, config.cooling, config.substep_s)
        self._slowdown_c = fleet.column("slowdown_c")
        self._hall_of, self._rack_of = fleet.hall_of, fleet.rack_of
        self._rack_nameplate_w = np.bincount(fleet.rack_of, fleet.column("nameplate_w"))
        self._setpoint_c = np.where(fleet.liquid, config.cooling.coolant_setpoint_c, config.cooling.air_setpoint_c)
        self._air_setpoint_c = config.cooling.air_setpoint_c
        self._server_w = self._power.server_w(self._power.die_idle_w, np.zeros_like(units.approach_k), self.heat.flow())

    def advance(
        self,
        utilization: Floats,
        cap_ratio: float,
        outdoor_c: float,
        wet_bulb_c: float,
        now: Conditions | None = None,
    ) -> Reading:
        """Move on by one step of constant work and weather.

        Args:
            utilization: what each server is asked to do, `[N]` in [0, 1].
            cap_ratio: limit of die power over its peak.
            now: what events have made of the site; None is how it begins.
        """
        now = now or self.events.at(0.0)
        inlet_c, flow = self._inlet_c(), self.heat.flow()
        die_w = self._governed_die_w(utilization, cap_ratio, now.die_power_ratio, inlet_c, flow)
        # A server that is not in service idles unseen: it gives its hall no heat, and is warm when it comes.
        self._server_w = self._power.server_w(die_w, utilization, flow) * now.in_service
        hall_w = np.bincount(self._hall_of, self._server_w).astype(np.float64)
        supply_c = self._air_setpoint_c + self.plant.overshoot_k
        cooling_w = self.plant.advance(hall_w, outdoor_c, wet_bulb_c, now.cooling_ratio)
        return Reading(self._server_w, self.heat.die_c, inlet_c, supply_c, cooling_w)

    def _inlet_c(self) -> Floats:
        """Return each server's inlet: supply, plus an approach that grows with what its rack gives off."""
        rack_load = np.bincount(self._rack_of, self._server_w) / self._rack_nameplate_w
        approach = IDLE_APPROACH + (1 - IDLE_APPROACH) * rack_load
        supply_c = self._setpoint_c + self.plant.overshoot_k[self._hall_of]
        return supply_c + self._units.approach_k * approach[self._rack_of]

    def _governed_die_w(
        self, utilization: Floats, cap_ratio: float, power_ratio: Floats, inlet_c: Floats, flow: Floats
    ) -> Floats:
        """Heat the dies by one step and return the mean die's power, cut where the hottest would pass its slowdown.

        Real governors act within milliseconds, so within a step the die is held at the limit, not above it.
        """
        units, power = self._units, self._power
        nominal_w, leakage_w = power.die_w(utilization, cap_ratio) * power_ratio, power.leakage_w(self.heat.die_c)
        wanted_w = nominal_w * units.hot_power_ratio + leakage_w
        outlook = self.heat.outlook(inlet_c, flow)
        allowed_w = (self._slowdown_c - outlook.free_c) / outlook.gain_k_per_w
        hottest_w = np.minimum(wanted_w, np.maximum(allowed_w, power.die_idle_w))
        self.heat.advance(outlook, hottest_w, inlet_c)
        # The dies of a server work in step, so all slow down with the hottest.
        return (nominal_w * units.mean_power_ratio + leakage_w) * (hottest_w / wanted_w)
