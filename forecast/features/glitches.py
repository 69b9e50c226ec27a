"""What a sample cannot be, seen from the samples before it: marks on the grid, and values without what is marked.

Causal and short of memory: the marks of a step come from that step and the 24 h before it, and nothing else. So a day
can be marked from itself and the day before, and no forecast ever knew more than the past.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from forecast.contracts.topology import Topology
from forecast.features.absence import mark_absence
from forecast.features.clocks import mark_skewed_clocks
from forecast.features.gridded import Floats, Gridded
from forecast.features.limits import Limits, limits_of
from forecast.features.marks import ROW_MARKS, UNUSABLE
from forecast.features.spikes import mark_impossible_power, mark_inlet_spikes, mark_temperature_spikes
from forecast.features.stuck import mark_companion, mark_stuck_power, mark_stuck_temperature
from forecast.features.wrong_units import mark_fahrenheit_air, mark_fahrenheit_dies, mark_kilowatt

#: What the detectors look at.
_SIGNALS = ("power_w", "temperature_c", "inlet_c", "utilization_ratio")

#: Entities that a thread looks at together, in whole halls.
_BLOCK = 512
_UNUSABLE = np.uint16(UNUSABLE)

Cell = TypeVar("Cell", np.float32, np.uint16)


def mark_glitches(gridded: Gridded, topology: Topology, lead: int) -> None:
    """Mark all that is wrong with the values, in place; marks that are not of gridding are forgotten before.

    Args:
        gridded: values as they came, those of the context too.
        lead: steps at the start that are context only (the day before): their marks are those of gridding.

    A signal that was not gridded is a witness less, no error.
    """
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        blocks = limits_of(topology, gridded.entities).blocks(_BLOCK)
        list(pool.map(lambda limits: _mark_block(gridded, limits, lead), blocks))


def cleaned(gridded: Gridded) -> Floats:
    """Values `[signal, entity, step]` with NaN where a mark says that they are no observation."""
    values = np.empty(gridded.values.shape, np.float32)
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        list(pool.map(_clean, gridded.values, gridded.marks, values))
    return values


def _mark_block(gridded: Gridded, limits: Limits, lead: int) -> None:
    marks = gridded.marks
    _keep(marks, limits.rows, gridded.steps, ROW_MARKS)
    _mark_values(gridded, limits, lead)
    mark_absence(gridded.values, limits, gridded.step_s, lead, marks)
    if gridded.offset_s.size:
        mark_skewed_clocks(gridded.offset_s, limits, gridded.step_s, lead, marks)
    _keep(marks, limits.rows, lead, ROW_MARKS)


def _mark_values(gridded: Gridded, limits: Limits, lead: int) -> None:
    values = {name: _plane(gridded, gridded.values, name) for name in _SIGNALS}
    on = {name: _plane(gridded, gridded.marks, name) for name in _SIGNALS}
    power_w, temperature_c, inlet_c, use = (values[name] for name in _SIGNALS)
    on_power, on_temperature, on_inlet, on_use = (on[name] for name in _SIGNALS)
    step_s = gridded.step_s
    if inlet_c.size:
        mark_fahrenheit_air(inlet_c, limits, step_s, on_inlet)
        mark_inlet_spikes(inlet_c, limits, step_s, lead, on_inlet)
    if power_w.size:
        mark_kilowatt(power_w, use, temperature_c, inlet_c, limits, step_s, on_power)
        mark_impossible_power(power_w, limits, on_power)
        mark_stuck_power(power_w, use, on_use, limits, step_s, lead, on_power)
    if temperature_c.size:
        mark_fahrenheit_dies(temperature_c, inlet_c, limits, step_s, on_temperature, on_inlet)
        load = power_w, on_power, use, on_use
        mark_temperature_spikes(temperature_c, *load, limits, step_s, lead, on_temperature)
        mark_stuck_temperature(temperature_c, power_w, on_power, limits, step_s, lead, on_temperature)
    if temperature_c.size and power_w.size:
        mark_companion(temperature_c, power_w, limits, step_s, lead, on_temperature, on_power)


def _plane(gridded: Gridded, cells: NDArray[Cell], name: str) -> NDArray[Cell]:
    """One signal of `cells`, a view; `[0, 0]` where it was not gridded."""
    if name in gridded.signals:
        return np.asarray(cells[gridded.signals.index(name)])
    return np.empty((0, 0), cells.dtype)


@njit(cache=True, nogil=True)
def _keep(marks, rows, end, which):  # type: ignore[no-untyped-def]
    """Keep only these bits on the steps before `end`."""
    for signal in range(len(marks)):
        for entity in rows:
            row = marks[signal, entity]
            for step in range(end):
                row[step] &= which


@njit(cache=True, nogil=True)
def _clean(values, marks, into):  # type: ignore[no-untyped-def]
    nothing = np.float32(np.nan)
    for entity in range(len(values)):
        row, on, out = values[entity], marks[entity], into[entity]
        for step in range(len(row)):
            out[step] = nothing if on[step] & _UNUSABLE else row[step]
