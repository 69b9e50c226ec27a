"""Senders whose clock is off: their samples lie elsewhere within the step than their hall's."""

import numpy as np
from numba import njit

from forecast.features.gridded import Floats
from forecast.features.limits import Limits
from forecast.features.marks import Mark, Marks

#: Off by this share of a step, and of five times the hall's own spread: schedulers that spread their scrapes over the
#: interval, as Prometheus does, have no common phase, and then nobody is off.
_LEAST_RATIO, _SPREADS = 0.05, 5.0
#: This many samples in a row, all the same way off, within half of how far they are off: a sampler that jitters is not.
SAMPLES, _STEADY = 3, 0.5
#: After a silence this long a clock is judged afresh.
_SILENCE_S = 21_600
#: Medians are taken from counts in this many bins of a step.
_BINS = 200


def mark_skewed_clocks(offset_s: Floats, limits: Limits, step_s: int, first: int, marks: Marks) -> None:
    """Mark in all signals, `[signal, N, T]`, the samples from `first` on whose clock is steadily off, in place.

    Args:
        offset_s: `[N, T]`, seconds from the step's start to the first sample, NaN without one.
    """
    silence, bit = max(_SILENCE_S // step_s, 1), np.uint16(Mark.SKEWED_CLOCK)
    begin = max(first - (SAMPLES - 1) * silence, 0)
    median, spread = _phases(offset_s, limits.rows, limits.hall, limits.halls, float(step_s), begin)
    _mark_skewed(offset_s, limits.rows, limits.hall, median, spread, float(step_s), silence, begin, first, bit, marks)


@njit(cache=True, nogil=True)
def _middle(counts, total):  # type: ignore[no-untyped-def]
    below = 0
    for place in range(len(counts)):
        below += counts[place]
        if 2 * below >= total:
            return place
    return 0


@njit(cache=True, nogil=True)
def _phases(offset_s, rows, hall, halls, step_s, begin):  # type: ignore[no-untyped-def]
    """Median offset of each hall per step and the median distance from it, `[halls, T]` each, in bins."""
    steps = offset_s.shape[1]
    counts = np.zeros((halls, steps - begin, _BINS), np.int32)
    for at in range(len(rows)):
        row, into = offset_s[rows[at]], counts[hall[at]]
        for step in range(begin, steps):
            if not np.isnan(row[step]):
                into[step - begin, min(int(row[step] / step_s * _BINS), _BINS - 1)] += 1
    median, spread = np.zeros((halls, steps), np.int64), np.zeros((halls, steps), np.int64)
    around = np.zeros(_BINS, np.int32)
    for place in range(halls):
        for step in range(begin, steps):
            seen = counts[place, step - begin]
            total = seen.sum()
            if total == 0:
                continue
            median[place, step] = _middle(seen, total)
            around[:] = 0
            for bin_ in range(_BINS):
                away = abs(bin_ - median[place, step])
                around[min(away, _BINS - away)] += seen[bin_]
            spread[place, step] = _middle(around, total)
    return median, spread


@njit(cache=True, nogil=True)
def _mark_skewed(offset_s, rows, hall, median, spread, step_s, silence, begin, first, bit, marks):  # type: ignore[no-untyped-def]
    last = np.empty(SAMPLES)
    for at in range(len(rows)):
        row, middle, wide = offset_s[rows[at]], median[hall[at]], spread[hall[at]]
        known, before = 0, begin - 1
        for step in range(begin, len(row)):
            if np.isnan(row[step]):
                continue
            if step - before > silence:
                known = 0
            before = step
            away = row[step] / step_s - middle[step] / _BINS
            away -= np.round(away)  # a clock behind by a little is ahead by most of a step
            if abs(away) <= max(_LEAST_RATIO, _SPREADS * wide[step] / _BINS):
                known = 0
                continue
            last[known % SAMPLES] = away
            known += 1
            steady = known >= SAMPLES and last.max() - last.min() <= _STEADY * np.abs(last).min()
            if steady and last.min() * last.max() > 0 and step >= first:
                for signal in range(len(marks)):
                    marks[signal, rows[at], step] |= bit
