"""A report in words: the same tables for the terminal and for the page."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from forecast.contracts.errors import one_line
from forecast.quality.quality import Coverage, Fact, Fault, Judged, Moved, Quality, SetAside, Unit
from forecast.quality.verdict import declaring, share_of, significant, unjudged
from forecast.wording import MISSING, fixed, moment

#: Fault to how it is seen and what is done with it (docs/faults.md).
FAULTS = {
    "duplicate": ("entity and time repeat, same values", "counts once"),
    "conflicting_duplicate": ("entity and time repeat, other values", "neither is believed"),
    "out_of_order": ("older than the last row of its entity", "sorted within the day"),
    "skewed_clock": ("steadily off its hall's median offset", "flagged, kept"),
    "stuck_sensor": ("repeats while use or power moves", "not observed"),
    "spike": ("one-sample jump that load does not explain", "not observed"),
    "sentinel": ("outside the physical range, or no number", "not observed"),
    "kilowatt": ("a thousandth of nameplate on a machine that is on", "not observed"),
    "fahrenheit": ("jump that fits the change of unit", "not observed"),
    "gap": ("overdue by its own interval", "flagged, missing"),
    "storm": ("over 20 % of a hall missing", "flagged, missing"),
}

_MOVED = {
    "arrived": ("arrived", "first sample", "cold start from its kind and siblings"),
    "left": ("left", "last sample", "no longer expected after 24 h"),
    "silent": ("fell silent", "last sample", "a gap until 24 h have passed"),
    "never": ("never reported", "", "left out"),
}


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes:
        name: for links and charts.
        title, note: above it.
        columns: their heads; `numbers` are the places of those that are right-aligned.
        rows: cells as text, as wide as the columns; examples a line each.
        nothing: what is said where there are no rows.
    """

    name: str
    title: str
    note: str
    columns: tuple[str, ...]
    numbers: tuple[int, ...]
    rows: tuple[tuple[str, ...], ...]
    nothing: str


def headline(quality: Quality) -> str:
    """The verdict in a line."""
    if quality.fit:
        return "Fit for training"
    count = len(quality.reasons)
    return f"Not fit for training: {count} {'reason' if count == 1 else 'reasons'}"


def reasons(quality: Quality) -> list[str]:
    """What speaks against training, a sentence each."""
    return [f"{rule.rule}: {rule.found} (asked: {rule.bound}; {rule.source})." for rule in quality.reasons]


def facts(quality: Quality) -> dict[str, str]:
    """What was examined."""
    days = len(quality.days)
    levels = ", ".join(f"{fixed(count, 0)} {_several(level, count)}" for level, count in quality.levels.items())
    return {
        "source": one_line(quality.where),
        "samples": f"{moment(quality.start)} to {moment(quality.end)} ({fixed(days, 0)} {_several('day', days)})",
        "complete up to": f"{moment(quality.watermark)} (95 % of the expected entities)",
        "rows": fixed(quality.rows, 0),
        "entities": levels,
        "grid": f"steps of {quality.step_s} s",
        "examined": moment(quality.examined_at),
    }


def sections(quality: Quality) -> tuple[Section, ...]:
    """All tables in order."""
    return (
        _verdict(quality),
        _completeness(quality),
        _faults(quality),
        _set_aside(quality),
        _moved(quality),
        _units(quality),
        _clocks(quality),
        _odd(quality),
    )


def _verdict(quality: Quality) -> Section:
    marks = {True: "yes", False: "NO", None: "not judged"}
    return Section(
        "verdict",
        "Verdict",
        "What training asks of telemetry. One NO, and it should not proceed.",
        ("what is asked", "kept", "found", "bound"),
        (),
        tuple((rule.rule, marks[rule.passed], rule.found, rule.bound) for rule in quality.verdict),
        "",
    )


def _completeness(quality: Quality) -> Section:
    return Section(
        "completeness",
        "Completeness",
        "Share of the expected steps that are usable. An entity is expected from its first sample to its last, or to "
        "the end if it fell silent within the last 24 h; a rolled-up level at every step.",
        ("signal", "level", "measured", "typical interval", "complete", "worst day"),
        (2, 3, 4, 5),
        tuple(_coverage(row, quality.days) for row in quality.coverage),
        "Nothing was observed.",
    )


def _coverage(row: Coverage, days: tuple[date, ...]) -> tuple[str, ...]:
    measured = "rolled up" if row.rolled_up else f"{fixed(row.measured, 0)} of {fixed(row.entities, 0)}"
    known = [(share, day) for share, day in zip(row.by_day, days, strict=True) if share is not None]
    worst = min(known, default=None)
    shown = f"{share_of(worst[0])} on {worst[1]}" if worst and worst[0] < 1 else MISSING
    return row.signal, row.level, measured, duration(row.interval_s), share_of(row.completeness), shown


def _faults(quality: Quality) -> Section:
    return Section(
        "faults",
        "Faults",
        "Steps are counted over all entities, shares against the steps at which a sample was expected. Examples are "
        "the first of three entities, in local time.",
        ("fault", "in", "entities", "steps", "share", "what is done", "examples"),
        (2, 3, 4),
        tuple(_fault(fault) for fault in quality.faults),
        "None was found.",
    )


def _fault(fault: Fault) -> tuple[str, ...]:
    examples = "\n".join(
        f"{one_line(example.entity_id)} {_stretch(example.start, example.end)}" for example in fault.examples
    )
    treated = FAULTS[fault.fault][1]
    struck = fixed(fault.entities, 0), fixed(fault.steps, 0), share_of(fault.share)
    return spoken_fault(fault.fault), fault.signal or "rows", *struck, treated, examples


def _set_aside(quality: Quality) -> Section:
    unknown = (
        "entity that the topology lacks",
        fixed(quality.unknown_rows, 0),
        "\n".join(f"entity_id={one_line(name)}" for name in quality.unknown),
    )
    rows = [(_reason(aside), fixed(aside.count, 0), "\n".join(aside.examples)) for aside in quality.set_aside]
    return Section(
        "set-aside",
        "Rows set aside",
        "Rows, or single values of them, that break the contract. They are counted and not used.",
        ("reason", "rows", "examples"),
        (1,),
        (*rows, *([unknown] if quality.unknown_rows else [])),
        "None: every row keeps the contract.",
    )


def _reason(aside: SetAside) -> str:
    """Why rows are set aside; a local hour that clocks skip is a null like a time that is none."""
    return (
        f"{aside.reason}, or local in an hour that clocks skip" if aside.reason == "unreadable time" else aside.reason
    )


def _moved(quality: Quality) -> Section:
    return Section(
        "moved",
        "Entities that came and went",
        "An hour or more after the record begins, or before it ends. Local time.",
        ("what", "entities", "what is done", "examples"),
        (1,),
        tuple(_move(moved) for moved in quality.moved if moved.entities),
        "None: everybody reported from the beginning to the end.",
    )


def _move(moved: Moved) -> tuple[str, ...]:
    title, edge, treated = _MOVED[moved.what]
    examples = (
        f"{one_line(name)}{f' ({edge} {when:%Y-%m-%d %H:%M})' if when else ''}" for name, when in moved.examples
    )
    return title, fixed(moved.entities, 0), treated, "\n".join(examples)


def _units(quality: Quality) -> Section:
    return Section(
        "units",
        "Units inferred",
        "From the median of a day against nameplate, temperature limit, or the warmest supply air there is (45 °C).",
        ("signal", "declared", "typical", "fits", "elsewhere"),
        (),
        tuple(row for unit in quality.units for row in _unit(unit)),
        "No signal has a unit that values could tell.",
    )


def _unit(unit: Unit) -> Iterator[tuple[str, ...]]:
    if unit.typical is None:
        typically = f"{significant(unit.raw)} {unit.declared}" if unit.raw is not None else MISSING
        yield unit.signal, unit.declared, typically, unjudged(unit), ""
        return
    elsewhere = "\n".join(
        f"fits {other.unit} in {one_line(other.group)} on {_days(other.days)}: "
        f"{declaring(unit.signal, other.unit)} for it"
        for other in unit.elsewhere
    )
    yield unit.signal, unit.declared, f"{significant(unit.typical)} × limit", unit.fits or "", elsewhere


def _clocks(quality: Quality) -> Section:
    judged = fixed(quality.clocks.judged, 0)
    unjudged = f"{fixed(quality.clocks.unjudged, 0)} could not be judged: few samples, or none steady within the step"
    return Section(
        "clocks",
        "Clock offsets",
        f"Median offset of an entity's samples from the fleet's, within half a step of {quality.step_s} s; "
        f"the ten farthest of {judged} that could be judged; {unjudged}.",
        ("entity", "offset"),
        (1,),
        tuple((one_line(name), f"{'+' if off > 0 else ''}{fixed(off, 1)} s") for name, off in quality.clocks.worst),
        f"Nobody is off the fleet's median ({judged} could be judged; {unjudged}).",
    )


def _odd(quality: Quality) -> Section:
    return Section(
        "odd",
        "Worth a look",
        "What no single sample shows, and what the topology lacks.",
        ("what", "entities", "examples"),
        (1,),
        tuple(_fact(fact) for fact in (*quality.facts, *quality.tree)),
        "Nothing.",
    )


def _fact(fact: Fact) -> tuple[str, ...]:
    return fact.text, fixed(fact.entities, 0), "\n".join(one_line(name) for name in fact.examples)


def spoken_fault(fault: str) -> str:
    """A fault's name for people."""
    return fault.replace("_", " ")


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds is None:
        return MISSING
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _stretch(start: datetime, end: datetime) -> str:
    """From when to when, the date once where it is one day."""
    if start.date() == end.date():
        return f"{start:%Y-%m-%d %H:%M}–{end:%H:%M}"
    return f"{start:%Y-%m-%d %H:%M}–{end:%Y-%m-%d %H:%M}"


def _days(days: tuple[date, ...]) -> str:
    return str(days[0]) if len(days) == 1 else f"{fixed(len(days), 0)} days from {days[0]}"


def _several(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def judged_mark(rule: Judged) -> str:
    """How a page colours a rule."""
    return {True: "kept", False: "broken", None: "open"}[rule.passed]
