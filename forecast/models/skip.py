"""The linear skip: what inertia, recent level and the same hour of earlier days say, before any network speaks."""

import torch
from torch import Tensor, nn

from forecast.contracts.specs import ForecastSpec
from forecast.models.knots import hats, knots

_RECENT = 48
_POOLS = 24

#: Where a step was not seen, the same time of so many days tells half of how far it lay from the mean.
_HALF_TOLD_DAYS = 1.0


class LinearSkip(nn.Module):
    """A linear forecast of each target from its own context, `z` and `seen [B, C, L]` to `[B, T, H]`.

    Three views of the context: its last steps as they are, all of it as means of equal blocks, and the same time of day
    on each day it holds. Weights vary over the horizon between knots, and start as "half the mean of those days": a
    damped seasonal forecast. What was not seen is filled in from the days on which it was: weights that count on seven
    days would otherwise take the one that a newcomer has for a seventh.
    """

    def __init__(self, spec: ForecastSpec) -> None:
        super().__init__()
        self.targets = len(spec.targets)
        self.recent = min(_RECENT, spec.context_steps)
        self.block = max(spec.context_steps // _POOLS, 1)
        self.pools = spec.context_steps // self.block
        self.day_steps = spec.day_steps
        days = spec.context_steps // spec.day_steps
        horizon = torch.arange(spec.horizon_steps) % spec.day_steps
        lag = spec.day_steps * torch.arange(1, days + 1)[:, None]
        self.same_time: Tensor
        self.register_buffer("same_time", (spec.context_steps - lag + horizon).reshape(-1))
        inputs = self.recent + self.pools
        points = knots(spec.horizon_steps)
        self.weight = nn.Parameter(torch.zeros(self.targets, inputs, points))
        self.day_weight = nn.Parameter(torch.full((self.targets, days, points), 0.5 / max(days, 1)))
        self.bias = nn.Parameter(torch.zeros(self.targets, points))
        self.hats: Tensor
        self.register_buffer("hats", hats(spec.horizon_steps))

    def forward(self, z: Tensor, seen: Tensor) -> Tensor:
        z, seen = z[:, : self.targets], seen[:, : self.targets]
        if len(self.same_time):
            z = self._filled(z, seen)
        pooled = z[:, :, -self.pools * self.block :].unflatten(2, (self.pools, self.block)).mean(-1)
        inputs = torch.cat([z[:, :, -self.recent :], pooled], dim=2)
        linear = torch.matmul(inputs.transpose(0, 1), self.weight).transpose(0, 1) + self.bias
        median: Tensor = torch.matmul(linear, self.hats)
        if not len(self.same_time):  # less than a day of context
            return median
        same_time = z[:, :, self.same_time].unflatten(2, (-1, self.hats.shape[1]))
        seasonal: Tensor = (same_time * torch.matmul(self.day_weight, self.hats)).sum(2)
        return median + seasonal

    def _filled(self, z: Tensor, seen: Tensor) -> Tensor:
        """`z [B, T, L]`, with the usual value of the time of day where nothing was seen."""
        older = -z.shape[2] % self.day_steps
        days, known = (nn.functional.pad(part, (older, 0)).unflatten(2, (-1, self.day_steps)) for part in (z, seen))
        usual = days.sum(2, keepdim=True) / (known.sum(2, keepdim=True) + _HALF_TOLD_DAYS)
        filled: Tensor = z + (1 - seen) * usual.expand_as(days).flatten(2)[:, :, older:]
        return filled
