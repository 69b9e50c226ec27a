"""One sample that stands out from those before it and that the machine's own load does not explain.

Temperature steps honestly: a job that starts heats a die by 45 K between two samples of 5 min. So a jump is measured
against what the change of power allows. The second sample in a row that says the same is believed: cooling that fails
heats fast, and must not be hidden for longer than one sample.
"""

import numpy as np
from numba import njit

from forecast.features.gridded import Floats
from forecast.features.limits import Limits
from forecast.features.marks import NO_LOAD, Mark, Marks
from forecast.features.wrong_units import celsius

#: A die's jump beyond what power explains [D]: simulated sensors and thermal lag stay under 14 K at 1 and at 5 min.
DIE_JUMP_K = 20.0
#: Where neither power nor use tell of the load, only what no load explains: the swing from supply air to the limit is
#: 45 to 65 K (constants.md §2), and it takes an air sink's minute (§5).
UNEXPLAINED_JUMP_K = 50.0
#: Room air has the mass of a hall behind it: 0.2 K/s uncooled at most (a small loop, constants.md §5), 12 K a minute; a
#: probe that moves further and whose neighbour samples do not is touched or broken.
INLET_JUMP_K = 15.0
#: Dies of one kind differ in thermal resistance, and fans follow late: allow this much more than the nominal swing.
_SLACK = 1.4
#: Silicon shuts down 5 to 9 °C above its operating limit (constants.md §2). A jump well beyond needs no other witness;
#: 40 °C above it there is none to measure.
_BEYOND_OVER_K, _IMPOSSIBLE_OVER_K = 12.0, 40.0
#: A supply cannot give three times what its label says.
_IMPOSSIBLE_RATIO = 3.0
#: How many earlier samples count as before, and how old they may be.
_BEFORE, _BEFORE_S = 3, 10_800

_BIT, _FAHRENHEIT = np.uint16(Mark.SPIKE), np.uint16(Mark.FAHRENHEIT)


def mark_temperature_spikes(
    temperature_c: Floats,
    power_w: Floats,
    power_marks: Marks,
    utilization: Floats,
    utilization_marks: Marks,
    limits: Limits,
    step_s: int,
    first: int,
    marks: Marks,
) -> None:
    """Mark `temperature_c` `[N, T]` in place.

    Args:
        power_w, power_marks, utilization, utilization_marks: the load, `[N, T]`, or `[0, 0]` where it is not measured.
        first: the first step to mark.
        marks: `[N, T]` of temperature; they tell which samples are in °F.
    """
    ceilings = limits.die_limit_c + _BEYOND_OVER_K, limits.die_limit_c + _IMPOSSIBLE_OVER_K
    jumps = DIE_JUMP_K, UNEXPLAINED_JUMP_K
    power = power_w, power_marks, NO_LOAD, _SLACK * limits.kelvin_per_w
    use = utilization, utilization_marks, np.uint16(0), _SLACK * limits.swing_k
    _mark(temperature_c, limits.rows, power, use, *ceilings, jumps, first, _reach(step_s), _BIT, _FAHRENHEIT, marks)


def mark_inlet_spikes(inlet_c: Floats, limits: Limits, step_s: int, first: int, marks: Marks) -> None:
    """Mark `inlet_c` `[N, T]` in place from the step `first` on; no load explains a jump of the room."""
    unknown = np.full(len(limits.rows), np.nan)
    unmeasured = np.empty((0, 0), np.float32), np.empty((0, 0), np.uint16), np.uint16(0), unknown
    jumps, load = (INLET_JUMP_K, INLET_JUMP_K), (unmeasured, unmeasured)
    _mark(inlet_c, limits.rows, *load, unknown, unknown, jumps, first, _reach(step_s), _BIT, _FAHRENHEIT, marks)


def mark_impossible_power(power_w: Floats, limits: Limits, marks: Marks) -> None:
    """Mark `power_w` `[N, T]` beyond three times the nameplate, in place."""
    _mark_beyond(power_w, limits.rows, _IMPOSSIBLE_RATIO * limits.power_limit_w, _BIT, marks)


def _reach(step_s: int) -> int:
    return max(_BEFORE_S // step_s, _BEFORE)


@njit(cache=True, nogil=True)
def _median(values, count):  # type: ignore[no-untyped-def]
    """The median of the first `count` of `values`, 2 or 3."""
    if count == 2:
        return (values[0] + values[1]) / 2
    return max(min(values[0], values[1]), min(max(values[0], values[1]), values[2]))


@njit(cache=True, nogil=True)
def _mark_beyond(values, rows, ceilings, bit, marks):  # type: ignore[no-untyped-def]
    for at in range(len(rows)):
        row, out = values[rows[at]], marks[rows[at]]
        for step in range(len(row)):
            if row[step] > ceilings[at]:
                out[step] |= bit


@njit(cache=True, nogil=True)
def _mark(values, rows, power, use, beyond, ceiling, jumps, first, reach, bit, fahrenheit, marks):  # type: ignore[no-untyped-def]
    """Compare each sample with the one before; look closer at those that differ, or are beyond what there is."""
    for at in range(len(rows)):
        row, out = values[rows[at]], marks[rows[at]]
        last, limits = np.nan, (beyond[at], ceiling[at])
        for step in range(first, len(row)):
            if np.isnan(row[step]):
                continue
            value = _celsius_at(row, out, fahrenheit, step)
            calm = np.abs(value - last) <= jumps[0] and not value > beyond[at]
            last = value
            if not calm and _stands_out(row, out, fahrenheit, step, reach, limits, jumps, at, rows[at], power, use):
                out[step] |= bit


@njit(cache=True, nogil=True)
def _celsius_at(values, marks, fahrenheit, step):  # type: ignore[no-untyped-def]
    return celsius(values[step]) if marks[step] & fahrenheit else np.float64(values[step])


@njit(cache=True, nogil=True)
def _stands_out(values, marks, fahrenheit, step, reach, limits, jumps, at, entity, power, use):  # type: ignore[no-untyped-def]
    """Whether a sample is told from those before it, which load does not explain."""
    (beyond, ceiling), (jump, unexplained_jump) = limits, jumps
    value = _celsius_at(values, marks, fahrenheit, step)
    before, known, earliest = np.empty(_BEFORE), 0, step
    while known < _BEFORE and earliest > max(step - reach, 0):
        earliest -= 1
        before[known] = _celsius_at(values, marks, fahrenheit, earliest)
        known += not np.isnan(before[known])
    if value > ceiling or (known == 0 and value > beyond):
        return True
    if known < 2:
        return False
    while np.isnan(values[earliest]):
        earliest += 1
    middle = _median(before, known)
    low, high = min(before[0], middle), max(before[0], middle)
    if value > max(high + jump, beyond):
        return True
    if low - jump <= value <= high + jump:
        return False
    knows_power, rise, fall = _swing(power, at, entity, earliest, step)
    knows_use, rise_of_use, fall_of_use = _swing(use, at, entity, earliest, step)
    room = jump if knows_power or knows_use else unexplained_jump
    return value > high + room + max(rise, rise_of_use) or value < low - room - max(fall, fall_of_use)


@njit(cache=True, nogil=True)
def _swing(load, at, entity, first, step):  # type: ignore[no-untyped-def]
    """How far load rose from an earlier sample, and fell, over the steps `[first, step]`, in kelvin.

    Temperature answers to the last two samples of the load; returns whether one of them is known, the rise, the fall.
    """
    values, marks, hidden, slopes = load
    slope = slopes[at]
    if len(values) == 0 or np.isnan(slope):
        return False, 0.0, 0.0
    high, low = -np.inf, np.inf
    known, rise, fall = False, 0.0, 0.0
    for when in range(first, step + 1):
        value = values[entity, when]
        if np.isnan(value) or marks[entity, when] & hidden:
            continue
        if when >= step - 1:
            known, rise, fall = True, max(rise, value - low), max(fall, high - value)
        high, low = max(high, value), min(low, value)
    return known, rise * slope, fall * slope
