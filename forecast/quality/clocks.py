"""Whose clock is off: when in its step each entity sends, against the rest of the fleet."""

import numpy as np
from numpy.typing import NDArray

from forecast.quality.quality import Clocks

#: An entity with fewer samples tells nothing of its clock.
_LEAST_SAMPLES = 10
#: Nor does one of which fewer of its samples are within so much of a step of its own median: a clock counts as off from
#: as much on (docs/faults.md), so a sampler that strays further has no phase that a clock could shift.
_STEADY_SHARE, _STEADY_RATIO = 0.75, 0.05
#: How many are named, and how many bars a chart has.
_WORST, _BARS = 10, 41


def clocks(offsets: NDArray[np.int64], entities: tuple[str, ...], step_s: int) -> Clocks:
    """Median offset of each entity from the fleet's, within half a step.

    Args:
        offsets: `[entity, bin]`, first samples by their place in the step.
        entities: names along the first axis.
        step_s: grid step, seconds.

    An offset of nearly a step is a small one the other way: the bins are turned so that the fleet is in the middle.
    """
    samples = offsets.sum(axis=1)
    judged = np.flatnonzero((samples >= _LEAST_SAMPLES) & (_near_median(offsets) >= _STEADY_SHARE * samples))
    unjudged = int((samples > 0).sum()) - len(judged)
    edges = (np.arange(_BARS + 1) / _BARS - 0.5) * step_s
    if not judged.size:
        return Clocks(0, unjudged, (), tuple(edges.tolist()), (0,) * _BARS)
    bins = offsets.shape[1]
    turned = np.roll(offsets[judged], bins // 2 - _centre(offsets[judged].sum(axis=0)), axis=1)
    medians = _medians(turned)
    off_s = (medians - np.median(medians)) * step_s / bins
    counts, _ = np.histogram(np.clip(off_s, edges[0], edges[-1]), edges)
    worst = np.argsort(-np.abs(off_s), kind="stable")[:_WORST]
    named = tuple((entities[judged[at]], float(off_s[at])) for at in worst if off_s[at])
    return Clocks(len(judged), unjudged, named, tuple(edges.tolist()), tuple(counts.tolist()))


def _centre(counts: NDArray[np.int64]) -> int:
    """The bin at which the fleet's samples are on average, on a circle of bins."""
    bins = len(counts)
    angle = np.angle((counts * np.exp(2j * np.pi * np.arange(bins) / bins)).sum())
    return round(float(angle) / (2 * np.pi) * bins) % bins


def _near_median(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many samples of each row lie close to its own median, on a circle of bins.

    A phase at the step's edge has its samples at both ends; its median is at one of them, so that all are close.
    """
    bins = counts.shape[1]
    away = np.abs(np.arange(bins) - _medians(counts)[:, None])
    near = np.minimum(away, bins - away) <= _STEADY_RATIO * bins
    return np.asarray((counts * near).sum(axis=1))


def _medians(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bin of the median of each row."""
    below = counts.cumsum(axis=1)
    return np.asarray((2 * below < below[:, -1:]).sum(axis=1))
