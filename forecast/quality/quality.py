"""What an examination found: plain data, ready to be printed."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True)
class Coverage:
    """How much of a signal was observed at a level.

    Attributes:
        entities: of the level; `measured` of them have samples of their own.
        rolled_up: nobody is measured here; the level is made of what is below it.
        interval_s: typical time between samples, seconds; None where rolled up.
        completeness: share of the expected steps that are usable. A measured entity is expected from its first sample
            to its last, and to the end if it fell silent less than 24 h before; a rolled-up one all the time.
        by_day: the same for each day; None where nothing was expected.
    """

    signal: str
    level: str
    entities: int
    measured: int
    rolled_up: bool
    interval_s: float | None
    completeness: float | None
    by_day: tuple[float | None, ...]


@dataclass(frozen=True)
class SetAside:
    """Rows or values that break the contract, by reason, with the first of them."""

    reason: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """One stretch of a fault, in the local time of the entity's site."""

    entity_id: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Fault:
    """One kind of fault in one signal.

    Attributes:
        fault: as the simulator names it.
        signal: empty where whole rows are meant.
        entities: how many are struck.
        steps: of all entities together.
        share: `steps` over the steps at which the signal (or any) was expected.
        examples: the first three.
    """

    fault: str
    signal: str
    entities: int
    steps: int
    share: float
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Moved:
    """Entities that came or went.

    Attributes:
        what: `arrived`, `left`, `silent` (at the end, not yet for a day) or `never` (reported).
        entities: how many.
        examples: the first three and the local time of their first or last sample, None for who never reported.
    """

    what: str
    entities: int
    examples: tuple[tuple[str, datetime | None], ...]


@dataclass(frozen=True)
class Elsewhere:
    """A group whose values fit another unit on some days."""

    group: str
    unit: str
    days: tuple[date, ...]


@dataclass(frozen=True)
class Unit:
    """The unit of a signal as its values tell.

    Attributes:
        declared: its unit by contract.
        typical: the fleet's median relative to the limits, the median of all days; None where nothing can be compared.
        raw: the fleet's median as it came, the same of all days, where no limit is known to relate it to; else None.
        fits: the unit that the median fits; None where it cannot be judged.
        elsewhere: halls, else sites, that fit another unit than the fleet.
    """

    signal: str
    declared: str
    typical: float | None
    raw: float | None
    fits: str | None
    elsewhere: tuple[Elsewhere, ...]


@dataclass(frozen=True)
class Clocks:
    """When within their interval senders send, relative to the fleet's median.

    Attributes:
        judged: entities with enough samples and a steady place for them in the step.
        unjudged: the others that sent something.
        worst: the ten that are farthest off, with their median offset in seconds.
        histogram: how many entities are off by so much: edges in seconds, counts.
    """

    judged: int
    unjudged: int
    worst: tuple[tuple[str, float], ...]
    edges_s: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Fact:
    """Something odd that no single sample shows, in words, with the first three entities."""

    text: str
    entities: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """One rule of the verdict.

    Attributes:
        rule: what is asked.
        found: what was found.
        bound: what it must keep to.
        source: where the bound comes from.
        passed: None where it could not be judged.
    """

    rule: str
    found: str
    bound: str
    source: str
    passed: bool | None


@dataclass(frozen=True)
class Quality:
    """What is to say of a source.

    Attributes:
        where: the source.
        examined_at: what the clock said, UTC.
        start, end: first and last believable sample, UTC.
        watermark: the last step at which 95 % of the expected entities reported, UTC; None if nobody did lately.
        step_s: grid step, seconds.
        signals, targets: what was looked at; what a forecast needs.
        rows: as they came; `unknown_rows` of them of entities that the topology lacks, `unknown` the first of these.
        levels: level to the number of its entities.
        days: UTC, in order; `Coverage.by_day` and `faults_by_day` follow it.
        faults_by_day: fault to steps per day.
        faults: the most steps first.
        tree: what is odd about the topology.
        verdict: every rule.
    """

    where: str
    examined_at: datetime
    start: datetime
    end: datetime
    watermark: datetime | None
    step_s: int
    signals: tuple[str, ...]
    targets: tuple[str, ...]
    rows: int
    unknown_rows: int
    unknown: tuple[str, ...]
    levels: dict[str, int]
    days: tuple[date, ...]
    coverage: tuple[Coverage, ...]
    set_aside: tuple[SetAside, ...]
    faults: tuple[Fault, ...]
    faults_by_day: dict[str, tuple[int, ...]]
    moved: tuple[Moved, ...]
    units: tuple[Unit, ...]
    clocks: Clocks
    facts: tuple[Fact, ...]
    tree: tuple[Fact, ...]
    verdict: tuple[Judged, ...]

    @property
    def reasons(self) -> tuple[Judged, ...]:
        """The rules that speak against training."""
        return tuple(rule for rule in self.verdict if rule.passed is False)

    @property
    def fit(self) -> bool:
        """Whether training should proceed."""
        return not self.reasons
