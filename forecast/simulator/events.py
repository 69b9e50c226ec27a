"""What changes a site while it runs: rows that come into service, firmware, chillers that fail.

Nothing here is random, and nothing looks ahead. What sensors and exporters lose is the business of `injector`.
"""

from dataclasses import dataclass

import numpy as np

from forecast.contracts.errors import ConfigError
from forecast.simulator.arrays import Floats
from forecast.simulator.config import DAY_S
from forecast.simulator.fleet import Fleet
from forecast.simulator.skus import sku


@dataclass(frozen=True)
class Conditions:
    """A site at one moment.

    Attributes:
        in_service: `[N]`, 1 for servers that are powered, 0 for those still to come.
        die_power_ratio: `[N]`, what a die draws over its data sheet.
        cooling_ratio: `[halls]`, share of the plant that works.
    """

    in_service: Floats
    die_power_ratio: Floats
    cooling_ratio: Floats


class Events:
    """The events of one simulation.

    Raises:
        ConfigError: an event names a hall or a SKU that no row has.
    """

    def __init__(self, fleet: Fleet) -> None:
        events = fleet.config.events
        self._fleet = fleet
        self._skus = np.array([rack.sku_name for rack in fleet.racks])[fleet.rack_of]
        self._halls = [hall.removeprefix(f"{fleet.config.site}.") for hall in fleet.hall_ids]
        for change in events.firmware:
            sku(change.sku)
            _require_known("SKU", change.sku, list(dict.fromkeys(self._skus.tolist())))
        for failure in events.chiller_failures:
            _require_known("hall", failure.hall, self._halls)

    def at(self, time_s: float) -> Conditions:
        """Return how the site is at `time_s` seconds from the origin."""
        events, servers = self._fleet.config.events, len(self._skus)
        # What is there from day 0 on was there before.
        in_service = self._fleet.from_day[:servers] * DAY_S <= max(time_s, 0.0)
        die_power_ratio, cooling_ratio = np.ones(servers), np.ones(len(self._halls))
        for change in events.firmware:
            if time_s >= change.day * DAY_S:
                die_power_ratio[self._skus == change.sku] *= change.power_ratio
        for failure in events.chiller_failures:
            since_s = time_s - failure.day * DAY_S - failure.hour * 3600
            if 0 <= since_s < failure.hours * 3600:
                cooling_ratio[self._halls.index(failure.hall)] *= failure.capacity_ratio
        return Conditions(in_service.astype(np.float64), die_power_ratio, cooling_ratio)


def _require_known(what: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise ConfigError(f"events name {what} {name!r}, which no row has; there are {', '.join(known)}.")
