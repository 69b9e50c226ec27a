"""Which windows a training step sees: drawn on the device, as indices."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import IterableDataset


class LevelSampler(IterableDataset[Tensor]):
    """Endless random batches of (entity, origin) pairs in which few sites are not drowned by many servers.

    A level is drawn with probability proportional to the square root of its number of windows, then a window of it.

    Args:
        pairs: `[M, 2]`.
        level: `[M]`, the level code of each pair.
        size: pairs per batch.
        seed: the same seed draws the same batches.
        skipped: so many batches were drawn before.
    """

    def __init__(self, pairs: Tensor, level: Tensor, size: int, seed: int, skipped: int = 0) -> None:
        order = level.argsort(stable=True)
        self.pairs = pairs[order]
        self.counts = torch.unique_consecutive(level[order], return_counts=True)[1]
        self.first = self.counts.cumsum(0) - self.counts
        self.size = size
        self.seed = seed
        self.skipped = skipped

    def __iter__(self) -> Iterator[Tensor]:
        return islice(self._drawn(), self.skipped, None)

    def _drawn(self) -> Iterator[Tensor]:
        generator = torch.Generator(self.pairs.device).manual_seed(self.seed)
        chance = self.counts.to(torch.float32).sqrt()
        while True:
            group = torch.multinomial(chance, self.size, replacement=True, generator=generator)
            share = torch.rand(self.size, generator=generator, device=self.pairs.device, dtype=torch.float64)
            yield self.pairs[self.first[group] + (share * self.counts[group]).long()]
