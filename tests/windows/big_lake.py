"""A lake of any size, and how much memory its panel takes: `big_lake.py FOLDER MEMORY_GB` prints days built and GB."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from trees import node, table_of

from forecast.contracts.specs import ForecastSpec
from forecast.traces.files import FileSource
from forecast.windows.store import Store

START = datetime(2026, 1, 5, tzinfo=UTC)
HALL, RACK = 500, 20
SIGNALS = ("power_w", "temperature_c")
SPEC = ForecastSpec(60, 60, 60, SIGNALS, SIGNALS, (0.1, 0.5, 0.9))


def write_lake(folder: Path, servers: int, minutes: int, every: int, files: int, row_group: int) -> int:
    """Write telemetry of each server at any moment of each `every` minutes, 2 % of it missing; returns the rows."""
    ids = [f"hall-{at // HALL}-rack-{at // RACK:03d}-server-{at % RACK:02d}" for at in range(servers)]
    halls = sorted({name.partition("-rack")[0] for name in ids})
    nodes = [
        *(node(hall, "hall") for hall in halls),
        *(node(name, "server", name.partition("-rack")[0]) for name in ids),
    ]
    (folder / "lake").mkdir(parents=True)
    table_of(*nodes).write_parquet(folder / "tree.parquet")
    times = np.array_split(np.arange(0, minutes, every), files)
    return sum(
        _write(folder / "lake" / f"part-{index:02d}.parquet", ids, minute, every, row_group)
        for index, minute in enumerate(times)
    )


def _write(path: Path, ids: list[str], minutes: np.ndarray, every: int, row_group: int) -> int:
    random = np.random.default_rng(int(minutes[0]))
    server, minute = np.tile(np.arange(len(ids)), len(minutes)), np.repeat(minutes, len(ids))
    seconds = 60 * (minute + every * random.random(server.size))
    power = np.round(500 + 300 * np.sin(server / 7) + random.normal(0, 20, server.size))
    table = pl.DataFrame(
        {
            "time": pl.Series(int(START.timestamp() * 1e6) + (seconds * 1e6).astype(np.int64)).cast(
                pl.Datetime("us", "UTC")
            ),
            "entity_id": pl.Series(ids).gather(server),
            "power_w": power.astype(np.float32),
            "temperature_c": (25 + power / 20).astype(np.float32).round(1),
        }
    ).filter(pl.Series(random.random(server.size) > 0.02))
    table.write_parquet(path, compression="zstd", row_group_size=row_group)
    return table.height


def main(folder: Path, memory_gb: float) -> None:
    trace = FileSource(path=str(folder / "lake"), topology=str(folder / "tree.parquet")).read()
    with TemporaryDirectory(dir=folder) as place:
        updated = Store(Path(place), memory_gb).update(trace, SPEC, "lake")
    print(updated.built, peak_gb())


def peak_gb() -> float:
    """The most this process held; what `getrusage` tells begins with what its parent held."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
