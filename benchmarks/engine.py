"""What a fleet of 10,000 takes that is forecast every minute on two cores, and what whoever asks meanwhile waits.

Run as `python -m benchmarks.engine`; writes `benchmarks/results/engine.json`. The server is a process on the first two
cores, as `python -m serve run` starts it; this process, on the others, pushes each minute's telemetry when the minute
is over, and reads at a fixed rate from then on until the forecast is made. A second server, on one core, has a day
ahead at 5 min before it and answers what each of 100 places for the same job would leave. Both bundles are of the model
that ships, with its answer to plans; they were trained for a moment, as their weights cost the same however good.
"""

import argparse
import asyncio
import contextlib
import http.client
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from benchmarks.dispatch_reads import reads
from benchmarks.machine import cpu, processor_s, record
from benchmarks.open_loop import Answers, HttpClient, at_rate
from forecast.bundle.load import load
from forecast.registry.publish import publish_bundle
from forecast.registry.store import Registry
from forecast.simulator.config import RowConfig, SimulatorConfig
from forecast.simulator.fleet import Fleet
from forecast.simulator.tree import topology

PLACE = Path("var/bench/engine")
PORT = 18_090
CORES, GOAL_S, GOAL_MS = 2, 60.0, 100.0
MINUTE = timedelta(minutes=1)

#: 9,500 servers in 475 racks, 19 rows, 5 halls and a site: 10,000 entities.
ROWS = [
    RowConfig(hall=f"hall-{'abcde'[row % 5]}", sku="h100-air", racks=25, servers_per_rack=20, inference_ratio=0.5)
    for row in range(19)
]
CONTEXT, HORIZON, CANDIDATES = 336, 48, 100
READS_PER_S = 50

#: A push of so many minutes is half of what a body may be.
PUSHED_AT_ONCE = 6

_SMALL = "source.fleet.rows=[{hall: hall-a, sku: h100-air, racks: 12, servers_per_rack: 8}]"
_BRIEFLY = ("training.steps=20", "training.validate_every=10", "evaluation.test_h=24", "evaluation.validation_h=24")
_MINUTES = (
    "source.fleet.days=6", "source.fleet.step_s=60", "source.until='2026-01-18'", "evaluation.origin_every_h=6",
    "window.step_s=60", f"window.context_steps={CONTEXT}", f"window.horizon_steps={HORIZON}",
)  # fmt: skip
_DAY = ("source.fleet.days=24", "source.until='2026-02-05'", "evaluation.origin_every_h=12")


@dataclass
class Found:
    """What was measured.

    Attributes:
        cycles: seconds by part, of each minute.
        busy_s: of processor time that the server took in each minute.
        during, between: latency of reads while a forecast is made, and after it.
        here, day: seconds for all candidates, of this fleet and of the day ahead.
        rss_gb: memory at the end.
    """

    cycles: list[dict[str, float]] = field(default_factory=list)
    busy_s: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    here: list[float] = field(default_factory=list)
    day: list[float] = field(default_factory=list)
    rss_gb: float = 0.0


def main() -> None:
    """Measure, print and record."""
    minutes, is_kept = _arguments()
    for name, settings in (("minutes", _MINUTES), ("day-ahead", _DAY)):
        _publish(name, settings)
    cores, load_before, found = sorted(os.sched_getaffinity(0)), os.getloadavg()[0], Found()
    fleet = Fleet.of(SimulatorConfig(rows=ROWS))
    topology(fleet).write_parquet(PLACE / "topology.parquet")
    theirs, ours = cores[:CORES], cores[CORES:]
    os.sched_setaffinity(0, ours)
    with _serving("minutes", theirs, "--topology", PLACE / "topology.parquet", "--every-s", "1") as server:
        _cycles(server, fleet, minutes, found)
        found.here = _candidates(server, "minutes", minutes * 10)
        found.rss_gb = server.rss_gb()
    played = ("--telemetry", PLACE / "day-ahead" / "fleet" / "telemetry", "--as-of", "newest", "--speed", "0")
    with _serving("day-ahead", theirs[:1], *played) as server:
        server.wait(lambda: server.status("day-ahead")["issued_at"])
        found.day = _candidates(server, "day-ahead", minutes * 10)
    _print(found)
    if is_kept:
        _record(found, len(cores), load_before)


@dataclass(frozen=True)
class Server:
    """A process that serves."""

    process: "subprocess.Popen[bytes]"
    address: str = f"127.0.0.1:{PORT}"

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        """What a request is answered with; None where that is a refusal."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        connection.request(method, path, body, {"content-type": kind})
        response = connection.getresponse()
        told = response.read()
        connection.close()
        return json.loads(told) if response.status < 300 else None

    def status(self, name: str) -> Any:
        return self.ask("GET", f"/v1/forecasts/{name}/status") or {}

    def wait(self, holds: Callable[[], Any], most_s: float = 180.0) -> None:
        """Wait until something holds."""
        end = time.monotonic() + most_s
        while time.monotonic() < end:
            with contextlib.suppress(OSError, KeyError):
                if holds():
                    return
            time.sleep(0.1)
        sys.exit(f"the server did not get there within {most_s:g} s; {PLACE / 'serve.log'} says more")

    def rss_gb(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmRSS"))
        return int(kilobytes) * 1024 / 1e9


def _publish(name: str, settings: Sequence[str]) -> None:
    """A bundle that takes plans, in service in a registry of its own; made once."""
    place = PLACE / name
    registry = Registry(place / "registry", name)
    if registry.current() is not None:
        return
    places = (f"source.path={place / 'fleet'}", f"cache={place / 'cache'}", f"hydra.run.dir={place / 'run'}")
    job = ("train.py", "experiment=what_if", f"name={name}", f"registry.root={place / 'registry'}")
    subprocess.run([sys.executable, *job, _SMALL, *_BRIEFLY, *settings, *places], check=False)
    with registry.lock():
        publish_bundle(registry, load(place / "run" / "bundle"), {"passed": True, "reason": "a benchmark"})


@contextlib.contextmanager
def _serving(name: str, cores: Sequence[int], *options: object) -> Iterator[Server]:
    """A server on some cores, ended with the block."""
    ours = os.sched_getaffinity(0)
    command = ("serve", "run", "--registry", PLACE / name / "registry", "--port", PORT, "--workers", 1, *options)
    with (PLACE / "serve.log").open("w") as sink:
        os.sched_setaffinity(0, cores)  # a child begins where its parent is
        process = subprocess.Popen([sys.executable, "-m", *map(str, command)], stderr=sink)
        os.sched_setaffinity(0, ours)
        server = Server(process)
        try:
            server.wait(lambda: server.ask("GET", f"/v2/models/{name}/ready"))
            yield server
        finally:
            process.terminate()
            process.wait(60)


def _cycles(server: Server, fleet: Fleet, minutes: int, found: Found) -> None:
    """The history at once, then each minute as it ends; reads until the forecast is made, and once more as many."""
    begin = datetime.now(UTC).replace(second=0, microsecond=0) - CONTEXT * MINUTE
    at = begin
    while at < (now := datetime.now(UTC).replace(second=0, microsecond=0)):
        end = min(at + PUSHED_AT_ONCE * MINUTE, now)
        server.wait(partial(_push, server, fleet, at, end))
        at = end
    server.wait(partial(_has_issued, server, at), 600.0)
    requests = reads("minutes", _entities(server, "minutes", "rack"), "PT30M")
    expected_s = server.status("minutes")["cycle_s"]
    for _ in range(minutes):
        time.sleep(max((at + MINUTE - datetime.now(UTC)).total_seconds(), 0.0))
        busy_s, rows = processor_s(server.process.pid), _rows(fleet, at, at + MINUTE)
        at += MINUTE
        server.wait(partial(server.ask, "POST", "/v1/telemetry", rows, "application/vnd.apache.arrow.stream"))
        found.during += _read(server, requests, expected_s).latency_s
        server.wait(partial(_has_issued, server, at))
        told = server.status("minutes")
        found.cycles.append({**told["cycle_parts"], "total_s": told["cycle_s"]})
        found.busy_s.append(processor_s(server.process.pid) - busy_s)
        found.between += _read(server, requests, expected_s).latency_s
        expected_s = told["cycle_s"]


def _has_issued(server: Server, at: datetime) -> bool:
    """Whether the newest forecast begins at `at`."""
    told = server.status("minutes").get("forecast_time")
    return told is not None and datetime.fromisoformat(told) == at


def _push(server: Server, fleet: Fleet, begin: datetime, end: datetime) -> Any:
    return server.ask("POST", "/v1/telemetry", _rows(fleet, begin, end), "application/vnd.apache.arrow.stream")


def _rows(fleet: Fleet, begin: datetime, end: datetime) -> bytes:
    """What every server measured in some minutes, as an Arrow stream: a wave of its own, and noise."""
    times = [begin + MINUTE * step for step in range((end - begin) // MINUTE)]
    count = len(fleet.server_ids)
    random = np.random.default_rng(int(begin.timestamp()))
    hour = np.array([time.timestamp() / 3600 for time in times])[:, None]
    busy = 0.55 + 0.3 * np.sin(hour * 2 * np.pi / 6 + np.arange(count)) + 0.05 * random.normal(size=(len(times), count))
    table = pl.DataFrame(
        {
            "time": pl.Series(times, dtype=pl.Datetime("us", "UTC"))[np.repeat(np.arange(len(times)), count)],
            "entity_id": pl.concat([pl.Series(fleet.server_ids)] * len(times)),
            "power_w": (1800 + 7000 * busy.clip(0, 1)).ravel(),
            "temperature_c": (38 + 35 * busy.clip(0, 1)).ravel(),
            "inlet_c": np.full(busy.size, 24.0) + 0.3 * random.normal(size=busy.size),
            "utilization_ratio": busy.clip(0, 1).ravel(),
        }
    )
    stream = io.BytesIO()
    table.write_ipc_stream(stream, compat_level=pl.CompatLevel.oldest())
    return stream.getvalue()


def _entities(server: Server, name: str, *levels: str) -> list[str]:
    table = server.ask("GET", f"/v1/forecasts/{name}/topology?layout=columns")["columns"]
    return [entity for entity, level in zip(table["entity_id"], table["level"], strict=True) if level in levels]


def _read(server: Server, requests: Sequence[bytes], seconds: float) -> Answers:
    answers = asyncio.run(at_rate(partial(HttpClient, server.address), requests, READS_PER_S, seconds))
    if answers.others:
        sys.exit(f"reads were answered with {sorted(set(answers.others))}")
    return answers


def _candidates(server: Server, name: str, times: int) -> list[float]:
    """Seconds to be told what each place for the same job leaves, the first time included."""
    places = _entities(server, name, "server", "rack")[:CANDIDATES]
    told = [{"entity_id": place, "added_power_w": 2000.0 + at} for at, place in enumerate(places)]
    body, path = json.dumps({"candidates": told}).encode(), f"/v1/forecasts/{name}/placements?confidence=0.95"
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        rows = server.ask("POST", path, body)["rows"]
        seconds.append(time.perf_counter() - begin)
        if [row["answered_by"] for row in rows] != ["graph"] * CANDIDATES:
            sys.exit(f"{name}: the graph did not answer to all candidates")
    return seconds


def _quantiles_ms(seconds: Sequence[float]) -> tuple[float, float]:
    p50, p99 = 1000 * np.quantile(seconds, (0.5, 0.99))
    return round(float(p50), 1), round(float(p99), 1)


def _median(found: Found, part: str) -> float:
    return median(one[part] for one in found.cycles)


def _print(found: Found) -> None:
    print(f"\n{cpu()}; 10,000 entities x {HORIZON} steps each minute on {CORES} cores, median of {len(found.cycles)}")
    for part, said in (
        ("telemetry_s", "taking in a step"), ("model_s", "the model"), ("ladder_s", "the ladder, and all else"),
        ("total_s", f"the whole cycle (goal {GOAL_S:g})"),
    ):  # fmt: skip
        print(f"{said:<34}{_median(found, part):>8.2f} s")
    print(f"{'of the minute':<34}{_median(found, 'total_s') / 60:>8.1%}")
    print(f"{'of what the cores could do':<34}{median(found.busy_s) / (60 * CORES):>8.1%}")
    print(f"{'memory':<34}{found.rss_gb:>8.2f} GB")
    for said, seconds in (
        (f"reads at {READS_PER_S}/s during a cycle", found.during), ("reads between cycles", found.between),
        (f"{CANDIDATES} candidates of this fleet", found.here), (f"{CANDIDATES} of a day ahead, one core", found.day),
    ):  # fmt: skip
        p50, p99 = _quantiles_ms(seconds)
        print(f"{said:<34}{p50:>8.1f} ms{p99:>10.1f} ms at p99{1000 * min(seconds):>10.1f} ms at least")


def _record(found: Found, cores: int, load_before: float) -> None:
    figures: dict[str, dict[str, Any]] = {
        "cycle_s": {"value": round(_median(found, "total_s"), 2), "goal": GOAL_S, "better": "lower"},
        "candidates_100_day_ahead_one_core_ms": {
            "value": _quantiles_ms(found.day)[0], "goal": GOAL_MS, "better": "lower",
        },
        "reads_during_a_cycle_p99_ms": {"value": _quantiles_ms(found.during)[1], "goal": None, "better": "lower"},
        "memory_gb": {"value": round(found.rss_gb, 2), "goal": None, "better": "lower"},
    }  # fmt: skip
    pairs = {"during": found.during, "between": found.between, "candidates_here": found.here, "candidates": found.day}
    record(
        "engine",
        cores,
        figures,
        load_average_before=round(load_before, 1),
        cycles=[{part: round(seconds, 3) for part, seconds in one.items()} for one in found.cycles],
        busy_share_of_two_cores=round(median(found.busy_s) / (60 * CORES), 3),
        latency_ms={
            name: dict(zip(("p50", "p99", "least", "first"), (*_quantiles_ms(some), *_ms(some)), strict=True))
            for name, some in pairs.items()
        },
    )


def _ms(seconds: Sequence[float]) -> tuple[float, float]:
    """The least, and the first."""
    return round(1000 * min(seconds), 1), round(1000 * seconds[0], 1)


def _arguments() -> tuple[int, bool]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--minutes", type=int, help="of telemetry; prints only (default: 5, and records)")
    asked: int | None = parser.parse_args().minutes
    return (5, True) if asked is None else (asked, False)


if __name__ == "__main__":
    main()
