"""Batches gathered from a panel that lies on the training device as a whole."""

from copy import copy
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.features.outlook import OUTLOOK_NAMES
from forecast.features.schedule import SCHEDULE_NAMES, SCHEDULED
from forecast.features.weather import WEATHER_NAMES
from forecast.windows.ahead_on_device import ScheduleOnDevice, WeatherOnDevice
from forecast.windows.inputs import Constants, told_by_clock
from forecast.windows.outlook_on_device import OutlookOnDevice
from forecast.windows.panel import Panel


class Batch(NamedTuple):
    """Graph inputs and the truth: `past [B, C, L]`, `future [B, F, H]`, `static [B, S]`, `target [B, T, H]`."""

    past: Tensor
    future: Tensor
    static: Tensor
    target: Tensor


class Gatherer(Protocol):
    """What gives batches of windows by index.

    Attributes:
        spec: window sizes and channels.
        level_code: `[N]`, of each entity.
        group: `[N]`, entities of one group tell much the same; training keeps the large ones from drowning the others.
    """

    spec: ForecastSpec
    level_code: Tensor
    group: Tensor

    def batch(self, entity: Tensor, origin: Tensor) -> Batch:
        """Windows of `entity [B]` whose first forecast step is `origin [B]`."""
        ...


class Windows:
    """A panel on a device, cut into windows by index; a window is never materialised before it is asked for.

    Args:
        panel: observations.
        constants: static inputs and places of its entities, and what is known ahead of them.
        spec: window sizes; the panel's channels must be `spec.past`.
        device: where everything lives.
    """

    def __init__(self, panel: Panel, constants: Constants, spec: ForecastSpec, device: torch.device) -> None:
        self.spec = spec
        self.steps = panel.steps
        # A context that begins before the panel is unknown there: a site of one day has windows too.
        values = torch.from_numpy(panel.read(-spec.context_steps, panel.steps)).to(device)
        came = values[:, :, spec.context_steps :]
        clock = torch.from_numpy(constants.clock(panel.start, panel.steps, spec)).to(device)
        #: [N, T, C]-strided views of overlapping windows: element [entity, origin, channel] is a run of time.
        self._past = values.permute(1, 0, 2).unfold(2, spec.context_steps, 1)
        self._ahead = came.permute(1, 0, 2).unfold(2, spec.horizon_steps, 1)
        self._clock = clock.unfold(2, spec.horizon_steps, 1)
        self._static = torch.from_numpy(constants.static_of(spec)).to(device)
        self._place = torch.from_numpy(constants.place).to(device)
        self._start_s = int(panel.start.timestamp())
        self._told = _on_device(constants, spec, (self._start_s, int(panel.time(panel.steps).timestamp())), device)
        at_s = self._start_s + spec.step_s * np.arange(panel.steps + 1)
        self._believed = torch.from_numpy(constants.ahead.believed(at_s)).to(device)
        told = (*told_by_clock(spec), *WEATHER_NAMES, *SCHEDULE_NAMES, *OUTLOOK_NAMES)
        self._order = [told.index(name) for name in spec.future]
        self.level_code = self.group = self._static[:, spec.static.index("level_code")].long()
        self._seen = (~torch.isnan(came[: len(spec.targets)])).any(0)

    def batch(self, entity: Tensor, origin: Tensor) -> Batch:
        """Windows of `entity [B]` whose first forecast step is `origin [B]`."""
        return Batch(
            past=self._past[entity, :, origin],
            future=self._future(entity, origin),
            static=self._static[entity],
            target=self._ahead[entity, : len(self.spec.targets), origin],
        )

    def came(self, signal: str, entity: Tensor, origin: Tensor) -> Tensor:
        """What a channel of the past came to be over the horizon, `[B, H]`."""
        return self._ahead[entity, self.spec.past.index(signal), origin]

    def told(self, spec: ForecastSpec) -> "Windows":
        """The same windows, for a `spec` that differs in that it is told less ahead."""
        other = copy(self)
        other.spec = spec
        other._order = [self._order[self.spec.future.index(name)] for name in spec.future]
        return other

    def _future(self, entity: Tensor, origin: Tensor) -> Tensor:
        """What is known ahead, `[B, F, H]`."""
        clock = self._clock[self._place[entity], :, origin]
        if clock.shape[1] == len(self._order):
            return clock
        origin_s = self._start_s + self.spec.step_s * origin
        told = [
            torch.full((len(entity), len(names), self.spec.horizon_steps), torch.nan, device=clock.device)
            if known is None
            else known.at(entity, origin_s)
            for names, known in zip((WEATHER_NAMES, SCHEDULE_NAMES, OUTLOOK_NAMES), self._told, strict=True)
        ]
        weather, schedule, outlook = told
        doubted = ~self._believed[origin]
        schedule[doubted, SCHEDULE_NAMES.index(SCHEDULED)] = torch.nan
        outlook[doubted] = torch.nan
        return torch.cat([clock, weather, schedule, outlook], dim=1)[:, self._order]

    def pairs(self, first: Tensor, last: Tensor, stride: int = 1) -> Tensor:
        """Every usable (entity, origin), `[M, 2]`.

        Args:
            first, last: per entity `[N]`, the first allowed origin and the end (exclusive) of the allowed targets.
            stride: keep origins that are multiples of it.

        A window is usable when a tenth of its context and a tenth of its horizon were observed: fewer tell nothing.
        """
        context, horizon = self.spec.context_steps, self.spec.horizon_steps
        seen = torch.nn.functional.pad(self._seen.cumsum(1), (1, 0))
        origin = torch.arange(1, max(self.steps - horizon + 1, 1), device=seen.device)
        origin = origin[origin % stride == 0]
        behind = seen[:, origin] - seen[:, (origin - context).clamp(min=0)]
        ahead = seen[:, origin + horizon] - seen[:, origin]
        usable = (behind * 10 >= context) & (ahead * 10 >= horizon)
        usable &= (origin >= first[:, None]) & (origin + horizon <= last[:, None])
        entity, column = usable.nonzero(as_tuple=True)
        return torch.stack([entity, origin[column]], dim=1)


def _on_device(
    constants: Constants, spec: ForecastSpec, span_s: tuple[int, int], device: torch.device
) -> tuple[WeatherOnDevice | None, ScheduleOnDevice | None, OutlookOnDevice | None]:
    """Weather, schedule and outlook on `device`, None where nobody told any; origins lie in `span_s`."""
    ahead = constants.ahead
    weather = ahead.weather and ahead.site is not None and WeatherOnDevice(ahead.weather, ahead.site, spec, device)
    schedule = ahead.schedule and ScheduleOnDevice(ahead.schedule, *span_s, spec, device)
    outlook = ahead.outlook and OutlookOnDevice(ahead.outlook, *span_s, spec, device)
    return weather or None, schedule or None, outlook or None
