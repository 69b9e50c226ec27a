"""Sensors that repeat themselves while the world moves.

A run of equal samples means nothing by itself: an idle machine may honestly draw 52 W all night. It is a stuck sensor
when what drives the signal moved meanwhile, or when the sensor, at this very level, used not to repeat itself.
Everything is judged from the last day alone, so that a day can be marked from itself and the day before.
"""

import numpy as np
from numba import njit

from forecast.features.gridded import Floats
from forecast.features.limits import Limits
from forecast.features.marks import Mark, Marks

#: Equal samples in a row before anything is said: six, and no less than 20 min. Clean simulated power repeats up to 7
#: times (whole watts, noise of 0.4 %), so the number alone would not do.
LEAST_SAMPLES, LEAST_S = 6, 1200
#: Samples count as equal within this share of their size: room for the rounding of a mean of equal samples.
_SAME = 1e-6
#: Use that moved this much must have moved power, by a tenth of the swing between idle and full; half of that suffices
#: where the run is twice as long.
UTILIZATION_MOVED = 0.1
#: Power that moved enough to shift temperature this far must have moved a sensor of whole degrees.
TEMPERATURE_MOVED_K = 10.0
#: A sensor's habit is how often it repeated over this many earlier pairs of samples within 3 % of the held value.
_HABIT_PAIRS, _AT_LEVEL = 16, 0.03
#: A run this improbable under the sensor's own habit is none of its own making; a fleet of 10,000 sees 1e7 a day.
_CHANCE = 1e-9
#: What drives a signal counts from this many samples after the run began to the sample before the last: a value that
#: was passed on the way, or is left in a moment, is no run.
_SETTLED = 2
#: A companion of a stuck sensor froze with it, at most this many samples later as first repeats can be honest, or has
#: repeated for this many times the least run since something else, a spike say, interrupted it.
_COMPANION_LATE, _COMPANION_RUNS = 2, 3

_BIT = np.uint16(Mark.STUCK_SENSOR)


def mark_stuck_power(power_w: Floats, utilization: Floats, step_s: int, marks: Marks) -> None:
    """Mark power `[N, T]` that stands still while use moves, or against its own habit.

    Args:
        utilization: `[N, T]`, or `[0, 0]` where it is not measured.
        marks: `[N, T]` of power, changed in place.
    """
    needed = np.full(len(power_w), UTILIZATION_MOVED)
    nothing = np.full(len(power_w), np.inf)
    _mark(power_w, utilization, needed, nothing, _least(step_s), 86_400 // step_s, True, _BIT, marks)


def mark_stuck_temperature(
    temperature_c: Floats,
    power_w: Floats,
    limits: Limits,
    step_s: int,
    marks: Marks,
) -> None:
    """Mark temperature `[N, T]` that stands still while power moves; a governed die, near its limit, may do so.

    Its habit says nothing: it drifts slowly and has few digits.

    Args:
        power_w: `[N, T]`, or `[0, 0]` where it is not measured.
    """
    needed = TEMPERATURE_MOVED_K / limits.kelvin_per_w
    governed = np.where(np.isnan(limits.temperature_limit_c), np.inf, limits.temperature_limit_c - 1.0)
    _mark(temperature_c, power_w, needed, governed, _least(step_s), 86_400 // step_s, False, _BIT, marks)


def mark_companion(values: Floats, other: Floats, step_s: int, marks: Marks, other_marks: Marks) -> None:
    """Mark `values` `[N, T]` that froze together with a stuck sensor `other` of its machine: one agent reads both."""
    _mark_companion(values, other, _least(step_s), 86_400 // step_s, _BIT, marks, other_marks)


def _least(step_s: int) -> int:
    return max(LEAST_SAMPLES, -(-LEAST_S // step_s))


@njit(cache=True, nogil=True)
def same(value, held):  # type: ignore[no-untyped-def]
    """Whether two samples count as equal."""
    return np.abs(value - held) <= _SAME * np.abs(held)


@njit(cache=True, nogil=True)
def _runs(values, day, start, count):  # type: ignore[no-untyped-def]
    """Per step `[T]`: where its run of equal samples starts within the last day, and how many samples it has."""
    first, head, tail = -1, 0, 0
    seen = np.empty(len(values), np.int64)
    held = np.nan
    for step in range(len(values)):
        value = values[step]
        if np.isnan(value):
            start[step], count[step] = -1, 0
            continue
        if first < 0 or not same(value, held):
            head, tail, held = 0, 0, value
        seen[tail] = step
        tail += 1
        while seen[head] <= step - day:
            head += 1
        first = seen[head]
        start[step], count[step] = first, tail - head


@njit(cache=True, nogil=True)
def _habit(values, first, after):  # type: ignore[no-untyped-def]
    """The samples in a row that this sensor cannot have made at this level before `first`, and how far back one looks.

    Returns `(samples, oldest)`; `oldest` is -1 where the steps after `after` hold too few pairs to tell.
    """
    held = values[first]
    near = _AT_LEVEL * abs(held)
    pairs, repeats = 0, 0
    for step in range(first - 1, after + 1, -1):
        if abs(values[step] - held) <= near and abs(values[step - 1] - held) <= near:
            pairs += 1
            repeats += same(values[step], values[step - 1])
            if pairs == _HABIT_PAIRS:
                chance = (repeats + 1) / (pairs + 2)
                return 1 + np.log(_CHANCE) / np.log(chance), step - 1
    return np.inf, -1


@njit(cache=True, nogil=True)
def _mark(values, driver, needed, governed, least, day, by_habit, bit, marks):  # type: ignore[no-untyped-def]
    entities, steps = values.shape
    start, count = np.empty(steps, np.int64), np.empty(steps, np.int64)
    highs, lows = np.empty(steps, np.int64), np.empty(steps, np.int64)
    driven = len(driver) > 0
    for entity in range(entities):
        row = values[entity]
        _runs(row, day, start, count)
        high_head, high_tail, low_head, low_tail = 0, 0, 0, 0
        habit_of, enough, oldest = -1, np.inf, -1
        run_of, before = -1, -1
        for step in range(steps):
            if start[step] < 0:
                continue
            if count[step] == 1:
                high_head, high_tail, low_head, low_tail, run_of = 0, 0, 0, 0, step
            if driven and count[step] > _SETTLED + 1:
                high_head, high_tail, low_head, low_tail = _push(
                    driver[entity], before, start[step], highs, high_head, high_tail, lows, low_head, low_tail
                )
            before = step
            if count[step] < least:
                continue
            if by_habit and count[step] == least and start[step] == run_of:
                habit_of = run_of
                enough, oldest = _habit(row, run_of, max(step - day, -1))
            enough_moved = needed[entity] if count[step] < 2 * least else needed[entity] / 2
            moved = (
                high_tail > high_head
                and driver[entity, highs[high_head]] - driver[entity, lows[low_head]] >= enough_moved
                and row[step] < governed[entity]
            )
            unlike = habit_of == run_of and oldest > step - day and oldest >= 0 and count[step] >= enough
            if moved or unlike:
                marks[entity, step] |= bit


@njit(cache=True, nogil=True)
def _push(driver, step, first, highs, high_head, high_tail, lows, low_head, low_tail):  # type: ignore[no-untyped-def]
    """Keep the greatest and the least of `driver` over the run, in two monotone queues of steps."""
    value = driver[step]
    if not np.isnan(value):
        while high_tail > high_head and driver[highs[high_tail - 1]] <= value:
            high_tail -= 1
        highs[high_tail] = step
        high_tail += 1
        while low_tail > low_head and driver[lows[low_tail - 1]] >= value:
            low_tail -= 1
        lows[low_tail] = step
        low_tail += 1
    while high_tail > high_head and highs[high_head] < first:
        high_head += 1
    while low_tail > low_head and lows[low_head] < first:
        low_head += 1
    return high_head, high_tail, low_head, low_tail


@njit(cache=True, nogil=True)
def _mark_companion(values, other, least, day, bit, marks, other_marks):  # type: ignore[no-untyped-def]
    entities, steps = values.shape
    start, count = np.empty(steps, np.int64), np.empty(steps, np.int64)
    other_start, other_count = np.empty(steps, np.int64), np.empty(steps, np.int64)
    for entity in range(entities):
        _runs(values[entity], day, start, count)
        _runs(other[entity], day, other_start, other_count)
        for step in range(steps):
            together = start[step] <= other_start[step] + _COMPANION_LATE or count[step] >= _COMPANION_RUNS * least
            if other_marks[entity, step] & bit and count[step] >= least and together:
                marks[entity, step] |= bit
