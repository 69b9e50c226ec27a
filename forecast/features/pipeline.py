"""Telemetry as it arrives to the values that fill the panel: the one path of training, backtest and serving."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from forecast.contracts.topology import Topology
from forecast.features.glitches import cleaned, mark_glitches
from forecast.features.grid import grid
from forecast.features.gridded import Floats, Gridded
from forecast.features.rollup import roll_up


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
    return build_after(telemetry, topology, whole, context)


def build_after(telemetry: pl.LazyFrame, topology: Topology, whole: Gridded, lead: int) -> Built:
    """The same where the first `lead` steps of `whole` hold the day before, and the others nothing, in place."""
    unknown = grid(telemetry, whole, lead)
    return repaired(whole, topology, lead, unknown)


def repaired(whole: Gridded, topology: Topology, lead: int, unknown_rows: int = 0) -> Built:
    """Repair and roll up the steps of `whole` from `lead` on, which are gridded; it begins at a midnight, UTC."""
    mark_glitches(whole, topology, lead)
    measured = whole.between(lead, whole.steps)
    values = cleaned(measured)
    roll_up(values, whole, topology)
    return Built(values, measured, unknown_rows)
