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

#: Days of a week.
_WEEK = 7

#: How strongly yesterday is preferred at first, and the same day of the weeks before.
_PREFERRED = 0.5

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
        median: `[B, T, P]`, the forecast at the decoded steps.
        paths: `[B, T, D, P]`, what each day says alone; newest day first.
        weights: `[B, T, D, P]`, of the days; they sum to one. D is 0 where the context is shorter than a day.
    """

    median: Tensor
    paths: Tensor
    weights: Tensor


class Days(nn.Module):
    """A forecast of each target from its own context, normalised: linear in views of it, and by the days it holds.

    Args:
        steps: `[P]` of the horizon; weights are learnt for these.
        days: of the context that are compared.
    """

    def __init__(self, spec: ForecastSpec, steps: Tensor, days: int) -> None:
        super().__init__()
        self.targets = len(spec.targets)
        self.days = days
        hour = max(3600 // spec.step_s, 1)
        views = _views(spec.context_steps)
        self.begins = [spec.context_steps - day * spec.day_steps for day in range(1, self.days + 1)]
        ends = [spec.context_steps, *self.begins]
        looks = [views, _last(ends, hour), _last(ends, max(hour // 4, 1))]
        self.looks_of_each = [part.shape[1] for part in looks]
        self.beside = hour // 2  # so many steps on either side of a time are its hour
        self.day_steps = spec.day_steps
        about = _about(steps % spec.day_steps, 2 * self.beside + 1, spec.day_steps + 2 * self.beside)
        self.columns_of_each = [len(steps), spec.day_steps // hour]
        constants = {
            "steps": steps,
            "looks": torch.cat(looks, dim=1),
            "day": torch.cat([about, _hours(hour, spec.day_steps, self.beside)], dim=1),
            "weekend": _weekend(self.days),
        }
        for name, values in constants.items():
            self.register_buffer(name, values, persistent=False)
        week = ("week_sin", "week_cos")
        self.week = [spec.future.index(name) for name in week] if set(week) <= set(spec.future) else []
        self.register_buffer("of_week", torch.tensor(self.week, dtype=torch.long), persistent=False)
        self.weight = nn.Parameter(torch.zeros(self.targets, views.shape[1], len(steps)))
        self.bias = nn.Parameter(torch.zeros(self.targets, len(steps)))
        if self.days:
            self._learn_days(steps * spec.step_s / 3600)

    steps: Tensor
    looks: Tensor
    day: Tensor
    weekend: Tensor
    of_week: Tensor

    def _learn_days(self, lead_h: Tensor) -> None:
        """Weights of what depends on days; `lead_h [P]`."""
        each = (self.targets, 1)
        prefer = torch.zeros(self.targets, self.days, len(lead_h))
        prefer[:, [0, *range(_WEEK - 1, self.days, _WEEK)]] = _PREFERRED
        self.prefer = nn.Parameter(prefer)
        self.fade = nn.Parameter(
            torch.stack([(-lead_h / hours).exp() for hours in _FADES_H]).repeat(self.targets, 1, 1)
        )
        self.share = nn.Parameter(torch.tensor([_SHARE, _SHARE_ALIKE])[:, None].repeat(self.targets, 1, len(lead_h)))
        self.unlike = nn.Parameter(torch.tensor(_UNLIKE).repeat(*each))
        self.same_kind = nn.Parameter(torch.full(each, _SAME_KIND))

    def prefer_week(self, target: int, by: float) -> None:
        """Prefer the same day of the weeks before by so much more, in logits; nothing where no week is looked back."""
        if self.days:
            with torch.no_grad():
                self.prefer[target, _WEEK - 1 :: _WEEK] += by

    def forward(self, scaled: Scaled, future: Tensor) -> Said:
        both = scaled.z[:, : self.targets], scaled.seen[:, : self.targets]
        (views, hours, quarters), (seen_views, seen_hours, seen_quarters) = (
            torch.matmul(part, self.looks).split(self.looks_of_each, dim=2) for part in both
        )
        linear = views / seen_views.clamp(min=0.1)
        median = torch.matmul(linear.transpose(0, 1), self.weight).transpose(0, 1) + self.bias
        if not self.days:
            nothing = median[:, :, None][:, :, :0]
            return Said(median, nothing, nothing)
        hour, hour_gap = _gap(hours, seen_hours)
        quarter, quarter_gap = _gap(quarters, seen_quarters)
        (times, z_hours), (seen_times, known_hours) = (
            self.of_days(part).split(self.columns_of_each, dim=3) for part in both
        )
        alike, unlike = self._likeness(z_hours, known_hours)
        gaps = torch.matmul(torch.stack([hour_gap, quarter_gap - hour_gap], dim=3), self.fade)
        paths = times / seen_times.clamp(min=0.1) + gaps
        known = (seen_times > 0.3).to(paths.dtype)
        away = self.unlike[:, :1] * unlike + self.unlike[:, 1:] * hour_gap.abs()
        logits = self.prefer - away[..., None] - _NEVER * (1 - known)
        if self.week:
            logits = logits + self.same_kind[..., None] * self._same_kind(future)[:, None]
        weights = torch.softmax(logits, dim=2)
        stays = torch.matmul(torch.stack([hour, quarter - hour], dim=3), self.fade)[:, :, 0]
        coming = (self.share[:, 0] + self.share[:, 1] * alike) * ((weights * paths).sum(2) - stays)
        return Said(median + stays + coming, paths, weights)

    def of_days(self, steps: Tensor) -> Tensor:
        """The columns of `day` of each day of `steps [B, T, L]` and half an hour on either side, `[B, T, D, columns]`.

        Newest first. What lies beside a day is a product of its own: most of it need not be copied then.
        """
        before, within, after = self.day.split([self.beside, self.day_steps, self.beside])
        days = steps[:, :, self.begins[-1] :].unflatten(2, (self.days, self.day_steps))
        told: Tensor = torch.matmul(days, within)
        if self.beside:
            first = steps[:, :, max(self.begins[-1] - self.beside, 0) : self.begins[-1]]
            oldest = nn.functional.pad(first, (self.beside - first.shape[2], 0))[:, :, None]
            # Of all days the few steps first: the runtime copies what one axis after the other is cut to.
            older = torch.cat([oldest, days[..., -self.beside :][:, :, :-1]], dim=2)
            newer = nn.functional.pad(days[..., : self.beside][:, :, 1:], (0, 0, 0, 1))
            told = told + torch.matmul(torch.cat([older, newer], dim=3), torch.cat([before, after]))
        return told.flip(2)

    def _likeness(self, hours: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """How far a day resembles the one before `[B, T, 1]`, 0 to 1; and each day's distance from today `[B, T, D]`.

        Of the oldest day nothing is left to compare with today: it is as far as the mean of the others.

        Args:
            hours, known: `[B, T, D, hours of a day]`, means and shares observed, newest day first.
        """
        days = self.prefer.shape[1]
        if days == 1:
            return torch.full_like(hours[:, :, :, 0], _ALIKE / _UNSURE), torch.zeros_like(hours[:, :, :, 0])
        both = known[:, :, 1:] * known[:, :, :-1]
        together = (hours[:, :, 1:] * hours[:, :, :-1] * both).sum((2, 3))
        alone = (hours * hours * known).sum((2, 3)) * (days - 1) / days
        alike = ((together + _ALIKE) / (alone + _UNSURE)).clamp(0.0, 1.0)[..., None]
        apart = (hours[:, :, :1] - hours[:, :, 1:]).abs() * known[:, :, :1] * known[:, :, 1:]
        distance = apart.mean(3)
        return alike, torch.cat([distance, distance.mean(2, keepdim=True)], dim=2)

    def _same_kind(self, future: Tensor) -> Tensor:
        """1 where a day is of the kind of the step, a weekend or not, `[B, D, P]`."""
        week = future.index_select(1, self.of_week).index_select(2, self.steps)
        free = (torch.matmul(self.weekend, week) > math.cos(_HALF_WEEKEND)).to(future.dtype)
        return 1 - (free[:, :1] - free[:, 1:]).abs()


def _gap(sums: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the last steps `[B, T, 1]`, and by how much it lies above that of each day before, `[B, T, D]`.

    Args:
        sums, counts: `[B, T, 1 + D]`, of what was observed in them. A gap to what was not seen is 0.
    """
    means, seen = sums / counts.clamp(min=1.0), counts.clamp(max=1.0)
    return means[:, :, :1], (means[:, :, :1] - means[:, :, 1:]) * seen[:, :, :1] * seen[:, :, 1:]


def _last(ends: list[int], steps: int) -> Tensor:
    """Sums of `steps` before each of `ends`, of those after it where the context begins there: `[L, 1 + D]`."""
    sums = torch.zeros(ends[0], len(ends))
    for column, end in enumerate(ends):
        begin = max(end - steps, 0)
        sums[begin : begin + steps, column] = 1
    return sums


def _about(times: Tensor, width: int, steps: int) -> Tensor:
    """Means of `width` steps from each of `times [P]` on, as weights `[steps, P]`."""
    away = torch.arange(steps)[:, None] - times
    return ((away >= 0) & (away < width)).float() / width


def _hours(hour: int, day_steps: int, beside: int) -> Tensor:
    """Means of each hour of a day that has `beside` steps more on either side, as weights `[steps, hours]`."""
    hours = torch.zeros(day_steps + 2 * beside, day_steps // hour)
    for column in range(day_steps // hour):
        hours[beside + column * hour : beside + (column + 1) * hour, column] = 1 / hour
    return hours


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
