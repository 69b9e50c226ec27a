"""Sums that every score is made of, so that any grouping of entities is scored without keeping the forecasts.

Definitions are those of the field: WQL = mean over levels 0.1 ... 0.9 of 2 · Σ pinball / Σ |y| (as in GluonTS and
GIFT-Eval); MASE by Hyndman and Koehler (2006); coverage of central intervals.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Levels that WQL averages over; tails are judged by coverage.
WQL_LEVELS = tuple(round(0.1 * index, 1) for index in range(1, 10))

#: Of float64 quantiles that are scored together: a thousand entities at once took 2.7 times as long.
_PIECE_BYTES = 2**19

Array = NDArray[np.float64]


class Tally:
    """Running sums of one method's errors, per entity, target and part of the horizon.

    Args:
        entities, targets: sizes of the axes.
        levels: quantile levels.
        parts: `[H]`, the part of the horizon that each step belongs to.
    """

    def __init__(self, entities: int, targets: int, levels: Sequence[float], parts: NDArray[np.int64]) -> None:
        self.levels = tuple(levels)
        self.parts = parts
        self._starts = np.flatnonzero(np.diff(parts, prepend=-1))
        shape = (entities, targets, len(self._starts))
        self.windows = np.zeros(shape[:2], np.int64)
        self.count, self.magnitude, self.error = (np.zeros(shape) for _ in range(3))
        self.pinball, self.below = (np.zeros((*shape[:2], len(levels), shape[2])) for _ in range(2))

    def add(self, entity: NDArray[np.int64], actual: NDArray[np.floating], quantiles: NDArray[np.floating]) -> None:
        """Add forecasts `quantiles [M, T, Q, H]` of distinct `entity [M]`; `actual [M, T, H]` is NaN where unknown."""
        for piece in pieces(len(entity), quantiles[:1].size):
            self._add(entity[piece], actual[piece], quantiles[piece])

    def _add(self, entity: NDArray[np.int64], actual: NDArray[np.floating], quantiles: NDArray[np.floating]) -> None:
        known = ~np.isnan(actual)
        truth = np.where(known, actual, 0.0).astype(np.float64)[:, :, None]
        error = np.where(known[:, :, None], truth - quantiles, 0.0)
        level = np.asarray(self.levels)[:, None]
        middle = self.levels.index(0.5)
        self.windows[entity] += known.any(-1)
        self.count[entity] += self._sum(known)
        self.magnitude[entity] += self._sum(np.abs(truth[:, :, 0]))
        self.error[entity] += self._sum(np.abs(error[:, :, middle]))
        self.pinball[entity] += self._sum(np.maximum(level * error, (level - 1) * error))
        self.below[entity] += self._sum((error <= 0) & known[:, :, None])

    def _sum(self, values: NDArray[np.generic]) -> Array:
        summed: Array = np.add.reduceat(values.astype(np.float64), self._starts, axis=-1)
        return summed

    def wql(self, group: NDArray[np.bool_], target: int) -> float:
        """Weighted quantile loss over the entities in `group`."""
        return float(self.wql_by_part(group, target, pooled=True)[0])

    def wql_by_part(self, group: NDArray[np.bool_], target: int, pooled: bool = False) -> Array:
        """The same per part of the horizon, or over all of it as one element."""
        chosen = [self.levels.index(level) for level in WQL_LEVELS if level in self.levels]
        loss = self.pinball[group, target][:, chosen].sum(0)
        size = self.magnitude[group, target].sum(0)
        if pooled:
            loss, size = loss.sum(-1, keepdims=True), size.sum(keepdims=True)
        wql: Array = _ratio(2 * loss, size).mean(0)
        return wql

    def mae(self, group: NDArray[np.bool_], target: int) -> float:
        """Mean absolute error of the median, in the target's unit."""
        return float(_ratio(self.error[group, target].sum(), self.count[group, target].sum()))

    def mase(self, group: NDArray[np.bool_], target: int, naive: Array) -> float:
        """Mean over entities of MAE over `naive [N, T]`, the in-sample MAE of the seasonal difference."""
        mae = _ratio(self.error[group, target].sum(1), self.count[group, target].sum(1))
        ratios = _ratio(mae, naive[group, target])
        return float(np.nanmean(ratios)) if np.isfinite(ratios).any() else float("nan")

    def covered(self, group: NDArray[np.bool_], target: int) -> Array:
        """Share of outcomes at or below each quantile, `[Q]`; a calibrated forecast gives the levels themselves."""
        return _ratio(self.below[group, target].sum((0, 2)), self.count[group, target].sum())

    def coverage(self, group: NDArray[np.bool_], target: int, share: float) -> float:
        """Share of outcomes inside the central interval that should hold `share`; NaN if the levels lack it."""
        tail = round((1 - share) / 2, 9)
        if tail not in self.levels:
            return float("nan")
        low = self.levels.index(tail)
        covered = self.covered(group, target)
        return float(covered[len(self.levels) - 1 - low] - covered[low])


def pieces(entities: int, values: int) -> list[slice]:
    """Entities, each with so many values, as slices of few enough for a core's cache."""
    step = max(_PIECE_BYTES // (8 * max(values, 1)), 1)
    return [slice(begin, begin + step) for begin in range(0, entities, step)]


def _ratio(part: NDArray[np.float64] | np.float64, whole: NDArray[np.float64] | np.float64) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Array = np.where(np.asarray(whole) > 0, np.divide(part, whole), np.nan)
    return ratio
