"""Batches gathered from a panel that lies on the training device as a whole."""

from typing import NamedTuple

import torch
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.windows.inputs import Constants
from forecast.windows.panel import Panel


class Batch(NamedTuple):
    """Graph inputs and the truth: `past [B, C, L]`, `future [B, F, H]`, `static [B, S]`, `target [B, T, H]`."""

    past: Tensor
    future: Tensor
    static: Tensor
    target: Tensor


class Windows:
    """A panel on a device, cut into windows by index; a window is never materialised before it is asked for.

    Args:
        panel: observations.
        constants: static inputs and time zones of its entities.
        spec: window sizes; the panel's channels must be `spec.past`.
        device: where everything lives.
    """

    def __init__(self, panel: Panel, constants: Constants, spec: ForecastSpec, device: torch.device) -> None:
        self.spec = spec
        self.steps = panel.steps
        values = torch.from_numpy(panel.read(0, panel.steps)).to(device)
        calendars = torch.from_numpy(constants.calendars(panel.start, panel.steps, spec.step_s)).to(device)
        #: [N, T, C]-strided views of overlapping windows: element [entity, first step, channel] is a run of time.
        self._past = values.permute(1, 0, 2).unfold(2, spec.context_steps, 1)
        self._ahead = values[: len(spec.targets)].permute(1, 0, 2).unfold(2, spec.horizon_steps, 1)
        self._future = calendars.unfold(2, spec.horizon_steps, 1)
        self._static = torch.from_numpy(constants.static).to(device)
        self._zone = torch.from_numpy(constants.zone).to(device)
        self.level_code = self._static[:, spec.static.index("level_code")].long()
        self._seen = (~torch.isnan(values[: len(spec.targets)])).any(0)

    def batch(self, entity: Tensor, origin: Tensor) -> Batch:
        """Windows of `entity [B]` whose first forecast step is `origin [B]`."""
        return Batch(
            past=self._past[entity, :, origin - self.spec.context_steps],
            future=self._future[self._zone[entity], :, origin],
            static=self._static[entity],
            target=self._ahead[entity, :, origin],
        )

    def pairs(self, first: Tensor, last: Tensor, stride: int = 1) -> Tensor:
        """Every usable (entity, origin), `[M, 2]`.

        Args:
            first, last: per entity `[N]`, the first allowed origin and the end (exclusive) of the allowed targets.
            stride: keep origins that are multiples of it.

        A window is usable when a tenth of its context and a tenth of its horizon were observed: fewer tell nothing.
        """
        context, horizon = self.spec.context_steps, self.spec.horizon_steps
        seen = torch.nn.functional.pad(self._seen.cumsum(1), (1, 0))
        origin = torch.arange(context, self.steps - horizon + 1, device=seen.device)
        origin = origin[origin % stride == 0]
        behind = seen[:, origin] - seen[:, origin - context]
        ahead = seen[:, origin + horizon] - seen[:, origin]
        usable = (behind * 10 >= context) & (ahead * 10 >= horizon)
        usable &= (origin >= first[:, None]) & (origin + horizon <= last[:, None])
        entity, column = usable.nonzero(as_tuple=True)
        return torch.stack([entity, origin[column]], dim=1)
