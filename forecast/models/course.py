"""What recurs every hour: jobs that start on the hour draw a pattern finer than any trend, learnt from the context."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from forecast.contracts.specs import ForecastSpec
from forecast.models.scaling import Scaled

#: Fewer hours of context tell no pattern from chance.
_LEAST_HOURS = 24

#: The pattern counts half when it was seen this many times, for the noise of so few is as large as itself.
_HALF_TRUSTED = 4.0


class Course(NamedTuple):
    """A context without its hourly pattern, and that pattern ahead.

    Attributes:
        scaled: the context, the pattern taken off its targets.
        ahead: `[B, T, H]`, normalised; add it to what is forecast from `scaled`.
    """

    scaled: Scaled
    ahead: Tensor


class HourlyCourse(nn.Module):
    """Takes the mean course within an hour off the targets; nothing where steps are not finer than an hour."""

    def __init__(self, spec: ForecastSpec) -> None:
        super().__init__()
        self.targets = len(spec.targets)
        self.hour = 3600 // spec.step_s
        self.hours = spec.context_steps // self.hour if self.hour > 1 else 0
        self.horizon = spec.horizon_steps
        behind = torch.arange(-spec.context_steps, 0) % max(self.hour, 1)
        ahead = torch.arange(spec.horizon_steps) % max(self.hour, 1)
        self.behind: Tensor
        self.ahead: Tensor
        self.register_buffer("behind", behind, persistent=False)
        self.register_buffer("ahead", ahead, persistent=False)

    def forward(self, scaled: Scaled) -> Course:
        targets = scaled.z[:, : self.targets]
        if self.hours < _LEAST_HOURS:
            return Course(scaled, torch.zeros_like(targets[:, :, :1]).expand(-1, -1, self.horizon))
        seen = scaled.seen[:, : self.targets]
        pattern = self._pattern(targets, seen)
        flat = (targets - pattern[:, :, self.behind]) * seen
        return Course(
            scaled._replace(z=torch.cat([flat, scaled.z[:, self.targets :]], dim=1)), pattern[:, :, self.ahead]
        )

    def _pattern(self, targets: Tensor, seen: Tensor) -> Tensor:
        """`[B, T, steps of an hour]`, of the hours that were seen as a whole."""
        shape, last = (self.hours, self.hour), self.hours * self.hour
        hours, known = (part[:, :, -last:].unflatten(2, shape) for part in (targets, seen))
        whole = (known.mean(3) > 1 - 0.5 / self.hour).to(targets.dtype)[:, :, None]
        total = torch.matmul(whole, hours)[:, :, 0]
        pattern: Tensor = (total - total.mean(2, keepdim=True)) / (whole.sum(3) + _HALF_TRUSTED)
        return pattern
