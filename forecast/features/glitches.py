"""What a sample cannot be, seen from the samples before it: marks on the grid, and values without what is marked.

Causal and short of memory: the marks of a step come from that step and the 24 h before it, and nothing else. So a day
can be marked from itself and the day before, and no forecast ever knew more than the past.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from forecast.contracts.topology import Topology
from forecast.features.absence import mark_gaps, storms
from forecast.features.clocks import skewed_clocks
from forecast.features.gridded import Floats, Gridded
from forecast.features.limits import Limits, limits_of
from forecast.features.marks import ROW_MARKS, UNUSABLE, Mark, Marks
from forecast.features.spikes import mark_impossible_power, mark_inlet_spikes, mark_temperature_spikes
from forecast.features.stuck import mark_companion, mark_stuck_power, mark_stuck_temperature
from forecast.features.wrong_units import mark_fahrenheit_air, mark_fahrenheit_dies, mark_kilowatt

#: What the detectors look at.
_SIGNALS = ("power_w", "temperature_c", "inlet_c", "utilization_ratio")

Cell = TypeVar("Cell", np.float32, np.uint16)


def mark_glitches(gridded: Gridded, topology: Topology, lead: int) -> Gridded:
    """The same values with marks for all that is wrong with them.

    Args:
        gridded: values as they came, those of the context too; marks as set while gridding.
        lead: steps at the start that are context only (the day before): their marks are those of gridding.

    A signal that was not gridded is a witness less, no error.
    """
    marks = gridded.marks & ROW_MARKS
    where = limits_of(topology, gridded.entities)
    _mark_values(gridded, where, marks)
    _mark_absence(gridded, where, marks)
    if gridded.offset_s.size:
        marks |= np.uint16(Mark.SKEWED_CLOCK) * skewed_clocks(gridded.offset_s, where.hall, gridded.step_s)
    marks[:, :, :lead] &= ROW_MARKS
    return replace(gridded, marks=marks)


def cleaned(gridded: Gridded) -> Floats:
    """Values `[signal, entity, step]` with NaN where a mark says that they are no observation."""
    values = gridded.values.copy()
    _blank(values.reshape(-1), gridded.marks.reshape(-1), np.uint16(UNUSABLE))
    return values


def _mark_values(gridded: Gridded, where: Limits, marks: Marks) -> None:
    values = {name: _plane(gridded, gridded.values, name) for name in _SIGNALS}
    on = {name: _plane(gridded, marks, name) for name in _SIGNALS}
    power_w, temperature_c, inlet_c, use = (values[name] for name in _SIGNALS)
    step_s = gridded.step_s
    if inlet_c.size:
        mark_fahrenheit_air(inlet_c, step_s, on["inlet_c"])
        mark_inlet_spikes(inlet_c, _has(on["inlet_c"], Mark.FAHRENHEIT), step_s, on["inlet_c"])
    if power_w.size:
        mark_kilowatt(power_w, use, temperature_c, inlet_c, where, step_s, on["power_w"])
        mark_impossible_power(power_w, where.power_limit_w, on["power_w"])
        mark_stuck_power(power_w, use, step_s, on["power_w"])
    load_w = _without(power_w, on["power_w"], Mark.KILOWATT | Mark.SPIKE)
    if temperature_c.size:
        mark_fahrenheit_dies(temperature_c, inlet_c, where, step_s, on["temperature_c"], on["inlet_c"])
        foreign = _has(on["temperature_c"], Mark.FAHRENHEIT)
        mark_temperature_spikes(temperature_c, load_w, use, where, foreign, step_s, on["temperature_c"])
        mark_stuck_temperature(temperature_c, load_w, where, step_s, on["temperature_c"])
    if temperature_c.size and power_w.size:
        mark_companion(temperature_c, power_w, step_s, on["temperature_c"], on["power_w"])


def _mark_absence(gridded: Gridded, where: Limits, marks: Marks) -> None:
    came = gridded.came
    for signal in range(len(came)):
        mark_gaps(came[signal], gridded.step_s, marks[signal])
    marks |= np.uint16(Mark.STORM) * storms(np.asarray(came.any(axis=0)), where.hall, gridded.step_s)


def _plane(gridded: Gridded, cells: NDArray[Cell], name: str) -> NDArray[Cell]:
    """One signal of `cells`, a view; `[0, 0]` where it was not gridded."""
    if name in gridded.signals:
        return np.asarray(cells[gridded.signals.index(name)])
    return np.empty((0, 0), cells.dtype)


def _has(marks: Marks, which: Mark) -> NDArray[np.bool_]:
    return np.asarray((marks & np.uint16(which)) > 0)


def _without(values: Floats, marks: Marks, which: Mark) -> Floats:
    unwanted = _has(marks, which)
    return np.where(unwanted, np.float32(np.nan), values) if unwanted.any() else values


@njit(cache=True, nogil=True)
def _blank(values, marks, which):  # type: ignore[no-untyped-def]
    for cell in range(len(values)):
        if marks[cell] & which:
            values[cell] = np.nan
