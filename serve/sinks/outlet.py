"""A thread for each sink: it takes the newest cycles, and whatever happens to them delays no forecast."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from forecast.contracts.errors import one_line
from serve.engine.issued import Issued
from serve.sinks.sink import Sink, SinkError, alone

log = logging.getLogger(__name__)

#: Cycles of each named forecast that wait while a sink is away.
WAITING = 4

#: Seconds before a sink that failed is tried again: doubled with each failure, up to the most.
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0

#: Seconds that the end of the server waits for a sink to take what is left.
_END_S = 15.0

#: Tells what goes wrong somewhere, or None when all is well again there (`Engine.report`).
Report = Callable[[str, str | None], None]


class SinkMetrics:
    """What is counted of every sink."""

    def __init__(self, of: CollectorRegistry) -> None:
        self.written = Counter("fleetcast_sink_cycles_written", "Cycles that a sink has taken", ["sink"], registry=of)
        self.dropped = Counter(
            "fleetcast_sink_cycles_dropped", "Cycles given up because newer ones came", ["sink"], registry=of
        )
        self.failures = Counter("fleetcast_sink_failures", "Attempts that failed", ["sink"], registry=of)
        self.lag = Gauge("fleetcast_sink_lag_seconds", "Since the oldest cycle waits", ["sink"], registry=of)


class Outlet:
    """Cycles on their way to one sink.

    Args:
        sink: takes them.
        metrics: what is counted.
        report: who is told what goes wrong.
        pause_s: before the second attempt.
    """

    def __init__(self, sink: Sink, metrics: SinkMetrics, report: Report, pause_s: float = _PAUSE_S) -> None:
        self._sink, self._report, self._pause_s = sink, report, pause_s
        self.name = str(sink.address)
        self._written = metrics.written.labels(self.name)
        self._dropped = metrics.dropped.labels(self.name)
        self._failures = metrics.failures.labels(self.name)
        metrics.lag.labels(self.name).set_function(self.lag_s)
        self._cycles: dict[tuple[str, datetime], tuple[Issued, float]] = {}
        self._lost = 0  # cycles dropped since one was written
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, as long as that goes well, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def put(self, issued: Issued) -> None:
        """Hand over a cycle; at once, from any thread.

        It takes the place of one for the same time that still waits, or else of the oldest of that forecast when too
        many do.
        """
        with self._changed:
            self._cycles.pop((issued.name, issued.time), None)
            self._cycles[issued.name, issued.time] = alone(issued), time.monotonic()
            waiting = [key for key in self._cycles if key[0] == issued.name]
            if len(waiting) > WAITING:
                del self._cycles[waiting[0]]
                self._dropped.inc()
                self._lost += 1
                if self._lost == 1:
                    log.warning("cycles are dropped, the oldest first", extra={"where": self.name})
            self._changed.notify()

    def lag_s(self) -> float:
        """Seconds that the oldest cycle waits; 0 where none does."""
        with self._changed:
            now = time.monotonic()
            return now - min((since for _, since in self._cycles.values()), default=now)

    def _run(self) -> None:
        pause_s = self._pause_s
        while (issued := self._oldest()) is not None:
            if self._wrote(issued):
                pause_s = self._pause_s
            elif self._ends_within(pause_s):
                return
            else:
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _oldest(self) -> Issued | None:
        """The cycle that waits longest, when there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._cycles or self._stopping)
            return next(iter(self._cycles.values()))[0] if self._cycles else None

    def _wrote(self, issued: Issued) -> bool:
        try:
            self._sink.write(issued)
        except (SinkError, OSError) as error:
            self._failed(str(error) or type(error).__name__)
            return False
        except Exception as error:  # the thread outlives whatever a client's library comes up with
            log.exception("failure", extra={"where": self.name})
            self._failed(f"{type(error).__name__}: {error}")
            return False
        self._written.inc()
        self._report(self._where, None)
        with self._changed:
            if self._lost:
                log.info("written again", extra={"where": self.name, "dropped": self._lost})
                self._lost = 0
            kept = self._cycles.get((issued.name, issued.time))
            if kept is not None and kept[0] is issued:
                del self._cycles[issued.name, issued.time]
        return True

    def _failed(self, why: str) -> None:
        self._failures.inc()
        self._report(self._where, one_line(why.splitlines()[0]))

    @property
    def _where(self) -> str:
        return f"sink {self.name}"

    def _ends_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._stopping, seconds)
