"""The panel on disk, kept up to date: only days whose input changed are built again.

A folder holds one `.npy` per UTC day, `[channel, entity, step]`, and a manifest that names them:

    <day>-<key>.npy    never changed once it has its name; the key is that of all that went into it
    manifest.json      replaced as a whole, when the files it names are there

A day is made of its own telemetry and that of the day before, and of nothing else. So late rows change two days, a run
that is interrupted leaves what the next one takes up or sweeps, and what comes out is what a full rebuild makes.
"""

import fcntl
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from forecast.contracts.errors import DataError
from forecast.contracts.rules import CLOCK_TOLERANCE
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.contracts.version import code_version, key_of
from forecast.disk import write_whole
from forecast.features.gridded import Floats, Gridded
from forecast.features.pipeline import Built
from forecast.features.units import check_units, middle, typical
from forecast.traces.trace import Part, Progress, Trace, silent
from forecast.windows.panel import LONG, Panel, check_channels, check_observed, midnight, span
from forecast.windows.stretches import DAY, Stretches, start_of


@dataclass(frozen=True)
class Day:
    """What is kept of one day beside its values.

    Attributes:
        day: ISO date, UTC.
        key: of all that went into it.
        content: hash of its values, whatever files they came in.
        first, last: steps between which anything came, inclusive; None where nothing did.
        marks: fault to the number of cells that bear its mark.
        unknown_rows: rows of entities that the topology lacks, told at the first of the days built together.
        came: channels that were observed.
        medians: typical values relative to their limits, see `check_units`.
    """

    day: str
    key: str
    content: str
    first: int | None
    last: int | None
    marks: Mapping[str, int]
    unknown_rows: int
    came: list[str]
    medians: Mapping[str, float | None]

    @property
    def file(self) -> str:
        return f"{self.day}-{self.key}.npy"

    @property
    def start(self) -> datetime:
        return start_of(self.day)


@dataclass(frozen=True, eq=False)
class Updated:
    """A panel that is up to date.

    Attributes:
        days: its days in order.
        built: how many of them were built just now.
        set_aside: rows that have no place in it, by reason; empty where nothing was built.
    """

    panel: Panel
    days: list[Day]
    built: int
    set_aside: Mapping[str, int]

    def content(self, end: int) -> str:
        """Hash of the panel's values before step `end`; what comes after, and their files, change nothing."""
        last = midnight(self.panel.time(end - 1))
        values = self.panel.read(max(self.panel.step(last), 0), end)
        earlier = [day.content for day in self.days if day.start < last]
        return key_of(earlier, _hash(values), self.panel.time(end).isoformat())


class Store:
    """The folder of one panel.

    Args:
        folder: of this panel alone.
        memory_gb: what the process may hold, all in all, whatever the size of the telemetry.
    """

    def __init__(self, folder: Path, memory_gb: float = 4.0) -> None:
        self.folder = folder
        self._memory_gb = memory_gb

    def update(self, trace: Trace, spec: ForecastSpec, where: str, progress: Progress = silent) -> Updated:
        """Bring the panel up to date with `trace`; samples of a wrong clock, from after it was read, are refused.

        Raises:
            DataError: a channel is missing, nothing was observed, or a unit cannot be what it claims.
            ConfigError: the memory holds not even one day.
        """
        check_channels(trace.telemetry, spec, where)
        everything = trace
        if latest := _latest(trace):
            trace = replace(trace, telemetry=trace.telemetry.filter(pl.col("time") <= latest))
        with self._locked():
            wanted = _keys(trace, spec, where)
            kept = {day.day: day for day in self._days() if wanted.get(day.day) == day.key}
            missing = [day for day in wanted if day not in kept]
            stretches = Stretches(spec.past, spec.step_s, self._memory_gb)

            def keep(days: list[str], built: Built) -> list[Day]:
                return self._kept(built, {day: wanted[day] for day in days}, trace.topology, spec)

            for fresh in stretches.each(trace, missing, min(wanted), keep):
                kept |= {day.day: day for day in fresh}
                self._publish(kept.values())
                progress(len(kept) / len(wanted))
            self._publish(kept.values())
            self._sweep(kept.values())
            record = [kept[day] for day in wanted]
            if not any(day.came for day in record):
                span(trace.telemetry, trace.topology, where)  # says so, where no row is of anybody known
            aside = _set_aside(everything) if missing else {}
            return Updated(self._opened(record, trace.topology, spec, where), record, len(missing), aside)

    def _kept(self, built: Built, keys: Mapping[str, str], topology: Topology, spec: ForecastSpec) -> list[Day]:
        """Write the days of a stretch; returns their records."""
        record = []
        for index, (day, key) in enumerate(keys.items()):
            first, end = index * spec.day_steps, (index + 1) * spec.day_steps
            unknown = 0 if index else built.unknown_rows
            values = built.values[:, :, first:end]
            record.append(_day(day, key, values, built.measured.between(first, end), topology, unknown))
            self._write(record[-1], values)
        return record

    def _write(self, day: Day, values: Floats) -> None:
        write_whole(self.folder / day.file, lambda file: np.save(file, values))

    def _opened(self, record: list[Day], topology: Topology, spec: ForecastSpec, where: str) -> Panel:
        """The days as a panel from the first step to the last at which anything came."""
        marks: Counter[str] = Counter()
        for day in record:
            marks.update(day.marks)
        check_observed({name for day in record for name in day.came}, marks, spec, where)
        medians = {name: middle(day.medians.get(name) for day in record) for name in spec.past}
        check_units(medians, where)
        busy = [index for index, day in enumerate(record) if day.first is not None]
        days = record[busy[0] : busy[-1] + 1]
        chunks = [np.load(self.folder / day.file, mmap_mode="r") for day in days]
        first, last = days[0].first or 0, days[-1].last or 0
        chunks[-1] = chunks[-1][:, :, : last + 1]
        chunks[0] = chunks[0][:, :, first:]
        start = days[0].start + timedelta(seconds=first * spec.step_s)
        return Panel(start, spec.step_s, spec.past, topology.entities, tuple(chunks))

    def _days(self) -> list[Day]:
        """The record of the last run, as far as its files are there; none of one that other code kept otherwise."""
        manifest = self.folder / "manifest.json"
        try:
            days = [Day(**day) for day in json.loads(manifest.read_text())] if manifest.exists() else []
        except (TypeError, ValueError):
            return []
        return [day for day in days if _is_whole(self.folder / day.file)]

    def _publish(self, days: Iterable[Day]) -> None:
        text = json.dumps([asdict(day) for day in sorted(days, key=lambda day: day.day)], indent=1)
        write_whole(self.folder / "manifest.json", lambda file: file.write(text.encode()))

    def _sweep(self, days: Iterable[Day]) -> None:
        """Remove what no day is made of any more, and what an interrupted run left; who mapped it keeps it."""
        needed = {"manifest.json", ".lock", *(day.file for day in days)}
        for path in self.folder.iterdir():
            if path.name not in needed:
                path.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Wait for another run on this folder; the kernel frees the lock of one that dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _is_whole(path: Path) -> bool:
    """Whether a day's file is there, as long as it says it is."""
    try:
        np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return True


def _keys(trace: Trace, spec: ForecastSpec, where: str) -> dict[str, str]:
    """Every day from the first to the last that may have samples, with the key of what goes into it."""
    parts = [part for part in trace.parts if part.first is not None] or [_whole(trace, where)]
    code = code_version("contracts", "features", "windows")
    made = key_of(trace.topology.table.write_json(), spec.past, spec.step_s, code)
    times = [(midnight(part.first), midnight(part.last), part.key) for part in parts if part.first and part.last]
    day, last = _ends([(first, end) for first, end, _ in times], trace, where)
    last = min(last, midnight(trace.now)) if trace.now else last
    if last < day:
        raise DataError(f"{where}: begins {day:%Y-%m-%d}, which is yet to come; check its times.")
    latest = _latest(trace)
    wild = {part.key for part in parts if latest and part.last and part.last > latest}
    keys = {}
    while day <= last:
        into = sorted(key for first, end, key in times if first <= day and end >= day - DAY)
        cut = latest if latest and day <= latest < day + DAY and wild.intersection(into) else None
        keys[f"{day:%Y-%m-%d}"] = key_of(made, into, str(cut)) if cut else key_of(made, into)
        day += DAY
    return keys


def _set_aside(trace: Trace) -> dict[str, int]:
    """How many rows have no place in any panel, by reason; a pass over the times."""
    latest, time = _latest(trace), pl.col("time")
    counts = {"with an unreadable time": time.null_count()} | (
        {"from the future": (time > latest).sum()} if latest else {}
    )
    found = trace.telemetry.select(**counts).collect(engine="streaming").row(0, named=True)
    return {reason: count for reason, count in found.items() if count}


def _latest(trace: Trace) -> datetime | None:
    """The last time that is not in the future."""
    return trace.now + CLOCK_TOLERANCE if trace.now else None


def _ends(times: Sequence[tuple[datetime, datetime]], trace: Trace, where: str) -> tuple[datetime, datetime]:
    """First and last day of parts; by their rows where a wrong time may be what makes them long or far apart."""
    first, last = min(begin for begin, _ in times), max(end for _, end in times)
    longest = max(end - begin for begin, end in times)
    covered = sum(((end - begin) + DAY for begin, end in times), timedelta())
    if longest > LONG or (last - first > LONG and covered < (last - first) / 10):
        begin, end = span(trace.telemetry, trace.topology, where)
        first, last = max(first, midnight(begin)), min(last, midnight(end))
    return first, last


def _whole(trace: Trace, where: str) -> Part:
    """A source that knows no parts, as one."""
    return Part(where, trace.key, *span(trace.telemetry, trace.topology, where))


def _day(day: str, key: str, values: Floats, measured: Gridded, topology: Topology, unknown_rows: int) -> Day:
    """What a day's record says of its samples."""
    steps = np.flatnonzero(measured.came.any(axis=(0, 1)))
    return Day(
        day=day,
        key=key,
        content=_hash(values),
        first=int(steps[0]) if steps.size else None,
        last=int(steps[-1]) if steps.size else None,
        marks=measured.counts,
        unknown_rows=unknown_rows,
        came=measured.channels,
        medians=typical(measured, topology),
    )


def _hash(values: Floats) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()
