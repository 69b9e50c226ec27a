"""The embedded simulated fleet as a source: simulated once per configuration, then read like any other files."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import polars as pl

from forecast.contracts.errors import ConfigError
from forecast.contracts.topology import Topology
from forecast.contracts.version import code_version, key_of
from forecast.disk import sync, sync_tree
from forecast.simulator.config import SimulatorConfig
from forecast.simulator.simulate import simulate
from forecast.traces.files import FileSource
from forecast.traces.settings import JobsSpec, WeatherSpec
from forecast.traces.trace import Progress, Pull, Source, Trace, parse_utc, silent

#: Beside the record: the key of the settings and code that made it.
_KEY = "key"

#: What every record holds; a folder with less is not the simulator's to clear away.
_RECORD = ("config.json", "topology.parquet", "jobs.parquet", "weather.parquet", "truth/faults.parquet")


@dataclass
class SimulatedSource(Source):
    """A fleet that exists only here.

    Attributes:
        fleet: the simulator's settings.
        path: folder of its record, simulated anew when the settings or the simulator change.
    """

    fleet: SimulatorConfig = field(default_factory=SimulatorConfig)
    path: str = "var/fleet"

    def read(self, progress: Progress = silent) -> Trace:
        """Simulate if need be, then read.

        Raises:
            ConfigError: `path` holds something that the simulator did not write.
        """
        out = self._record(progress)
        files = FileSource(path=str(out / "telemetry"), topology=str(_tree(out, self.until)), until=self.until)
        jobs, weather = (pl.scan_parquet(out / f"{name}.parquet") for name in ("jobs", "weather"))
        return replace(files.read(), jobs=jobs, weather=weather, now=None)

    def pull(self, topology: Topology, late: timedelta) -> Pull:
        return FileSource(path=str(self._record(silent) / "telemetry")).pull(topology, late)

    def ahead(self) -> tuple[JobsSpec | None, WeatherSpec | None]:
        out = self._record(silent)
        return (
            self.jobs or JobsSpec(str(out / "jobs.parquet")),
            self.weather or WeatherSpec(str(out / "weather.parquet")),
        )

    def _record(self, progress: Progress) -> Path:
        """The folder of the record, simulated if need be. Raises as `read`."""
        out = Path(self.path)
        key = key_of(asdict(self.fleet), code_version("simulator", "contracts"))
        with _alone(out):
            if not _holds(out, key):
                _make(self.fleet, key, out, progress)
        return out


def _tree(out: Path, until: str | None) -> Path:
    """The fleet tree as it was known at `until`: what comes into service later is not in it."""
    dated = sorted((out / "topologies").glob("*.parquet"))
    known = [
        path for path in dated if until is None or parse_utc(path.stem, str(path)) < parse_utc(until, "source.until")
    ]
    return known[-1] if known else out / "topology.parquet"


def _holds(out: Path, key: str) -> bool:
    """Whether `out` is the record with `key`; another record of the simulator's is cleared away."""
    if not out.exists():
        return False
    if (out / _KEY).exists() and (out / _KEY).read_text() == key:
        return True
    if not all((out / name).exists() for name in _RECORD):
        raise ConfigError(f"source.path={out} exists and is not a simulated fleet; choose another folder.")
    _clear(out)
    return False


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Wait for another run that simulates into `out`, and clear away what one that died left beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with (out.parent / f".{out.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for stale in out.parent.glob(f".{out.name}.*.staging"):
            shutil.rmtree(stale)
        yield


def _make(fleet: SimulatorConfig, key: str, out: Path, progress: Progress) -> None:
    """Simulate a record that has its name when the disk has all of it."""
    staging = out.parent / f".{out.name}.new.staging"
    staging.mkdir()
    try:
        simulate(fleet, staging / out.name, progress)
        (staging / out.name / _KEY).write_text(key)
        sync_tree(staging)
        (staging / out.name).rename(out)
        sync(out.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _clear(out: Path) -> None:
    """Remove a record, which has another name while parts of it are missing."""
    shutil.rmtree(out.rename(out.with_name(f".{out.name}.old.staging")))
