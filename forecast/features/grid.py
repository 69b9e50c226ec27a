"""Irregular samples to the regular grid in one pass: the step that decides whether a fleet takes seconds or hours.

The table streams through a compiled kernel in batches. Each signal of each entity is one series: a sample holds from
its time to the next one's, and the value of a step is the mean over the time from its first sample to its end. Nothing
from outside a step enters it. A batch is shared out by signal and by stretch of entities, so that a series is always
one thread's, in the order of the table: the result has the same bits on any number of cores.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from forecast.contracts.signals import SIGNALS
from forecast.features.frozen import frozen
from forecast.features.gridded import Floats, Gridded
from forecast.features.marks import Mark

#: Row groups that Polars decodes ahead: its default holds a gigabyte, two hold a third of that and cost no speed.
PREFETCH = "POLARS_ROW_GROUP_PREFETCH_SIZE"
os.environ.setdefault(PREFETCH, "2")

#: Rows per batch: enough to hide the cost of handing them out, few enough to stay in the caches.
_BATCH_ROWS = 400_000

#: Rows of disordered series that are sorted at once, about 200 MB.
_SORTED_ROWS = 4_000_000

#: Stands for null, below anything a sensor can mean. A NaN is text or a failed division, and counts as impossible.
_ABSENT = np.float32(-3e38)

_SENTINEL = np.uint16(Mark.SENTINEL)
_LATE = np.uint16(Mark.OUT_OF_ORDER)
_REPEAT = np.uint16(Mark.DUPLICATE)
_CONFLICT = np.uint16(Mark.CONFLICTING_DUPLICATE)

#: What the kernel remembers of a series; times in µs since 1970.
_SERIES = np.dtype(
    [
        ("last", np.int64),  # time of the newest sample
        ("held", np.int64),  # since when `value` holds
        ("begin", np.int64),  # of the first sample in the step
        ("end", np.int64),  # of the step
        ("total", np.float64),  # integral over the step up to `held`
        ("value", np.float32),
        ("before", np.float32),  # the sample before it in the step
        ("count", np.int32),  # samples in the step
        ("step", np.int32),
        ("rows", np.int32),
        ("void", np.bool_),  # the samples at `last` contradict each other
        ("disordered", np.bool_),
    ],
    align=True,
)


@dataclass(frozen=True, eq=False)
class _Batch:
    time_us: NDArray[np.int64]
    code: NDArray[np.uint32]
    values: list[Floats]


def grid(telemetry: pl.LazyFrame, into: Gridded, first: int = 0) -> int:
    """Fill the steps of `into` from `first` on, which are empty.

    Args:
        telemetry: contract TELEMETRY, in any order; a signal that it lacks stays unobserved.
        into: what time, entities and signals are wanted, see `Gridded.empty`.

    Samples that are not finite or not physically possible are marked and not observed. Repeats of a time count once
    where they agree; where they don't, none is believed.

    Returns:
        How many rows were of entities that `into` does not have.
    """
    rows = _coded(telemetry, into, first)
    series, unknown = _stream(_batches(rows, into.signals), into)
    for group in _groups(series):
        into.values[:, group, first:] = np.nan
        _stream([_sorted(rows, group, into.signals)], into)
    return unknown


def _coded(telemetry: pl.LazyFrame, gridded: Gridded, first: int) -> pl.LazyFrame:
    """Columns `time` in µs, `code` on the entity axis (its length for unknown ones) and the signals, in file order."""
    found = telemetry.collect_schema()
    within = pl.col("time").is_between(gridded.time(first), gridded.time(gridded.steps), closed="left")
    code = pl.col("entity_id").cast(pl.Enum(gridded.entities), strict=False).to_physical().cast(pl.UInt32)
    absent = pl.lit(float(_ABSENT), pl.Float32)
    return telemetry.filter(within).select(
        pl.col("time").to_physical(),
        code.fill_null(len(gridded.entities)).alias("code"),
        *(
            (pl.col(name).cast(pl.Float32).fill_null(absent) if name in found else absent).alias(name)
            for name in gridded.signals
        ),
    )


def _batches(rows: pl.LazyFrame, signals: Sequence[str]) -> Iterator[_Batch]:
    return (_batch(frame, signals) for frame in rows.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True))


def _batch(frame: pl.DataFrame, signals: Sequence[str]) -> _Batch:
    time_us, code, *values = (frozen(frame[name].to_numpy()) for name in ("time", "code", *signals))
    return _Batch(time_us, code, values)


def _sorted(rows: pl.LazyFrame, group: NDArray[np.intp], signals: Sequence[str]) -> _Batch:
    """All rows of a group of entities in order, the same whatever the order of the files."""
    mine = pl.Series(group, dtype=pl.UInt32).implode()
    return _batch(rows.filter(pl.col("code").is_in(mine)).collect().sort("time", *signals), signals)


def _stream(batches: Iterable[_Batch], gridded: Gridded) -> tuple[np.ndarray, int]:
    """Put batches into the grid; returns the state of all series `[signal, entity]` and the number of unknown rows."""
    series = np.zeros((len(gridded.signals), len(gridded.entities)), _SERIES)
    series["last"] = series["end"] = np.iinfo(np.int64).min
    unknown = 0
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        working: list[Future[None]] = []
        for batch in batches:  # the next one is fetched while the kernel has the last
            wait(working)
            working = _share_out(pool, batch, gridded, series)
            unknown += int(np.count_nonzero(batch.code == len(gridded.entities)))
    for done in working:
        done.result()
    for of, out in zip(series, gridded.values, strict=True):
        _close(of, out)
    return series, unknown


def _share_out(pool: Executor, batch: _Batch, gridded: Gridded, series: np.ndarray) -> list["Future[None]"]:
    """Start the kernel on every signal and stretch of entities."""
    start_us, step_us = round(gridded.start.timestamp()) * 1_000_000, gridded.step_s * 1_000_000
    shards = -(-pl.thread_pool_size() // len(gridded.signals))
    edges = [len(gridded.entities) * shard // shards for shard in range(shards + 1)]
    nowhere = np.empty((0, 0), np.float32)
    tasks = []
    for index, name in enumerate(gridded.signals):
        limits = np.float32(SIGNALS[name].low), np.float32(SIGNALS[name].high)
        out = gridded.values[index], gridded.marks[index], nowhere if index else gridded.offset_s
        for first, last in pairwise(edges):
            task = (batch.time_us, batch.code, batch.values[index], first, last, start_us, step_us, *limits)
            tasks.append(pool.submit(_scatter, *task, series[index], *out))
    return tasks


def _groups(series: np.ndarray) -> Iterator[NDArray[np.intp]]:
    """Entities with samples out of order, as many at a time as may be sorted at once."""
    disordered = np.flatnonzero(series["disordered"].any(axis=0))
    rows = series["rows"].max(axis=0)[disordered].astype(np.int64)
    group = (rows.cumsum() - rows) // _SORTED_ROWS
    return (disordered[group == index] for index in np.unique(group))


@njit(cache=True, nogil=True)
def _scatter(time, code, value, first, last, start, step, low, high, series, out, marks, offsets):  # type: ignore[no-untyped-def]
    """Put the samples of the entities `[first, last)` into their steps."""
    for row in range(len(time)):
        entity = code[row]
        sample = value[row]
        if entity < first or entity >= last or sample == _ABSENT:
            continue
        now = time[row]
        one = series[entity]
        one.rows += 1
        if not (sample >= low and sample <= high):
            marks[entity, (now - start) // step] |= _SENTINEL
        elif now > one.last:
            if now >= one.end:
                _settle(one, out, entity)
                one.step = (now - start) // step
                one.end = start + (one.step + np.int64(1)) * step
                one.count = 0
                if offsets.size:
                    offsets[entity, one.step] = (now - (one.end - step)) * 1e-6
            if one.count:
                one.total += one.value * (now - one.held)
            else:
                one.begin = now
                one.total = 0.0
            one.before = one.value
            one.value = sample
            one.held = now
            one.last = now
            one.count += 1
            one.void = False
        elif now < one.last:
            marks[entity, (now - start) // step] |= _LATE
            one.disordered = True
        elif not one.void and sample == one.value:
            marks[entity, one.step] |= _REPEAT
        else:
            marks[entity, one.step] |= _CONFLICT
            if not one.void:  # the sample before holds on
                one.void = True
                one.value = one.before
                one.count -= 1


@njit(cache=True, nogil=True, inline="always")
def _settle(one, out, entity):  # type: ignore[no-untyped-def]
    """Write the mean of the step that a series leaves."""
    if one.count == 1:  # no rounding
        out[entity, one.step] = one.value
    elif one.count > 1:
        out[entity, one.step] = (one.total + one.value * (one.end - one.held)) / (one.end - one.begin)


@njit(cache=True, nogil=True)
def _close(series, out):  # type: ignore[no-untyped-def]
    for entity in range(len(series)):
        _settle(series[entity], out, entity)
