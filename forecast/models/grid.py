"""The values at which a window's distribution is told: where its context was, where it is now, where it could go."""

import torch
from torch import Tensor, nn

from forecast.contracts.specs import ForecastSpec
from forecast.models.scaling import Scaled

#: Steps of the context that are looked at, evenly spaced: enough to tell its distribution.
_SAMPLED = 168

#: Of a context of more steps than that, and longer than a day, so many tell its distribution, and so many its newest
#: day: where it was before, its quantiles tell.
_LONG, _SAMPLED_OF_LONG, _OF_DAY = 1000, 84, 24

#: Values that are quantiles of the context, at most so many for each step of it, and values evenly from the lowest to
#: the highest that are possible.
_RANKED, _RANKED_PER_STEP = 28, 0.45
_EVEN = 20

#: Values about the newest one, in spreads of the context.
_NEAR = (-0.8, -0.4, -0.2, -0.1, -0.04, 0.0, 0.04, 0.1, 0.2, 0.4, 0.8)

#: How far beyond what was seen a target without a nameplate could go, in typical scales: 15 °C colder, 20 °C hotter.
_COLDER, _HOTTER = 1.5, 2.0

#: A day ahead one may be as much hotter than its coldest, 50 °C: who idled for all of a short context may be busy then.
_BUSY = 5.0

#: Days whose distributions describe a cell.
_DAYS = (0.25, 1.0, 14.0)

#: Where all of the context is newer than the first of these, such shares of it instead.
_SHARES_OF_CONTEXT = (1 / 8, 1 / 3, 1.0)

#: Share of windows without a value in a cell that is still believed possible.
_UNSEEN = 0.01

#: A value is an even distribution of this width, in spreads of the context: readings are quantised, and whether one is
#: above or below another must not hang on a rounding. Values of the same time on other days are less exact.
_BLUR, _DAILY_BLUR = 0.05, 0.25

#: What was not seen is sorted behind all that was.
_FAR = 1e6

#: Less than exp of minus this is nothing.
LEAST = 30.0


class Grid(nn.Module):
    """Ascending values for each window and target, and `features` numbers about each cell between two of them.

    Features have no weights of their own, so that a cell means the same wherever a window's values lie. By index:
    `KERNEL` is a bump about the newest value, `NEWEST` the share of that value in the cell, `SHARES` are the log shares
    of the last quarter day, day and fortnight that the context spent in the cell.
    """

    features = 13
    KERNEL, NEWEST, SHARES = 0, 1, slice(2, 5)

    def __init__(self, spec: ForecastSpec) -> None:
        super().__init__()
        self.targets = len(spec.targets)
        self.to_busy = _BUSY if spec.horizon_steps >= spec.day_steps else 0.0
        self.long = spec.context_steps > max(_LONG, spec.day_steps)
        self.sampled = _evenly(spec.context_steps, spec.context_steps, _SAMPLED_OF_LONG if self.long else _SAMPLED)
        counted = _evenly(spec.context_steps, spec.day_steps, _OF_DAY) if self.long else self.sampled
        self.counted = counted
        back = torch.arange(spec.context_steps - 1, -1, -1)[counted, None]
        spans = torch.tensor(_DAYS) * spec.day_steps
        if spec.context_steps <= spans[0]:
            spans = torch.tensor(_SHARES_OF_CONTEXT) * spec.context_steps
        ranks = torch.linspace(0, 1, min(_RANKED, max(int(_RANKED_PER_STEP * spec.context_steps), 2)))
        recent = (back < spans).float().T
        if self.long:
            of_quantiles = torch.tensor([0.0, 0.0, 1.0])[:, None]
            recent = torch.cat([recent * (1 - of_quantiles), of_quantiles.expand(-1, len(ranks))], dim=1)
        constants = {
            "recent": recent,
            "ranks": ranks,
            "even": torch.linspace(0, 1, _EVEN),
            "near": torch.tensor(_NEAR),
            "order": torch.arange(spec.context_steps, dtype=torch.float32),
            "is_power": torch.tensor([name == "power_w" for name in spec.targets])[None, :, None],
        }
        for name, values in constants.items():
            self.register_buffer(name, values, persistent=False)
        self.size = len(constants["ranks"]) + _EVEN + len(_NEAR)

    recent: Tensor
    ranks: Tensor
    even: Tensor
    near: Tensor
    order: Tensor
    is_power: Tensor

    def newest(self, scaled: Scaled) -> Tensor:
        """The last value observed, normalised, `[B, T, 1]`; the mean where none was."""
        z, seen = scaled.z[:, : self.targets], scaled.seen[:, : self.targets]
        return z.gather(2, (seen * self.order).amax(-1, keepdim=True).long())

    def forward(self, scaled: Scaled) -> Tensor:
        """The values, normalised as the context is, `[B, T, K]`."""
        loc, spread = scaled.loc[:, : self.targets], scaled.spread[:, : self.targets]
        ranked = self._quantiles(scaled) + _BLUR * (self.ranks - 0.5)
        lowest, highest = (ranked[:, :, :1] * spread + loc), (ranked[:, :, -1:] * spread + loc)
        low = torch.where(self.is_power, torch.zeros_like(lowest), lowest - _COLDER)
        hottest = torch.maximum(highest + _HOTTER, lowest + self.to_busy)
        high = torch.where(self.is_power, (highest * 1.05).clamp(min=1.05), hottest)
        even = (low + (high - low) * self.even - loc) / spread
        values = torch.cat([ranked, even, self.newest(scaled) + self.near], dim=2)
        inside = torch.minimum(torch.maximum(values, even[:, :, :1]), even[:, :, -1:])
        return inside.sort(dim=2).values

    def _quantiles(self, scaled: Scaled) -> Tensor:
        """Quantiles of the context `[B, T, ranks]`; the mean where nothing was observed."""
        z, seen = self._sample(scaled)
        count = seen.sum(-1, keepdim=True)
        place = (self.ranks * (count - 1).clamp(min=0.0)).round().long()
        ordered = (z + _FAR * (1 - seen)).sort(dim=2).values
        return torch.where(count > 0, ordered.gather(2, place), torch.zeros_like(count))

    def _sample(self, scaled: Scaled) -> tuple[Tensor, Tensor]:
        """`z` and `seen` of the targets at the steps that are looked at, `[B, T, about _SAMPLED]` both."""
        return scaled.z[:, : self.targets, self.sampled], scaled.seen[:, : self.targets, self.sampled]

    def _counted(self, scaled: Scaled) -> tuple[Tensor, Tensor]:
        """The values that shares are counted of, and 1 where they are known, `[B, T, N]` both."""
        z, seen = scaled.z[:, : self.targets, self.counted], scaled.seen[:, : self.targets, self.counted]
        if not self.long:
            return z, seen
        quantiles = self._quantiles(scaled)  # once in the exported graph, which computes nothing twice
        known = self._sample(scaled)[1].amax(-1, keepdim=True).expand_as(quantiles)
        return torch.cat([z, quantiles], dim=2), torch.cat([seen, known], dim=2)

    def cells(self, values: Tensor, scaled: Scaled) -> Tensor:
        """What is known of each cell, `[B, T, features, K - 1]`."""
        loc, spread = scaled.loc[:, : self.targets], scaled.spread[:, : self.targets]
        newest = self.newest(scaled)
        low, high = values[:, :, :-1], values[:, :, 1:]
        centre, away = (low + high) / 2, (low + high) / 2 - newest
        ranks = self._ranks(values, scaled)
        shares = (ranks.diff(dim=3) + _UNSEEN).log() / 2
        middle = (ranks[..., :-1] + ranks[..., 1:] - 1)[:, :, 1:]
        bump = (-(((3 * away) ** 2).clamp(max=LEAST))).exp()
        holds = (_edges(values, _BLUR) - newest / _BLUR).clamp(0.0, 1.0).diff(dim=2)
        places = [
            centre * spread + loc,
            centre.clamp(-5, 5),
            away.clamp(-5, 5),
            torch.tanh(4 * away),
            torch.tanh(20 * away),
            ((high - low) * spread + 1e-3).log() / 2 + 1.5,
        ]
        return torch.cat([torch.stack([bump, holds], dim=2), shares, middle, torch.stack(places, dim=2)], dim=2)

    def _ranks(self, values: Tensor, scaled: Scaled) -> Tensor:
        """Share of the last quarter day, day and fortnight of the context below each value, `[B, T, 3, K]`."""
        z, seen = self._counted(scaled)
        counted = seen[:, :, None] * self.recent
        shares = counted / counted.sum(3, keepdim=True).clamp(min=1.0)
        below = _sums(_edges(values, _BLUR), z / -_BLUR).clamp(0.0, 1.0)
        ranks: Tensor = torch.matmul(shares, below.transpose(2, 3))
        return ranks

    def daily(self, values: Tensor, paths: Tensor, weights: Tensor) -> Tensor:
        """Log share of the days that lead to each cell, `[B, T, P, K - 1]`; alike for all cells where there is no day.

        Args:
            values: `[B, T, K]`.
            paths, weights: `[B, T, D, P]`, where each day leads and how much it counts.
        """
        leads = (paths / -_DAILY_BLUR).transpose(2, 3)
        below = _sums(leads.flatten(2), _edges(values, _DAILY_BLUR)).clamp(0.0, 1.0).unflatten(2, leads.shape[2:])
        shares = torch.matmul(weights.transpose(2, 3)[:, :, :, None], below)[:, :, :, 0]
        return (shares.diff(dim=3) + _UNSEEN).log()


def _evenly(steps: int, newest: int, most: int) -> slice:
    """The last of so many steps, and others of the `newest` as far apart as leaves about so many."""
    stride = max(newest // most, 1)
    return slice(steps - newest + (newest - 1) % stride, None, stride)


def _edges(values: Tensor, blur: float) -> Tensor:
    """`values` so that these less `seen / blur`, between 0 and 1, are how much of what was seen lies below each."""
    return values / blur + 0.5


def _sums(rows: Tensor, columns: Tensor) -> Tensor:
    """Each of `rows [B, T, M]` and each of `columns [B, T, N]` together, `[B, T, M, N]`.

    As a product, (row, 1) · (1, column), to the same digits: the runtime adds a row to a column in twice the time.
    """
    left, right = torch.stack([rows, torch.ones_like(rows)], dim=2), torch.stack([torch.ones_like(columns), columns], 2)
    return torch.matmul(left.transpose(2, 3), right)
