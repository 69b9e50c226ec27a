"""What should have come and did not: gaps of single entities, storms over a hall."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from forecast.features.marks import Mark, Marks

Flags = NDArray[np.bool_]

#: Who was silent for longer has left (OPERATIONS.md §2: forecasting stops after 24 h of absence).
LEFT_S = 86_400
#: A storm is more than this share of a window missing (OPERATIONS.md §2) ...
STORM_RATIO = 0.2
#: ... among at least this many entities of a hall, over this time, and still half of that at the step itself.
_STORM_ENTITIES, _STORM_WINDOW_S = 4, 1800
#: Only who spoke this recently is lost to a storm; a longer silence is a gap of its own.
_RECENT_S = 3600
#: A sensor's usual interval is what it kept to for this time: with the storm's window that stays within a day.
_HABIT_S = 79_200


def mark_gaps(present: Flags, step_s: int, marks: Marks) -> None:
    """Mark the samples of one signal that are overdue, in place.

    A sample is overdue one step after its sensor's usual interval, so that a sampler somewhat slower than the grid has
    no gaps; it is no longer expected from `LEFT_S` on.

    Args:
        present: `[N, T]`, what came, usable or not.
    """
    _mark_gaps(present, LEFT_S // step_s, _HABIT_S // step_s, np.uint16(Mark.GAP), marks)


def storms(present: Flags, hall: NDArray[np.int64], step_s: int) -> Flags:
    """Whether the hall of each entity is in a storm of missing rows, `[N, T]`; false where it was silent before.

    Args:
        present: `[N, T]`, whether any signal of the entity came.
    """
    lost, expected, recent = _lost(present, hall, max(_RECENT_S // step_s, 1), _HABIT_S // step_s)
    window = max(_STORM_WINDOW_S // step_s, 1)
    share = _ratio(_last(lost, window), _last(expected, window))
    now = _ratio(lost, expected)
    storm = (expected >= _STORM_ENTITIES) & ((now > STORM_RATIO) | ((share > STORM_RATIO) & (now > STORM_RATIO / 2)))
    return np.asarray(storm[hall] & recent)


def _last(counts: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Sums over the last `window` steps, this one included."""
    sums = np.cumsum(counts, axis=1)
    sums[:, window:] -= sums[:, :-window].copy()
    return sums


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return part / np.maximum(whole, 1)


@njit(cache=True, nogil=True)
def _usual(came, step, window, samples, pairs):  # type: ignore[no-untyped-def]
    """The usual interval in steps: 1 where most of the window's intervals are, else their mean."""
    if 2 * pairs >= samples - 1:
        return 1
    first, last = max(step - window + 1, 0), step
    while not came[first]:
        first += 1
    while not came[last]:
        last -= 1
    return int(np.round((last - first) / (samples - 1)))


@njit(cache=True, nogil=True)
def _count(came, step, window, samples, pairs):  # type: ignore[no-untyped-def]
    """Move the counts of samples, and of samples one step apart, to the window that ends with `step`."""
    samples += came[step]
    pairs += step > 0 and came[step] and came[step - 1] and window > 1
    gone = step - window
    if gone >= 0:
        samples -= came[gone]
        pairs -= came[gone] and came[gone + 1] and window > 1
    return samples, pairs


@njit(cache=True, nogil=True)
def _mark_gaps(present, left, window, bit, marks):  # type: ignore[no-untyped-def]
    entities, steps = present.shape
    for entity in range(entities):
        came = present[entity]
        last, samples, pairs = -left, 0, 0
        for step in range(steps):
            samples, pairs = _count(came, step, window, samples, pairs)
            if came[step]:
                last = step
            elif step - last < left and step - last > _usual(came, step, window, samples, pairs):
                marks[entity, step] |= bit


@njit(cache=True, nogil=True)
def _lost(present, hall, recent_steps, window):  # type: ignore[no-untyped-def]
    """Count who is due and silent and who should speak, `[halls, T]`; note who spoke recently, `[N, T]`."""
    entities, steps = present.shape
    lost = np.zeros((hall.max() + 1, steps), np.int64)
    expected = np.zeros((hall.max() + 1, steps), np.int64)
    recent = np.zeros((entities, steps), np.bool_)
    for entity in range(entities):
        came, place = present[entity], hall[entity]
        last, samples, pairs = -recent_steps - 1, 0, 0
        for step in range(steps):
            samples, pairs = _count(came, step, window, samples, pairs)
            if came[step]:
                last = step
            elif step - last > recent_steps:
                continue
            else:
                lost[place, step] += step - last >= _usual(came, step, window, samples, pairs)
            expected[place, step] += 1
            recent[entity, step] = True
    return lost, expected, recent
