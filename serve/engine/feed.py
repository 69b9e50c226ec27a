"""Telemetry that is pulled: what is new of a source, again and again, in a thread of its own that delays nobody."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import polars as pl

from forecast.contracts.errors import FleetcastError, one_line
from forecast.contracts.tables import JOB_SCHEDULE
from forecast.contracts.topology import Topology
from forecast.traces.jobs import jobs_key
from forecast.traces.readers import find_files
from forecast.traces.trace import Pull
from serve.batch import ahead_of, files_like, read_ahead
from serve.engine.engine import Engine
from serve.engine.live import Live
from serve.engine.ring import Ring
from serve.imposed import doubts, imposed, in_force, not_over, passed_over, set_aside, silent
from serve.refusals import RefusedError

log = logging.getLogger(__name__)

#: Until there is a bundle, nobody knows what to read; then it is read at once, and again where there is one more.
_IMPATIENT_S = 0.2

#: A source that fails again and again is asked less and less often, but so often at least, or every `every_s`.
_LONGEST_PAUSE_S = 60.0

#: Whoever ends the feed waits so long for what is being read; a source that says nothing more holds nobody back.
_ENDING_S = 10.0

#: What a source that is away, or wrong, raises; a panic of Polars is no `Exception`, and would end the thread.
_FAILURES = (FleetcastError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)


class Feed:
    """Hands over what is new of a source, and of what is known ahead, when it is time; nothing ends it but `stop`.

    Args:
        engine: what is fed; its settings say from what, and how often.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._ahead: object = None
        self._imposed: pl.DataFrame | None = None
        self._noted: set[tuple[str, str]] = set()
        self._pull: Pull
        self._fed: tuple[Sequence[Ring], Topology] | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the piece that is being read, or without it where that takes long."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_ENDING_S)

    def look(self) -> None:
        """Read once, and hand over what is new.

        Raises:
            FleetcastError, OSError, PolarsError: it cannot be read.
        """
        lives = [self._engine.live(name) for name in self._engine.names]
        now = self._engine.clock()
        begin = min(live.ring.begin(now) for live in lives)
        for rows in self._following(lives).rows(begin, now):
            if self._stop.is_set():
                return
            for live in lives:
                self._check_columns(rows, live)
            self._engine.push(rows, wait=True)
        for live in lives:
            self._engine.do(live.has_history)  # behind the rows, which may still wait

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            if not self._engine.names:
                self._stop.wait(_IMPATIENT_S)
                continue
            self._attempt("known ahead", self.tell)
            if self._engine.settings.pulls:
                failures = 0 if self._attempt("source", self.look) else failures + 1
            every_s = self._engine.settings.every_s
            self._pause(min(every_s * 2 ** min(failures, 16), max(every_s, _LONGEST_PAUSE_S)))

    def _pause(self, seconds: float) -> None:
        """Wait, unless another forecast comes into service meanwhile: it has been told nothing yet."""
        names, end = self._engine.names, time.monotonic() + seconds
        while names == self._engine.names and (left := end - time.monotonic()) > 0:
            if self._stop.wait(min(left, _IMPATIENT_S)):
                return

    def _attempt(self, where: str, work: Callable[[], object]) -> bool:
        """Do what may fail, and report how it went; whether it went well."""
        try:
            work()
        except RefusedError:  # the engine stops
            return True
        except _FAILURES as error:
            self._engine.report(where, one_line(str(error).splitlines()[0]))
            return False
        self._engine.report(where, None)
        return True

    def _following(self, lives: Sequence[Live]) -> Pull:
        """The pull that knows what these were told; one anew where a ring is new, or the fleet another."""
        rings, topology = [live.ring for live in lives], lives[0].topology
        if self._fed is None or self._fed[0] != rings or not self._fed[1].table.equals(topology.table):
            settings = self._engine.settings
            source = settings.source or files_like(settings.telemetry or "", lives[0].bundle.manifest)
            self._pull = source.pull(topology, timedelta(seconds=settings.late_s))
            self._fed = rings, topology
        return self._pull

    def _check_columns(self, rows: pl.DataFrame, live: Live) -> None:
        settings = self._engine.settings
        missing = [name for name in live.bundle.manifest.spec.past if name not in rows.columns]
        where = settings.telemetry or "the source"
        doing_without = f"{where}: no {', '.join(missing)}; forecasts do without, and are worse."
        self._engine.report(f"columns of {live.name}", doing_without if missing else None)

    def tell(self) -> None:
        """Hand over schedule and weather where their files changed."""
        settings, names = self._engine.settings, self._engine.names
        manifest = self._engine.live(names[0]).bundle.manifest
        schedule, weather = ahead_of(settings.jobs, settings.weather, settings.source, manifest)
        if schedule is None and weather is None:
            return
        content = (
            schedule and jobs_key(schedule),
            weather and [file.key for file in find_files(weather.path)],
            names,
        )
        if content != self._ahead:
            jobs, air = read_ahead(schedule, weather)
            for name in names:
                self._engine.do(partial(self._engine.live(name).tell, jobs, air))
            self._imposed = None if jobs is None else imposed(jobs)
            self._ahead = content
        if schedule is not None and self._imposed is not None:
            self._doubt(self._imposed, settings.jobs or schedule.path)

    def _doubt(self, imposed: pl.DataFrame, where: str) -> None:
        """Report what of a schedule is not followed, until it is mended or over."""
        now = self._engine.clock()
        rows = not_over(imposed, now)
        broken = JOB_SCHEDULE.sift(in_force(rows).lazy(), where).report
        for name in self._engine.names:
            live = self._engine.live(name)
            found = [*doubts(rows, live.topology), *set_aside(broken), *silent(live.predictor.ahead, now)]
            self._engine.report(f"schedule of {name}", f"{where}: {'; '.join(found)}." if found else None)
            for line in passed_over(rows, live.bundle.manifest.spec):
                self._note(name, f"{where} {line}")

    def _note(self, name: str, line: str) -> None:
        """Say once what is no fault of anybody: another forecast may look at it."""
        if (name, line) not in self._noted:
            self._noted.add((name, line))
            log.warning("note", extra={"forecast": name, "note": line})
