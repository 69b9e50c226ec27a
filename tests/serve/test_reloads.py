"""Bundles that come and go by the hundred under load: nobody's request fails, and nothing of them stays."""

import gc
import http.client
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fleets import fleet, publish, telemetry, write_bundle
from protocol_client import Target
from running import Running, running
from unsound import point

from forecast.bundle.load import Bundle
from serve.engine.issued import Issued

TOPOLOGY = fleet()
#: Two in turn, the one that is being warmed up, and one that a request in flight may still hold.
ALIVE = 4
#: A bundle of this graph that stayed, once warm, would be 1.3 MB.
GROWTH_BYTES_EACH = 100_000


@contextmanager
def asking(server: Running) -> Iterator[Counter[int]]:
    """Clients that ask again as soon as they were answered; the statuses that they got."""
    target = Target(server.address, "day-ahead")
    infer = ("POST", f"{target.path}/infer", json.dumps(target.request(2)).encode())
    read = ("GET", "/v1/forecasts/day-ahead/tightest", None)
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def ask_on(method: str, path: str, body: bytes | None) -> None:
        connection = http.client.HTTPConnection(server.address, timeout=30)
        while not stop.is_set():
            try:
                connection.request(method, path, body)
                response = connection.getresponse()
                response.read()
                statuses[response.status] += 1
            except OSError:
                statuses[0] += 1
        connection.close()

    threads = [threading.Thread(target=ask_on, args=one) for one in (infer, infer, read)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def bundles() -> int:
    gc.collect()
    return sum(type(one) is Bundle for one in gc.get_objects())


@pytest.mark.parametrize("reloads", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_reloads_under_load_fail_nobody_and_leave_nothing(tmp_path: Path, reloads: int) -> None:
    root = tmp_path / "registry"
    for round_, key in enumerate(("k1", "k2")):
        publish(root, write_bundle(tmp_path / key, "made", TOPOLOGY, shift=float(round_)), key)
    before = bundles()
    came, keys = threading.Semaphore(0), []

    def heard(issued: Issued) -> None:
        keys.append(issued.forecast.bundle_id)
        came.release()

    with running(root, watch_s=0.001) as server:
        server.push(telemetry(TOPOLOGY))
        server.engine.subscribe(heard)
        sizes = []
        with asking(server) as statuses:
            for round_ in range(reloads):
                point(root, f"k{round_ % 2 + 1}")
                assert came.acquire(timeout=30), "it came into service"
                sizes.append(resident_bytes())
        assert keys == ["k1", "k2"] * (reloads // 2)
        assert set(statuses) == {200}
        assert statuses[200] > reloads
        assert bundles() - before <= ALIVE
    settled = sizes[reloads // 4]
    assert sizes[-1] - settled < GROWTH_BYTES_EACH * reloads * 3 // 4
