"""What the server takes to answer at fixed rates, beside ONNX Runtime called in process, and under overload.

Run as `python -m benchmarks.serve`; writes `benchmarks/results/serve.json`. The server is a process on the first two
cores, with one thread for inference; the client is this process, on the others. KServe's own server runs the same
graph on the same cores, likewise with one thread, where `make .venv-kserve/.done` has put it.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.machine import cpu, record
from benchmarks.open_loop import Client, at_most, at_rate
from forecast.bundle.load import Bundle, load
from forecast.registry.publish import publish_bundle
from forecast.registry.store import Registry
from forecast.windows.arrays import Inputs

NAME = "day-ahead"
PLACE = Path("var/bench/serve")
KSERVE = Path(".venv-kserve/bin/python")
PORT = 18_080

#: 100 racks of 4; hourly for two days ahead.
FLEET = ("source.fleet.rows=[{hall: hall-a, sku: h100-air, racks: 100, servers_per_rack: 4}]", "source.fleet.days=40")
WINDOW = ("window.step_s=3600", "window.context_steps=336", "window.horizon_steps=48", "source.until='2026-02-21'")

READS_PER_S = (50, 150, 300)
INFERS_PER_S = (25, 75, 150)
BATCH = 256
#: Rows of a request under overload: what there is too little of is the graph, not the reading of requests.
OVERLOAD_ROWS = 32
OVERLOAD_CLIENTS = 16
WITHIN, GOODPUT = 1.15, 0.8
SERVER_CORES = 2


def main() -> None:
    """Measure, print and record."""
    seconds, kept = _arguments()
    bundle = _published()
    cores = sorted(os.sched_getaffinity(0))
    load_before = os.getloadavg()[0]
    single = infer_request(bundle, 1)
    told: dict[str, Any] = {}
    with _fleetcast(cores[:SERVER_CORES]) as address:
        os.sched_setaffinity(0, cores[SERVER_CORES:])
        reads = _reads(address)
        for rate in READS_PER_S:
            told[f"/v1 reads at {rate}/s"] = asyncio.run(at_rate(address, reads, rate, seconds)).figures()
        for rate in INFERS_PER_S:
            told[f"/v2 infer, 1 row, at {rate}/s"] = asyncio.run(at_rate(address, [single], rate, seconds)).figures()
        beside = asyncio.run(_beside_runtime(address, bundle, seconds))
        overload = _overload(address, infer_request(bundle, OVERLOAD_ROWS), seconds)
    peer = None
    if KSERVE.exists():
        with _kserve(bundle, cores[:SERVER_CORES]) as address:
            for rate in INFERS_PER_S:
                told[f"KServe: the same, at {rate}/s"] = asyncio.run(
                    at_rate(address, [single], rate, seconds)
                ).figures()
            peer = asyncio.run(_beside_runtime(address, bundle, seconds))
    _print(told, beside, overload, peer)
    if kept:
        _record(told, beside, overload, peer, load_before)


def infer_request(bundle: Bundle, rows: int) -> bytes:
    """A whole HTTP request with binary tensors for `rows` windows, which asks for binary tensors."""
    inputs = inputs_of(bundle, rows)
    tensors = [(name, np.ascontiguousarray(array, "<f4")) for name, array in vars(inputs).items()]
    listed = [
        {
            "name": name,
            "datatype": "FP32",
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in tensors
    ]
    head = json.dumps({"inputs": listed, "parameters": {"binary_data_output": True}}).encode()
    body = b"".join([head, *(array.tobytes() for _, array in tensors)])
    lines = (
        f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nhost: benchmark\r\ncontent-type: application/octet-stream\r\n"
        f"inference-header-content-length: {len(head)}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return lines.encode() + body


def inputs_of(bundle: Bundle, rows: int) -> Inputs:
    """The bundle's golden inputs, again and again."""
    golden = np.load(bundle.folder / "golden.npz")
    names = ("past", "future", "static")
    return Inputs(*(np.resize(golden[name], (rows, *golden[name].shape[1:])) for name in names))


def _reads(address: str) -> list[bytes]:
    """What dispatchers ask most: the room of a rack, an entity's forecast, the tightest; 8, 8 and 1 of each 17."""
    table = _get(address, f"/v1/forecasts/{NAME}/topology")["rows"]
    racks = [one["entity_id"] for one in table if one["level"] == "rack"]
    paths = []
    for first, second in zip(racks[::2], racks[1::2], strict=False):
        paths.append(f"/v1/forecasts/{NAME}/headroom?entity={first}&until=PT6H")
        paths.append(f"/v1/forecasts/{NAME}?entity={second}")
        if len(paths) % 16 == 0:
            paths.append(f"/v1/forecasts/{NAME}/tightest?n=10")
    return [f"GET {path} HTTP/1.1\r\nhost: benchmark\r\n\r\n".encode() for path in paths]


async def _beside_runtime(address: str, bundle: Bundle, seconds: float) -> dict[str, float]:
    """A batch by the server and in process, turn by turn, so that whatever else the machine does hits both."""
    request, inputs, client = infer_request(bundle, BATCH), inputs_of(bundle, BATCH), Client(address)
    served, called = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(served) < 5:
        begin = time.perf_counter()
        status, head = await client.ask(request)
        between = time.perf_counter()
        bundle.session.run(inputs)
        served.append(between - begin)
        called.append(time.perf_counter() - between)
        if status != 200:
            sys.exit(f"{address}: a batch of {BATCH} was answered with {status}: {head!r}")
    client.close()
    return {
        "pairs": len(served),
        "served_ms": round(1000 * median(served), 2),
        "in_process_ms": round(1000 * median(called), 2),
        "ratio": round(median(served) / median(called), 3),
        "ratio_of_pairs": round(median(np.divide(served, called).tolist()), 3),
    }


def _overload(address: str, request: bytes, seconds: float) -> dict[str, Any]:
    """The most that is answered, before and after, and what is answered at twice that rate."""
    before = asyncio.run(at_most(address, request, OVERLOAD_CLIENTS, seconds))
    answers = asyncio.run(at_rate(address, [request], 2 * before, seconds))
    peak = max(before, asyncio.run(at_most(address, request, OVERLOAD_CLIENTS, seconds)))
    return {
        "rows": OVERLOAD_ROWS,
        "peak_per_s": round(peak, 1),
        **answers.figures(),
        "goodput_share": round(answers.goodput / peak, 3),
        "refused_otherwise": sum(status != 503 for status in answers.others),
        "without_retry_after": answers.others.count(503) - answers.hinted,
    }


@contextlib.contextmanager
def _fleetcast(cores: Sequence[int]) -> Iterator[str]:
    """The address of a server that has made its first forecast."""
    serve = ("serve", "run", "--registry", PLACE / "registry", "--telemetry", PLACE / "fleet" / "telemetry")
    options = ("--as-of", "newest", "--speed", "0", "--port", PORT, "--workers", "1")
    with _running([sys.executable, "-m", *serve, *options], cores, "serve.log"):
        address = f"127.0.0.1:{PORT}"
        _wait(lambda: _get(address, f"/v1/forecasts/{NAME}/status")["issued_at"])
        yield address


@contextlib.contextmanager
def _kserve(bundle: Bundle, cores: Sequence[int]) -> Iterator[str]:
    """The address of KServe's Python server with the bundle's graph."""
    peer = (KSERVE, "tests/serve/kserve_peer.py", bundle.folder / "model.onnx", PORT, PORT + 1)
    with _running(peer, cores, "kserve.log"):
        address = f"127.0.0.1:{PORT}"
        _wait(lambda: _get(address, f"/v2/models/{NAME}/ready"))
        yield address


@contextlib.contextmanager
def _running(command: Sequence[object], cores: Sequence[int], log: str) -> Iterator[None]:
    """A process on some cores, ended with the block."""
    ours = os.sched_getaffinity(0)
    with (PLACE / log).open("w") as sink:
        os.sched_setaffinity(0, cores)  # a child begins where its parent is
        process = subprocess.Popen([str(part) for part in command], stdout=sink, stderr=sink)
        os.sched_setaffinity(0, ours)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def _wait(holds: Any, most_s: float = 120.0) -> None:
    end = time.monotonic() + most_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError, TypeError, KeyError):
            if holds():
                return
        time.sleep(0.2)
    sys.exit(f"no server within {most_s:g} s")


def _get(address: str, path: str) -> Any:
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    told = json.loads(response.read())
    connection.close()
    return told if response.status == 200 else None


def _published() -> Bundle:
    """The weights that ship, calibrated on a simulated fleet, in service; made once."""
    registry = Registry(PLACE / "registry", NAME)
    if (current := registry.current()) is not None:
        return load(current)
    shutil.rmtree(PLACE, ignore_errors=True)
    places = (f"source.path={PLACE / 'fleet'}", f"cache={PLACE / 'cache'}", f"hydra.run.dir={PLACE / 'run'}")
    job = ("train.py", "experiment=pretrained", "registry.publish=false", *FLEET, *WINDOW, *places)
    subprocess.run([sys.executable, *job], check=True)
    with registry.lock():
        folder = publish_bundle(registry, load(PLACE / "run" / "bundle"), {"passed": True, "reason": "a benchmark"})
    return load(folder)


def _print(
    told: dict[str, Any], beside: dict[str, float], overload: dict[str, Any], peer: dict[str, float] | None
) -> None:
    print(f"\n{cpu()}; the server on {SERVER_CORES} cores, 1 thread for inference")
    print(f"{'':<34}{'answered/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'p99.9 ms':>10}  others")
    for name, one in told.items():
        row = f"{one['answered_per_s']:>11.1f}{one['p50_ms']:>9.2f}{one['p99_ms']:>9.2f}{one['p99.9_ms']:>10.2f}"
        print(f"{name:<34}{row}  {one['others'] or ''}")
    for name, one in {"fleetcast": beside, "KServe": peer}.items():
        if one is not None:
            times = f"{one['served_ms']:.1f} ms, by ONNX Runtime in process {one['in_process_ms']:.1f} ms"
            print(f"\n{BATCH} rows by {name} {times}: ratio {one['ratio']:.3f} (goal {WITHIN})")
    print(
        f"\ntwice the peak of {overload['peak_per_s']:.1f}/s ({overload['rows']} rows each): "
        f"{overload['answered_per_s']:.1f}/s answered, {overload['goodput_share']:.0%} of it (goal {GOODPUT:.0%}); "
        f"others {overload['others']}, {overload['without_retry_after']} without Retry-After"
    )


def _record(
    told: dict[str, Any],
    beside: dict[str, float],
    overload: dict[str, Any],
    peer: dict[str, float] | None,
    load_before: float,
) -> None:
    reads, infers = told[f"/v1 reads at {READS_PER_S[-1]}/s"], told[f"/v2 infer, 1 row, at {INFERS_PER_S[-1]}/s"]
    figures = {
        "infer_256_beside_runtime": {"value": beside["ratio"], "goal": WITHIN, "better": "lower"},
        "goodput_at_twice_peak": {"value": overload["goodput_share"], "goal": GOODPUT, "better": "higher"},
        "reads_p99_ms": {"value": reads["p99_ms"], "goal": None, "better": "lower"},
        "infer_p99_ms": {"value": infers["p99_ms"], "goal": None, "better": "lower"},
    }
    record(
        "serve",
        len(os.sched_getaffinity(0)) + SERVER_CORES,
        figures,
        load_average_before=round(load_before, 1),
        latency=told,
        beside_runtime={"fleetcast": beside, "kserve": peer},
        overload=overload,
    )


def _arguments() -> tuple[float, bool]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--seconds", type=float, help="of each measurement; prints only (default: 7, and records)")
    asked: float | None = parser.parse_args().seconds
    return (7.0, True) if asked is None else (asked, False)


if __name__ == "__main__":
    main()
