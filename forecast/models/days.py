"""What other days say: the same time on each day of the context, brought to today's level and weighed by likeness.

It forecasts well before it has learnt anything, so that a site with three weeks of telemetry has little left to learn.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from forecast.contracts.specs import ForecastSpec
from forecast.models.scaling import Scaled

#: Each view of the context ends this many times further back than the one before: coarser with distance, as memory is.
_RATIO = 1.5
_STEPS_AS_THEY_ARE = 4

#: A gap between now and the same time of another day has faded to 1 / e of itself after so many hours: of the last
#: hour's mean, and of what the last quarter of it differs from that.
_FADES_H = (6.0, 1.5)

#: How strongly a day weighs less that was unlike today, in spreads of the context: over the last day, and just now.
_UNLIKE = (1.0, 2.0)

#: How strongly a working day prefers working days, and a weekend weekends.
_SAME_KIND = 1.0

#: The share of the other days' difference from today's level that comes to pass: half of it for certain, and as much
#: again as the context's days resemble each other.
_SHARE, _SHARE_ALIKE = 0.5, 0.5

#: With nothing known of how days resemble each other, they do so by a third.
_ALIKE, _UNSURE = 1.0, 3.0

#: A day that was not seen at a time is this much less likely, as a logit.
_NEVER = 20.0

#: The middle of the weekend on the circle of a week that begins on Monday, half its length, and less than a minute that
#: keeps midnight off the edge.
_SUNDAY, _HALF_WEEKEND, _NUDGE = 2 * math.pi * 6 / 7, 2 * math.pi / 7, 4e-4


class Said(NamedTuple):
    """What the days say.

    Attributes:
        median: `[B, T, H]`, the forecast.
        paths: `[B, T, D, P]`, what each day says alone, at the decoded steps; newest day first.
        weights: `[B, T, D, P]`, of the days; they sum to one. D is 0 where the context is shorter than a day.
    """

    median: Tensor
    paths: Tensor
    weights: Tensor


class Days(nn.Module):
    """A forecast of each target from its own context, normalised: linear in views of it, and by the days it holds.

    Args:
        steps: `[P]` of the horizon; weights are learnt for these.
        hats: `[P, H]`, interpolates between them.
        days: of the context that are compared.
    """

    def __init__(self, spec: ForecastSpec, steps: Tensor, hats: Tensor, days: int) -> None:
        super().__init__()
        self.targets = len(spec.targets)
        self.days = days
        self.hour = max(3600 // spec.step_s, 1)
        self.quarter = max(self.hour // 4, 1)
        self.day_hours = spec.day_steps // self.hour
        self.length, self.day_steps = spec.context_steps, spec.day_steps
        views = _views(spec.context_steps)
        lags = spec.day_steps * torch.arange(1, self.days + 1)[:, None]
        constants = {
            "steps": steps,
            "hats": hats,
            "views": views,
            "same_time": spec.context_steps - lags + torch.arange(spec.horizon_steps) % spec.day_steps,
            "hour_then": _then(spec.context_steps - lags, self.hour),
            "quarter_then": _then(spec.context_steps - lags, self.quarter),
            "weekend": _weekend(self.days),
        }
        for name, values in constants.items():
            self.register_buffer(name, values, persistent=False)
        week = ("week_sin", "week_cos")
        self.week = [spec.future.index(name) for name in week] if set(week) <= set(spec.future) else []
        self.weight = nn.Parameter(torch.zeros(self.targets, views.shape[1], len(steps)))
        self.bias = nn.Parameter(torch.zeros(self.targets, len(steps)))
        if self.days:
            self._learn_days(steps * spec.step_s / 3600)

    hats: Tensor
    steps: Tensor
    views: Tensor
    same_time: Tensor
    hour_then: Tensor
    quarter_then: Tensor
    weekend: Tensor

    def _learn_days(self, lead_h: Tensor) -> None:
        """Weights of what depends on days; `lead_h [P]`."""
        each = (self.targets, 1)
        self.prefer = nn.Parameter(torch.zeros(self.targets, self.days, len(lead_h)))
        self.fade = nn.Parameter(
            torch.stack([(-lead_h / hours).exp() for hours in _FADES_H]).repeat(self.targets, 1, 1)
        )
        self.share = nn.Parameter(torch.tensor([_SHARE, _SHARE_ALIKE])[:, None].repeat(self.targets, 1, len(lead_h)))
        self.unlike = nn.Parameter(torch.tensor(_UNLIKE).repeat(*each))
        self.same_kind = nn.Parameter(torch.full(each, _SAME_KIND))

    def forward(self, scaled: Scaled, future: Tensor) -> Said:
        z, seen = scaled.z[:, : self.targets], scaled.seen[:, : self.targets]
        views = torch.matmul(z, self.views) / torch.matmul(seen, self.views).clamp(min=0.1)
        linear = torch.matmul(views.transpose(0, 1), self.weight).transpose(0, 1) + self.bias
        median = torch.matmul(linear, self.hats)
        if not self.days:
            nothing = linear[:, :, None][:, :, :0]
            return Said(median, nothing, nothing)
        hour, hour_gap = _gap(z, seen, self.hour_then)
        quarter, quarter_gap = _gap(z, seen, self.quarter_then)
        smooth, known = self._smooth(z, seen)
        alike, unlike = self._likeness(z, seen)
        fade = torch.matmul(self.fade, self.hats)
        gaps = hour_gap[..., None] * fade[:, :1] + (quarter_gap - hour_gap)[..., None] * fade[:, 1:]
        paths = smooth + gaps
        away = self.unlike[:, :1] * unlike + self.unlike[:, 1:] * hour_gap.abs()
        logits = torch.matmul(self.prefer, self.hats) - away[..., None] - _NEVER * (1 - known)
        if self.week:
            logits = logits + self.same_kind[..., None] * self._same_kind(future)[:, None]
        weights = torch.softmax(logits, dim=2)
        stays = hour * fade[:, 0] + (quarter - hour) * fade[:, 1]
        share = torch.matmul(self.share, self.hats)
        coming = (share[:, 0] + share[:, 1] * alike) * ((weights * paths).sum(2) - stays)
        return Said(median + stays + coming, paths[..., self.steps], weights[..., self.steps])

    def _smooth(self, z: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Hourly means about the same time of each day, and whether there were any, `[B, T, D, H]`."""
        if self.hour > 1:
            width = self.hour + 1 - self.hour % 2
            z, seen = (
                nn.functional.avg_pool1d(part, width, 1, width // 2, count_include_pad=False) for part in (z, seen)
            )
            z = z / seen.clamp(min=0.1)
        return z[:, :, self.same_time], (seen[:, :, self.same_time] > 0.3).to(z.dtype)

    def _likeness(self, z: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """How far a day resembles the one before `[B, T, 1]`, 0 to 1; and each day's distance from today `[B, T, D]`.

        Of the oldest day nothing is left to compare with today: it is as far as the mean of the others.
        """
        shape = (self.days, self.day_hours, self.hour)
        hours, known = (part[:, :, -self.days * self.day_steps :].unflatten(2, shape).mean(4) for part in (z, seen))
        if self.days == 1:
            return torch.full_like(hours[:, :, :, 0], _ALIKE / _UNSURE), torch.zeros_like(hours[:, :, :, 0])
        both = known[:, :, 1:] * known[:, :, :-1]
        together = (hours[:, :, 1:] * hours[:, :, :-1] * both).sum((2, 3))
        alone = (hours * hours * known).sum((2, 3)) * (self.days - 1) / self.days
        alike = ((together + _ALIKE) / (alone + _UNSURE)).clamp(0.0, 1.0)[..., None]
        today, others = slice(self.days - 1, None), slice(None, self.days - 1)
        apart = (hours[:, :, today] - hours[:, :, others]).abs() * known[:, :, today] * known[:, :, others]
        distance = apart.mean(3).flip(2)
        return alike, torch.cat([distance, distance.mean(2, keepdim=True)], dim=2)

    def _same_kind(self, future: Tensor) -> Tensor:
        """1 where a day is of the kind of the step, a weekend or not, `[B, D, H]`."""
        free = (torch.matmul(self.weekend, future[:, self.week]) > math.cos(_HALF_WEEKEND)).to(future.dtype)
        return 1 - (free[:, :1] - free[:, 1:]).abs()


def _gap(z: Tensor, seen: Tensor, then: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the last steps `[B, T, 1]`, and by how much it lies above that of each day before, `[B, T, D]`.

    Args:
        then: `[D, n]`, the same steps on each day. A gap to what was not seen is 0.
    """
    last = then.shape[1]
    count = seen[:, :, -last:].sum(2, keepdim=True)
    now = z[:, :, -last:].sum(2, keepdim=True) / count.clamp(min=1.0)
    count_then = seen[:, :, then].sum(3)
    gap = now - z[:, :, then].sum(3) / count_then.clamp(min=1.0)
    return now, gap * ((count > 0) & (count_then > 0)).to(z.dtype)


def _then(now: Tensor, steps: int) -> Tensor:
    """The last `steps` before `now [D, 1]`; those after it where the context begins there. `[D, steps]`."""
    return (now - steps).clamp(min=0) + torch.arange(steps)


def _views(context_steps: int) -> Tensor:
    """Means of ever longer stretches, newest first, as weights `[L, V]`."""
    edges = list(range(min(_STEPS_AS_THEY_ARE, context_steps) + 1))
    while edges[-1] < context_steps:
        edges.append(min(max(edges[-1] + 1, round(edges[-1] * _RATIO)), context_steps))
    views = torch.zeros(context_steps, len(edges) - 1)
    for view, (near, far) in enumerate(pairwise(edges)):
        views[context_steps - far : context_steps - near, view] = 1 / (far - near)
    return views


def _weekend(days: int) -> Tensor:
    """`[1 + D, 2]`: times (week_sin, week_cos), the cosine of the distance to Sunday 0:00; then of each day before."""
    centre = _SUNDAY - _NUDGE + 2 * math.pi / 7 * torch.arange(days + 1.0)
    return torch.stack([centre.sin(), centre.cos()], dim=1)
