"""A server process under attack: bytes go in as they are, and what they cost the process is looked at from outside."""

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from fleets import NOW, fleet, publish, telemetry, write_bundle
from loopback import wait_until
from protocol_client import Target
from running import Process, Reply, ask

INFER = "/v2/models/day-ahead/infer"
FORECAST = "/v1/forecasts/day-ahead"


@dataclass
class Attacked:
    """A server that was told of a fleet's last 30 h.

    Attributes:
        process: of it.
        folder: that has its `registry` and its `telemetry`.
    """

    process: Process
    folder: Path

    @property
    def address(self) -> str:
        return self.process.address

    @property
    def target(self) -> Target:
        return Target(self.address, "day-ahead")

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        return ask(self.address, method, path, body, headers)

    def connect(self, buffer_bytes: int | None = None) -> socket.socket:
        """A connection; a client that reads slowly has a small buffer."""
        client = socket.socket()
        if buffer_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        client.settimeout(60)
        host, port = self.address.split(":")
        client.connect((host, int(port)))
        return client

    def raw(self, *parts: bytes) -> bytes:
        """Send bytes as they are; what comes back until the server hangs up."""
        received = []
        with self.connect() as client:
            try:
                for part in parts:
                    client.sendall(part)
                while part := client.recv(65_536):
                    received.append(part)
            except ConnectionError:
                pass  # hung up while we were sending
        return b"".join(received)

    @property
    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 where it was never counted."""
        text = self.ask("GET", "/metrics").body.decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))

    def assert_unharmed(self) -> None:
        """It runs, answers, and nothing failed inside it."""
        assert self.process.process.poll() is None
        assert self.target.infer(self.target.request(1)).status == 200
        assert self.ask("GET", "/v2/health/ready").status == 200
        assert not [line for line in self.process.events if line.get("traceback")]


@contextmanager
def attacked(folder: Path, *options: str, rows: pl.DataFrame | None = None) -> Iterator[Attacked]:
    """Serve a small fleet in a process of its own, whose clock stands still; it must end well."""
    topology = fleet()
    publish(folder / "registry", write_bundle(folder / "made", "made", topology), "k1")
    (folder / "telemetry").mkdir()
    told = telemetry(topology, hours=30) if rows is None else rows
    told.write_parquet(folder / "telemetry" / "history.parquet")
    source = ("--telemetry", str(folder / "telemetry"), "--every-s", "0.3")
    clock = ("--as-of", NOW.isoformat(), "--speed", "0")
    server = Attacked(Process(folder / "registry", *source, *clock, *options), folder)
    try:
        wait_until(lambda: server.ask("GET", FORECAST).status == 200, "there is a forecast")
        yield server
        server.process.process.terminate()
        assert server.process.ended() == 0
    finally:
        server.process.process.kill()


def posted(path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as bytes."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: x", *lines, "", ""]).encode() + body


def refusal(answer: bytes, *statuses: int) -> str:
    """The message of the one answer in `answer`, after which the server hung up."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) in statuses, answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in head.lower()
    return str(json.loads(body)["error"])
