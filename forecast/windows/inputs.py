"""The graph's inputs at one forecast time, as the predictor assembles them; `gather` gives the same on the device."""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from forecast.contracts.specs import CALENDAR, FUTURE, ForecastSpec
from forecast.contracts.topology import Topology
from forecast.features.calendar import calendar
from forecast.features.gridded import Floats
from forecast.features.holidays import holiday
from forecast.features.static import static
from forecast.windows.ahead import Ahead
from forecast.windows.arrays import Inputs
from forecast.windows.panel import Panel


@dataclass(frozen=True, eq=False)
class Constants:
    """What an entity's inputs need besides the panel.

    Attributes:
        static: `[N, S]`.
        places: the distinct pairs of time zone and country (None where only the zone says).
        place: `[N]` index into `places`.
        ahead: schedule and weather, where there are any.
    """

    static: Floats
    places: tuple[tuple[str, str | None], ...]
    place: np.ndarray
    ahead: Ahead = field(default_factory=Ahead)

    @classmethod
    def of(cls, topology: Topology, skus: tuple[str, ...], ahead: Ahead | None = None) -> "Constants":
        """Of the entities of `topology`, whose kinds are coded as `skus` are ordered."""
        names = topology.table["time_zone"]
        countries = topology.table["country"]
        pairs = list(zip(names, countries, strict=True))
        places = tuple(sorted(set(pairs), key=lambda pair: (pair[0], pair[1] or "")))
        return cls(
            static(topology, skus).to_numpy().astype(np.float32),
            places,
            np.array([places.index(pair) for pair in pairs]),
            ahead or Ahead(),
        )

    def static_of(self, spec: ForecastSpec) -> Floats:
        """The static inputs that `spec` names, `[N, S]`: shifts (`forecast.adaptation`) are unknown, NaN."""
        return np.pad(self.static, ((0, 0), (0, len(spec.static) - self.static.shape[1])), constant_values=np.nan)

    def clock(self, start: datetime, steps: int, spec: ForecastSpec) -> Floats:
        """The covariates of `spec.future` that a clock tells, in its order, per place: `[places, names, steps]`."""
        return np.stack([_told_by_clock(start, steps, spec, *place) for place in self.places])


def told_by_clock(spec: ForecastSpec) -> tuple[str, ...]:
    """The names of `spec.future` that a clock tells, in its order."""
    return tuple(name for name in spec.future if FUTURE[name].source == "clock")


def _told_by_clock(start: datetime, steps: int, spec: ForecastSpec, time_zone: str, country: str | None) -> Floats:
    names = told_by_clock(spec)
    told = np.zeros((len(names), steps), np.float32)
    waves = calendar(start, steps, spec.step_s, time_zone)
    for index, name in enumerate(names):
        if name in CALENDAR:
            told[index] = waves[name].to_numpy()
        else:
            told[index] = holiday(start, steps, spec.step_s, time_zone, country)
    return told


def inputs_at(panel: Panel, constants: Constants, spec: ForecastSpec, origin: int) -> Inputs:
    """Inputs of every entity for the forecast whose first step is `origin`; nothing from `origin` on is read.

    The panel may have channels that `spec` does not look at.
    """
    past = panel.read(origin - spec.context_steps, origin).transpose(1, 0, 2)
    if panel.channels != spec.past:
        past = past[:, [panel.channels.index(name) for name in spec.past]]
    return Inputs(np.ascontiguousarray(past), _future(panel.time(origin), constants, spec), constants.static_of(spec))


def _future(start: datetime, constants: Constants, spec: ForecastSpec) -> Floats:
    """`[N, F, H]` from `start` as known then."""
    clock: Floats = constants.clock(start, spec.horizon_steps, spec)[constants.place]
    names = told_by_clock(spec)
    if names == spec.future:
        return clock
    told = dict(zip(names, clock.swapaxes(0, 1), strict=True))
    told |= constants.ahead.at(int(start.timestamp()), spec, len(constants.place))
    return np.stack([told[name] for name in spec.future], axis=1)
