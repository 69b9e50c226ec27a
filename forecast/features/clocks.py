"""Senders whose clock is off: their samples lie elsewhere within the step than their hall's."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from forecast.features.gridded import Floats

#: Off by this share of a step, and of five times the hall's own spread: schedulers that spread their scrapes over the
#: interval, as Prometheus does, have no common phase, and then nobody is off.
_LEAST_RATIO, _SPREADS = 0.05, 5.0
#: This many samples in a row, all the same way off, within half of how far they are off: a sampler that jitters is not.
SAMPLES, _STEADY = 3, 0.5
#: After a silence this long a clock is judged afresh.
_SILENCE_S = 21_600
#: Medians are taken from counts in this many bins of a step.
_BINS = 200


def skewed_clocks(offset_s: Floats, hall: NDArray[np.int64], step_s: int) -> NDArray[np.bool_]:
    """Which samples come from a clock that is steadily off, `[N, T]`.

    Args:
        offset_s: `[N, T]`, seconds from the step's start to the first sample, NaN without one.
        hall: `[N]`, code of the hall whose median counts.
    """
    return np.asarray(_skewed(offset_s, hall, float(step_s), max(_SILENCE_S // step_s, 1)))


@njit(cache=True, nogil=True)
def _middle(counts, total):  # type: ignore[no-untyped-def]
    below = 0
    for place in range(len(counts)):
        below += counts[place]
        if 2 * below >= total:
            return place
    return 0


@njit(cache=True, nogil=True)
def _phases(offset_s, hall, step_s):  # type: ignore[no-untyped-def]
    """Median offset of each hall per step and the median distance from it, `[halls, T]` each, in bins."""
    entities, steps = offset_s.shape
    halls = hall.max() + 1
    counts = np.zeros((halls, steps, _BINS), np.int32)
    for entity in range(entities):
        for step in range(steps):
            offset = offset_s[entity, step]
            if not np.isnan(offset):
                counts[hall[entity], step, min(int(offset / step_s * _BINS), _BINS - 1)] += 1
    median, spread = np.zeros((halls, steps), np.int64), np.zeros((halls, steps), np.int64)
    around = np.zeros(_BINS, np.int32)
    for place in range(halls):
        for step in range(steps):
            total = counts[place, step].sum()
            if total == 0:
                continue
            median[place, step] = _middle(counts[place, step], total)
            around[:] = 0
            for at in range(_BINS):
                away = abs(at - median[place, step])
                around[min(away, _BINS - away)] += counts[place, step, at]
            spread[place, step] = _middle(around, total)
    return median, spread


@njit(cache=True, nogil=True)
def _skewed(offset_s, hall, step_s, silence):  # type: ignore[no-untyped-def]
    entities, steps = offset_s.shape
    median, spread = _phases(offset_s, hall, step_s)
    skewed = np.zeros((entities, steps), np.bool_)
    last = np.empty(SAMPLES)
    for entity in range(entities):
        known, before = 0, -1
        for step in range(steps):
            if np.isnan(offset_s[entity, step]):
                continue
            if step - before > silence:
                known = 0
            before = step
            away = offset_s[entity, step] / step_s - median[hall[entity], step] / _BINS
            away -= np.round(away)  # a clock behind by a little is ahead by most of a step
            if abs(away) <= max(_LEAST_RATIO, _SPREADS * spread[hall[entity], step] / _BINS):
                known = 0
                continue
            last[known % SAMPLES] = away
            known += 1
            if known >= SAMPLES and last.max() - last.min() <= _STEADY * np.abs(last).min():
                skewed[entity, step] = last.min() * last.max() > 0
    return skewed
