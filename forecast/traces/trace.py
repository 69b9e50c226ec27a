"""What every source gives: telemetry that keeps its contract, the fleet tree, and a key of its content."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import polars as pl

from forecast.contracts.errors import ConfigError
from forecast.contracts.tables import TELEMETRY
from forecast.contracts.topology import Topology
from forecast.traces.settings import JobsSpec, WeatherSpec

#: What comes late is told again from an hour's beginning on, so that no step of a grid is told in part.
WHOLE_S = 3600

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Told the share of the work done, 0 to 1.
Progress = Callable[[float], None]


def silent(_: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Part:
    """One piece of a source, so that a run reads again only what is new.

    Attributes:
        name: a file's path, say.
        key: changes whenever its content does.
        first, last: times between which all its samples lie, inclusive, but for those of absurd times; None where it
            has none.
    """

    name: str
    key: str
    first: datetime | None
    last: datetime | None

    def before(self, end: datetime) -> "Part":
        """The part without samples from `end` on; as it is when it has none of them."""
        if self.first is None or self.last is None or self.last < end:
            return self
        key = f"{self.key}<{end.isoformat()}"
        if self.first >= end:
            return Part(self.name, key, None, None)
        return Part(self.name, key, self.first, end - timedelta(microseconds=1))


@dataclass(frozen=True, eq=False)
class Trace:
    """Measurements of a fleet.

    Attributes:
        telemetry: long, lazy, contract TELEMETRY. What a reader could make nothing of stays in it, to be counted where
            rows are set aside: a null `time`, an entity that the topology lacks, a NaN where there was text.
        topology: the fleet tree.
        key: changes whenever the content does.
        parts: the pieces the content lies in, in order; empty when a source cannot tell.
        jobs: what the scheduler knew, contract JOB_SCHEDULE; None where there is none.
        weather: observations and forecasts, contract WEATHER; None where there are none.
        now: when it was read, UTC: samples of later days are a wrong clock's. None where times are not of this world.
    """

    telemetry: pl.LazyFrame
    topology: Topology
    key: str
    parts: tuple[Part, ...] = ()
    jobs: pl.LazyFrame | None = None
    weather: pl.LazyFrame | None = None
    now: datetime | None = None

    def before(self, until: str | None) -> "Trace":
        """The trace without samples from `until` (an ISO time, UTC unless it says otherwise) on."""
        if until is None:
            return self
        end = parse_utc(until, "source.until")
        kept = self.telemetry.filter(pl.col("time").is_null() | (pl.col("time") < end))
        parts = tuple(part.before(end) for part in self.parts)
        return replace(self, telemetry=kept, key=f"{self.key}<{until}", parts=parts)


class Pull(Protocol):
    """What is new of a source, as often as somebody asks; for one asker, who keeps what he was told."""

    def rows(self, begin: datetime, until: datetime) -> Iterator[pl.DataFrame]:
        """Telemetry of `begin` <= time < `until` that was not told before, in pieces; some of it may be told again.

        What was handed over counts as told. After an error the next call goes on where this one ended.

        Raises:
            DataError, OSError, PolarsError: it cannot be read, now.
            ConfigError: settings that cannot mean anything.
        """
        ...

    def newest(self) -> datetime | None:
        """The time of the newest sample that there is; None where there is none. Raises as `rows`."""
        ...


@dataclass
class Source:
    """Settings of a source; a subclass per kind adds its own and reads.

    Attributes:
        until: ignore samples from this ISO time on (UTC unless it says otherwise); None takes all.
        jobs, weather: where the schedule and the weather lie, read by `forecast.traces.read`; None for none, or for
            what the source has of its own.
    """

    until: str | None = None
    jobs: JobsSpec | None = None
    weather: WeatherSpec | None = None

    def __post_init__(self) -> None:
        if self.until is not None:
            parse_utc(self.until, "source.until")

    def read(self, progress: Progress = silent) -> Trace:
        """Read the source, telling `progress` how far it is where that takes long."""
        raise NotImplementedError

    def check(self) -> None:
        """Refuse, before anything is read, settings that cannot mean anything.

        Raises:
            ConfigError: naming the setting.
        """

    def pull(self, topology: Topology, late: timedelta) -> Pull:
        """Follow the source for a fleet that is known; what a trainer leaves out (`until`) belongs to it.

        Args:
            topology: of the fleet.
            late: so much later than its successors a sample may still come.
        """
        return _Again(self, late)

    def ahead(self) -> tuple[JobsSpec | None, WeatherSpec | None]:
        """Where its schedule and its weather lie."""
        return self.jobs, self.weather


def parse_utc(text: str, where: str) -> datetime:
    """An ISO time as an aware UTC datetime; one without a zone is UTC.

    Args:
        where: the setting or option that it is of, named in errors.

    Raises:
        ConfigError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{where} is {text!r}, which is no ISO time; write it like 2026-06-01T00:00.") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def floor(moment: datetime, step_s: float | None) -> datetime:
    """The last boundary of a step (or of a millisecond, as samples have) up to `moment`; steps divide a day."""
    unit = timedelta(seconds=step_s or 1e-3)
    return _EPOCH + (moment - _EPOCH) // unit * unit


def checked(telemetry: pl.LazyFrame, where: str) -> pl.LazyFrame:
    """Telemetry whose schema keeps the contract, as the last step of every source."""
    return TELEMETRY.check_schema(telemetry, where)


class _Again:
    """The pull of a source that has no better one: all is read again, and what lies before `late` is left out."""

    def __init__(self, source: Source, late: timedelta) -> None:
        self._source, self._late = replace(source, until=None), late
        self._told: datetime | None = None

    def rows(self, begin: datetime, until: datetime) -> Iterator[pl.DataFrame]:
        since = begin if self._told is None else max(begin, floor(self._told - self._late, WHOLE_S))
        yield self._source.read().telemetry.filter(pl.col("time").is_between(since, until, closed="left")).collect()
        self._told = until

    def newest(self) -> datetime | None:
        found: datetime | None = self._source.read().telemetry.select(pl.col("time").max()).collect().item()
        return found
