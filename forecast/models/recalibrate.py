"""Each quantile told at a corrected level: calibration that stays on the values a distribution holds.

A level is corrected in normal scores: 0.9 stands at 1.28; told at 1.38 it is the model's quantile at 0.916. Between the
model's quantiles it is linear in the score, so that a calibrated quantile is a weighted mean of them, with weights that
are never negative: where they rise, none of it falls. A load that is idle or busy is not pushed to where it never is,
as it would be by an offset in watts. After distributional conformal prediction (Chernozhukov, Wüthrich and Zhu, 2021).
"""

from collections.abc import Sequence
from statistics import NormalDist

import torch
from torch import Tensor, nn

from forecast.adaptation import between_sides
from forecast.contracts.specs import SHIFTS, SIDES, ForecastSpec
from forecast.models.base import Curved
from forecast.models.scaling import observed

#: The horizon is calibrated in at most this many equal parts of at least so many seconds; the last may be shorter.
PARTS, _LEAST_S = 8, 150

#: Beyond the outermost quantiles a normal score is worth so many standard deviations of the context: loads seldom lie
#: further from what they were than a few of these.
_BEYOND = 0.5

#: And at least this share of its mean: a context that never changed says nothing of what a change would be.
_LEAST = 0.01


class Recalibration(nn.Module):
    """Raw quantiles `[B, T, Q, H]` to calibrated ones.

    Args:
        offsets: `[G, T, Q, H]` in normal scores, per level of the fleet tree (row 0 for an unknown level), the same
            within each part of the horizon; see `forecast.calibration.conformal`.
        spec: of the graph. Where its static inputs hold `SHIFTS`, those are added to the offsets.
        curves: `[K, H]`, that quantiles are sums of, where `of_curves` is asked.
    """

    def __init__(self, offsets: Tensor, spec: ForecastSpec, curves: Tensor | None = None) -> None:
        super().__init__()
        self.horizon = spec.horizon_steps
        self.width = part_steps(spec)
        self.level_code = spec.static.index("level_code")
        names = [f"{target}_{side}_shift" for target in spec.targets for side in SIDES]
        self.shifts = [spec.static.index(name) for name in names] if set(SHIFTS) <= set(spec.static) else []
        self.targets = len(spec.targets)
        self.offsets: Tensor
        self.scores: Tensor
        self.moves: Tensor
        self.register_buffer("offsets", torch.stack([part.mean(-1) for part in offsets.split(self.width, -1)], dim=-1))
        self.register_buffer("scores", normal_scores(spec.quantile_levels), persistent=False)
        moves = torch.from_numpy(between_sides(spec.quantile_levels)).float()
        self.register_buffer("moves", moves, persistent=False)
        # Of the step between two levels the share a · score + b is told; of one before them all, of one behind none.
        slopes = 1 / self.scores.diff()
        self.slopes: Tensor
        self.begins: Tensor
        self.register_buffer("slopes", nn.functional.pad(slopes, (1, 1))[:, None], persistent=False)
        begins = torch.cat([torch.ones(1), -self.scores[:-1] * slopes, torch.zeros(1)])
        self.register_buffer("begins", begins, persistent=False)
        part_of = torch.arange(spec.horizon_steps) // self.width
        self.steps_of: Tensor
        steps_of = (torch.arange(self.offsets.shape[-1])[:, None] == part_of).float()
        self.register_buffer("steps_of", steps_of, persistent=False)
        self.shifted: Tensor
        self.register_buffer("shifted", torch.tensor(self.shifts, dtype=torch.long), persistent=False)
        self.ends = float(self.scores[0]), float(self.scores[-1])
        if curves is not None:
            # The last curve is 1, for what lies beyond the outermost quantiles.
            self.register_buffer("curves", torch.cat([curves, torch.ones_like(curves[:1])]), persistent=False)

    curves: Tensor

    def by_step(self) -> Tensor:
        """The offsets of every step, `[G, T, Q, H]`."""
        return self.offsets.repeat_interleave(self.width, -1)[..., : self.horizon]

    def forward(self, raw: Tensor, past: Tensor, static: Tensor) -> Tensor:
        """Calibrated quantiles; `past [B, C, L]` and `static [B, S]` are the graph's inputs."""
        weights, outside = self._weights(past, static)
        # A product for each part: parts as one more axis would have to be moved out of the way and back.
        parts = zip(weights.unbind(2), raw.split(self.width, dim=3), strict=True)
        told = [torch.matmul(each, part) for each, part in parts]
        return torch.cat(told, dim=3) + torch.matmul(outside.transpose(2, 3), self.steps_of)

    def of_curves(self, raw: Curved, past: Tensor, static: Tensor) -> Tensor:
        """The same of quantiles told as sums of the curves.

        The weights of a quantile sum to one: they change how much of each curve is told, and leave the course.
        """
        weights, outside = self._weights(past, static)
        mixed = torch.cat([torch.matmul(weights.flatten(2, 3), raw.told), outside.flatten(2)[..., None]], dim=3)
        parts = zip(mixed.split(len(self.scores), dim=2), self.curves.split(self.width, dim=1), strict=True)
        quantiles = torch.cat([torch.matmul(each, part) for each, part in parts], dim=3)
        return quantiles if raw.course is None else quantiles + raw.course[:, :, None]

    def _weights(self, past: Tensor, static: Tensor) -> tuple[Tensor, Tensor]:
        """Of each calibrated quantile the weights of the raw ones, `[B, T, P, Q, Q]`; and what is added `[B, T, P, Q]`.

        P parts of the horizon; what is added lies beyond the outermost quantiles.
        """
        level = static[:, self.level_code].long()
        scores = (self.scores + self.offsets.transpose(2, 3)).index_select(0, level)  # [B, T, P, Q]
        if self.shifts:
            shifts = static.index_select(1, self.shifted)
            shift = shifts.masked_fill(torch.isnan(shifts), 0.0).unflatten(1, (self.targets, len(SIDES)))
            scores = scores + torch.matmul(shift, self.moves)[:, :, None]
        rows = scores.reshape(-1, 1)
        before = nn.functional.linear(rows, self.slopes[:-1], self.begins[:-1])
        behind = nn.functional.linear(rows, -self.slopes[1:], 1 - self.begins[1:])
        # What is told of a quantile itself: at most two of these are not zero, so that no digit is lost in their sum.
        weights = torch.relu(torch.minimum(before, behind)).unflatten(0, scores.shape)
        outside = (scores - scores.clamp(*self.ends)) * beyond_unit(past)[:, : self.targets, None]
        return weights, outside


def part_steps(spec: ForecastSpec) -> int:
    """Steps in each part of the horizon but the last."""
    return max(-(-spec.horizon_steps // PARTS), min(_LEAST_S // spec.step_s, spec.horizon_steps))


def normal_scores(levels: Sequence[float]) -> Tensor:
    """Where quantile levels stand on a standard normal distribution, `[Q]`."""
    return torch.tensor([NormalDist().inv_cdf(level) for level in levels])


def beyond_unit(past: Tensor) -> Tensor:
    """What a normal score is worth beyond the outermost quantiles, `[B, T, 1]`, of contexts `[B, T, L]` with gaps."""
    found = observed(past)
    return torch.maximum(_BEYOND * found.variance.sqrt(), _LEAST * found.mean.abs())


def score(value: Tensor, raw: Tensor, unit: Tensor, scores: Tensor) -> Tensor:
    """The normal score `[B, T, H]` at which a model's quantiles `[B, T, Q, H]` hold what came, NaN where unknown.

    At a value that several quantiles share, the lowest of theirs: it is at or below all of them.

    Args:
        value: `[B, T, H]`.
        unit: `[B, T, 1]`, of `beyond_unit`.
        scores: `[Q]`, of the levels.
    """
    unit = unit.clamp(min=1e-9)
    gaps = raw.diff(dim=2)
    share = ((value[:, :, None] - raw[:, :, :-1]) / gaps.clamp(min=1e-12)).clamp(0.0, 1.0)
    inside = scores[0] + (share * scores.diff()[:, None]).sum(2)
    below, above = (raw[:, :, 0] - value).clamp(min=0.0) / unit, (value - raw[:, :, -1]).clamp(min=0.0) / unit
    return inside - below + above
