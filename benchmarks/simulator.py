"""How fast and how lean is the simulator: 1,000 servers, 30 days, 5 min steps, on two cores.

Run as `python -m benchmarks.simulator`; writes `benchmarks/results/simulator.json`.
"""

import os
import resource
import tempfile
import time
from pathlib import Path

from benchmarks.machine import cpu, no_arguments, record

CORES = 2
GOAL_S = 60.0
GOAL_GB = 4.0


def main() -> None:
    """Measure, print, and record."""
    no_arguments("benchmarks.simulator", __doc__)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    # Polars sizes its thread pool when first imported, so the cores are limited before.
    from forecast.simulator.config import DAY_S, RowConfig, SimulatorConfig  # noqa: PLC0415
    from forecast.simulator.simulate import simulate  # noqa: PLC0415

    rows = [
        *(RowConfig(hall="hall-a", sku="h100-air", racks=14, servers_per_rack=4) for _ in range(4)),
        *(RowConfig(hall="hall-b", sku="gb200-tray", racks=7, servers_per_rack=18) for _ in range(4)),
        *(RowConfig(hall="hall-c", sku="cpu-2s", racks=17, servers_per_rack=16) for _ in range(1)),
    ]
    config = SimulatorConfig(days=30, step_s=300, rows=rows)
    servers = sum(row.racks * row.servers_per_rack for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        simulate(config, Path(folder) / "fleet")
        seconds = time.perf_counter() - begin
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    rate = servers * config.days * DAY_S / config.step_s / seconds
    _print(servers, seconds, rate, peak_gb)
    figures = {
        "seconds": {"value": round(seconds, 2), "goal": GOAL_S, "better": "lower"},
        "peak_memory_gb": {"value": round(peak_gb, 3), "goal": GOAL_GB, "better": "lower"},
    }
    record("simulator", CORES, figures)


def _print(servers: int, seconds: float, rate: float, peak_gb: float) -> None:
    print(f"{servers} servers, 30 days, 5 min steps, {CORES} cores of {cpu()}")
    print(f"{'figure':<24}{'value':>12}{'goal':>12}")
    print(f"{'seconds':<24}{seconds:>12.1f}{GOAL_S:>12.1f}")
    print(f"{'server steps per second':<24}{rate:>12,.0f}{'':>12}")
    print(f"{'peak memory, GB':<24}{peak_gb:>12.2f}{GOAL_GB:>12.2f}")


if __name__ == "__main__":
    main()
