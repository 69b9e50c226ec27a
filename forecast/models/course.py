"""What recurs, taken off a context before it is looked at and added to its forecast.

Every hour: jobs that start on the hour draw a pattern finer than any trend; the context tells it. Every day: a context
of few days cannot tell what is usual from what was, and the history can (after CycleNet, Lin et al., NeurIPS 2024).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from forecast.contracts.specs import ForecastSpec
from forecast.models.scaling import Scaled

#: Fewer hours of context tell no pattern from chance.
_LEAST_HOURS = 24

_CLOCK = ("day_sin", "day_cos")

#: Waves of a usual day; the fastest turns once in two hours.
_WAVES = 12

#: A wave of a context of a day is this many times its weight, for a step of training moves each weight alike; of more
#: days it is as many times less: they tell their share of what is usual.
_STRIDE = 4.0

#: A context of so many days tells what is usual itself.
_TELLING_DAYS = 7

#: The pattern counts half when it was seen this many times, for the noise of so few is as large as itself.
_HALF_TRUSTED = 4.0


class Course(NamedTuple):
    """A context without what recurs, and that ahead.

    Attributes:
        scaled: the context, the pattern taken off its targets.
        ahead: `[B, T, H]`, normalised; add it to what is forecast from `scaled`.
    """

    scaled: Scaled
    ahead: Tensor


class HourlyCourse(nn.Module):
    """Takes the mean course within an hour off the targets, where a context tells one (`tells_hourly_course`)."""

    def __init__(self, spec: ForecastSpec) -> None:
        super().__init__()
        self.targets = len(spec.targets)
        self.hour = 3600 // spec.step_s
        self.hours = spec.context_steps // self.hour
        self.context, self.horizon = spec.context_steps, spec.horizon_steps

    def forward(self, scaled: Scaled) -> Course:
        pattern = self._pattern(scaled.z[:, : self.targets], scaled.seen[:, : self.targets])
        # Repeated, not gathered: the runtime would move the axis to the front and back.
        behind = pattern.repeat(1, 1, -(-self.context // self.hour))[:, :, -self.context :]
        ahead = pattern.repeat(1, 1, -(-self.horizon // self.hour))[:, :, : self.horizon]
        return Course(_without(scaled, behind), ahead)

    def _pattern(self, targets: Tensor, seen: Tensor) -> Tensor:
        """`[B, T, steps of an hour]`, of the hours that were seen as a whole."""
        shape, last = (self.hours, self.hour), self.hours * self.hour
        hours, known = (part[:, :, -last:].unflatten(2, shape) for part in (targets, seen))
        whole = (known.mean(3) > 1 - 0.5 / self.hour).to(targets.dtype)[:, :, None]
        total = torch.matmul(whole, hours)[:, :, 0]
        pattern: Tensor = (total - total.mean(2, keepdim=True)) / (whole.sum(3) + _HALF_TRUSTED)
        return pattern


class UsualDay(nn.Module):
    """The daily course of each SKU, learnt as waves of the local clock in spreads of the context: none at first."""

    def __init__(self, spec: ForecastSpec, skus: int) -> None:
        super().__init__()
        self.targets = len(spec.targets)
        self.context = spec.context_steps
        self.stride = _STRIDE * spec.day_steps / spec.context_steps
        self.sku_code = spec.static.index("sku_code")
        self.clock = [spec.future.index(name) for name in _CLOCK]
        self.sku = nn.Embedding(skus + 1, self.targets * 2 * _WAVES)
        nn.init.zeros_(self.sku.weight)
        steps = torch.arange(-spec.context_steps, spec.horizon_steps)
        turned = 2 * math.pi / spec.day_steps * torch.arange(1, _WAVES + 1)[:, None] * steps
        self.waves: Tensor
        self.register_buffer("waves", torch.cat([turned.cos(), turned.sin()]), persistent=False)

    def forward(self, scaled: Scaled, future: Tensor, static: Tensor) -> Course:
        sine, cosine = self._now(future)
        weights = self.stride * self.sku(static[:, self.sku_code].long())
        even, odd = weights.unflatten(1, (self.targets, 2, _WAVES)).unbind(2)
        # a · cos(x + y) + b · sin(x + y), by what depends on the forecast time x and on the step y
        usual = torch.matmul(torch.cat([even * cosine + odd * sine, odd * cosine - even * sine], dim=2), self.waves)
        return Course(_without(scaled, usual[:, :, : self.context]), usual[:, :, self.context :])

    def _now(self, future: Tensor) -> tuple[Tensor, Tensor]:
        """Sines and cosines of 1, 2, … times the local time of day at the first step, `[B, 1, _WAVES]`."""
        once = nn.functional.normalize(future[:, self.clock, :1], dim=1)  # powers of what is off the circle would grow
        sine, cosine = once.split(1, dim=1)
        sines, cosines = [sine], [cosine]
        for _ in range(_WAVES - 1):
            sines, cosines = (
                [*sines, sines[-1] * cosine + cosines[-1] * sine],
                [*cosines, cosines[-1] * cosine - sines[-1] * sine],
            )
        return torch.cat(sines, dim=2), torch.cat(cosines, dim=2)


def tells_hourly_course(spec: ForecastSpec) -> bool:
    """Whether steps are finer than an hour, and a context holds enough hours to tell what recurs."""
    return spec.step_s < 3600 and spec.context_steps * spec.step_s >= _LEAST_HOURS * 3600


def learns_usual_day(spec: ForecastSpec) -> bool:
    """Whether a context is long enough to tell one day's course from another's, and too short to tell what is usual."""
    return spec.day_steps <= spec.context_steps < _TELLING_DAYS * spec.day_steps and set(_CLOCK) <= set(spec.future)


def _without(scaled: Scaled, pattern: Tensor) -> Scaled:
    """The context, `pattern [B, T, L]` taken off its targets where they were seen."""
    targets = pattern.shape[1]
    flat = (scaled.z[:, :targets] - pattern) * scaled.seen[:, :targets]
    return scaled._replace(z=torch.cat([flat, scaled.z[:, targets:]], dim=1))
