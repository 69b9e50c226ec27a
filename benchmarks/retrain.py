"""What the scheduled job takes on 1,000 simulated servers: a run with nothing new, and the run of a day that came.

Run as `python -m benchmarks.retrain`; writes `benchmarks/results/retrain.json`. Each run is a process of its own with
two threads, as a scheduler starts it, so importing PyTorch counts. The first run, which builds the features of all days
before, is not what is asked about: what it trained is put into service, and gone on from.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.machine import cpu, record
from forecast.bundle.load import load
from forecast.registry.publish import publish_bundle
from forecast.registry.store import Registry

THREADS = 2
NOTHING_NEW_GOAL_S = 10.0

#: 250 racks of 4.
_ROW = "sku: h100-air, racks: 125, servers_per_rack: 4"
ROWS = f"[{{hall: hall-a, {_ROW}}}, {{hall: hall-b, {_ROW}}}]"
START, DAYS = date(2026, 1, 12), 35
PLACE = Path("var/bench/retrain")

_ENDS = (0, 10, 11)


@dataclass(frozen=True)
class Run:
    """One process of the job.

    Attributes:
        code: its exit code.
        wall_s, cpu_s, peak_gb: of the whole process, from its start to its end.
        steps: as in `log.jsonl`.
    """

    code: int
    wall_s: float
    cpu_s: float
    peak_gb: float
    steps: list[dict[str, Any]]

    @classmethod
    def of(cls, name: str, days: int, overrides: Sequence[str]) -> "Run":
        """`python train.py` on the first `days` of the record."""
        out = PLACE / "runs" / name
        shutil.rmtree(out, ignore_errors=True)
        command = [
            *(sys.executable, "train.py", f"source.path={PLACE / 'fleet'}", f"source.fleet.days={DAYS + 2}"),
            *(
                f"source.fleet.start='{START}'",
                f"source.fleet.rows={ROWS}",
                f"source.until='{START + timedelta(days)}'",
            ),
            *(f"cache={PLACE / 'cache'}", f"registry.root={PLACE / 'registry'}", f"hydra.run.dir={out}", *overrides),
        ]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS"), str(THREADS))
        begin = perf_counter()
        process = subprocess.Popen(command, env=os.environ | threads)
        _, status, used = os.wait4(process.pid, 0)
        wall_s, code = perf_counter() - begin, os.waitstatus_to_exitcode(status)
        if code not in _ENDS:
            sys.exit(f"{name}: {' '.join(command)} ended with {code}")
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        steps = [
            {"step": line["step"], "wall_s": round(line["seconds"], 2), "cpu_s": round(line["processor_s"], 2)}
            for line in lines
            if line["step"] != "end"
        ]
        seconds = (round(wall_s, 2), round(used.ru_utime + used.ru_stime, 2))
        return cls(code, *seconds, round(used.ru_maxrss * 1024 / 1e9, 2), steps)


def main() -> None:
    """Measure, print and record."""
    overrides = _arguments()
    print(f"1,000 servers, {DAYS} days of 5 min; {THREADS} threads of {cpu()}", flush=True)
    _begin(overrides)
    daily = Run.of("daily", DAYS + 1, overrides)
    idle = Run.of("nothing new", DAYS + 1, overrides)
    runs = {"nothing new": idle, "one new day": daily}
    for name, run in runs.items():
        print(
            f"\n{name}: exit code {run.code}, {run.wall_s:.1f} s, {run.cpu_s:.1f} CPU s, {run.peak_gb:.2f} GB at most"
        )
        for step in run.steps:
            print(f"  {step['step']:<12}{step['wall_s']:>8.2f} s{step['cpu_s']:>8.2f} CPU s")
    figures: dict[str, dict[str, Any]] = {
        "nothing_new_s": {"value": idle.wall_s, "goal": NOTHING_NEW_GOAL_S, "better": "lower"},
        "one_new_day_s": {"value": daily.wall_s, "goal": None, "better": "lower"},
        "peak_gb": {"value": daily.peak_gb, "goal": None, "better": "lower"},
    }
    if not overrides:
        load = round(os.getloadavg()[0], 1)  # two of it are this benchmark's own
        record("retrain", THREADS, figures, load_average=load, runs={name: vars(run) for name, run in runs.items()})


def _begin(overrides: Sequence[str]) -> None:
    """Build the features of all days but the last, and put a version that was trained on them into service."""
    shutil.rmtree(PLACE / "registry", ignore_errors=True)
    Run.of("first", DAYS, (*overrides, "evaluation.origin_every_h=24", "registry.publish=false"))
    bundle = load(PLACE / "runs" / "first" / "bundle")
    registry = Registry(PLACE / "registry", bundle.manifest.name)
    with registry.lock():
        publish_bundle(registry, bundle, {"passed": True, "reason": "whatever its gate said"})


def _arguments() -> list[str]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrain", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the configuration; prints only")
    found: list[str] = parser.parse_args().overrides
    return found


if __name__ == "__main__":
    main()
