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

#: Power in kW reads as a thousandth; machines draw at most their nameplate, and 20 % over for meters and bad labels.
_KILOWATT_RATIO = 1.2e-3
#: A thousandth of what the machine drew in the last day: for entities without a nameplate.
_KILOWATT_OF_SEEN = 2e-3
#: A machine that is on uses something, or is warmer than its air.
_IN_USE, _WARMER_K, _WARM_C = 0.02, 5.0, 35.0
#: Air above ASHRAE A4 (DOMAIN.md §1).
_HOTTEST_INLET_C = 45.0
#: 59 °F is 15 °C, where the allowable range of class A1 starts (DOMAIN.md §1); less could be heat.
_COLDEST_INLET_F = 59.0
#: A change of unit is a jump to the same temperature in °F, give or take what air does between two samples.
_FITS_K, _LEAST_JUMP_K = 4.0, 25.0
#: How long a room's heat that came gradually is believed; then only °F explains it.
_BELIEVED_S = 21_600
#: Silicon has shut down this far above its operating limit (DOMAIN.md §2: 5 to 8 °C on A100, H100, GH200 and B200).
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
    candidate = _kilowatt_candidates(power_w, limits.power_limit_w, 86_400 // step_s)
    if not candidate.any():
        return
    crowd = _majority(candidate, ~np.isnan(power_w), limits.hall)
    bit = np.uint16(Mark.KILOWATT)
    _mark_kilowatt(candidate, crowd, limits.hall, utilization, temperature_c, inlet_c, bit, marks)


def mark_fahrenheit_air(inlet_c: Floats, step_s: int, marks: Marks) -> None:
    """Mark `inlet_c` `[N, T]` in place: hot since a jump that fits the change of unit, or hot for too long."""
    _mark_air(inlet_c, _BELIEVED_S // step_s, np.uint16(Mark.FAHRENHEIT), marks)


def mark_fahrenheit_dies(
    temperature_c: Floats, inlet_c: Floats, limits: Limits, step_s: int, marks: Marks, inlet_marks: Marks
) -> None:
    """Mark `temperature_c` `[N, T]` in place, once the air was; `inlet_c` is `[0, 0]` where it is not measured.

    The inlet decides for its row, as one exporter writes both; without one its hall's inlets do, and without any the
    die itself, once two samples in a row were beyond what silicon survives.
    """
    if not len(inlet_c):
        inlet_c = np.full(temperature_c.shape, np.nan, np.float32)
        inlet_marks = np.zeros(temperature_c.shape, np.uint16)
    bit = np.uint16(Mark.FAHRENHEIT)
    asked, mistaken = ~np.isnan(inlet_c), np.asarray((inlet_marks & bit) > 0)
    crowd, told = _majority(mistaken, asked, limits.hall), _counts(asked, limits.hall) > 0
    survived_c = limits.die_limit_c + _SHUT_DOWN_OVER_K
    within = _BELIEVED_S // step_s
    _mark_dies(temperature_c, asked, mistaken, crowd, told, survived_c, limits.hall, within, bit, marks)


def _majority(said: NDArray[np.bool_], asked: NDArray[np.bool_], hall: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether at each step most of a hall's entities that were asked said so, `[halls, T]`; two at least."""
    yes = _counts(said, hall)
    return np.asarray((yes >= 2) & (yes >= _MAJORITY * _counts(asked, hall)))


@njit(cache=True, nogil=True)
def _counts(flags, hall):  # type: ignore[no-untyped-def]
    """How many of `flags [N, T]` are set in each hall, `[halls, T]`."""
    counts = np.zeros((hall.max() + 1, flags.shape[1]), np.int32)
    for entity in range(len(flags)):
        for step in range(flags.shape[1]):
            counts[hall[entity], step] += flags[entity, step]
    return counts


@njit(cache=True, nogil=True)
def _kilowatt_candidates(power_w, limit_w, day):  # type: ignore[no-untyped-def]
    entities, steps = power_w.shape
    candidate = np.zeros((entities, steps), np.bool_)
    highs = np.empty(steps, np.int64)
    for entity in range(entities):
        ceiling = _KILOWATT_RATIO * limit_w[entity]
        if not np.isnan(ceiling):
            for step in range(steps):
                candidate[entity, step] = 0 < power_w[entity, step] <= ceiling
            continue
        head, tail = 0, 0
        for step in range(steps):
            value = power_w[entity, step]
            if np.isnan(value):
                continue
            while tail > head and power_w[entity, highs[tail - 1]] <= value:
                tail -= 1
            highs[tail] = step
            tail += 1
            while highs[head] <= step - day:
                head += 1
            candidate[entity, step] = 0 < value <= _KILOWATT_OF_SEEN * power_w[entity, highs[head]]
    return candidate


@njit(cache=True, nogil=True)
def _mark_kilowatt(candidate, crowd, hall, utilization, temperature_c, inlet_c, bit, marks):  # type: ignore[no-untyped-def]
    entities, steps = candidate.shape
    for entity in range(entities):
        for step in range(steps):
            if not candidate[entity, step]:
                continue
            use = utilization[entity, step] if len(utilization) else np.nan
            die = temperature_c[entity, step] if len(temperature_c) else np.nan
            air = inlet_c[entity, step] if len(inlet_c) else np.nan
            warm = die >= _WARM_C if np.isnan(air) else die >= air + _WARMER_K
            if use > _IN_USE or warm or (np.isnan(die) and crowd[hall[entity], step]):
                marks[entity, step] |= bit


@njit(cache=True, nogil=True)
def celsius(value):  # type: ignore[no-untyped-def]
    """°F in °C."""
    return (value - 32.0) / 1.8


@njit(cache=True, nogil=True)
def _mark_air(inlet_c, believed, bit, marks):  # type: ignore[no-untyped-def]
    entities, steps = inlet_c.shape
    for entity in range(entities):
        cool_at, cool = -believed, np.nan
        hot_at, known, fits = -1, False, False
        for step in range(steps):
            value = inlet_c[entity, step]
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
                marks[entity, step] |= bit


@njit(cache=True, nogil=True)
def _mark_dies(values, asked, mistaken, crowd, told, survived_c, hall, within, bit, marks):  # type: ignore[no-untyped-def]
    entities, steps = values.shape
    for entity in range(entities):
        place = hall[entity]
        beyond_at = -within
        for step in range(steps):
            value = values[entity, step]
            if np.isnan(value):
                continue
            beyond = value > survived_c[entity]
            if asked[entity, step]:
                wrong = mistaken[entity, step]
            elif told[place, step]:
                wrong = crowd[place, step]
            else:
                wrong = beyond and beyond_at > step - within
            if wrong:
                marks[entity, step] |= bit
            beyond_at = step if beyond else -within
