"""What goes wrong within the server, as a client sees it: docs/serving_faults.md."""

import logging
from pathlib import Path

import pytest
from attacked import FORECAST
from fleets import fleet, publish, write_bundle
from loopback import wait_until
from running import running


def test_our_own_mistake_has_an_id_and_no_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path / "registry", write_bundle(tmp_path / "made", "made", fleet()), "k1")
    with running(tmp_path / "registry") as server:
        monkeypatch.setattr(server.engine, "newest", lambda *_: 1 / 0)
        with caplog.at_level(logging.ERROR):
            reply = server.ask("GET", FORECAST)
            mark = reply.headers["x-request-id"]
            wait_until(lambda: mark in {getattr(record, "request", None) for record in caplog.records}, "it is logged")
        assert reply.status == 500
        assert reply.error == f"internal error {mark}; the server's log says more."
        assert server.ask("GET", "/v2").status == 200
