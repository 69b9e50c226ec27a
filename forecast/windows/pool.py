"""Windows of several panels as one: of sites that were recorded at other times, with other sensors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.windows.gather import Batch, Windows


class Pool:
    """Batches from several panels on one device, gathered by index like those of one.

    Entities are numbered through, in the order of the panels. What a panel does not record is NaN.

    Args:
        members: cut with the same window sizes and told the same ahead; their channels are among those of `spec`.
        spec: with all channels and targets.
    """

    def __init__(self, members: Sequence[Windows], spec: ForecastSpec) -> None:
        self.members, self.spec = tuple(members), spec
        counts = [len(member.level_code) for member in members]
        self.first = [sum(counts[:index]) for index in range(len(counts))]
        self.level_code = torch.cat([member.level_code for member in members])
        levels = int(self.level_code.max()) + 1
        self.group = torch.cat([member.level_code + levels * index for index, member in enumerate(members)])
        self._of = torch.cat(
            [torch.full((count,), index, device=self.level_code.device) for index, count in enumerate(counts)]
        )
        self._past = [placed(member.spec.past, spec.past) for member in members]
        self._target = [placed(member.spec.targets, spec.targets) for member in members]

    def batch(self, entity: Tensor, origin: Tensor) -> Batch:
        """Windows of `entity [B]` whose first forecast step is `origin [B]` of its own panel."""
        member = self._of[entity]
        present: list[int] = member.unique().tolist()
        order = torch.cat([(member == index).nonzero()[:, 0] for index in present])
        batches = [
            self._widened(index, entity[rows] - self.first[index], origin[rows])
            for index in present
            for rows in [(member == index).nonzero()[:, 0]]
        ]
        back = order.argsort()
        return Batch(*(torch.cat(parts)[back] for parts in zip(*batches, strict=True)))

    def joined(self, pairs: Sequence[Tensor]) -> Tensor:
        """The pairs `[M, 2]` of each panel as pairs of the pool."""
        shifted = [each + each.new_tensor([first, 0]) for first, each in zip(self.first, pairs, strict=True)]
        return torch.cat(shifted)

    def _widened(self, index: int, entity: Tensor, origin: Tensor) -> Batch:
        batch = self.members[index].batch(entity, origin)
        return batch._replace(
            past=rearranged(batch.past, self._past[index]), target=rearranged(batch.target, self._target[index])
        )


def placed(have: Sequence[str], want: Sequence[str]) -> list[int]:
    """Where each of `want` lies in `have`; one past the end where it does not."""
    return [have.index(name) if name in have else len(have) for name in want]


def rearranged(values: Tensor, places: Sequence[int]) -> Tensor:
    """The channels of `values [B, C, L]` at `places`; NaN for a place past the end."""
    padded = torch.cat([values, torch.full_like(values[:, :1], torch.nan)], dim=1)
    return padded[:, list(places)]
