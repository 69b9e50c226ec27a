"""What had arrived when: the record of a site, let into a data lake day by day."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from forecast.contracts.signals import SIGNALS
from forecast.contracts.tables import TELEMETRY
from forecast.simulator.faults import RENAMED
from forecast.traces.files import FileSource

_DAY = timedelta(days=1)


class Lake:
    """Files as they lie there by now: those of whole days, and the fleet tree of the newest.

    Args:
        record: what the simulator wrote.
        folder: of the lake, made here.
        origin: first midnight of the record.
    """

    def __init__(self, record: Path, folder: Path, origin: datetime) -> None:
        self._record, self.folder = record, folder
        self.until = origin
        (folder / "telemetry").mkdir(parents=True)
        shutil.copy(record / "topology.parquet", self.tree)

    @property
    def tree(self) -> Path:
        return self.folder / "topology.parquet"

    def arrive(self) -> None:
        """Let the next day in: its files, the late rows of the day before among them, and the tree of its end."""
        name = self.until.date().isoformat()
        shutil.copytree(self._record / "telemetry" / f"day={name}", self.folder / "telemetry" / f"day={name}")
        grown = self._record / "topologies" / f"{name}.parquet"
        if grown.exists():
            shutil.copy(grown, self.tree)
        self.until += _DAY

    def mend(self) -> None:
        """Give columns back their names, as somebody does who was told by a refused run."""
        names = {new: old for old, new in RENAMED.items()}
        for path in self.folder.glob("telemetry/*/*.parquet"):
            columns = pl.read_parquet_schema(path)
            if names.keys() & columns.keys():
                pl.read_parquet(path, hive_partitioning=False).rename(names, strict=False).write_parquet(path)

    def source(self) -> FileSource:
        """What a run reads this morning."""
        return FileSource(path=str(self.folder / "telemetry"), topology=str(self.tree), until=self.until.isoformat())

    def live(self, at: datetime, days: int) -> pl.LazyFrame:
        """Telemetry of some days as a server that listens to the exporters had it at `at`, of today at the latest.

        Of today's rows those are known that came before the first of a later time; a column of another name is unheard.
        """
        whole = [self.folder / "telemetry" / f"day={self.until - day * _DAY:%Y-%m-%d}" for day in range(days, 0, -1)]
        frames = [_heard(path) for folder in whole for path in sorted(folder.glob("*.parquet"))]
        today = self._record / "telemetry" / f"day={self.until:%Y-%m-%d}"
        if at > self.until:
            sent = _heard(today / "part-0.parquet").filter(pl.col("time") < self.until + _DAY)
            frames += [sent.filter(pl.col("time").cum_max() < at)]
            frames += [_heard(path) for path in today.glob("late-*.parquet")]
        return pl.concat(frames).lazy()


def _heard(path: Path) -> pl.DataFrame:
    """A file with the contract's columns, null where it has none of a name."""
    frame = pl.read_parquet(path, hive_partitioning=False)
    absent = {name: pl.lit(None, pl.Float32) for name in SIGNALS if name not in frame.columns}
    return frame.with_columns(**absent).select(*TELEMETRY.required, *SIGNALS)
