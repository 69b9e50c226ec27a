"""The graph's inputs at one forecast time, as the predictor assembles them; `gather` gives the same on the device."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.features.calendar import calendar
from forecast.features.static import static
from forecast.windows.panel import Floats, Panel


@dataclass(frozen=True, eq=False)
class Inputs:
    """Arrays in physical units, NaN = unknown: `past [B, C, L]`, `future [B, F, H]`, `static [B, S]`."""

    past: Floats
    future: Floats
    static: Floats


@dataclass(frozen=True, eq=False)
class Constants:
    """What an entity's inputs need besides the panel.

    Attributes:
        static: `[N, S]`.
        zones: the distinct time zones.
        zone: `[N]` index into `zones`.
    """

    static: Floats
    zones: tuple[str, ...]
    zone: np.ndarray

    @classmethod
    def of(cls, topology: Topology, skus: tuple[str, ...]) -> "Constants":
        names = topology.table["time_zone"]
        zones = tuple(names.unique().sort())
        return cls(
            static(topology, skus).to_numpy().astype(np.float32), zones, np.array([zones.index(name) for name in names])
        )

    def calendars(self, start: datetime, steps: int, step_s: int) -> Floats:
        """Covariates per zone, `[Z, F, steps]`."""
        return np.stack([calendar(start, steps, step_s, zone).to_numpy().T for zone in self.zones])


def inputs_at(panel: Panel, constants: Constants, spec: ForecastSpec, origin: int) -> Inputs:
    """Inputs of every entity for the forecast whose first step is `origin`; nothing from `origin` on is read."""
    past = panel.read(origin - spec.context_steps, origin).transpose(1, 0, 2)
    calendars = constants.calendars(panel.time(origin), spec.horizon_steps, spec.step_s)
    return Inputs(np.ascontiguousarray(past), calendars[constants.zone], constants.static)
