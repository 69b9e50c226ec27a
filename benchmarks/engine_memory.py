"""Whether the engine's memory stays what it was: hours of operation in minutes, on a clock that is set by hand.

Run as `python -m benchmarks.engine_memory`; writes `benchmarks/results/engine_memory.json`. A collector writes a
Parquet file a minute, the feed reads it, the engine takes it in and forecasts everybody 48 steps ahead. All that a day
leaves behind is there: midnights, days that are forgotten, files that grow old. The graph is an untrained one of the
`linear` model, for which nobody has to wait; what a graph takes is its runtime's, and the same in every cycle.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.machine import cpu, record
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.registry.store import Registry
from forecast.traces.files import FileSource
from serve.engine.engine import Engine
from serve.engine.feed import Feed
from serve.metrics import Metrics
from serve.settings import EngineSettings

PLACE = Path("var/bench/engine_memory")
NAME = "hour-ahead"
CORES = 2
STEP = timedelta(minutes=1)
PER_RACK = 20

#: Entities, and the hours of operation that they are watched for: a long watch, and one of the promised size.
WATCHES = ((2_000, 12.0), (10_000, 3.0))

#: Until then what is taken once, and filled as it is needed, may still grow.
SETTLED_H = 1.0
GOAL_MB_PER_H = 1.0

#: The collector keeps so many files.
KEPT = 720

START = datetime(2026, 3, 3, 18, tzinfo=UTC)
SPEC = ForecastSpec(
    step_s=60,
    context_steps=240,
    horizon_steps=48,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "inlet_c", "utilization_ratio"),
    quantile_levels=(0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99),
)


def main() -> None:
    """Measure, print, and record; or, of one watch, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, help="watch a fleet of this size alone, and record nothing")
    parser.add_argument(
        "--hours", type=float, default=2.0, help="... for so many hours of operation, above 1 (default: 2)"
    )
    options = parser.parse_args()
    if options.entities:
        print(json.dumps(_watch(options.entities, options.hours)))
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    watches = [_watched(entities, hours) for entities, hours in WATCHES]
    figures = {
        f"growth_mb_per_hour_{one['entities']}": {
            "value": one["growth_mb_per_hour"],
            "goal": GOAL_MB_PER_H,
            "better": "lower",
        }
        for one in watches
    }
    record("engine_memory", CORES, figures, watches=watches, load=os.getloadavg()[0])


def _watched(entities: int, hours: float) -> dict[str, Any]:
    """A watch in a process of its own, which has not loaded what makes the graph."""
    place = PLACE / str(entities)
    if not Registry(place / "registry", NAME).folder.exists():
        _publish(entities, place)
    command = [sys.executable, "-m", "benchmarks.engine_memory", "--entities", str(entities), "--hours", str(hours)]
    environment = {**os.environ, "POLARS_MAX_THREADS": str(CORES), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if not line.startswith("{"):
                print(line, end="", flush=True)
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _watch(entities: int, hours: float) -> dict[str, Any]:
    """Operate for some hours, a cycle a minute, and print the memory as it goes."""
    place = PLACE / str(entities)
    lake = place / "telemetry"
    shutil.rmtree(lake, ignore_errors=True)
    servers = [name for name in _fleet(entities).entities if name.startswith("server")]
    collector = _Collector(lake, servers)
    now = [START]
    settings = EngineSettings(place / "registry", source=FileSource(path=str(lake)), every_s=1e6, trial=False)
    engine = Engine(settings, lambda: now[0], Metrics())
    for minute in range(SPEC.context_steps):
        collector.write(START - STEP * (SPEC.context_steps - minute))
    engine.start()
    while not engine.is_ready:
        time.sleep(0.05)
    feed = Feed(engine)
    print(f"{entities:,} entities x {SPEC.horizon_steps} steps, each {STEP.seconds} s; {CORES} cores of {cpu()}")
    print(f"{'hour':>6}{'cycles':>8}{'memory, MB':>12}{'seconds a cycle':>17}{'by the model':>14}")
    rss, began = [], time.perf_counter()
    cycles = round(hours * 3600 / STEP.seconds)
    for cycle in range(1, cycles + 1):
        collector.write(now[0])
        now[0] += STEP
        feed.look()
        issued = engine.refresh(NAME).result(600)
        rss.append(_rss_mb())
        if cycle % 60 == 0 or cycle == 1:
            by_model = float(np.mean(issued.rung == 0))
            seconds = (time.perf_counter() - began) / cycle
            print(f"{cycle / 60:>6.1f}{cycle:>8}{rss[-1]:>12.1f}{seconds:>17.2f}{by_model:>13.0%}", flush=True)
    engine.stop()
    settled = np.array(rss[round(SETTLED_H * 3600 / STEP.seconds) :])
    hour = np.arange(len(settled)) * STEP.seconds / 3600
    growth = float(np.polyfit(hour, settled, 1)[0])
    print(f"growth after the first hour: {growth:+.2f} MB per hour (goal: at most {GOAL_MB_PER_H:g})")
    return {
        "entities": entities,
        "hours": hours,
        "cycles": cycles,
        "seconds_per_cycle": round((time.perf_counter() - began) / cycles, 3),
        "growth_mb_per_hour": round(growth, 2),
        "rss_mb_by_hour": {f"{at / 60:g}": round(rss[at - 1], 1) for at in (1, *range(60, cycles + 1, 60))},
        "rss_mb_highest": round(max(rss), 1),
    }


class _Collector:
    """Writes what servers measured, a file a minute in a folder a day, and removes what is old."""

    def __init__(self, lake: Path, servers: list[str]) -> None:
        self._lake, self._servers = lake, servers
        self._random = np.random.default_rng(0)
        self._use = self._random.uniform(0.3, 0.7, len(servers))
        self._files: list[Path] = []

    def write(self, minute: datetime) -> None:
        count = len(self._servers)
        self._use = np.clip(self._use + self._random.normal(0, 0.02, count), 0, 1)
        noise = self._random.normal(0, 1, (3, count))
        seconds = self._random.integers(0, 60, count)
        rows = pl.DataFrame(
            {
                "time": [minute + timedelta(seconds=int(second)) for second in seconds],
                "entity_id": self._servers,
                "power_w": 250 + 600 * self._use + 5 * noise[0],
                "temperature_c": 40 + 35 * self._use + 0.3 * noise[1],
                "inlet_c": 22 + 0.2 * noise[2],
                "utilization_ratio": self._use,
            },
            schema_overrides={"time": pl.Datetime("us", "UTC")},
        )
        path = self._lake / f"day={minute:%Y-%m-%d}" / f"{minute:%H%M}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
        self._files.append(path)
        if len(self._files) > KEPT:
            self._files.pop(0).unlink()


def _fleet(entities: int) -> Topology:
    """A site, racks and servers: so many in all."""
    racks = [f"rack-{at}" for at in range((entities - 1) // (PER_RACK + 1))]
    servers = entities - 1 - len(racks)
    rows: list[tuple[str, str | None, str, float]] = [("site-1", None, "site", 20_000.0 * len(racks))]
    rows += [(rack, "site-1", "rack", 20_000.0) for rack in racks]
    rows += [(f"server-{at}", racks[at % len(racks)], "server", 1_000.0) for at in range(servers)]
    table = pl.DataFrame(rows, schema=["entity_id", "parent_id", "level", "power_limit_w"], orient="row")
    same = {"sku": "air", "temperature_limit_c": 90.0, "site": "site-1", "time_zone": "Europe/Helsinki"}
    return Topology.of(table.with_columns(pl.lit(value).alias(name) for name, value in same.items()))


def _publish(entities: int, place: Path) -> None:
    """A bundle for such a fleet, of a graph that nobody trained."""
    import torch  # noqa: PLC0415 - not in the process that is measured

    from forecast.bundle.export import export  # noqa: PLC0415
    from forecast.bundle.manifest import Manifest  # noqa: PLC0415
    from forecast.contracts.signals import LEVELS  # noqa: PLC0415
    from forecast.models.graph import ForecastGraph  # noqa: PLC0415
    from forecast.models.linear import LinearConfig  # noqa: PLC0415
    from forecast.windows.gather import Batch  # noqa: PLC0415

    registry = Registry(place / "registry", NAME)
    past = torch.rand(4, len(SPEC.past), SPEC.context_steps)
    future = torch.rand(4, len(SPEC.future), SPEC.horizon_steps)
    static = torch.rand(4, len(SPEC.static))
    offsets = torch.zeros(len(LEVELS) + 1, len(SPEC.targets), len(SPEC.quantile_levels), SPEC.horizon_steps)
    graph = ForecastGraph(LinearConfig().build(SPEC, 1), offsets, SPEC).eval()
    with registry.lock():
        staged = registry.staging()
        export(graph, Batch(past, future, static, torch.empty(0)), staged)
        Manifest("untrained", NAME, SPEC, _fleet(entities), ("air",), None, {}, []).write(staged)
        registry.publish(staged, "untrained")


def _rss_mb() -> float:
    """What the process holds now (proc(5): the second field of statm, in pages)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
