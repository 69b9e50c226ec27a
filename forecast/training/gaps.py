"""What training hides of the contexts, so that a forecast bears what telemetry lacks: gaps, dead sensors, newcomers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from forecast.contracts.errors import ConfigError
from forecast.contracts.specs import ForecastSpec
from forecast.training.doubt import Doubt
from forecast.windows.gather import Batch

#: At most this much of a context is lost to gaps.
_MOST_LOST = 0.5

#: A window's gaps are this many outages at most; there may be one, and there may be steps lost one by one.
_OUTAGES = 6

#: A gap is of all channels (the machine was away) as often as of each by itself (a sensor was).
_TOGETHER = 0.5

#: Shares of short histories, where none is set: of fits that begin anew, and of those that go on from weights learnt
#: before. Those know what a day tells elsewhere, and forget it where few windows remind of it.
_SHORT, _SHORT_BEFORE = 0.1, 0.3

#: The shortest history, in hours.
_SHORTEST_H = 1.0


@dataclass
class GapsConfig:
    """Shares of the windows of a training step that lose something of their context.

    Attributes:
        outages: lose stretches or single steps, up to half of the context.
        dead: lose whole channels; one target at least is left.
        short: know nothing but the newest stretch, from an hour on. None for 0.1, or 0.3 where training goes on from
            weights that were learnt before.
        unknown_kind: have an unknown SKU; and as many an unknown level.
        untold, mistold: are told no schedule, or one that turns out wrong; together at most all.
    """

    outages: float = 0.2
    dead: float = 0.1
    short: float | None = None
    unknown_kind: float = 0.1
    untold: float = 0.0
    mistold: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"training.gaps.{name} is {value}; it is a share, from 0 to 1.")
        if self.untold + self.mistold > 1:
            raise ConfigError(
                f"training.gaps.untold={self.untold} and training.gaps.mistold={self.mistold} are shares of the same "
                f"windows; together they must be at most 1."
            )

    def share_short(self, learnt_before: bool) -> float:
        """Of a fit that goes on from weights learnt before, or begins anew."""
        if self.short is not None:
            return self.short
        return _SHORT_BEFORE if learnt_before else _SHORT


#: Hides nothing.
NOTHING = GapsConfig(outages=0.0, dead=0.0, short=0.0, unknown_kind=0.0)


class Gaps:
    """Hides parts of batches, the same ones for the same seed.

    Args:
        config: how much.
        spec: the forecast's interface.
        seed: of what is hidden.
        device: where batches lie.
        learnt_before: the fit goes on from weights that were.
    """

    def __init__(
        self, config: GapsConfig, spec: ForecastSpec, seed: int, device: torch.device, learnt_before: bool = False
    ) -> None:
        self.config = config
        self.short = config.share_short(learnt_before)
        self.targets = len(spec.targets)
        self.shortest = max(_SHORTEST_H * 3600 / spec.step_s, 1.0)
        self.codes = [spec.static.index(name) for name in ("sku_code", "level_code")]
        self.random = torch.Generator(device).manual_seed(seed)
        self.doubt = Doubt(config.untold, config.mistold, spec, self.random)

    def __call__(self, batch: Batch) -> Batch:
        """The batch with less to go by.

        What comes is as it was, but for targets of which nothing is left in the context: serving answers those with
        their limit and asks no model.
        """
        if not any((self.short, *vars(self.config).values())):
            return batch
        hidden = self._outages(batch.past) | self._dead(batch.past) | self._short(batch.past)
        past = batch.past.masked_fill(hidden, torch.nan)
        never = torch.isnan(past[:, : self.targets]).all(2, keepdim=True)
        future = self.doubt(batch.future, batch.static)
        return Batch(past, future, self._static(batch.static), batch.target.masked_fill(never, torch.nan))

    def _outages(self, past: Tensor) -> Tensor:
        """`[B, C, L]`: stretches that share up to half of the context evenly, or as many steps one by one."""
        rows, channels, steps = past.shape
        lost = _MOST_LOST * self._uniform(past, rows, 1, 1)
        count = (1 + (_OUTAGES + 1) * self._uniform(past, rows, 1, 1)).floor()
        place = torch.arange(steps, device=past.device)
        together = self._uniform(past, rows, 1, 1) < _TOGETHER
        stretches = torch.zeros_like(past, dtype=torch.bool)
        for outage in range(_OUTAGES):
            length = lost * steps / count
            where = torch.where(together, self._uniform(past, rows, 1, 1), self._uniform(past, rows, channels, 1))
            first = where * (steps + length) - length
            stretches |= (place >= first) & (place < first + length) & (outage < count)
        scattered = self._uniform(past, rows, channels, steps) < lost
        chosen = torch.where(count > _OUTAGES, scattered, stretches)
        return chosen & self._some(past, self.config.outages)

    def _dead(self, past: Tensor) -> Tensor:
        """`[B, C, 1]`: every other channel, but for one target."""
        rows, channels, _ = past.shape
        dead = self._uniform(past, rows, channels, 1) < 0.5
        spared = (self._uniform(past, rows, 1) * self.targets).long()
        return dead.scatter(1, spared[..., None], value=False) & self._some(past, self.config.dead)

    def _short(self, past: Tensor) -> Tensor:
        """`[B, 1, L]`: what is older than a history whose length is as likely to be hours as days."""
        rows, _, steps = past.shape
        shortest = min(self.shortest, float(steps))
        known = shortest * (steps / shortest) ** self._uniform(past, rows, 1, 1)
        older = torch.arange(steps, 0, -1, device=past.device) > known
        return older & self._some(past, self.short)

    def _static(self, static: Tensor) -> Tensor:
        """`[B, S]`: some windows lose the code of their SKU, some that of their level."""
        static = static.clone()
        for code in self.codes:
            unknown = self._uniform(static, len(static)) < self.config.unknown_kind
            static[:, code] = static[:, code].masked_fill(unknown, 0.0)
        return static

    def _some(self, past: Tensor, share: float) -> Tensor:
        return self._uniform(past, len(past), 1, 1) < share

    def _uniform(self, like: Tensor, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.random, device=like.device)
