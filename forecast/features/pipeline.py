"""Telemetry as it arrives to the values that fill the panel: the one path of training, backtest and serving."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.topology import Topology
from forecast.features.glitches import cleaned, mark_glitches
from forecast.features.grid import grid
from forecast.features.gridded import Floats, Gridded
from forecast.features.limits import limits_of
from forecast.features.rollup import roll_up

_DAY_S = 86_400

#: Entities repaired at once, in whole halls: few enough that what repair looks at stays small beside the day itself.
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Built:
    """A stretch of time, ready for the panel.

    Attributes:
        values: `[signal, entity, step]`, repaired and rolled up; NaN = not observed.
        measured: what came, with all that is wrong with it; the same steps.
        unknown_rows: rows of entities that the topology lacks.
    """

    values: Floats
    measured: Gridded
    unknown_rows: int


def build(
    telemetry: pl.LazyFrame,
    topology: Topology,
    signals: tuple[str, ...],
    begin: datetime,
    steps: int,
    step_s: int,
    lead: Gridded | None = None,
    *,
    with_offsets: bool = False,
) -> Built:
    """Grid, repair and roll up `steps` steps from `begin`.

    Args:
        telemetry: contract TELEMETRY.
        signals, topology: the axes.
        begin: on the grid, UTC.
        lead: what was measured on the day before; None at the beginning of all telemetry. What a step is judged by
            comes from the 24 h before it: a day built from itself and its lead is the same day in any other run.
        with_offsets: note when in its step each sample was taken, so that clocks are judged too.
    """
    context = 0 if lead is None else lead.steps
    start = begin - timedelta(seconds=step_s * context)
    whole = Gridded.empty(start, step_s, signals, topology.entities, context + steps, with_offsets=with_offsets)
    if lead is not None:
        whole.put(lead)
    unknown = grid(telemetry, whole, context)
    values = _repaired(whole, topology, context)
    roll_up(values, whole.came, signals, topology, _DAY_S // step_s)
    return Built(values, whole.between(context, context + steps), unknown)


def _repaired(whole: Gridded, topology: Topology, lead: int) -> Floats:
    """Mark what is wrong, in place; values from `lead` on without what is no observation."""
    values = np.empty_like(whole.values[:, :, lead:])

    def repair(block: NDArray[np.intp]) -> None:
        marked = mark_glitches(whole.of(block), topology, lead)
        whole.marks[:, block] = marked.marks
        values[:, block] = cleaned(marked)[:, :, lead:]

    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        list(pool.map(repair, _blocks(limits_of(topology, whole.entities).hall)))
    return values


def _blocks(hall: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Places of entities, whole halls together: who shares a hall is judged by it."""
    by_hall = np.argsort(hall, kind="stable")
    sizes = np.bincount(hall)
    block = (sizes.cumsum() - sizes) // _BLOCK
    return [by_hall[block[hall[by_hall]] == index] for index in np.unique(block)]
