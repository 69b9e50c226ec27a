"""What should have come and did not: gaps of single entities, storms over a hall."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from forecast.features.gridded import Floats
from forecast.features.limits import Limits
from forecast.features.marks import ROW_MARKS, Mark, Marks

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

#: Who was silent for longer has left (docs/faults.md: not expected after 24 h of absence).
LEFT_S = 86_400
#: A storm is more than this share of a window missing ...
STORM_RATIO = 0.2
#: ... among at least this many entities of a hall, over this time, and still half of that at the step itself.
_STORM_ENTITIES, _STORM_WINDOW_S = 4, 1800
#: Only who spoke this recently is lost to a storm; a longer silence is a gap of its own.
_RECENT_S = 3600
#: A sensor's usual interval is what it kept to for this time: with the storm's window that stays within a day.
_HABIT_S = 79_200
#: Stands for the silence of who never spoke.
_NEVER = np.int32(2**31 - 1)


def mark_absence(values: Floats, limits: Limits, step_s: int, first: int, marks: Marks) -> None:
    """Mark the samples that are overdue, and all that is in a storm, in place from the step `first` on.

    A sample is overdue one step after its sensor's usual interval, so that a sampler somewhat slower than the grid has
    no gaps; it is no longer expected from `LEFT_S` on. A hall is in a storm where many of its entities that spoke
    recently are silent; who was silent before is in none.

    Args:
        values, marks: `[signal, N, T]`; something came where there is a value or the mark of a row.
    """
    recent, habit = max(_RECENT_S // step_s, 1), max(_HABIT_S // step_s, 1)
    window = max(_STORM_WINDOW_S // step_s, 1)
    counted = max(first - window + 1, 0)
    lost = np.zeros((limits.halls, values.shape[2]), np.int64)
    expected = np.repeat(np.bincount(limits.hall)[:, None], values.shape[2], axis=1)
    spans, bit = (first, counted, LEFT_S // step_s, habit, recent), np.uint16(Mark.GAP)
    _mark_gaps(values, limits.rows, limits.hall, spans, bit, marks, lost, expected)
    storm = _storms(lost, expected, window)
    storm[:, :first] = False
    if storm.any():
        _mark_storms(values, limits.rows, limits.hall, storm, recent, np.uint16(Mark.STORM), marks)


def _storms(lost: Counts, expected: Counts, window: int) -> Flags:
    share = _ratio(_last(lost, window), _last(expected, window))
    now = _ratio(lost, expected)
    return (expected >= _STORM_ENTITIES) & ((now > STORM_RATIO) | ((share > STORM_RATIO) & (now > STORM_RATIO / 2)))


def _last(counts: Counts, window: int) -> Counts:
    """Sums over the last `window` steps, this one included."""
    sums = np.cumsum(counts, axis=1)
    sums[:, window:] -= sums[:, :-window].copy()
    return sums


def _ratio(part: Counts, whole: Counts) -> NDArray[np.float64]:
    return part / np.maximum(whole, 1)


@njit(cache=True, nogil=True)
def _see(values, marks, came, anything, afresh):  # type: ignore[no-untyped-def]
    """Note in which steps of one signal of one entity something came, `[T]`, and of it or the signals before."""
    for step in range(len(came)):
        came[step] = (not np.isnan(values[step])) | ((marks[step] & ROW_MARKS) > 0)
        anything[step] = came[step] | (anything[step] & (not afresh))


@njit(cache=True, nogil=True)
def _usual(came, begin, end, samples, pairs):  # type: ignore[no-untyped-def]
    """The usual interval in the steps `[begin, end)`: 1 where most of the intervals are, else their mean."""
    if 2 * pairs >= samples - 1:
        return 1
    first, last = begin, end - 1
    while not came[first]:
        first += 1
    while not came[last]:
        last -= 1
    return int(np.round((last - first) / (samples - 1)))


@njit(cache=True, nogil=True)
def _silences(came, window, first, reach, gaps, silent, usual):  # type: ignore[no-untyped-def]
    """The steps at which nothing came, for how many steps nothing had, and the usual interval at that time.

    What is rare is what is listed: samples, and samples one step apart, are counted by those that lack.

    Args:
        window: steps over which the usual interval is taken.
        first, reach: steps before `first`, and longer silences than `reach`, get no usual interval.
        gaps, silent, usual: written, `[T]`; `_NEVER` is the silence of who had not spoken yet.

    Returns:
        How many there are.
    """
    count = 0
    for step in range(len(came)):
        gaps[count] = step
        count += not came[step]
    head, ends, last = 0, 0, -1
    for place in range(count):
        step = gaps[place]
        if place == 0 or gaps[place - 1] != step - 1:
            ends += place > 0
            last = step - 1
        begin = max(step - window + 1, 0)
        while gaps[head] < begin:
            ends -= gaps[head + 1] != gaps[head] + 1
            head += 1
        silent[place] = step - last if last >= 0 else _NEVER
        if step >= first and silent[place] <= reach:
            samples, lacking = step + 1 - begin, place + 1 - head
            pairs = samples - 1 - lacking - ends + (gaps[head] == begin)
            usual[place] = _usual(came, begin, step + 1, samples - lacking, pairs)
    return count


@njit(cache=True, nogil=True)
def _mark_gaps(values, rows, hall, spans, bit, marks, lost, expected):  # type: ignore[no-untyped-def]
    """Mark gaps; count who is due and silent, and take who need not speak from `expected`, `[halls, T]`."""
    first, counted, left, habit, recent = spans
    signals, _, steps = values.shape
    gaps, silent, usual = np.empty(steps, np.int32), np.empty(steps, np.int32), np.empty(steps, np.int32)
    came, anything = np.empty(steps, np.bool_), np.zeros(steps, np.bool_)
    for at in range(len(rows)):
        for signal in range(signals):
            out = marks[signal, rows[at]]
            _see(values[signal, rows[at]], out, came, anything, signal == 0)
            for place in range(_silences(came, habit, first, left - 1, gaps, silent, usual)):
                if gaps[place] >= first and silent[place] < left and silent[place] > usual[place]:
                    out[gaps[place]] |= bit
        for place in range(_silences(anything, habit, counted, recent, gaps, silent, usual)):
            if silent[place] > recent:
                expected[hall[at], gaps[place]] -= 1
            elif gaps[place] >= counted:
                lost[hall[at], gaps[place]] += silent[place] >= usual[place]


@njit(cache=True, nogil=True)
def _mark_storms(values, rows, hall, storm, recent, bit, marks):  # type: ignore[no-untyped-def]
    signals, _, steps = values.shape
    came, anything = np.empty(steps, np.bool_), np.zeros(steps, np.bool_)
    for at in range(len(rows)):
        stormy = storm[hall[at]]
        for signal in range(signals):
            _see(values[signal, rows[at]], marks[signal, rows[at]], came, anything, signal == 0)
        last = -recent - 1
        for step in range(steps):
            if anything[step]:
                last = step
            if stormy[step] and step - last <= recent:
                for signal in range(signals):
                    marks[signal, rows[at], step] |= bit
