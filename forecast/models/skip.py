"""The linear skip: what inertia, recent level and the same hour of earlier days say, before any network speaks."""

import torch
from torch import Tensor, nn

from forecast.contracts.specs import ForecastSpec
from forecast.models.knots import hats, knots

#: The last steps of a context that are looked at one by one, and the equal blocks that all of it is cut into.
_RECENT, _POOLS = 48, 24

#: So much of what other days say comes true at first, and of the newest step's distance from them, which fades to 1 / e
#: of itself in so many hours. A few weeks of a few machines hardly teach better.
_SHARE, _FADES_H = 0.9, 3.0

#: Where a step was not seen, the same time of so many days tells half of how far it lay from the mean.
_HALF_TOLD_DAYS = 1.0


class LinearSkip(nn.Module):
    """A linear forecast of each target from its own context, `z` and `seen [B, C, L]` to `[B, T, H]`.

    Four views of the context: its last steps as they are, all of it as means of equal blocks, the same time of day on
    each day it holds, and how far the last step lies above what it was on those days. Weights vary over the horizon
    between knots, and start as "the mean of those days, and a gap to it that fades". What was not seen is filled in
    from the days on which it was: weights that count on seven days would otherwise take the one that a newcomer has for
    a seventh.
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
        self.same_time: Tensor  # nothing is gathered by it any more; weights that were written hold it
        self.register_buffer("same_time", (spec.context_steps - lag + horizon).reshape(-1))
        # Of a day that begins with the context, the step before is not held; the next is near enough.
        just_then = [max(spec.context_steps - day * spec.day_steps - 1, 0) for day in range(1, days + 1)]
        self.just_then: Tensor
        self.register_buffer("just_then", torch.tensor(just_then, dtype=torch.long), persistent=False)
        points = knots(spec.horizon_steps)
        weight = torch.zeros(self.targets, self.recent + self.pools + 1, points)
        lead_h = torch.linspace(0, spec.horizon_steps - 1, points) * spec.step_s / 3600
        weight[:, -1] = _SHARE * torch.exp(-lead_h / _FADES_H)
        self.weight = nn.Parameter(weight)
        self.day_weight = nn.Parameter(torch.full((self.targets, days, points), _SHARE / max(days, 1)))
        self.bias = nn.Parameter(torch.zeros(self.targets, points))
        self.hats: Tensor
        self.register_buffer("hats", hats(spec.horizon_steps))

    def forward(self, z: Tensor, seen: Tensor) -> Tensor:
        z, seen = z[:, : self.targets], seen[:, : self.targets]
        if self.day_weight.shape[1]:
            z = self._filled(z, seen)
        pooled = z[:, :, -self.pools * self.block :]
        if self.block > 1:
            pooled = pooled.unflatten(2, (self.pools, self.block)).mean(-1)
        gap = z[:, :, -1:]
        if len(self.just_then):
            gap = gap - z.index_select(2, self.just_then).mean(2, keepdim=True)
        inputs = torch.cat([z[:, :, -self.recent :], pooled, gap], dim=2)
        linear = torch.matmul(inputs.transpose(0, 1), self.weight).transpose(0, 1) + self.bias
        median: Tensor = torch.matmul(linear, self.hats)
        if not self.day_weight.shape[1]:  # less than a day of context
            return median
        seasonal: Tensor = (self._same_time(z) * torch.matmul(self.day_weight, self.hats).flip(1)).sum(2)
        return median + seasonal

    def _same_time(self, z: Tensor) -> Tensor:
        """`z [B, T, L]` at the time of each step of the horizon on each day, the oldest first: `[B, T, days, H]`.

        As days that repeat, not gathered at `same_time`: the runtime would move the axis to the front and back.
        """
        days, horizon = self.day_weight.shape[1], self.hats.shape[1]
        cut = z[:, :, -days * self.day_steps :].unflatten(2, (days, self.day_steps))
        if horizon > self.day_steps:
            cut = cut.repeat(1, 1, 1, -(-horizon // self.day_steps))
        told: Tensor = cut[..., :horizon]
        return told

    def _filled(self, z: Tensor, seen: Tensor) -> Tensor:
        """`z [B, T, L]`, with the usual value of the time of day where nothing was seen."""
        older = -z.shape[2] % self.day_steps
        if older:
            z, seen = (nn.functional.pad(part, (older, 0)) for part in (z, seen))
        days, known = (part.unflatten(2, (-1, self.day_steps)) for part in (z, seen))
        usual = days.sum(2, keepdim=True) / (known.sum(2, keepdim=True) + _HALF_TOLD_DAYS)
        filled: Tensor = (days + (1 - known) * usual).flatten(2)[:, :, older:]
        return filled
