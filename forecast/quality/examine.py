"""Telemetry looked through from end to end: what came, what is wrong with it, and whether to train on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.rules import CLOCK_TOLERANCE, EXAMPLES, LATEST, OLDEST
from forecast.contracts.tables import TELEMETRY
from forecast.contracts.topology import Topology
from forecast.features.absence import LEFT_S
from forecast.features.pipeline import Built
from forecast.quality.clocks import clocks
from forecast.quality.odd import odd_tree, odd_values
from forecast.quality.quality import Coverage, Example, Fact, Fault, Moved, Quality, SetAside
from forecast.quality.rows import Spoken, spoken
from forecast.quality.tally import USE_BYTES, Tally, dates
from forecast.quality.units import units
from forecast.quality.verdict import Evidence, verdict
from forecast.traces.trace import Progress, Trace, silent
from forecast.windows.panel import span
from forecast.windows.stretches import Stretches

#: Who first speaks so long after the record begins, or is silent for so long at its end, and two of its intervals, came
#: late or fell silent.
_LATE_S = 3600


@dataclass(frozen=True)
class Asked:
    """What is asked of a source.

    Attributes:
        where: what the report calls it.
        signals: channels to look at; those without a column count as absent.
        targets: what a forecast needs.
        step_s: grid step, seconds.
        now: what the clock says; None takes that of the source, and the age of the telemetry is not judged.
        memory_gb: what the process may hold, all in all, whatever the size of the telemetry.
    """

    where: str
    signals: tuple[str, ...]
    targets: tuple[str, ...]
    step_s: int = 300
    now: datetime | None = None
    memory_gb: float = 4.0


def examine(trace: Trace, asked: Asked, progress: Progress = silent, resets: pl.DataFrame | None = None) -> Quality:
    """Look at every row and every step once.

    Args:
        trace: the source.
        asked: on which grid, for what.
        progress: told the share done.
        resets: of energy counters, see `forecast.traces.metrics.resets`; None where there are none.

    Raises:
        DataError: no believable row of a known entity, or a column of another type.
        ConfigError: the memory holds not even one day.
    """
    clock = asked.now or trace.now
    latest = min(LATEST, clock + CLOCK_TOLERANCE) if clock else LATEST
    believed = trace.telemetry.filter(pl.col("time").is_between(OLDEST, latest))
    set_aside = TELEMETRY.sift(trace.telemetry, asked.where, clock).report
    start, end = span(believed, trace.topology, asked.where)
    told = spoken(trace.telemetry, trace.topology, asked.signals, start, end)
    tally = _tallied(replace(trace, telemetry=believed), asked, told, (start, end), progress)
    evidence = _evidence(trace, asked, told, tally, int(set_aside["count"].sum()))
    facts = list(odd_values(tally, told, asked.targets, resets))
    return _quality(trace, asked, told, tally, evidence, set_aside, facts)


def _evidence(trace: Trace, asked: Asked, told: Spoken, tally: Tally, set_aside: int) -> Evidence:
    found = trace.telemetry.collect_schema()
    start, end = tally.span
    last_s = told.last_s[:, tally.measured.any(axis=0)]
    return Evidence(
        targets=asked.targets,
        absent=[name for name in asked.signals if name not in found],
        completeness=_shares(tally.usable.sum(axis=(1, 2)), tally.expected.sum(axis=(1, 2)), asked.signals),
        unusable=_shares((tally.came - tally.believed).sum(axis=1), tally.came.sum(axis=1), asked.signals),
        interval_s={name: _interval(name, told) for name in asked.targets},
        step_s=asked.step_s,
        units=units(asked.signals, tally.medians, tally.raw, tally.groups, tuple(dates(tally.days))),
        rows=told.rows,
        set_aside=set_aside,
        unknown_rows=told.unknown_rows,
        measured=last_s.shape[1],
        left=int((end.timestamp() - np.nanmax(last_s, axis=0, initial=-np.inf) >= LEFT_S).sum()),
        length_s=(end - start).total_seconds(),
        watermark=tally.watermark(),
        now=asked.now,
    )


def _quality(
    trace: Trace,
    asked: Asked,
    told: Spoken,
    tally: Tally,
    evidence: Evidence,
    set_aside: pl.DataFrame,
    facts: Sequence[Fact],
) -> Quality:
    start, end = tally.span
    return Quality(
        where=asked.where,
        examined_at=asked.now or trace.now or datetime.now(UTC),
        start=start,
        end=end,
        watermark=evidence.watermark,
        step_s=asked.step_s,
        signals=asked.signals,
        targets=asked.targets,
        rows=told.rows,
        unknown_rows=told.unknown_rows,
        unknown=told.unknown,
        levels=dict(trace.topology.table.group_by("level", maintain_order=True).len().iter_rows()),
        days=tuple(dates(tally.days)),
        coverage=tuple(_coverage(tally, told)),
        set_aside=tuple(SetAside(reason, count, tuple(examples)) for reason, count, examples in set_aside.rows()),
        faults=tuple(_faults(tally, trace.topology)),
        faults_by_day=_faults_by_day(tally),
        moved=tuple(_moved(told, trace.topology, asked.step_s, start, end)),
        units=tuple(evidence.units),
        clocks=clocks(tally.offsets, trace.topology.entities, asked.step_s),
        facts=tuple(facts),
        tree=tuple(odd_tree(trace.topology)),
        verdict=verdict(evidence),
    )


def _tallied(trace: Trace, asked: Asked, told: Spoken, within: tuple[datetime, datetime], progress: Progress) -> Tally:
    tally = Tally(trace.topology, asked.signals, asked.step_s, within, told)
    days = tally.days
    stretches = Stretches(asked.signals, asked.step_s, asked.memory_gb, USE_BYTES, with_offsets=True)

    def look(part: list[str], built: Built) -> int:
        tally.add(part, built)
        return len(part)

    done = 0
    for count in stretches.each(trace, days, days[0], look):
        done += count
        progress(done / len(days))
    return tally


def _shares(part: NDArray[np.int64], whole: NDArray[np.int64], signals: tuple[str, ...]) -> Mapping[str, float]:
    """Signal to a share; nothing where there is nothing to share."""
    return {name: float(some / all_) for name, some, all_ in zip(signals, part, whole, strict=True) if all_}


def _interval(signal: str, told: Spoken) -> float:
    """Of the level that reports most rarely, s."""
    return max((seconds for (of, _), seconds in told.interval_s.items() if of == signal), default=0.0)


def _coverage(tally: Tally, told: Spoken) -> list[Coverage]:
    rows = []
    members = tally.topology.table["level"]
    for at_signal, signal in enumerate(tally.signals):
        for at_level, level in enumerate(tally.topology.levels):
            mine = (members == level).to_numpy()
            measured = int(tally.measured[at_signal, mine].sum())
            usable, expected = (tally.usable, tally.expected) if measured else (tally.filled, tally.fillable)
            part, whole = usable[at_signal, at_level], expected[at_signal, at_level]
            if not measured and not part.any():
                continue
            rows.append(
                Coverage(
                    signal,
                    level,
                    entities=int(mine.sum()),
                    measured=measured,
                    rolled_up=not measured,
                    interval_s=told.interval_s.get((signal, level)) if measured else None,
                    completeness=float(part.sum() / whole.sum()) if whole.any() else None,
                    by_day=tuple(float(some / all_) if all_ else None for some, all_ in zip(part, whole, strict=True)),
                )
            )
    return rows


def _faults(tally: Tally, topology: Topology) -> list[Fault]:
    zones = _zones(topology)
    any_expected = tally.expected.max(axis=0).sum()
    expected = {signal: tally.expected[at].sum() for at, signal in enumerate(tally.signals)}
    found = []
    for (fault, signal), rows in tally.struck.group_by("fault", "signal"):
        first = rows.sort("start_time", "entity_id").head(EXAMPLES)
        examples = [
            Example(entity, start.astimezone(zones[entity]), end.astimezone(zones[entity]))
            for entity, start, end in first.select("entity_id", "start_time", "end_time").iter_rows()
        ]
        steps = int(rows["steps"].sum())
        whole = int(expected.get(str(signal), any_expected))
        found.append(Fault(str(fault), str(signal), len(rows), steps, steps / max(whole, 1), tuple(examples)))
    return sorted(found, key=lambda fault: (-fault.steps, fault.fault, fault.signal))


def _faults_by_day(tally: Tally) -> dict[str, tuple[int, ...]]:
    steps = {(fault, day): count for fault, day, count in tally.by_day.iter_rows()}
    totals = tally.by_day.group_by("fault").agg(pl.col("steps").sum()).sort("steps", "fault", descending=[True, False])
    return {fault: tuple(steps.get((fault, day), 0) for day in dates(tally.days)) for fault in totals["fault"]}


def _moved(told: Spoken, topology: Topology, step_s: int, start: datetime, end: datetime) -> list[Moved]:
    """Entities that came or went; who sits above others and never reported is made of what is below."""
    spoke = np.asarray(~np.isnan(told.first_s).all(axis=0))
    first, last = (np.full(len(spoke), np.nan) for _ in range(2))
    first[spoke], last[spoke] = np.nanmin(told.first_s[:, spoke], axis=0), np.nanmax(told.last_s[:, spoke], axis=0)
    late_s = max(_LATE_S, 2 * step_s, 2 * max(told.interval_s.values(), default=0.0))
    quiet_s = end.timestamp() - last
    parents = set(topology.table["parent_id"])
    leaf = np.array([entity not in parents for entity in topology.entities])
    kinds = (
        ("arrived", first - start.timestamp() > late_s, first),
        ("left", quiet_s >= LEFT_S, last),
        ("silent", (quiet_s > late_s) & (quiet_s < LEFT_S), last),
        ("never", leaf & ~spoke, np.full(len(spoke), np.nan)),
    )
    zones = _zones(topology)
    moved = []
    for what, struck, when in kinds:
        places = np.flatnonzero(struck)
        named = sorted(places, key=lambda place: (when[place], place))[:EXAMPLES]
        examples = [(topology.entities[place], _local(when[place], zones[topology.entities[place]])) for place in named]
        moved.append(Moved(what, len(places), tuple(examples)))
    return moved


def _local(seconds: float, zone: ZoneInfo) -> datetime | None:
    return None if np.isnan(seconds) else datetime.fromtimestamp(seconds, zone)


def _zones(topology: Topology) -> dict[str, ZoneInfo]:
    return {entity: ZoneInfo(zone) for entity, zone in topology.table.select("entity_id", "time_zone").iter_rows()}
