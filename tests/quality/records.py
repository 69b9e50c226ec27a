"""Records of fleets to examine: simulated ones on disk, and ones written by hand."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from forecast.quality.examine import Asked, examine
from forecast.quality.lake import lake
from forecast.quality.quality import Quality
from forecast.simulator.config import RowConfig, SimulatorConfig
from forecast.simulator.simulate import simulate

DAYS = 4
#: Two halls; small, so that a record is simulated and examined in a second.
ROWS = [RowConfig("hall-a", "h100-air", 2, 4), RowConfig("hall-b", "cpu-2s", 2, 4, inference_ratio=0.5)]


@dataclass(frozen=True)
class Record:
    """A simulated fleet on disk."""

    folder: Path

    @property
    def telemetry(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "telemetry", hive_partitioning=False)

    @property
    def truth(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "truth" / "faults.parquet")

    def struck(self, fault: str) -> set[str]:
        return set(self.truth.filter(fault=fault)["entity_id"])

    def copy(self, folder: Path, telemetry: pl.DataFrame) -> Path:
        """The same tree with other telemetry; the path of the telemetry."""
        folder.mkdir(parents=True)
        (folder / "topology.parquet").write_bytes((self.folder / "topology.parquet").read_bytes())
        telemetry.write_parquet(folder / "telemetry.parquet")
        return folder / "telemetry.parquet"


def record(folder: Path, **faults: float) -> Record:
    simulate(SimulatorConfig(seed=7, days=DAYS, step_s=300, rows=ROWS, faults=faults), folder)
    return Record(folder)


def examined(path: Path, topology: Path | None = None, **asked: object) -> Quality:
    trace, signals, targets = lake(str(path), str(topology) if topology else None)
    return examine(trace, Asked(str(path), signals, targets, **asked))  # type: ignore[arg-type]
