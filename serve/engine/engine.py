"""The engine: one thread that owns every ring and every predictor, and two that wait for the world on its behalf.

    feed     reads files, hands over rows                  `serve.engine.feed`
    watch    opens what is published, hands over bundles
    engine   takes rows in, swaps bundles, forecasts, keeps the newest

Whoever asks reads references that are replaced as a whole (`Live.issued`, `Live.bundle`): there is no lock, and nobody
waits for a forecast that is being made.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from forecast.bundle.load import Bundle
from forecast.contracts.errors import DataError, FleetcastError, one_line
from forecast.contracts.topology import Topology
from forecast.registry.contents import published
from forecast.registry.store import Registry
from forecast.traces.files import read_topology
from forecast.traces.readers import find_files
from serve.engine.clock import Clock
from serve.engine.issued import Issued
from serve.engine.live import Live
from serve.engine.reload import Watch
from serve.metrics import Metrics
from serve.refusals import NotFoundError, UnavailableError
from serve.settings import EngineSettings

log = logging.getLogger(__name__)

#: Batches that arrive within this time go in together: each costs a look at a day.
_GATHER_S = 0.5

#: The first forecast waits so long for the history in files; a source that is away delays it no longer.
_HISTORY_S = 60.0

#: Seconds between two times that what was learnt from outcomes is written down.
_SAVE_EVERY_S = 600.0


@dataclass(frozen=True, eq=False)
class _Ask:
    """Work for the engine's thread, and where its result goes."""

    work: Callable[[], Any]
    answer: "Future[Any]"


class Engine:
    """Every named forecast of a registry, kept up to date.

    Args:
        settings: see there.
        clock: what time it is.
        metrics: what is counted.
        pushes: batches of rows that may wait.
    """

    def __init__(self, settings: EngineSettings, clock: Clock, metrics: Metrics, pushes: int = 16) -> None:
        self.settings, self.clock, self.metrics = settings, clock, metrics
        self.problems: dict[str, str] = {}
        self._lives: dict[str, Live] = {}
        self._watches: dict[str, Watch] = {}
        self._work: queue.Queue[pl.DataFrame | _Ask] = queue.Queue(pushes)
        self._listeners: list[Callable[[Issued], None]] = []
        self._stop = threading.Event()
        self._watched = threading.Event()
        self._awaited: frozenset[str] = frozenset()
        self._fleet: Topology | None = None
        self._fleet_keys: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, name="engine", daemon=True),
            threading.Thread(target=self._watch, name="watch", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the cycle that is under way, and keep what was learnt."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for live in self._lives.values():
            live.save()

    def subscribe(self, listener: Callable[[Issued], None]) -> None:
        """Call `listener` with each new forecast, on the engine's thread: it should hand it on and return."""
        self._listeners.append(listener)

    @property
    def names(self) -> tuple[str, ...]:
        """The forecasts in service."""
        return tuple(self._lives)

    def live(self, name: str) -> Live:
        """One named forecast.

        Raises:
            NotFoundError: there is none of that name.
            UnavailableError: there is, and no bundle of it is in service yet.
        """
        live = self._lives.get(name)
        if live is not None:
            return live
        if name in self._watches:
            raise UnavailableError(f"forecast {name} has no sound bundle yet.")
        raise NotFoundError(f"no forecast {name}; there are {', '.join(self._lives) or 'none'}.")

    def newest(self, name: str) -> Issued:
        """The newest forecast of that name, whoever speaks in it.

        Raises:
            NotFoundError, UnavailableError: as of `live`; the latter too where there is no forecast yet.
        """
        issued = self.live(name).issued
        if issued is None:
            raise UnavailableError(f"forecast {name} is being made for the first time.")
        return issued

    @property
    def is_ready(self) -> bool:
        """Whether a verified bundle of every forecast is warm, and there is one at all.

        What was not there at the first look at the registry is not waited for: those that are served would be held up
        by a first version that is being tried, or was refused.
        """
        return bool(self._lives) and self._lives.keys() >= self._awaited and self._watched.is_set()

    def push(self, rows: pl.DataFrame, *, wait: bool = False) -> None:
        """Hand over telemetry (contract TELEMETRY).

        Raises:
            UnavailableError: too much waits already, and `wait` is not wanted.
        """
        self._hand_over(rows, wait)

    def ask(self, work: Callable[[], Any], *, wait: bool = False) -> "Future[Any]":
        """Let the engine's thread do something between two cycles.

        Raises:
            UnavailableError: as of `push`.
        """
        asked = _Ask(work, Future())
        self._hand_over(asked, wait)
        return asked.answer

    def do(self, work: Callable[[], Any]) -> None:
        """Let the engine's thread do something, and wait for it; for threads that feed it, not for those it serves.

        Raises:
            UnavailableError: the engine stops before it is done.
        """
        answer = self.ask(work, wait=True)
        while True:
            try:
                answer.result(_GATHER_S)
            except TimeoutError as error:
                if answer.done():  # meanwhile, or the work raised it
                    answer.result()
                    return
                if self._stop.is_set():
                    raise UnavailableError("the engine stops.") from error
            else:
                return

    def refresh(self, name: str) -> "Future[Issued]":
        """Forecast now, whether or not it is time.

        Raises:
            NotFoundError, UnavailableError: as of `live` and `push`.
        """
        live = self.live(name)
        return self.ask(lambda: self._issue(live, anew=True))

    def report(self, where: str, problem: str | None) -> None:
        """Note what goes wrong somewhere outside the engine's thread, or that all is well again there."""
        if problem is None:
            self.problems.pop(where, None)
        elif self.problems.get(where) != problem:
            self.problems[where] = problem
            self.metrics.failures.labels(where).inc()
            log.error("problem", extra={"where": where, "problem": problem})

    def _hand_over(self, work: pl.DataFrame | _Ask, wait: bool) -> None:
        while True:
            try:
                self._work.put(work, timeout=_GATHER_S) if wait else self._work.put_nowait(work)
            except queue.Full as error:
                if not wait or self._stop.is_set():
                    raise UnavailableError("the engine has as much telemetry waiting as it holds.") from error
            else:
                return

    def _run(self) -> None:
        due = saved = time.monotonic()
        while not self._stop.is_set():
            rows, asks = self._gathered(due)
            if rows:
                self._guarded("telemetry taken in", partial(self._take, rows))
            for ask in asks:
                self._answer(ask)
            is_time = time.monotonic() >= due
            if is_time:
                due = time.monotonic() + self.settings.every_s
            for live in list(self._lives.values()):
                self._guarded(live.name, partial(self._look_at, live, is_time))
            if time.monotonic() - saved > _SAVE_EVERY_S:
                saved = time.monotonic()
                for live in self._lives.values():
                    live.save()

    def _gathered(self, due: float) -> tuple[list[pl.DataFrame], list[_Ask]]:
        """What waits: at once where somebody asks, after a moment where it is rows, and whatever there is when due."""
        rows: list[pl.DataFrame] = []
        asks: list[_Ask] = []
        until = due
        while not asks and not self._stop.is_set() and (left := until - time.monotonic()) > 0:
            try:
                work = self._work.get(timeout=min(left, _GATHER_S))
            except queue.Empty:
                continue
            if isinstance(work, _Ask):
                asks.append(work)
            else:
                rows.append(work)
                until = min(until, time.monotonic() + _GATHER_S)
        return rows, asks

    def _take(self, rows: list[pl.DataFrame]) -> None:
        for live in self._lives.values():
            refused = [self._put(live, batch) for batch in live.ring.apart(rows)]
            self.report(f"telemetry of {live.name}", next(filter(None, refused), None))

    def _put(self, live: Live, batch: pl.DataFrame) -> str | None:
        """Put a batch into a forecast's ring; why it was refused, if it was."""
        try:
            taken = live.take(batch, self.clock())
        except DataError as error:
            self.metrics.aside.labels(live.name, "refused batch").inc(len(batch))
            return str(error)
        self.metrics.rows.labels(live.name).inc(taken.rows)
        for reason, count in taken.set_aside.items():
            self.metrics.aside.labels(live.name, reason).inc(count)
        return None

    def _answer(self, ask: _Ask) -> None:
        try:
            ask.answer.set_result(ask.work())
        except Exception as error:  # whoever asked shall know
            ask.answer.set_exception(error)

    def _look_at(self, live: Live, is_time: bool) -> None:
        waits_for_history = self.settings.pulls and live.wants_history and "source" not in self.problems
        if live.issued is None and waits_for_history and live.age_s < _HISTORY_S:
            return
        if is_time or live.is_due(self.clock()):
            self._issue(live)

    def _issue(self, live: Live, *, anew: bool = False) -> Issued:
        before = live.issued
        issued = live.issue(self.clock(), anew=anew)
        if issued is not before and live.cycle is not None:
            self.metrics.cycle.labels(live.name).observe(live.cycle.total_s)
            for listener in self._listeners:
                self._guarded("listener", partial(listener, issued))
        return issued

    def _guarded(self, where: str, work: Callable[[], object]) -> None:
        """The engine's thread outlives whatever goes wrong in one of its duties."""
        try:
            work()
        except Exception:
            self.metrics.failures.labels(where).inc()
            log.exception("failure", extra={"where": where})

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._guarded("topology", self._look_at_topology)
            self._guarded("registry", self._look_at_registry)
            self._stop.wait(self.settings.watch_s)

    def _look_at_topology(self) -> None:
        if self.settings.topology is None:
            return
        try:
            keys = [file.key for file in find_files(self.settings.topology)]
            if keys == self._fleet_keys:
                return
            fleet = read_topology(self.settings.topology, {})
        except (FleetcastError, OSError, PolarsError) as error:
            self.report("topology", one_line(str(error).splitlines()[0]))
            return
        self.report("topology", None)
        self._fleet, self._fleet_keys = fleet, keys
        for name, live in self._lives.items():
            self.do(partial(self._put_into_service, name, live.bundle))

    def _look_at_registry(self) -> None:
        for name in self._wanted():
            if self._stop.is_set():
                return
            if name not in self._watches:
                self._watches[name] = Watch(Registry(self.settings.registry, name), self.settings.trial)
            watch = self._watches[name]
            refused = watch.refused
            watch.look()
            if watch.refused > refused:
                self.metrics.reloads.labels(name, "refused").inc()
            self.report(f"bundle of {name}", watch.problem)
            # What could not be put into service at one look is put there at the next.
            if watch.bundle is not None and watch.bundle is not self._in_service(name):
                self.do(partial(self._put_into_service, name, watch.bundle))
                self.metrics.reloads.labels(name, "in service").inc()
        if not self._watched.is_set():
            self._awaited = frozenset(self._watches)
            self._watched.set()

    def _in_service(self, name: str) -> Bundle | None:
        live = self._lives.get(name)
        return None if live is None else live.bundle

    def _wanted(self) -> list[str]:
        try:
            wanted = list(self.settings.names or published(self.settings.registry))
        except FleetcastError as error:
            self.report("registry", str(error))
            return []
        self.report("registry", None)
        return wanted

    def _put_into_service(self, name: str, bundle: Bundle) -> None:
        live = self._lives.get(name)
        if live is not None:
            live.swap(bundle, self.clock(), self._fleet)
            if live.issued is not None:
                self._issue(live)
            return
        state = self.settings.state and self.settings.state / f"{name}.npz"
        self._lives[name] = Live(name, bundle, self.settings.late_s, state, self._fleet)
