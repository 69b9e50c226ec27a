"""Sensors that repeat themselves while the world moves.

A run of equal samples means nothing by itself: an idle machine may honestly draw 52 W all night. It is a stuck sensor
when what drives the signal moved meanwhile, or when the sensor, at this very level, used not to repeat itself.
Everything is judged from the last day alone, so that a day can be marked from itself and the day before.
"""

import numpy as np
from numba import njit

from forecast.features.gridded import Floats
from forecast.features.limits import Limits
from forecast.features.marks import NO_LOAD, Mark, Marks

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


def mark_stuck_power(
    power_w: Floats,
    utilization: Floats,
    utilization_marks: Marks,
    limits: Limits,
    step_s: int,
    first: int,
    marks: Marks,
) -> None:
    """Mark power `[N, T]` that stands still while use moves, or against its own habit.

    Args:
        utilization, utilization_marks: `[N, T]`, or `[0, 0]` where it is not measured.
        first: the first step to mark.
        marks: `[N, T]` of power, changed in place.
    """
    needed, nothing = np.full(len(limits.rows), UTILIZATION_MOVED), np.full(len(limits.rows), np.inf)
    driver, size = (utilization, utilization_marks, np.uint16(0)), (_least(step_s), 86_400 // step_s, first)
    _mark(power_w, *driver, limits.rows, needed, nothing, *size, True, _BIT, marks)


def mark_stuck_temperature(
    temperature_c: Floats,
    power_w: Floats,
    power_marks: Marks,
    limits: Limits,
    step_s: int,
    first: int,
    marks: Marks,
) -> None:
    """Mark temperature `[N, T]` that stands still while power moves; a governed die, near its limit, may do so.

    Its habit says nothing: it drifts slowly and has few digits.

    Args:
        power_w, power_marks: `[N, T]`, or `[0, 0]` where it is not measured.
        first: the first step to mark.
    """
    needed = TEMPERATURE_MOVED_K / limits.kelvin_per_w
    governed = np.where(np.isnan(limits.temperature_limit_c), np.inf, limits.temperature_limit_c - 1.0)
    driver, size = (power_w, power_marks, NO_LOAD), (_least(step_s), 86_400 // step_s, first)
    _mark(temperature_c, *driver, limits.rows, needed, governed, *size, False, _BIT, marks)


def mark_companion(
    values: Floats, other: Floats, limits: Limits, step_s: int, first: int, marks: Marks, other_marks: Marks
) -> None:
    """Mark `values` `[N, T]` that froze together with a stuck sensor `other` of its machine: one agent reads both."""
    _mark_companion(values, other, limits.rows, _least(step_s), 86_400 // step_s, first, _BIT, marks, other_marks)


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
def _breaks(values, step):  # type: ignore[no-untyped-def]
    """Whether a run surely ends before `step`: its sample and the one just before cannot both be like a third."""
    value, before = values[step], values[step - 1]
    return step == 0 or np.abs(value - before) > 4 * _SAME * (np.abs(value) + np.abs(before))


@njit(cache=True, nogil=True)
def _mark(values, driver, driver_marks, hidden, rows, needed, governed, least, day, first, by_habit, bit, marks):  # type: ignore[no-untyped-def]
    """Look for stretches without a break that are long enough for a run, from their far end, and judge only these."""
    steps = values.shape[1]
    queues = np.empty((2, steps), np.int64)
    driven = len(driver) > 0
    for at in range(len(rows)):
        row, out = values[rows[at]], marks[rows[at]]
        load = driver[rows[at]] if driven else row[:0]
        load_marks = driver_marks[rows[at]] if driven else out[:0]
        begin = min(first, steps - 1)
        while not _breaks(row, begin):
            begin -= 1
        while begin + least <= steps:
            probe = begin + least - 1
            while probe > begin and not _breaks(row, probe):
                probe -= 1
            if probe > begin:
                begin = probe
                continue
            end = begin + least
            while end < steps and not _breaks(row, end):
                end += 1
            of = load, load_marks, hidden, needed[at], governed[at]
            _mark_runs(row, begin, end, of, least, day, first, by_habit, queues, bit, out)
            begin = end


@njit(cache=True, nogil=True)
def _mark_runs(values, begin, end, of, least, day, first, by_habit, queues, bit, marks):  # type: ignore[no-untyped-def]
    """Split a stretch in which there may be runs into runs; a silence of a day begins another."""
    start, before, count, held = begin, begin, 0, values[begin]
    for step in range(begin, end):
        value = values[step]
        if np.isnan(value):
            continue
        like = count > 0 and same(value, held)
        if not like or step - before >= day:
            if count >= least and before >= first:
                _mark_run(values, start, before, of, least, day, first, by_habit, queues, bit, marks)
            held = held if like else value
            start, count = step, 0
        before = step
        count += 1
    if count >= least and before >= first:
        _mark_run(values, start, before, of, least, day, first, by_habit, queues, bit, marks)


@njit(cache=True, nogil=True)
def _mark_run(values, start, last, of, least, day, first, by_habit, queues, bit, marks):  # type: ignore[no-untyped-def]
    """Judge the run of equal samples on the steps `[start, last]`."""
    driver, driver_marks, hidden, needed, governed = of
    driven = _moved(driver, driver_marks, hidden, values, start, last, needed / 2)
    enough, oldest = np.inf, -1
    if by_habit:
        enough, oldest = _habit_of_run(values, start, least, day)
    if not driven and oldest < 0:
        return
    highs, lows, nothing = queues[0], queues[1], np.int64(0)
    high_head, high_tail, low_head, low_tail = nothing, nothing, nothing, nothing
    head, before, count = start, start, nothing
    for step in range(start, last + 1):
        if np.isnan(values[step]):
            continue
        count += 1
        while head <= step - day or np.isnan(values[head]):
            count -= not np.isnan(values[head])
            head += 1
        if driven and count > _SETTLED + 1:
            if not driver_marks[before] & hidden:
                high_head, high_tail, low_head, low_tail = _push(
                    driver, before, highs, high_head, high_tail, lows, low_head, low_tail
                )
            while high_tail > high_head and highs[high_head] < head:
                high_head += 1
            while low_tail > low_head and lows[low_head] < head:
                low_head += 1
        before = step
        if count < least or step < first:
            continue
        enough_moved = needed if count < 2 * least else needed / 2
        moved = (
            high_tail > high_head
            and driver[highs[high_head]] - driver[lows[low_head]] >= enough_moved
            and values[step] < governed
        )
        if moved or (oldest >= 0 and oldest > step - day and count >= enough):
            marks[step] |= bit


@njit(cache=True, nogil=True)
def _moved(driver, driver_marks, hidden, values, start, last, needed):  # type: ignore[no-untyped-def]
    """Whether what drives the signal moved at all that far over the samples of a run."""
    if len(driver) == 0:
        return False
    high, low = np.float32(-np.inf), np.float32(np.inf)
    for step in range(start, last):
        if not np.isnan(values[step]) and not driver_marks[step] & hidden:
            high = driver[step] if driver[step] > high else high
            low = driver[step] if driver[step] < low else low
    return high - low >= needed


@njit(cache=True, nogil=True)
def _habit_of_run(values, start, least, day):  # type: ignore[no-untyped-def]
    """The habit of the sensor before a run, if that has its least number of samples within a day."""
    count, step = 1, start
    while count < least:
        step += 1
        count += not np.isnan(values[step])
    return _habit(values, start, max(step - day, -1)) if step - day < start else (np.inf, -1)


@njit(cache=True, nogil=True)
def _push(driver, step, highs, high_head, high_tail, lows, low_head, low_tail):  # type: ignore[no-untyped-def]
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
    return high_head, high_tail, low_head, low_tail


@njit(cache=True, nogil=True)
def _mark_companion(values, other, rows, least, day, first, bit, marks, other_marks):  # type: ignore[no-untyped-def]
    steps = values.shape[1]
    start, count = np.empty(steps, np.int64), np.empty(steps, np.int64)
    other_start, other_count = np.empty(steps, np.int64), np.empty(steps, np.int64)
    for entity in rows:
        stuck = np.uint16(0)
        for step in range(first, steps):
            stuck |= other_marks[entity, step] & bit
        if not stuck:
            continue
        _runs(values[entity], day, start, count)
        _runs(other[entity], day, other_start, other_count)
        for step in range(first, steps):
            together = start[step] <= other_start[step] + _COMPANION_LATE or count[step] >= _COMPANION_RUNS * least
            if other_marks[entity, step] & bit and count[step] >= least and together:
                marks[entity, step] |= bit
