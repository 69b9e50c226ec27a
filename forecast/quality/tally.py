"""What is kept of each stretch once it was looked at: counts per day, level and entity, however long it all is."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.signals import TARGETS
from forecast.contracts.topology import Topology
from forecast.features.findings import findings
from forecast.features.gridded import Floats, Gridded
from forecast.features.marks import UNUSABLE, Mark
from forecast.features.pipeline import Built
from forecast.features.units import Medians, typical
from forecast.quality.rows import Spoken
from forecast.quality.units import Groups, medians_by_group, raw_medians
from forecast.windows.panel import Panel
from forecast.windows.stretches import days_of, start_of

Counts = NDArray[np.int64]

#: Bytes per cell that looking at a stretch takes: who was seen on the last two days, flags of one day.
USE_BYTES = 2

#: Entities looked at at once.
_BLOCK = 512

#: Offsets within a step are counted in so many bins.
OFFSET_BINS = 200

#: These come from the first and last samples of all, not from a stretch.
_OF_THE_WHOLE = ("new_entity", "removed_entity")

_STRUCK = {"fault": pl.String, "signal": pl.String, "entity_id": pl.String, "steps": pl.Int64}
_TIMES = {name: pl.Datetime("us", "UTC") for name in ("start_time", "end_time")}


class Tally:
    """Counts that grow stretch by stretch; axes are signal (S), entity (N), level (L) and day (D).

    Args:
        topology, signals, step_s: the axes and the grid.
        span: first and last believable sample.
        spoken: who is expected when.

    Attributes:
        usable, expected: `[S, L, D]`, steps of measured entities.
        filled, fillable: `[S, L, D]`, steps of entities that are rolled up.
        came, believed: `[S, N]`, steps at which a sample came; at which it is usable.
        beyond: `[S, N]`, usable steps above the entity's limit by more than a governor lets through.
        low, high: `[S, N]`, of the usable values.
        offsets: `[N, OFFSET_BINS]`, first samples by their place in the step.
        struck: fault, signal and entity to its steps and first stretch.
        by_day: fault and day to steps.
        medians: per day, typical values relative to limits; `groups` the same per hall, else site.
        raw: per day, typical values in their own unit where no limit is known.
    """

    def __init__(
        self,
        topology: Topology,
        signals: tuple[str, ...],
        step_s: int,
        span: tuple[datetime, datetime],
        spoken: Spoken,
    ) -> None:
        self.topology, self.signals, self.step_s, self.span = topology, signals, step_s, span
        self.days = days_of(*span)
        self.measured, self._expected_s = ~np.isnan(spoken.first_s), spoken.expected_s()
        self._levels = {level: at for at, level in enumerate(topology.levels)}
        self._level = np.array([self._levels[level] for level in topology.table["level"]])
        self._limits = _limits(topology, signals)
        self._groups = Groups.of(topology)
        shape, each = (len(signals), len(self._levels), len(self.days)), (len(signals), len(topology.entities))
        self.usable, self.filled, self.fillable = (np.zeros(shape, np.int64) for _ in range(3))
        self.expected = self._by_level(_overlap(spoken, start_of(self.days[0]), len(self.days), step_s))
        self.came, self.believed, self.beyond = (np.zeros(each, np.int64) for _ in range(3))
        self.low, self.high = np.full(each, np.inf, np.float32), np.full(each, -np.inf, np.float32)
        self.offsets = np.zeros((len(topology.entities), OFFSET_BINS), np.int64)
        self.struck = pl.DataFrame(schema={**_STRUCK, **_TIMES})
        self.by_day = pl.DataFrame(schema={"fault": pl.String, "day": pl.Date, "steps": pl.Int64})
        self.medians: list[Medians] = []
        self.groups: list[dict[tuple[str, str], float]] = []
        self.raw: list[dict[str, float]] = []
        self._newest: list[NDArray[np.bool_]] = []

    def add(self, days: list[str], built: Built) -> None:
        """Count the next stretch, as far as it lies within the record."""
        whole = built.measured
        end = whole.time(whole.steps)
        low = max(self._step(self.span[0], whole.start), 0)
        high = whole.steps if end <= self.span[1] else self._step(self.span[1], whole.start) + 1
        edges = np.clip(np.arange(len(days) + 1) * (86_400 // self.step_s), low, high).tolist()
        for at, (first, last) in enumerate(pairwise(edges), self.days.index(days[0])):
            self._add_day(at, whole.between(first, last), built.values[:, :, first:last])
        measured = whole.between(low, high)
        found = pl.concat(findings(self._while_expected(places, measured)) for places in self._blocks())
        self._add_findings(found.filter(~pl.col("fault").is_in(_OF_THE_WHOLE)))

    def watermark(self) -> datetime | None:
        """The last step at which 95 % of the expected entities reported; None if nobody did in the last two days."""
        if not any(day.any() for day in self._newest):
            return None
        seen = tuple(np.where(day, np.float32(0), np.float32(np.nan))[None] for day in self._newest)
        panel = Panel(self._newest_start, self.step_s, ("seen",), self.topology.entities, seen)
        return panel.time(panel.watermark())

    def _blocks(self) -> Iterator[NDArray[np.intp]]:
        """Places of entities, so many that what is looked at of them stays small beside the day itself."""
        places = np.arange(len(self.topology.entities))
        return (places[first : first + _BLOCK] for first in range(0, len(places), _BLOCK))

    def _step(self, time: datetime, begin: datetime) -> int:
        return int((time - begin).total_seconds() // self.step_s)

    def _add_day(self, at: int, measured: Gridded, values: Floats) -> None:
        usable = np.zeros(self.came.shape, np.int64)
        filled = np.zeros(self.came.shape, np.int64)
        for places in self._blocks():
            usable[:, places] = self._add_block(places, measured.of(places))
            filled[:, places] = (~np.isnan(values[:, places])).sum(axis=2)
        rolled = ~self.measured
        self.usable[:, :, at] = self._by_level(usable[:, :, None])[:, :, 0]
        self.filled[:, :, at] = self._by_level((filled * rolled)[:, :, None])[:, :, 0]
        self.fillable[:, :, at] = self._by_level(rolled[:, :, None] * np.int64(values.shape[2]))[:, :, 0]
        self.medians.append(typical(measured, self.topology))
        self.raw.append(raw_medians(measured, self.medians[-1]))
        self.groups.append(medians_by_group(measured, self.topology, self._groups))
        self._newest = [*self._newest[-1:], np.logical_or.reduce([~np.isnan(signal) for signal in values])]
        self._newest_start = measured.time(measured.steps - sum(day.shape[1] for day in self._newest))

    def _add_block(self, places: NDArray[np.intp], measured: Gridded) -> Counts:
        """Count the cells of some entities; returns the usable steps of each, `[S, places]`."""
        usable = ~np.isnan(measured.values) & ((measured.marks & np.uint16(UNUSABLE)) == 0)
        believed = np.where(usable, measured.values, np.float32(np.nan))
        counts = np.asarray(usable.sum(axis=2))
        self.believed[:, places] += counts
        self.came[:, places] += measured.came.sum(axis=2)
        self.beyond[:, places] += (believed > self._limits[:, places, None]).sum(axis=2)
        self.low[:, places] = np.fmin(self.low[:, places], np.fmin.reduce(believed, axis=2))
        self.high[:, places] = np.fmax(self.high[:, places], np.fmax.reduce(believed, axis=2))
        self.offsets[places] += _binned(measured.offset_s, self.step_s)
        return counts

    def _by_level(self, cells: Counts) -> Counts:
        """Sums `[S, L, D]` of `[S, N, D]`."""
        sums = np.zeros((cells.shape[0], len(self._levels), cells.shape[2]), np.int64)
        for level in self._levels.values():
            sums[:, level] = cells[:, self._level == level].sum(axis=1)
        return sums

    def _add_findings(self, found: pl.DataFrame) -> None:
        steps = _steps(pl.col("end_time") - pl.col("start_time"), self.step_s)
        stretches = found.with_columns(steps=steps)
        self.struck = _merged(pl.concat([self.struck, stretches.select(self.struck.columns)]))
        days = pl.concat([self.by_day, _split(found, self.step_s)])
        self.by_day = days.group_by("fault", "day").agg(pl.col("steps").sum())

    def _while_expected(self, places: NDArray[np.intp], measured: Gridded) -> Gridded:
        """Some entities without the gaps of who has left: that is known now, and was not at the step itself."""
        mine = measured.of(places)
        until = (self._expected_s[:, places] - measured.start.timestamp()) // self.step_s
        gone = np.arange(measured.steps) > until[:, :, None]
        mine.marks[gone] &= ~np.uint16(Mark.GAP)
        return mine


def _merged(struck: pl.DataFrame) -> pl.DataFrame:
    """One row per fault, signal and entity: all its steps, and its first stretch."""
    firsts = (pl.col(name).sort_by("start_time").first() for name in _TIMES)
    return struck.group_by("fault", "signal", "entity_id").agg(pl.col("steps").sum(), *firsts)


def _steps(stretch: pl.Expr, step_s: int) -> pl.Expr:
    return stretch.dt.total_seconds() // step_s


def _split(found: pl.DataFrame, step_s: int) -> pl.DataFrame:
    """Steps per fault and day; a stretch counts to each day that it touches."""
    us = timedelta(microseconds=1)
    dates = pl.date_ranges(pl.col("start_time").dt.date(), (pl.col("end_time") - us).dt.date())
    days = found.with_columns(day=dates).explode("day")
    midnight = pl.col("day").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    first = pl.max_horizontal("start_time", midnight)
    end = pl.min_horizontal("end_time", midnight + timedelta(days=1))
    return days.group_by("fault", "day").agg(_steps(end - first, step_s).sum().alias("steps"))


def _overlap(spoken: Spoken, start: datetime, days: int, step_s: int) -> Counts:
    """Steps of each day between first sample and when no more is expected, `[S, N, D]`."""
    first = np.floor((spoken.first_s - start.timestamp()) / step_s)
    end = np.floor((spoken.expected_s() - start.timestamp()) / step_s) + 1
    steps = 86_400 // step_s
    edges = np.arange(days) * steps
    overlap = np.minimum(end[..., None], edges + steps) - np.maximum(first[..., None], edges)
    return np.asarray(np.nan_to_num(np.maximum(overlap, 0)), np.int64)


def _limits(topology: Topology, signals: tuple[str, ...]) -> NDArray[np.float32]:
    """`[S, N]`: above it a value is more than a governor lets through; NaN where unknown or not limited."""
    limits = np.full((len(signals), len(topology.entities)), np.nan, np.float32)
    for at, signal in enumerate(signals):
        if signal in TARGETS:
            target = TARGETS[signal]
            nameplate = topology.table[target.limit].cast(pl.Float64).fill_null(float("nan")).to_numpy()
            limits[at] = nameplate + (target.overshoot or 0.0)
    return limits


def _binned(offset_s: Floats, step_s: int) -> Counts:
    """First samples by their place in the step, `[N, OFFSET_BINS]`."""
    entity, step = np.nonzero(~np.isnan(offset_s))
    places = np.minimum((offset_s[entity, step] / step_s * OFFSET_BINS).astype(np.int64), OFFSET_BINS - 1)
    counts = np.zeros((len(offset_s), OFFSET_BINS), np.int64)
    np.add.at(counts, (entity, places), 1)
    return counts


def dates(days: list[str]) -> Iterator[date]:
    """ISO dates as dates."""
    return (date.fromisoformat(day) for day in days)
