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


@contextlib.contextmanager
def prometheus(
    folder: Path, scraped: Mapping[str, int] = MappingProxyType({}), history: str = "", flags: Sequence[str] = ()
) -> Iterator[str]:
    """The URL of a server with `history` (OpenMetrics text) that scrapes loopback ports each second.

    Args:
        scraped: the `instance` label of a target to its port.
    """
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
    port = free_port()
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={data}",
                "--storage.tsdb.retention.time=100y",
                f"--web.listen-address=127.0.0.1:{port}",
                *flags,
            ],
            stdout=log,
            stderr=log,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: server.poll() is not None or ask(f"{url}/api/v1/query?query=1") is not None, "it is up")
            assert server.poll() is None, (folder / "log").read_text()
            yield url
        finally:
            server.terminate()
            server.wait(30)


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
