"""A real Prometheus on a free loopback port, and a proxy before it that counts, delays and cuts."""

import contextlib
import http.server
import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from loopback import free_port, wait_until


def ask(url: str) -> Any:
    """The data of an API answer; None where there is no good answer yet."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
            return json.load(answer)["data"]
    except OSError:
        return None


class Server:
    """A server that keeps its data and its port while it is stopped.

    Args:
        folder: of its data, settings and log.
        scraped: the `instance` label of a target to its port.
        history: OpenMetrics text of what it has from before.
    """

    def __init__(
        self,
        folder: Path,
        scraped: Mapping[str, int] = MappingProxyType({}),
        history: str = "",
        flags: Sequence[str] = (),
    ) -> None:
        if shutil.which("prometheus") is None or shutil.which("promtool") is None:
            pytest.skip("no prometheus: install Debian's prometheus package")
        data = folder / "data"
        data.mkdir(parents=True)
        if history:
            (folder / "history.txt").write_text(history)
            backfill = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "history.txt"), str(data)]
            subprocess.run(backfill, check=True, capture_output=True)
        targets = [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}} for name, port in scraped.items()]
        settings = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "exporters", "static_configs": targets}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(settings))
        self.folder, self._flags, self._port = folder, flags, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [
            "prometheus",
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{self._port}",
            *self._flags,
        ]
        with (self.folder / "log").open("a") as log:
            process = self._process = subprocess.Popen(command, stdout=log, stderr=log)
        up = f"{self.url}/api/v1/query?query=1"
        wait_until(lambda: process.poll() is not None or ask(up) is not None, "it is up")
        assert process.poll() is None, (self.folder / "log").read_text()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)


@contextlib.contextmanager
def prometheus(folder: Path, *arguments: Any, **settings: Any) -> Iterator[str]:
    """The URL of a `Server`, told by the same arguments, that scrapes loopback ports each second."""
    server = Server(folder, *arguments, **settings)
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on, after what `faults` says of the first ones, in order.

    Attributes:
        faults: one per request: `busy` (503, Retry-After), `cut` (half an answer), `away` (none), or nothing.
        asked: (monotonic time, path with query) of every request.
    """

    def __init__(self, target: str, faults: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.target, self.faults = target, faults
        self.asked: list[tuple[float, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Passing(http.server.BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self.server.asked.append((time.monotonic(), self.path))
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault == "busy":
            self.send_response(503)
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "away":
            self.close_connection = True
            return
        with urllib.request.urlopen(self.server.target + self.path, timeout=60) as answer:  # noqa: S310
            body = answer.read()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
        if fault == "cut":
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def proxy(target: str, *faults: str) -> Iterator[Proxy]:
    with Proxy(target, list(faults)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
