"""kW where W belong, °F where °C belong: readings that only make sense in another unit.

A wrong unit is an exporter's, after an upgrade or a change of language: it begins from one sample to the next, for a
host or a whole hall. What is gradual, or what only one witness says, is left alone.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from forecast.features.gridded import Floats
from forecast.features.limits import Limits
from forecast.features.marks import Mark, Marks
from forecast.features.units import LIKE_KW

#: A thousandth of what the machine drew in the last day: for entities without a nameplate.
_KILOWATT_OF_SEEN = 2e-3
#: A machine that is on uses something, or is warmer than its air.
_IN_USE, _WARMER_K, _WARM_C = 0.02, 5.0, 35.0
#: Air above ASHRAE A4 (constants.md §1).
_HOTTEST_INLET_C = 45.0
#: 59 °F is 15 °C, where the allowable range of class A1 starts (constants.md §1); less could be heat.
_COLDEST_INLET_F = 59.0
#: A change of unit is a jump to the same temperature in °F, give or take what air does between two samples.
_FITS_K, _LEAST_JUMP_K = 4.0, 25.0
#: How long a room's heat that came gradually is believed; then only °F explains it.
_BELIEVED_S = 21_600
#: Silicon has shut down this far above its operating limit (constants.md §2: 5 to 8 °C on A100, H100, GH200 and B200).
_SHUT_DOWN_OVER_K = 8.0
#: A collector's mistake, when this share of a hall's readings say so.
_MAJORITY = 0.5


def mark_kilowatt(
    power_w: Floats,
    utilization: Floats,
    temperature_c: Floats,
    inlet_c: Floats,
    limits: Limits,
    step_s: int,
    marks: Marks,
) -> None:
    """Mark `power_w` `[N, T]` in place; the other signals are `[N, T]`, or `[0, 0]` where they are not measured.

    A machine that is off draws little too. It is not in use and no warmer than its air, and then is not marked; where
    no temperature says whether it is on, the majority of its hall decides.
    """
    ceilings, day = LIKE_KW * limits.power_limit_w, 86_400 // step_s
    if not _has_kilowatt(power_w, limits.rows, ceilings):
        return
    candidate = _kilowatt_candidates(power_w, limits.rows, ceilings, day)
    crowd = _majority(candidate, _known(power_w, limits.rows), limits)
    bit = np.uint16(Mark.KILOWATT)
    _mark_kilowatt(candidate, crowd, limits.rows, limits.hall, utilization, temperature_c, inlet_c, bit, marks)


def mark_fahrenheit_air(inlet_c: Floats, limits: Limits, step_s: int, marks: Marks) -> None:
    """Mark `inlet_c` `[N, T]` in place: hot since a jump that fits the change of unit, or hot for too long."""
    _mark_air(inlet_c, limits.rows, _BELIEVED_S // step_s, np.uint16(Mark.FAHRENHEIT), marks)


def mark_fahrenheit_dies(
    temperature_c: Floats, inlet_c: Floats, limits: Limits, step_s: int, marks: Marks, inlet_marks: Marks
) -> None:
    """Mark `temperature_c` `[N, T]` in place, once the air was; `inlet_c` is `[0, 0]` where it is not measured.

    The inlet decides for its row, as one exporter writes both; without one its hall's inlets do, and without any the
    die itself, once two samples in a row were beyond what silicon survives.
    """
    bit, survived_c = np.uint16(Mark.FAHRENHEIT), limits.die_limit_c + _SHUT_DOWN_OVER_K
    if not _has_fahrenheit(temperature_c, inlet_marks, limits.rows, survived_c, bit):
        return
    shape = len(limits.rows), temperature_c.shape[1]
    asked, mistaken = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    if len(inlet_c):
        asked, mistaken = _known(inlet_c, limits.rows), _marked(inlet_marks, limits.rows, bit)
    crowd, told = _majority(mistaken, asked, limits), _counts(asked, limits.hall, limits.halls) > 0
    within = _BELIEVED_S // step_s
    _mark_dies(temperature_c, asked, mistaken, crowd, told, survived_c, limits.rows, limits.hall, within, bit, marks)


def _majority(said: NDArray[np.bool_], asked: NDArray[np.bool_], limits: Limits) -> NDArray[np.bool_]:
    """Whether at each step most of a hall's entities that were asked said so, `[halls, T]`; two at least."""
    yes = _counts(said, limits.hall, limits.halls)
    return np.asarray((yes >= 2) & (yes >= _MAJORITY * _counts(asked, limits.hall, limits.halls)))


@njit(cache=True, nogil=True)
def _known(values, rows):  # type: ignore[no-untyped-def]
    known = np.empty((len(rows), values.shape[1]), np.bool_)
    for at in range(len(rows)):
        row, out = values[rows[at]], known[at]
        for step in range(len(row)):
            out[step] = not np.isnan(row[step])
    return known


@njit(cache=True, nogil=True)
def _marked(marks, rows, bit):  # type: ignore[no-untyped-def]
    marked = np.empty((len(rows), marks.shape[1]), np.bool_)
    for at in range(len(rows)):
        row, out = marks[rows[at]], marked[at]
        for step in range(len(row)):
            out[step] = (row[step] & bit) > 0
    return marked


@njit(cache=True, nogil=True)
def _counts(flags, hall, halls):  # type: ignore[no-untyped-def]
    """How many of `flags [N, T]` are set in each hall, `[halls, T]`."""
    counts = np.zeros((halls, flags.shape[1]), np.int32)
    for at in range(len(flags)):
        row, out = flags[at], counts[hall[at]]
        for step in range(len(row)):
            out[step] += row[step]
    return counts


@njit(cache=True, nogil=True)
def _has_kilowatt(power_w, rows, ceilings):  # type: ignore[no-untyped-def]
    """Whether anything at all can be in kW: little power, or little beside the greatest that was drawn."""
    for at in range(len(rows)):
        row, ceiling = power_w[rows[at]], ceilings[at]
        if np.isnan(ceiling):
            ceiling = 0.0
            for step in range(len(row)):
                ceiling = max(ceiling, _KILOWATT_OF_SEEN * row[step]) if row[step] > 0 else ceiling
        few = 0
        for step in range(len(row)):
            few += (row[step] > 0) & (row[step] <= ceiling)
        if few:
            return True
    return False


@njit(cache=True, nogil=True)
def _kilowatt_candidates(power_w, rows, ceilings, day):  # type: ignore[no-untyped-def]
    steps = power_w.shape[1]
    candidate = np.zeros((len(rows), steps), np.bool_)
    highs = np.empty(steps, np.int64)
    for at in range(len(rows)):
        row = power_w[rows[at]]
        if not np.isnan(ceilings[at]):
            for step in range(steps):
                candidate[at, step] = 0 < row[step] <= ceilings[at]
            continue
        head, tail = 0, 0
        for step in range(steps):
            value = row[step]
            if np.isnan(value):
                continue
            while tail > head and row[highs[tail - 1]] <= value:
                tail -= 1
            highs[tail] = step
            tail += 1
            while highs[head] <= step - day:
                head += 1
            candidate[at, step] = 0 < value <= _KILOWATT_OF_SEEN * row[highs[head]]
    return candidate


@njit(cache=True, nogil=True)
def _mark_kilowatt(candidate, crowd, rows, hall, utilization, temperature_c, inlet_c, bit, marks):  # type: ignore[no-untyped-def]
    for at in range(len(rows)):
        entity = rows[at]
        for step in range(candidate.shape[1]):
            if not candidate[at, step]:
                continue
            use = utilization[entity, step] if len(utilization) else np.nan
            die = temperature_c[entity, step] if len(temperature_c) else np.nan
            air = inlet_c[entity, step] if len(inlet_c) else np.nan
            warm = die >= _WARM_C if np.isnan(air) else die >= air + _WARMER_K
            if use > _IN_USE or warm or (np.isnan(die) and crowd[hall[at], step]):
                marks[entity, step] |= bit


@njit(cache=True, nogil=True)
def celsius(value):  # type: ignore[no-untyped-def]
    """°F in °C."""
    return (value - 32.0) / 1.8


@njit(cache=True, nogil=True)
def _mark_air(inlet_c, rows, believed, bit, marks):  # type: ignore[no-untyped-def]
    for at in range(len(rows)):
        row, out = inlet_c[rows[at]], marks[rows[at]]
        hot = 0
        for step in range(len(row)):
            hot += row[step] > _HOTTEST_INLET_C
        if not hot:
            continue
        cool_at, cool = -believed, np.nan
        hot_at, known, fits = -1, False, False
        for step in range(len(row)):
            value = row[step]
            if np.isnan(value):
                continue
            if value <= _HOTTEST_INLET_C:
                cool_at, cool, hot_at = step, value, -1
                continue
            if hot_at < 0:
                hot_at, known = step, cool_at > step - believed
                fits = abs(celsius(value) - cool) <= _FITS_K and value - cool >= _LEAST_JUMP_K
            wrong = fits if known and hot_at > step - believed else value >= _COLDEST_INLET_F
            if wrong:
                out[step] |= bit


@njit(cache=True, nogil=True)
def _has_fahrenheit(values, inlet_marks, rows, survived_c, bit):  # type: ignore[no-untyped-def]
    """Whether anything at all can be in °F: an inlet is, or a die is beyond what silicon survives."""
    for at in range(len(rows)):
        row, few = values[rows[at]], 0
        for step in range(len(row)):
            few += row[step] > survived_c[at]
        if len(inlet_marks):
            air = inlet_marks[rows[at]]
            for step in range(len(air)):
                few += (air[step] & bit) > 0
        if few:
            return True
    return False


@njit(cache=True, nogil=True)
def _mark_dies(values, asked, mistaken, crowd, told, survived_c, rows, hall, within, bit, marks):  # type: ignore[no-untyped-def]
    for at in range(len(rows)):
        row, out, place = values[rows[at]], marks[rows[at]], hall[at]
        beyond_at = -within
        for step in range(len(row)):
            value = row[step]
            if np.isnan(value):
                continue
            beyond = value > survived_c[at]
            if asked[at, step]:
                wrong = mistaken[at, step]
            elif told[place, step]:
                wrong = crowd[place, step]
            else:
                wrong = beyond and beyond_at > step - within
            if wrong:
                out[step] |= bit
            beyond_at = step if beyond else -within
