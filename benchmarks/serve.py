"""What the server takes to answer at fixed rates, beside ONNX Runtime called in process, and under overload.

Run as `python -m benchmarks.serve`; writes `benchmarks/results/serve.json`. The server is a process on the first two
cores, with one thread for inference; the client is this process, on the others. KServe's server and MLServer run the
same graph on the same cores, likewise with one thread, where `make bench-serve` could install them.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.dispatch_reads import reads
from benchmarks.infer_requests import Form, caller, infer_request, inputs_of
from benchmarks.machine import cpu, processor_s, record
from benchmarks.open_loop import GrpcClient, HttpClient, at_most, at_rate
from forecast.bundle.load import Bundle, load
from forecast.registry.publish import publish_bundle
from forecast.registry.store import Registry

NAME, SMALL = "day-ahead", "small"
PLACE = Path("var/bench/serve")
HTTP, GRPC = 18_080, 18_081
ADDRESS = f"127.0.0.1:{HTTP}"

#: 100 racks of 4, hourly.
FLEET = (
    "source.fleet.rows=[{hall: hall-a, sku: h100-air, racks: 100, servers_per_rack: 4}]",
    "source.fleet.days=40",
    "source.until='2026-02-21'",
    "window.step_s=3600",
)
#: The weights that ship, for two days ahead; and a graph so small that reading requests is what takes the time.
JOBS = {
    NAME: ("experiment=pretrained", "window.context_steps=336", "window.horizon_steps=48"),
    SMALL: (
        *("model=linear", "training.steps=1", "evaluation.test_h=48", "evaluation.validation_h=48"),
        *("window.context_steps=24", "window.horizon_steps=12"),
    ),
}

READS_PER_S = (50, 150, 300)
INFERS_PER_S = (25, 75, 150)
BATCH = 256
#: Rows of a request under overload; clients that ask for the peak, of which the best number counts.
OVERLOAD_ROWS = 32
OVERLOAD_CLIENTS = (16, 32, 64)
WITHIN, GOODPUT = 1.15, 0.8
SERVER_CORES = 2

#: Forms that are asked for at fixed rates; in JSON there is only the batch.
AT_RATES: tuple[Form, ...] = ("binary", "gRPC")


@dataclass(frozen=True)
class Peer:
    """A server of the protocol that others wrote: its environment, what runs it, and the forms that it reads."""

    python: Path
    script: Path
    forms: tuple[Form, ...]


OURS: tuple[Form, ...] = ("binary", "gRPC", "JSON")
PEERS = {
    "KServe": Peer(Path(".venv-kserve/bin/python"), Path("tests/serve/kserve_peer.py"), OURS),
    # Over HTTP it reads JSON alone.
    "MLServer": Peer(Path(".venv-mlserver/bin/python"), Path("tests/serve/mlserver_peer.py"), ("gRPC", "JSON")),
}


@dataclass
class Found:
    """What was measured.

    Attributes:
        latency: percentiles by what was asked and how often.
        beside: a batch beside the runtime in process, by server and form.
        overload: of our server, by graph.
        absent: why a peer is missing, by name.
    """

    latency: dict[str, dict[str, Any]] = field(default_factory=dict)
    beside: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    overload: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


class NoServerError(Exception):
    """A server that did not start; in one line, why."""


def main() -> None:
    """Measure, print and record."""
    seconds, is_kept = _arguments()
    bundles = {name: _published(name) for name in JOBS}
    bundle = bundles[NAME]
    cores = sorted(os.sched_getaffinity(0))
    theirs, load_before, found = cores[:SERVER_CORES], os.getloadavg()[0], Found()
    os.sched_setaffinity(0, cores[SERVER_CORES:])
    with _fleetcast(theirs) as server:
        racks = [one["entity_id"] for one in _get(f"/v1/forecasts/{NAME}/topology?level=rack")["rows"]]
        asked = reads(NAME, racks, "PT6H")
        for rate in READS_PER_S:
            answers = asyncio.run(at_rate(partial(HttpClient, ADDRESS), asked, rate, seconds))
            found.latency[f"/v1 reads at {rate}/s"] = answers.figures()
        _infer(found, "Fleetcast", OURS, bundle, server, seconds)
        for name, one in bundles.items():
            found.overload[name] = _overload(infer_request("binary", name, one, OVERLOAD_ROWS), seconds)
    for name, peer in PEERS.items():
        try:
            with _peer(peer, bundle, theirs) as server:
                _infer(found, name, peer.forms, bundle, server, seconds)
        except NoServerError as error:
            found.absent[name] = str(error)
    _print(found)
    if is_kept:
        _record(found, len(cores), load_before)


def _infer(found: Found, name: str, forms: Sequence[Form], bundle: Bundle, server: int, seconds: float) -> None:
    """One row at fixed rates, and a batch beside the runtime, in each form that a server reads."""
    found.beside[name] = {}
    for form in forms:
        address, connect = (f"127.0.0.1:{GRPC}", GrpcClient) if form == "gRPC" else (ADDRESS, HttpClient)
        single = infer_request(form, NAME, bundle, 1)
        for rate in INFERS_PER_S if form in AT_RATES else ():
            answers = asyncio.run(at_rate(partial(connect, address), [single], rate, seconds))
            found.latency[f"{name}, 1 row, {form}, at {rate}/s"] = answers.figures()
        found.beside[name][form] = _beside_runtime(form, address, bundle, server, seconds)


def _beside_runtime(form: Form, address: str, bundle: Bundle, server: int, seconds: float) -> dict[str, float]:
    """A batch by the server and in process on the server's cores, turn by turn: what else they do hits both.

    Args:
        server: its process id.
    """
    request, inputs = infer_request(form, NAME, bundle, BATCH), inputs_of(bundle, BATCH)
    ours, cores = os.sched_getaffinity(0), os.sched_getaffinity(server)
    served: list[float] = []
    called: list[float] = []
    worked_s = 0.0
    with caller(form, address) as ask:
        ask(request)
        end, before_s = time.perf_counter() + seconds, processor_s(server)
        while time.perf_counter() < end or len(served) < 5:
            served.append(_timed(lambda: ask(request)))
            os.sched_setaffinity(0, cores)
            began_s = time.thread_time()
            called.append(_timed(lambda: bundle.session.run(inputs)))
            worked_s += time.thread_time() - began_s
            os.sched_setaffinity(0, ours)
    return {
        "pairs": len(served),
        "served_ms": round(1000 * median(served), 2),
        "in_process_ms": round(1000 * median(called), 2),
        "ratio": round(median(np.divide(served, called).tolist()), 3),
        "ratio_of_medians": round(median(served) / median(called), 3),
        "ratio_of_processor_time": round((processor_s(server) - before_s) / worked_s, 3),
    }


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _overload(request: bytes, seconds: float) -> dict[str, Any]:
    """The most that is answered, before and after, and what is answered at twice that rate."""
    before = _peak(request, seconds)
    answers = asyncio.run(at_rate(partial(HttpClient, ADDRESS), [request], 2 * before, seconds))
    peak = max(before, _peak(request, seconds))
    return {
        "rows": OVERLOAD_ROWS,
        "peak_per_s": round(peak, 1),
        **answers.figures(),
        "goodput_share": round(answers.goodput / peak, 3),
        "refused_otherwise": sum(status != 503 for status in answers.others),
        "without_retry_after": answers.others.count(503) - answers.hinted,
    }


def _peak(request: bytes, seconds: float) -> float:
    return max(asyncio.run(at_most(ADDRESS, request, clients, seconds)) for clients in OVERLOAD_CLIENTS)


@contextlib.contextmanager
def _fleetcast(cores: Sequence[int]) -> Iterator[int]:
    """The process of a server that has made its first forecast."""
    serve = ("serve", "run", "--registry", PLACE / "registry", "--telemetry", PLACE / "fleet" / "telemetry")
    options = ("--as-of", "newest", "--speed", "0", "--port", HTTP, "--grpc-port", GRPC, "--workers", "1")
    status = f"/v1/forecasts/{NAME}/status"
    with _running([sys.executable, "-m", *serve, *options], cores, "serve.log", status, "issued_at") as server:
        yield server


@contextlib.contextmanager
def _peer(peer: Peer, bundle: Bundle, cores: Sequence[int]) -> Iterator[int]:
    """The process of a peer that has the bundle's graph."""
    if not peer.python.exists():
        raise NoServerError(f"no {peer.python}; `make {peer.python.parts[0]}/.done` installs it.")
    command = (peer.python, peer.script, bundle.folder / "model.onnx", HTTP, GRPC)
    with _running(command, cores, f"{peer.script.stem}.log", f"/v2/models/{NAME}/ready") as server:
        yield server


@contextlib.contextmanager
def _running(
    command: Sequence[object], cores: Sequence[int], log: str, path: str, wanted: str | None = None
) -> Iterator[int]:
    """A process on some cores as soon as it has an answer at a path; it is ended with the block.

    Raises:
        NoServerError: it has none.
    """
    ours = os.sched_getaffinity(0)
    with (PLACE / log).open("w") as sink:
        os.sched_setaffinity(0, cores)  # a child begins where its parent is
        process = subprocess.Popen([str(part) for part in command], stdout=sink, stderr=sink)
        os.sched_setaffinity(0, ours)
        try:
            if not _answers(process, path, wanted):
                raise NoServerError(f"{command[0]} does not answer; see {PLACE / log}.")
            yield process.pid
        finally:
            process.terminate()
            process.wait(60)


def _answers(process: subprocess.Popen[bytes], path: str, wanted: str | None, most_s: float = 120.0) -> bool:
    """Whether a process has an answer at a path, with something under a key, before long."""
    end = time.monotonic() + most_s
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            told = _get(path)
            if told is not None and (wanted is None or told[wanted]):
                return True
        time.sleep(0.2)
    return False


def _get(path: str) -> Any:
    """What is told in JSON ({} where nothing is); None where it is refused."""
    with contextlib.closing(http.client.HTTPConnection(ADDRESS, timeout=30)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        told = response.read()
    return json.loads(told or b"{}") if response.status == 200 else None


def _published(name: str) -> Bundle:
    """A forecast of a simulated fleet, in service; made once."""
    registry, run = Registry(PLACE / "registry", name), PLACE / "run" / name
    if (current := registry.current()) is not None:
        return load(current)
    shutil.rmtree(run, ignore_errors=True)
    places = (f"source.path={PLACE / 'fleet'}", f"cache={PLACE / 'cache'}", f"hydra.run.dir={run}")
    job = ("train.py", "registry.publish=false", *JOBS[name], *FLEET, *places)
    subprocess.run([sys.executable, *job], check=True)
    with registry.lock():
        folder = publish_bundle(registry, load(run / "bundle"), {"passed": True, "reason": "a benchmark"})
    return load(folder)


def _print(found: Found) -> None:
    print(f"\n{cpu()}; the server on {SERVER_CORES} cores, 1 thread for inference")
    print(f"\n{'at fixed rates':<38}{'answered/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'p99.9 ms':>10}  others")
    for name, one in found.latency.items():
        row = f"{one['answered_per_s']:>11.1f}{one['p50_ms']:>9.2f}{one['p99_ms']:>9.2f}{one['p99.9_ms']:>10.2f}"
        print(f"{name:<38}{row}  {one['others'] or ''}".rstrip())
    head = f"{'served ms':>11}{'in process ms':>15}{'ratio':>8}{'of processor time':>19}"
    print(f"\n{f'{BATCH} rows at once, goal {WITHIN}':<38}{head}")
    for name, forms in found.beside.items():
        for form, one in forms.items():
            row = f"{one['served_ms']:>11.1f}{one['in_process_ms']:>15.1f}{one['ratio']:>8.3f}"
            print(f"{f'{name}, {form}':<38}{row}{one['ratio_of_processor_time']:>19.3f}")
    for name, why in found.absent.items():
        print(f"{name} is absent: {why}")
    print()
    for name, told in found.overload.items():
        print(
            f"{name}, twice the peak of {told['peak_per_s']:.1f}/s ({told['rows']} rows each): "
            f"{told['answered_per_s']:.1f}/s answered, {told['goodput_share']:.0%} of it (goal {GOODPUT:.0%}); "
            f"others {told['others']}, {told['without_retry_after']} without Retry-After"
        )


def _record(found: Found, cores: int, load_before: float) -> None:
    latency = found.latency
    last_read, last_infer = f"/v1 reads at {READS_PER_S[-1]}/s", f"Fleetcast, 1 row, binary, at {INFERS_PER_S[-1]}/s"
    figures: Mapping[str, Any] = {
        "infer_256_beside_runtime": {
            "value": found.beside["Fleetcast"]["binary"]["ratio"],
            "goal": WITHIN,
            "better": "lower",
        },
        **{
            figure: {"value": found.overload[name]["goodput_share"], "goal": GOODPUT, "better": "higher"}
            for figure, name in (("goodput_at_twice_peak", NAME), ("goodput_at_twice_peak_of_a_small_graph", SMALL))
        },
        "reads_p99_ms": {"value": latency[last_read]["p99_ms"], "goal": None, "better": "lower"},
        "infer_p99_ms": {"value": latency[last_infer]["p99_ms"], "goal": None, "better": "lower"},
    }
    record(
        "serve",
        cores,
        figures,
        load_average_before=round(load_before, 1),
        latency=latency,
        beside_runtime=found.beside,
        absent=found.absent,
        overload=found.overload,
    )


def _arguments() -> tuple[float, bool]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--seconds", type=float, help="of each measurement; prints only (default: 6, and records)")
    asked: float | None = parser.parse_args().seconds
    return (6.0, True) if asked is None else (asked, False)


if __name__ == "__main__":
    main()
