"""The recent panel in memory: newest telemetry goes in, the steps it touches are judged and rolled up anew.

It holds what `panel_of` would make of all the telemetry that came, bit for bit, over the context of a forecast and the
day before it: what a step is judged by comes from the 24 h before it, and who is expected from the UTC day before.
Memory is taken once. A batch costs its own rows and a look at the day before the first step that it touches, whatever
the length of the context.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from forecast.contracts.rules import CLOCK_TOLERANCE
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.tables import TELEMETRY
from forecast.contracts.tables import UTC as TIME
from forecast.contracts.topology import Topology
from forecast.features.grid import grid
from forecast.features.gridded import Floats, Gridded
from forecast.features.marks import ROW_MARKS
from forecast.features.pipeline import repaired
from forecast.features.units import check_units, typical
from forecast.windows.panel import Panel

#: Samples of a step are kept so long, that late ones can still be averaged with them; afterwards a sample counts only
#: where none was.
LATE_S = 3600.0

#: Units are judged by a batch that tells of at least this share of the fleet: a few idle machines look like kW.
_TELLING = 0.5


@dataclass(frozen=True)
class Taken:
    """What became of a batch.

    Attributes:
        rows: that are new, and were put in.
        set_aside: number of other rows by reason.
    """

    rows: int
    set_aside: Mapping[str, int]


class Ring:
    """The newest steps of a fleet: one writer, any number of readers of `observed`.

    Steps are counted from 1970 on, in units of `spec.step_s`.

    Args:
        topology, spec: of the bundle that is fed.
        late_s: see `LATE_S`.

    Attributes:
        newest: the newest step at which anything came; None before that.
        revision: changes with everything that is put in.
    """

    def __init__(self, topology: Topology, spec: ForecastSpec, late_s: float = LATE_S) -> None:
        self.topology, self.spec = topology, spec
        self.newest: int | None = None
        self.revision = 0
        self._late = -(-round(late_s) // spec.step_s)
        self._days = -(-spec.context_steps // spec.day_steps) + 2
        self._first = 0  # step of the arrays' beginning, a midnight
        self._open_from = 0  # from this step on all samples are in `_open`
        self._names = pl.Enum(topology.entities)
        self._open = pl.DataFrame(
            schema={"time": TIME, "entity_id": self._names, **dict.fromkeys(spec.past, pl.Float64())}
        )
        self._measured = self._empty(0, self._days * spec.day_steps)
        self._values = np.full(self._measured.values.shape, np.nan, np.float32)
        self._lock = threading.Lock()

    @property
    def first_time(self) -> datetime:
        """Where the arrays begin: telemetry from before is of no use."""
        return self._time(self._first)

    def begin(self, now: datetime) -> datetime:
        """The time from which on telemetry is of use at `now`."""
        return self._time(self._begin(now))

    def move(self, now: datetime) -> None:
        """Make room for the day of `now`, forgetting the oldest; time that goes backwards changes nothing."""
        first = self._begin(now)
        shift = first - self._first
        if shift <= 0:
            return
        with self._lock:
            for array, nothing in ((self._measured.values, np.nan), (self._measured.marks, 0), (self._values, np.nan)):
                for plane in array:
                    plane[:, : max(plane.shape[1] - shift, 0)] = plane[:, shift:]
                    plane[:, max(plane.shape[1] - shift, 0) :] = nothing
            self._first = first
            self._open_from = max(self._open_from, first)
            if self.newest is not None and self.newest < first:
                self.newest = None

    def take(self, rows: pl.DataFrame, now: datetime, where: str = "telemetry") -> Taken:
        """Put in a batch of telemetry, in any order; what came before changes nothing, so that it may come twice.

        Args:
            rows: contract TELEMETRY.
            now: samples from after it, and from before the ring's beginning, are set aside.
            where: named in errors.

        Raises:
            DataError: a column of another type, or values whose unit cannot be right; nothing was put in.
        """
        self.move(now)
        good, aside = self._sifted(rows, now, where)
        fresh = good.join(self._open, on=self._open.columns, how="anti", nulls_equal=True)
        if fresh.is_empty():
            return Taken(0, aside)
        open_since = pl.col("time") >= self._time(self._open_from)
        late, recent = fresh.filter(~open_since), pl.concat([self._open, fresh.filter(open_since)])
        steps = [*self._put_recent(recent, fresh.filter(open_since), where), *self._put_late(late, aside, where)]
        before = self.newest
        self.newest = max([*steps, *([] if before is None else [before])])
        self._judge(min([*steps, *([] if before is None else [before + 1])]), self.newest + 1)
        self._open_from = max(self._open_from, self.newest + 1 - self._late)
        self._open = recent.filter(pl.col("time") >= self._time(self._open_from))
        self.revision += 1
        return Taken(len(fresh), aside)

    def apart(self, batches: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
        """Batches that tell enough of the fleet to have their units judged, each by itself; the others as one."""
        enough = _TELLING * len(self.topology.entities)
        tells = [batch["entity_id"].n_unique() >= enough for batch in batches]
        small = [batch for batch, does in zip(batches, tells, strict=True) if not does]
        together = [pl.concat(small, how="diagonal_relaxed")] if small else []
        return [*(batch for batch, does in zip(batches, tells, strict=True) if does), *together]

    def panel(self) -> Panel:
        """The steps from the ring's beginning to the newest: a view, for the writer's thread alone."""
        end = 0 if self.newest is None else self.newest + 1 - self._first
        return Panel(
            self.first_time, self.spec.step_s, self.spec.past, self.topology.entities, (self._values[:, :, :end],)
        )

    def complete(self) -> int | None:
        """The newest complete step as `Panel.watermark` defines it; None where nothing was observed for a day."""
        if self.newest is None:
            return None
        end = self.newest + 1 - self._first
        begin = max(end - self.spec.day_steps, 0)
        recent = self._values[:, :, begin:end]
        if np.isnan(recent).all():
            return None
        start = self._time(self._first + begin)
        panel = Panel(start, self.spec.step_s, self.spec.past, self.topology.entities, (recent,))
        return self._first + begin + panel.watermark()

    def observed(self, entities: np.ndarray, first: int, end: int) -> Floats:
        """What was observed of some entities over the steps `[first, end)`, `[C, n, steps]`; from any thread.

        Args:
            entities: places in topology order.
        """
        with self._lock:
            names = tuple(self.topology.entities[entity] for entity in entities)
            panel = Panel(self.first_time, self.spec.step_s, self.spec.past, names, (self._values[:, entities],))
            return panel.read(first - self._first, end - self._first)

    def faults(self, steps: int) -> dict[str, int]:
        """Cells with each fault over the newest `steps` steps; from any thread."""
        with self._lock:
            if self.newest is None:
                return {}
            end = self.newest + 1 - self._first
            return self._measured.between(max(end - steps, 0), end).counts

    def targets(self) -> Floats:
        """All the targets' values from the ring's beginning, a midnight, on: `[T, N, steps]`, a view."""
        return self._values[: len(self.spec.targets)]

    def adopt(self, other: "Ring", now: datetime) -> None:
        """Take over what another ring of the same grid holds of the entities and signals of this one."""
        if other.spec.step_s != self.spec.step_s or other.newest is None:
            return
        self.move(now)
        common = [name for name in self.topology.entities if name in set(other.topology.entities)]
        mine = _places(self.topology.entities, common)
        its = _places(other.topology.entities, common)
        first = max(self._first, other._first)
        end = min(self._first + self._measured.steps, other.newest + 1)
        if end <= first:
            return
        here, there = slice(first - self._first, end - self._first), slice(first - other._first, end - other._first)
        for signal, name in enumerate(self.spec.past):
            if name in other.spec.past:
                at = other.spec.past.index(name)
                self._measured.values[signal, mine, here] = other._measured.values[at, its, there]
                self._measured.marks[signal, mine, here] = other._measured.marks[at, its, there]
        self.newest = end - 1
        self._open_from = end  # the samples themselves are not handed over
        self._judge(first, end)
        self.revision += 1

    def step(self, time: datetime) -> int:
        """The step that `time` is in."""
        return int(time.timestamp() // self.spec.step_s)

    def _begin(self, now: datetime) -> int:
        day = self.spec.day_steps
        return (self.step(now) // day - self._days + 1) * day

    def _time(self, step: int) -> datetime:
        return datetime.fromtimestamp(step * self.spec.step_s, UTC)

    def _empty(self, first: int, steps: int) -> Gridded:
        return Gridded.empty(self._time(first), self.spec.step_s, self.spec.past, self.topology.entities, steps)

    def _sifted(self, rows: pl.DataFrame, now: datetime, where: str) -> tuple[pl.DataFrame, dict[str, int]]:
        """Rows of known entities from the time that the ring spans, in its columns; and how many others, by reason."""
        TELEMETRY.check_schema(rows.lazy(), where)
        absent = [pl.lit(None, pl.Float64).alias(name) for name in self.spec.past if name not in rows.columns]
        typed = rows.with_columns(absent).select(
            "time",
            pl.col("entity_id").cast(self._names, strict=False),
            pl.col(self.spec.past).cast(pl.Float64),
        )
        end = min(now + CLOCK_TOLERANCE, self._time(self._first + self._measured.steps) - timedelta(microseconds=1))
        reasons = {
            "unreadable time": pl.col("time").is_null(),
            "unknown entity": pl.col("entity_id").is_null(),
            "from the future": pl.col("time") > end,
            "too old": pl.col("time") < self.first_time,
        }
        reason = pl.lit(None, pl.String)
        for name, bad in reversed(reasons.items()):
            reason = pl.when(bad.fill_null(value=False)).then(pl.lit(name)).otherwise(reason)
        told = typed.with_columns(reason=reason)
        counts = dict(told["reason"].drop_nulls().value_counts().iter_rows())
        return told.filter(pl.col("reason").is_null()).drop("reason"), counts

    def _put_recent(self, samples: pl.DataFrame, fresh: pl.DataFrame, where: str) -> list[int]:
        """Grid again the steps that new samples touch, from all their samples; returns the first and last of them."""
        if fresh.is_empty():
            return []
        first, last = self._span(fresh)
        gridded = self._gridded(fresh, first, last, where)
        if len(samples) > len(fresh):
            gridded = self._gridded(samples, first, last)
        here = slice(first - self._first, last + 1 - self._first)
        self._measured.values[:, :, here] = gridded.values
        self._measured.marks[:, :, here] = gridded.marks
        return [first, last]

    def _put_late(self, late: pl.DataFrame, aside: dict[str, int], where: str) -> list[int]:
        """Fill what is still empty of steps whose samples are no longer kept; returns the first and last of them."""
        if late.is_empty():
            return []
        first, last = self._span(late)
        gridded = self._gridded(late, first, last, where)
        here = slice(first - self._first, last + 1 - self._first)
        values, marks = self._measured.values[:, :, here], self._measured.marks[:, :, here]
        came, empty = gridded.came, np.isnan(values) & ((marks & ROW_MARKS) == 0)
        if lost := int(np.count_nonzero((came & ~empty & (gridded.values != values)).any(axis=0))):
            aside["too late"] = aside.get("too late", 0) + lost
        values[came & empty] = gridded.values[came & empty]
        marks[came & empty] = gridded.marks[came & empty]
        return [first, last]

    def _gridded(self, samples: pl.DataFrame, first: int, last: int, where: str | None = None) -> Gridded:
        """Samples on the grid, and their units checked where they are somebody's."""
        gridded = self._empty(first, last + 1 - first)
        grid(samples.lazy(), gridded)
        told = np.count_nonzero(~np.isnan(gridded.values).all(axis=(0, 2)))
        if where is not None and told >= _TELLING * len(self.topology.entities):
            check_units(typical(gridded, self.topology), where)
        return gridded

    def _span(self, rows: pl.DataFrame) -> tuple[int, int]:
        first, last = rows.select(first=pl.col("time").min(), last=pl.col("time").max()).row(0)
        return self.step(first), self.step(last)

    def _judge(self, first: int, end: int) -> None:
        """Repair and roll up the steps `[first, end)`, a day at a time."""
        day = self.spec.day_steps
        while first < end:
            midnight = first // day * day
            lead, stop = max(midnight - day, self._first), min(midnight + day, end)
            whole = self._measured.between(lead - self._first, stop - self._first).copy()
            built = repaired(replace(whole, start=self._time(lead)), self.topology, first - lead)
            here = slice(first - self._first, stop - self._first)
            with self._lock:
                self._values[:, :, here] = built.values
                self._measured.marks[:, :, here] = built.measured.marks
            first = stop


def _places(names: tuple[str, ...], chosen: list[str]) -> np.ndarray:
    place = {name: index for index, name in enumerate(names)}
    return np.array([place[name] for name in chosen], np.intp)
