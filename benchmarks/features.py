"""How far from the disk's speed is the way from raw telemetry to a tensor: about 98 million rows of 10,000 servers.

Run as `python -m benchmarks.features`; writes `benchmarks/results/features.json`. Floors and peers are measured beside
what they judge, in the same process, on the same files and with the same threads.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

from benchmarks.machine import cpu, no_arguments, record
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.features.grid import grid
from forecast.features.gridded import Gridded
from forecast.traces.files import FileSource
from forecast.windows.panel import Panel
from forecast.windows.store import Store

SERVERS, MINUTES, FILES, HALL = 10_000, 10_000, 20, 500
SIGNALS = ("power_w", "temperature_c")
START = datetime(2026, 1, 5, tzinfo=UTC)
ROW_GROUP = 1_000_000
RUNS = 5

#: Files on which the peer is tried: on all of them it takes minutes.
PEER_FILES = 5
LAKE = Path("var/bench/telemetry")
SPEC = ForecastSpec(60, 1440, 60, SIGNALS, SIGNALS, (0.1, 0.5, 0.9))


def main() -> None:
    """Measure, print, and record."""
    no_arguments("benchmarks.features", __doc__)
    files, topology = _lake()
    rows = sum(pl.scan_parquet(file).select(pl.len()).collect().item() for file in files)
    threads = pl.thread_pool_size()
    print(f"{rows / 1e6:.1f} M rows of {SERVERS:,} servers in {len(files)} files; {threads} threads of {cpu()}")
    _grid(files[:1], topology)  # compiles
    _decode(files)  # into the page cache
    decode_s, grid_s = _alternately(lambda: _decode(files), lambda: _grid(files, topology))
    few = files[:PEER_FILES]
    begin = time.perf_counter()
    joined = _group_by_and_join(few)
    joined_s = time.perf_counter() - begin
    peer_s = joined_s + _seconds(lambda: _dense(joined))
    ours_s = median(_seconds(lambda: _grid(few, topology)) for _ in range(RUNS))
    with tempfile.TemporaryDirectory(dir=LAKE.parent) as folder:
        begin = time.perf_counter()
        panel = _store(Path(folder), 4.0, topology)
        store_s = time.perf_counter() - begin
        copy_s, read_s = _alternately(*_copies(panel))
    peak_gb = _peak_gb()
    figures = {
        "grid_over_decode": _figure(grid_s / decode_s, 3.0),
        "faster_than_group_by_join_and_sort": _figure(peer_s / ours_s, 15.0, "higher"),
        "tensor_over_memory_copy": _figure(read_s / copy_s, 1.1),
        "peak_gb_where_1_is_allowed": _figure(peak_gb, 1.0),
    }
    seconds = {
        "decode": decode_s, "grid": grid_s, "group_by_and_join_of_a_quarter": joined_s,
        "group_by_join_and_sort_of_a_quarter": peer_s, "grid_of_a_quarter": ours_s,
        "grid_repair_roll_up_and_write": store_s, "memory_copy": copy_s, "panel_to_tensor": read_s,
    }  # fmt: skip
    _print(rows, figures, seconds)
    record("features", threads, figures, rows=rows, seconds={name: round(value, 3) for name, value in seconds.items()})


def _figure(value: float, goal: float, better: str = "lower") -> dict[str, float | str]:
    return {"value": round(value, 3), "goal": goal, "better": better}


def _print(rows: int, figures: dict[str, dict[str, float | str]], seconds: dict[str, float]) -> None:
    print(f"{'seconds':<40}{'s':>10}{'M rows/s':>12}")
    for name, value in seconds.items():
        part = PEER_FILES / FILES if "quarter" in name else 1.0
        print(f"{name.replace('_', ' '):<40}{value:>10.2f}{rows * part / value / 1e6:>12.1f}")
    print(f"{'figure':<40}{'value':>10}{'goal':>12}")
    for name, figure in figures.items():
        print(f"{name.replace('_', ' '):<40}{figure['value']:>10}{figure['goal']:>12}")


def _lake() -> tuple[list[Path], Topology]:
    """The files, made once, and the tree of their servers."""
    names = [f"hall-{at // HALL:02d}-rack-{at // 20:03d}-server-{at % 20:02d}" for at in range(SERVERS)]
    for index in range(FILES):
        path = LAKE / f"part-{index:02d}.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, names, index)
    halls = [(f"hall-{hall:02d}", None, "hall") for hall in range(SERVERS // HALL)]
    servers = [(name, name[:7], "server") for name in names]
    table = pl.DataFrame([*halls, *servers], schema=["entity_id", "parent_id", "level"], orient="row")
    same = {"power_limit_w": 10_000.0, "temperature_limit_c": 90.0, "sku": "server", "site": "here", "time_zone": "UTC"}
    return sorted(LAKE.glob("*.parquet")), Topology.of(
        table.with_columns(pl.lit(value).alias(name) for name, value in same.items())
    )


def _write(path: Path, names: list[str], index: int) -> None:
    """A stretch of minutes: each server once in each, at any moment; 2 % of rows and 1 % of powers are missing."""
    random = np.random.default_rng(index)
    minutes = MINUTES // FILES
    server = np.tile(np.arange(SERVERS), minutes)
    minute = np.repeat(np.arange(index * minutes, (index + 1) * minutes), SERVERS)
    time_us = int(START.timestamp() * 1e6) + (minute * 60e6 + random.random(server.size) * 60e6).astype(np.int64)
    power_w = np.round(3000 + 2000 * np.sin(server / 7) + random.normal(0, 100, server.size))
    temperature_c = np.round(50 + 10 * np.sin(server / 5) + random.normal(0, 1, server.size), 1)
    power_w[random.random(server.size) < 0.01] = np.nan
    table = pl.DataFrame(
        {
            "time": pl.Series(time_us).cast(pl.Datetime("us", "UTC")),
            "entity_id": pl.Series(names).gather(server),
            "power_w": pl.Series(power_w, dtype=pl.Float32).fill_nan(None),
            "temperature_c": pl.Series(temperature_c, dtype=pl.Float32),
        }
    )
    table.filter(pl.Series(random.random(server.size) > 0.02)).write_parquet(path, row_group_size=ROW_GROUP)


def _decode(files: list[Path]) -> None:
    """The floor: decode the columns and drop them."""
    for file in files:
        pl.read_parquet(file, columns=["time", "entity_id", *SIGNALS])


def _grid(files: list[Path], topology: Topology) -> None:
    steps = MINUTES * len(files) // FILES
    grid(pl.scan_parquet(files), Gridded.empty(START, 60, SIGNALS, topology.entities, steps))


def _group_by_and_join(files: list[Path]) -> pl.DataFrame:
    """The usual way in Polars: mean per entity and minute, joined to the full grid, streaming."""
    telemetry = pl.scan_parquet(files)
    end = START + timedelta(minutes=MINUTES * len(files) // FILES)
    times = pl.LazyFrame({"time": pl.datetime_range(START, end, "1m", closed="left", time_unit="us", eager=True)})
    full = telemetry.select("entity_id").unique().join(times, how="cross")
    means = telemetry.group_by("entity_id", pl.col("time").dt.truncate("1m")).agg(pl.col(SIGNALS).mean())
    return full.join(means, on=["entity_id", "time"], how="left").collect(engine="streaming")


def _dense(table: pl.DataFrame) -> None:
    """What the join leaves in any order, as arrays."""
    table.sort("entity_id", "time").select(SIGNALS).to_numpy().reshape(SERVERS, -1, len(SIGNALS))


def _store(folder: Path, memory_gb: float, topology: Topology) -> Panel:
    topology.table.write_parquet(folder / "topology.parquet")
    trace = FileSource(path=str(LAKE), topology=str(folder / "topology.parquet")).read()
    return Store(folder / "panel", memory_gb).update(trace, SPEC, "benchmark").panel


def _build_in(memory_gb: float) -> None:
    """Build the panel within a bound and print the peak of the process, in GB."""
    with tempfile.TemporaryDirectory(dir=LAKE.parent) as folder:
        _store(Path(folder), memory_gb, _lake()[1])
    # Not ru_maxrss, which a process inherits from the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    peak_kib = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    print(int(peak_kib) * 1024 / 1e9)


def _peak_gb() -> float:
    """The peak of a process of its own that may hold 1 GB."""
    again = [sys.executable, "-m", "benchmarks.features", "--memory"]
    return float(subprocess.run(again, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _copies(panel: Panel) -> tuple[Callable[[], object], Callable[[], object]]:
    """A copy of memory as large as the panel, and the panel to a tensor."""
    import torch  # noqa: PLC0415 (not where memory is measured: building a panel needs none of it)

    source = torch.from_numpy(panel.read(0, panel.steps))
    return source.clone, lambda: torch.from_numpy(panel.read(0, panel.steps))


def _alternately(floor: Callable[[], object], ours: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of both, taken in turns, so that a busy moment hits both."""
    pairs = [(_seconds(floor), _seconds(ours)) for _ in range(RUNS)]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    _build_in(1.0) if "--memory" in sys.argv else main()
