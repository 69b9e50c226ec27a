"""What training tells wrongly of the jobs ahead, so that a forecast believes a schedule as far as it deserves."""

import torch
from torch import Tensor

from forecast.contracts.specs import FUTURE, ForecastSpec

#: A schedule that is told too late or too early is off by at most this share of the horizon.
_MOST_OFF = 0.5


class Doubt:
    """Hides or falsifies what the schedule tells, `[B, F, H]`, per window.

    A false one is as likely true at another time, so that jobs begin and end late or early, as that of another entity.

    Args:
        untold, mistold: shares of the windows.
        spec: the forecast's interface.
        random: where chance comes from.
    """

    def __init__(self, untold: float, mistold: float, spec: ForecastSpec, random: torch.Generator) -> None:
        self.untold, self.mistold, self.random = untold, mistold, random
        self.told = [index for index, name in enumerate(spec.future) if FUTURE[name].source == "schedule"]
        self.powers = [FUTURE[spec.future[index]].typical_scale is None for index in self.told]
        self.limit = spec.static.index("power_limit_w")

    def __call__(self, future: Tensor, static: Tensor) -> Tensor:
        if not self.told or not (self.untold or self.mistold):
            return future
        schedule, rows = future[:, self.told], len(future)
        chance, other = self._uniform(future, rows), self._uniform(future, rows) < 0.5
        false = torch.where(other[:, None, None], self._another(schedule, static), self._moved(schedule))
        schedule = torch.where((chance < self.mistold)[:, None, None], false, schedule)
        schedule = schedule.masked_fill((chance > 1 - self.untold)[:, None, None], torch.nan)
        future = future.clone()
        future[:, self.told] = schedule
        return future

    def _moved(self, schedule: Tensor) -> Tensor:
        """What is told, `[B, S, H]`, some steps too late or too early; what was told of the ends is held there."""
        rows, _, steps = schedule.shape
        off = ((2 * self._uniform(schedule, rows, 1) - 1) * _MOST_OFF * steps).long()
        place = (torch.arange(steps, device=schedule.device) + off).clamp(0, steps - 1)
        return schedule.gather(2, place[:, None].expand_as(schedule))

    def _another(self, schedule: Tensor, static: Tensor) -> Tensor:
        """What the next window of the batch is told, `[B, S, H]`, with its W in this one's nameplate."""
        share = (static[:, self.limit] / static[:, self.limit].roll(1))[:, None, None]
        powers = torch.tensor(self.powers, device=schedule.device)[None, :, None]
        other = schedule.roll(1, 0)
        return torch.where(powers, other * share, other)

    def _uniform(self, like: Tensor, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.random, device=like.device)
