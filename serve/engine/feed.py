"""Telemetry that is pulled: files read again and again, in a thread of their own, so that a slow one delays nobody."""

import logging
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

import polars as pl

from forecast.bundle.manifest import Manifest
from forecast.contracts.errors import FleetcastError, one_line
from forecast.traces.readers import find_files
from serve.batch import read_known_ahead, read_telemetry
from serve.engine.engine import Engine
from serve.refusals import RefusedError

log = logging.getLogger(__name__)

#: History is handed over in pieces of this length, so that it never lies in memory as rows all at once.
_PIECE = timedelta(days=1)

#: Seconds between two times that the whole history is read again: what came later than samples are waited for fills
#: what is still empty.
_AGAIN_S = 3600.0

#: Until there is a bundle, nobody knows what to read; then it is read at once.
_IMPATIENT_S = 0.2


class Feed:
    """Reads what is new of files, and what is known ahead, whenever it is time; nothing ends it but `stop`.

    Args:
        engine: what is fed; its settings say what is read, and how often.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._ahead: object = None
        self._read_whole = time.monotonic()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the piece that is being read."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Read once, and hand over what may be new.

        Raises:
            FleetcastError, OSError, PolarsError: it cannot be read.
        """
        settings, lives = self._engine.settings, [self._engine.live(name) for name in self._engine.names]
        manifest, now = lives[0].bundle.manifest, self._engine.clock()
        self._tell(manifest)
        if settings.telemetry is None:
            return
        again = time.monotonic() - self._read_whole > _AGAIN_S
        since = min(live.ring.begin(now) if again else live.needs_since(now) for live in lives)
        telemetry = read_telemetry(settings.telemetry, manifest)
        found = telemetry.collect_schema()
        missing = [name for name in manifest.spec.past if name not in found]
        doing_without = f"{settings.telemetry}: no column {', '.join(missing)}; forecasts do without, and are worse."
        self._engine.report("columns", doing_without if missing else None)
        for begin, end in _pieces(since, now):
            rows = telemetry.filter(pl.col("time") >= begin, pl.col("time") < end).collect()
            if self._stop.is_set():
                return
            if not rows.is_empty():
                self._engine.push(rows, wait=True)
        for live in lives:
            self._engine.do(live.has_history)  # behind the rows, which may still wait
        if again:
            self._read_whole = time.monotonic()

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._engine.names:
                self._stop.wait(_IMPATIENT_S)
                continue
            try:
                self.look()
            except RefusedError:  # the engine stops
                continue
            except (FleetcastError, OSError, pl.exceptions.PolarsError) as error:
                self._engine.report("source", one_line(str(error).splitlines()[0]))
            else:
                self._engine.report("source", None)
            self._stop.wait(self._engine.settings.every_s)

    def _tell(self, manifest: Manifest) -> None:
        """Hand over schedule and weather where their files changed."""
        jobs, weather = self._engine.settings.jobs, self._engine.settings.weather
        keys = [[file.key for file in find_files(path)] for path in (jobs, weather) if path is not None]
        names = self._engine.names
        if not keys or (keys, names) == self._ahead:
            return
        told = read_known_ahead(jobs, weather, manifest)
        for name in names:
            live = self._engine.live(name)
            self._engine.do(partial(live.tell, *told))
        self._ahead = (keys, names)


def _pieces(begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while begin < end:
        stop = min(begin + _PIECE, end)
        yield begin, stop
        begin = stop
