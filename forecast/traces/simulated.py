"""The embedded simulated fleet as a source: simulated once per configuration, then read like any other files."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from forecast.contracts.version import code_version, key_of
from forecast.simulator.config import SimulatorConfig
from forecast.simulator.simulate import simulate
from forecast.traces.files import FileSource
from forecast.traces.trace import Source, Trace


@dataclass
class SimulatedSource(Source):
    """A fleet that exists only here.

    Attributes:
        fleet: the simulator's settings.
        path: folder to write to; None keeps it in the cache under a key of the settings.
    """

    fleet: SimulatorConfig = field(default_factory=SimulatorConfig)
    path: str | None = None

    def read(self, cache: Path) -> Trace:
        key = key_of(asdict(self.fleet), code_version("simulator", "contracts"))
        out = Path(self.path) if self.path else cache / "fleets" / key
        marker = out / "key"
        if not marker.exists() or marker.read_text() != key:
            simulate(self.fleet, out)
            marker.write_text(key)
        files = FileSource(path=str(out / "telemetry"), topology=str(out / "topology.parquet"), until=self.until)
        return files.read(cache)
