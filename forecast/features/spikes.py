"""One sample that stands out from those before it and that the machine's own load does not explain.

Temperature steps honestly: a job that starts heats a die by 45 K between two samples of 5 min. So a jump is measured
against what the change of power allows. The second sample in a row that says the same is believed: cooling that fails
heats fast, and must not be hidden for longer than one sample.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from forecast.features.gridded import Floats
from forecast.features.limits import Limits
from forecast.features.marks import Mark, Marks
from forecast.features.wrong_units import celsius

#: A die's jump beyond what power explains [D]: simulated sensors and thermal lag stay under 14 K at 1 and at 5 min.
DIE_JUMP_K = 20.0
#: Where neither power nor use tell of the load, only what no load explains: the swing from supply air to the limit is
#: 45 to 65 K (DOMAIN.md §2), and it takes an air sink's minute (§5).
UNEXPLAINED_JUMP_K = 50.0
#: Room air has the mass of a hall behind it: 0.2 K/s uncooled at most (DOMAIN.md §5, a small loop), 12 K in a minute; a
#: probe that moves further and whose neighbour samples do not is touched or broken.
INLET_JUMP_K = 15.0
#: Dies of one kind differ in thermal resistance, and fans follow late: allow this much more than the nominal swing.
_SLACK = 1.4
#: Silicon shuts down 5 to 9 °C above its operating limit (DOMAIN.md §2). A jump to well beyond needs no other witness;
#: 40 °C above it there is none to measure.
_BEYOND_OVER_K, _IMPOSSIBLE_OVER_K = 12.0, 40.0
#: A supply cannot give three times what its label says.
_IMPOSSIBLE_RATIO = 3.0
#: How many earlier samples count as before, and how old they may be.
_BEFORE, _BEFORE_S = 3, 10_800

_BIT = np.uint16(Mark.SPIKE)


def mark_temperature_spikes(
    temperature_c: Floats,
    power_w: Floats,
    utilization: Floats,
    limits: Limits,
    fahrenheit: NDArray[np.bool_],
    step_s: int,
    marks: Marks,
) -> None:
    """Mark `temperature_c` `[N, T]` in place.

    Args:
        power_w, utilization: the load, `[N, T]`, or `[0, 0]` where it is not measured.
        fahrenheit: `[N, T]`, which samples are in °F.
    """
    ceilings = limits.die_limit_c + _BEYOND_OVER_K, limits.die_limit_c + _IMPOSSIBLE_OVER_K
    jumps = DIE_JUMP_K, UNEXPLAINED_JUMP_K
    slopes = _SLACK * limits.kelvin_per_w, _SLACK * limits.swing_k
    _mark(temperature_c, power_w, utilization, *slopes, *ceilings, jumps, fahrenheit, _reach(step_s), _BIT, marks)


def mark_inlet_spikes(inlet_c: Floats, fahrenheit: NDArray[np.bool_], step_s: int, marks: Marks) -> None:
    """Mark `inlet_c` `[N, T]` in place; no load explains a jump of the room."""
    unknown, unmeasured = np.full(len(inlet_c), np.nan), np.empty((0, 0), np.float32)
    jumps = INLET_JUMP_K, INLET_JUMP_K
    load = unmeasured, unmeasured, unknown, unknown
    _mark(inlet_c, *load, unknown, unknown, jumps, fahrenheit, _reach(step_s), _BIT, marks)


def mark_impossible_power(power_w: Floats, limit_w: NDArray[np.float64], marks: Marks) -> None:
    """Mark `power_w` `[N, T]` beyond three times the nameplate `[N]`, in place."""
    marks[power_w > (_IMPOSSIBLE_RATIO * limit_w)[:, None]] |= _BIT


def _reach(step_s: int) -> int:
    return max(_BEFORE_S // step_s, _BEFORE)


@njit(cache=True, nogil=True)
def _median(values, count):  # type: ignore[no-untyped-def]
    """The median of the first `count` of `values`, 2 or 3."""
    if count == 2:
        return (values[0] + values[1]) / 2
    return max(min(values[0], values[1]), min(max(values[0], values[1]), values[2]))


@njit(cache=True, nogil=True)
def _mark(values, power, use, per_power, per_use, beyond, ceiling, jumps, fahrenheit, reach, bit, marks):  # type: ignore[no-untyped-def]
    jump, unexplained_jump = jumps
    entities, steps = values.shape
    before, when = np.empty(_BEFORE, np.float64), np.empty(_BEFORE, np.int64)
    for entity in range(entities):
        known = 0
        for step in range(steps):
            value = values[entity, step]
            if np.isnan(value):
                continue
            if fahrenheit[entity, step]:
                value = celsius(value)
            while known > 0 and when[known - 1] < step - reach:
                known -= 1
            if value > ceiling[entity] or (known == 0 and value > beyond[entity]):
                marks[entity, step] |= bit
            elif known >= 2:
                middle = _median(before, known)
                low, high = min(before[0], middle), max(before[0], middle)
                if value > max(high + jump, beyond[entity]):
                    marks[entity, step] |= bit
                elif value > high + jump or value < low - jump:
                    first = when[known - 1]
                    knows_power, rise, fall = _swing(power, entity, first, step, per_power[entity])
                    knows_use, rise_of_use, fall_of_use = _swing(use, entity, first, step, per_use[entity])
                    room = jump if knows_power or knows_use else unexplained_jump
                    if value > high + room + max(rise, rise_of_use) or value < low - room - max(fall, fall_of_use):
                        marks[entity, step] |= bit
            for place in range(min(known, _BEFORE - 1), 0, -1):
                before[place], when[place] = before[place - 1], when[place - 1]
            before[0], when[0] = value, step
            known = min(known + 1, _BEFORE)


@njit(cache=True, nogil=True)
def _swing(load, entity, first, step, slope):  # type: ignore[no-untyped-def]
    """How far load rose from an earlier sample, and fell, over the steps `[first, step]`, in kelvin.

    Temperature answers to the last two samples of the load; returns whether one of them is known, the rise, the fall.
    """
    if len(load) == 0 or np.isnan(slope):
        return False, 0.0, 0.0
    high, low = -np.inf, np.inf
    known, rise, fall = False, 0.0, 0.0
    for at in range(first, step + 1):
        value = load[entity, at]
        if np.isnan(value):
            continue
        if at >= step - 1:
            known, rise, fall = True, max(rise, value - low), max(fall, high - value)
        high, low = max(high, value), min(low, value)
    return known, rise * slope, fall * slope
