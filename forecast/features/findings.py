"""Marks as a person reads them: what was wrong with whom, from when to when, by the names of the simulator's faults.

A mark begins when a fault can be known, as a forecast must not know more; a finding tells the whole of it, from its
beginning.
"""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.tables import FAULTS
from forecast.features.absence import LEFT_S
from forecast.features.clocks import SAMPLES
from forecast.features.gridded import Gridded
from forecast.features.marks import Mark
from forecast.features.stuck import same

Flags = NDArray[np.bool_]
#: Entities, first steps and ends of runs.
Runs = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]

_WHOLE_ROWS = Mark.DUPLICATE | Mark.CONFLICTING_DUPLICATE | Mark.OUT_OF_ORDER | Mark.STORM
_VALUES = Mark.SENTINEL | Mark.SPIKE | Mark.KILOWATT | Mark.FAHRENHEIT


def findings(gridded: Gridded) -> pl.DataFrame:
    """Every stretch of a fault, contract FAULTS; an empty `signal` means whole rows.

    Besides the marks, `new_entity` is the time from when anybody spoke until an entity did, and `removed_entity` the
    time since it last did, where that is a day or more. Who never spoke is neither.
    """
    came = gridded.came
    spoke = _any_signal(came)
    rows = [
        (name, gridded.entities[entity], signal, first, end)
        for name, signal, runs in _all_runs(gridded, came, spoke)
        for entity, first, end in zip(*(part.tolist() for part in runs), strict=True)
    ]
    columns = ("fault", "entity_id", "signal", "first", "end")
    frame = pl.DataFrame(rows, dict(zip(columns, (pl.String,) * 3 + (pl.Int64,) * 2, strict=True)), orient="row")
    step = timedelta(seconds=gridded.step_s)
    times = {
        f"{of}_time": pl.lit(gridded.start, FAULTS.required["start_time"]) + pl.col(column) * pl.lit(step)
        for of, column in (("start", "first"), ("end", "end"))
    }
    return frame.select(*columns[:3], **times).sort(FAULTS.key)


def _all_runs(gridded: Gridded, came: Flags, spoke: Flags) -> Iterator[tuple[str, str, Runs]]:
    for mark in _WHOLE_ROWS:
        yield _name(mark), "", _runs(_any_signal(_marked(gridded, mark)))
    yield (
        _name(Mark.SKEWED_CLOCK),
        "",
        _runs(_since(_any_signal(_marked(gridded, Mark.SKEWED_CLOCK)), spoke, SAMPLES - 1)),
    )
    for mark in _VALUES:
        for signal, flags in zip(gridded.signals, _marked(gridded, mark), strict=True):
            yield _name(mark), signal, _runs(flags)
    for signal, runs in _stuck(gridded):
        yield _name(Mark.STUCK_SENSOR), signal, runs
    gone = _runs(_trailing(~spoke, LEFT_S // gridded.step_s))
    yield "removed_entity", "", gone
    somebody = np.logical_or.accumulate(spoke.any(axis=0))
    yield "new_entity", "", _runs(_leading(~spoke) & somebody)
    lost = _marked(gridded, Mark.GAP) & ~_marked(gridded, Mark.STORM)
    lost[:, _filled(gone, spoke.shape)] = False
    yield _name(Mark.GAP), "", _holding(_runs(~spoke), _any_signal(lost))
    for index, signal in enumerate(gridded.signals):
        yield _name(Mark.GAP), signal, _holding(_runs(~came[index] & spoke), lost[index])


def _name(mark: Mark) -> str:
    return str(mark.name).lower()


def _marked(gridded: Gridded, mark: Mark) -> Flags:
    return np.asarray((gridded.marks & np.uint16(mark)) > 0)


def _any_signal(flags: Flags) -> Flags:
    return np.asarray(flags.any(axis=0))


def _runs(flags: Flags) -> Runs:
    """Stretches of set flags `[N, T]`."""
    edges = np.diff(flags.astype(np.int8), axis=1, prepend=0, append=0)
    entities, firsts = np.nonzero(edges == 1)
    return entities, firsts, np.nonzero(edges == -1)[1]


def _filled(runs: Runs, shape: tuple[int, ...]) -> Flags:
    flags = np.zeros(shape, np.bool_)
    for entity, first, end in zip(*runs, strict=True):
        flags[entity, first:end] = True
    return flags


def _holding(runs: Runs, flags: Flags) -> Runs:
    """The runs in which any flag `[N, T]` is set."""
    entities, firsts, ends = runs
    counts = np.concatenate([np.zeros((len(flags), 1), np.int64), flags.cumsum(axis=1)], axis=1)
    held = counts[entities, ends] > counts[entities, firsts]
    return entities[held], firsts[held], ends[held]


def _since(flags: Flags, spoke: Flags, samples: int) -> Flags:
    """The flags, and before each run the `samples` samples that led to it."""
    extended = flags.copy()
    for entity, first in zip(*_runs(flags)[:2], strict=True):
        earlier = np.flatnonzero(spoke[entity, :first])[-samples:]
        extended[entity, earlier] = True
    return extended


def _from_first_repeat(values: NDArray[np.float32], runs: Runs) -> Runs:
    """The runs from the first sample that has the value they repeat."""
    entities, firsts, ends = runs
    earlier = firsts.copy()
    for place, (entity, first) in enumerate(zip(entities, firsts, strict=True)):
        before = np.flatnonzero(~np.isnan(values[entity, :first]))
        other = np.flatnonzero(~same(values[entity, before], values[entity, first]))
        alike = before[other[-1] + 1 :] if len(other) else before
        earlier[place] = alike[0] if len(alike) else first
    return entities, earlier, ends


def _stuck(gridded: Gridded) -> Iterator[tuple[str, Runs]]:
    """Runs of stuck sensors per signal; what froze with another sensor froze no earlier."""
    froze = np.full(gridded.values.shape[1:], -1)
    for signal, values, stuck in zip(gridded.signals, gridded.values, _marked(gridded, Mark.STUCK_SENSOR), strict=True):
        marked = _runs(stuck)
        entities, firsts, ends = _from_first_repeat(values, marked)
        firsts = np.where(froze[marked[:2]] >= 0, np.maximum(firsts, froze[marked[:2]]), firsts)
        for entity, first, end in zip(entities, firsts, ends, strict=True):
            froze[entity, first:end] = first
        yield signal, (entities, firsts, ends)


def _leading(flags: Flags) -> Flags:
    """The flags up to the first unset one; none where all are set."""
    return np.asarray(np.logical_and.accumulate(flags, axis=1) & ~flags.all(axis=1, keepdims=True))


def _trailing(flags: Flags, least: int) -> Flags:
    """The flags since the last unset one, where they are `least` or more; none where all are set."""
    tail = _leading(flags[:, ::-1])[:, ::-1]
    return np.asarray(tail & (tail.sum(axis=1, keepdims=True) >= least))
