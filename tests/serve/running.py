"""A real server on a real socket, in a thread of the tests' process."""

import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from fleets import NOW
from loopback import wait_until
from smoke_run import ROOT

from serve.engine.clock import Clock
from serve.engine.engine import Engine
from serve.grpc.server import GrpcServer
from serve.http.app import make_app
from serve.http.keys import Keys
from serve.http.server import Server, listen
from serve.http.state import State
from serve.inference.batching import Batcher
from serve.metrics import Metrics
from serve.settings import EngineSettings, HttpSettings, Limits


class Hands:
    """A clock that is set by hand."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message of a refusal, which is all there is in it."""
        assert self.status >= 400
        assert set(self.json) == {"error"}
        return str(self.json["error"])


@dataclass
class Running:
    """A server that runs; `grpc_port` is 0 where it speaks no gRPC."""

    port: int
    grpc_port: int
    state: State
    server: Server

    @property
    def engine(self) -> Engine:
        return self.state.engine

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def version(self) -> str:
        """Of day-ahead, as the server tells it."""
        return str(self.ask("GET", "/v2/models/day-ahead").json["versions"][0])

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        return ask(self.address, method, path, body, headers)

    def metric(self, name: str, **labels: str) -> float:
        """The sample of a metric; 0 where there is none."""
        return self.state.metrics.registry.get_sample_value(name, labels) or 0.0

    def push(self, rows: pl.DataFrame) -> None:
        """Put rows in, and wait until a forecast was made with them."""
        self.engine.push(rows)
        self.engine.ask(lambda: None).result(30)
        for name in self.engine.names:
            self.engine.refresh(name).result(30)


def ask(
    address: str, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        told = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, told, response.read())
    finally:
        connection.close()


@contextmanager
def running(
    registry: Path,
    *,
    limits: Limits | None = None,
    clock: Clock = lambda: NOW,
    keys: Path | None = None,
    is_ready: bool = True,
    grpc: bool = False,
    metrics_level: str = "rack",
    **engine_settings: Any,
) -> Iterator[Running]:
    """Serve a registry on a free port, until the block ends."""
    settings = EngineSettings(registry, **{"every_s": 3600.0, "watch_s": 0.05, "trial": False, **engine_settings})
    http = HttpSettings(port=0, limits=limits or Limits(), keys=keys, drain_s=10.0, metrics_level=metrics_level)
    metrics = Metrics()
    engine = Engine(settings, clock, metrics, http.limits.pushes)
    batcher = Batcher(http.workers, http.batch_rows, http.limits.queue, metrics)
    state = State(engine, metrics, http, None if keys is None else Keys(keys), batcher)
    beside = [GrpcServer(state, 0)] if grpc else []
    server = Server(make_app(state), state, beside)
    with listen(http) as sock:
        thread = threading.Thread(target=lambda: server.run(sockets=[sock]), daemon=True)
        thread.start()
        engine.start()
        try:
            wait_until(lambda: server.started, "the server listens")
            if is_ready:
                wait_until(lambda: engine.is_ready, "a bundle is in service", told=lambda: engine.problems)
            yield Running(sock.getsockname()[1], beside[0].port if grpc else 0, state, server)
        finally:
            server.should_exit = True
            thread.join(30)
            engine.stop()
            batcher.close()
    assert not thread.is_alive()


class Process:
    """The command as a scheduler runs it."""

    def __init__(self, registry: Path, *more: str, python: str | Path = sys.executable) -> None:
        command = [python, "-m", "serve", "run", "--registry", str(registry), "--port", "0", *more]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self.events: list[dict[str, object]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(lambda: bool(self.of("listening")) or self.process.poll() is not None, "it listens")
        assert self.of("listening"), self.events
        self.address = str(self.of("listening")[0]["address"]).removeprefix("http://")

    def of(self, event: str) -> list[dict[str, object]]:
        return [line for line in self.events if line["event"] == event]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.events.append(json.loads(line) if line.startswith("{") else {"event": line})

    def ended(self) -> int:
        code = self.process.wait(30)
        self._reader.join(10)
        return code
