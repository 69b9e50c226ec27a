"""A source built stretch by stretch, in time order, in as much memory as it may take."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TypeVar

from forecast.contracts.errors import ConfigError
from forecast.features.grid import PREFETCH, grid
from forecast.features.gridded import Gridded
from forecast.features.pipeline import Built, build_after
from forecast.traces.trace import Trace

Result = TypeVar("Result")

DAY = timedelta(days=1)

#: What the interpreter, its libraries and the batches in flight take, measured.
_BASE_BYTES = 400_000_000

#: Per cell of the days in work and the day before: the value, its marks, and whether it came; and of the result.
_MEASURED_BYTES, _RESULT_BYTES = 7, 4

#: With less memory than this Polars decodes one row group ahead, not two: 0.1 GB less, somewhat slower.
_AMPLE_GB = 2.0

#: Days built at once at most, so that progress shows and an interruption loses little.
_MOST_DAYS = 16


@dataclass(frozen=True)
class Stretches:
    """How a source is built: on which grid, and how much at once.

    Attributes:
        signals: the channels.
        step_s: grid step, seconds.
        memory_gb: what the process may hold, all in all, whatever the size of the telemetry.
        use_bytes: per cell, what `use` of `each` takes while it looks at a stretch.
        with_offsets: whether clocks are judged, see `build`.
    """

    signals: tuple[str, ...]
    step_s: int
    memory_gb: float
    use_bytes: int = 0
    with_offsets: bool = False

    @property
    def day_steps(self) -> int:
        return 86_400 // self.step_s

    def each(
        self, trace: Trace, days: Sequence[str], first: str, use: Callable[[list[str], Built], Result]
    ) -> Iterator[Result]:
        """Build `days`, consecutive ones together, and yield what `use` makes of each stretch.

        A stretch is handed to `use` and not out, so that nothing keeps it while the next one is built.

        Args:
            trace: the source.
            days: ISO dates, UTC, ascending.
            first: the day before which there is no telemetry.
            use: told the days of a stretch and what was built of them.

        Raises:
            ConfigError: the memory holds not even one day.
        """
        if self.memory_gb < _AMPLE_GB:
            os.environ[PREFETCH] = "1"
        before: Gridded | None = None
        for run in _runs(days, self._days_at_once(len(trace.topology.entities))):
            whole, lead = self._begun(trace, run, first, before)
            before = None  # what nobody needs any more makes room for the next step
            built = build_after(trace.telemetry, trace.topology, whole, lead)
            result = use(run, built)
            del built
            before = whole.between(whole.steps - self.day_steps, whole.steps).copy()
            del whole
            yield result

    def _begun(self, trace: Trace, days: list[str], first: str, before: Gridded | None) -> tuple[Gridded, int]:
        """Consecutive days of which nothing was observed, after the day before them; and how many steps that has.

        Args:
            before: a day as measured, used if it is the one before.
        """
        lead = 0 if days[0] == first else self.day_steps
        start = start_of(days[0]) - (DAY if lead else timedelta())
        whole = self._empty(trace, start, lead + len(days) * self.day_steps)
        if lead:
            if before is None or before.start != start:
                before = self._empty(trace, start, lead)
                grid(trace.telemetry, before)
            whole.put(before)
        return whole, lead

    def _empty(self, trace: Trace, start: datetime, steps: int) -> Gridded:
        entities, with_offsets = trace.topology.entities, self.with_offsets
        return Gridded.empty(start, self.step_s, self.signals, entities, steps, with_offsets=with_offsets)

    def _days_at_once(self, entities: int) -> int:
        """How many days the memory has room for, beside the day before them."""
        cells = len(self.signals) * entities * self.day_steps
        in_work = _MEASURED_BYTES + _RESULT_BYTES + self.use_bytes
        left = self.memory_gb * 1e9 - _BASE_BYTES - cells * _MEASURED_BYTES
        days = int(left // (cells * in_work))
        if days < 1:
            least = ceil((_BASE_BYTES + cells * (_MEASURED_BYTES + in_work)) / 1e8) / 10
            raise ConfigError(
                f"memory_gb={self.memory_gb:g} has no room for a day of {entities:,} entities "
                f"at {self.step_s} s; set at least {least:.1f}, or a longer window.step_s."
            )
        return min(days, _MOST_DAYS)


def start_of(day: str) -> datetime:
    """The beginning of an ISO date, UTC."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def days_of(first: datetime, last: datetime) -> list[str]:
    """ISO dates, UTC, of all days from that of `first` to that of `last`."""
    begin = first.astimezone(UTC).date()
    return [f"{begin + DAY * index}" for index in range((last.astimezone(UTC).date() - begin).days + 1)]


def _runs(days: Sequence[str], most: int) -> Iterator[list[str]]:
    """Runs of consecutive days, at most so many at once."""
    run: list[str] = []
    for day in days:
        follows = run and start_of(day) - start_of(run[-1]) == DAY
        if run and (not follows or len(run) == most):
            yield run
            run = []
        run.append(day)
    if run:
        yield run
