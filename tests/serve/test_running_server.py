"""The server over days in minutes: what is pushed counts, and what dies is labelled."""

import json
import re
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fleets import NOW, SPEC, as_arrow, as_json, fleet, telemetry
from loopback import wait_until
from protocol_client import Target
from running import Hands, Process, Running, ask, running

from forecast.bundle.load import load
from forecast.predictor import Predictor
from serve.engine.engine import Engine
from serve.engine.feed import Feed
from serve.engine.issued import Issued
from serve.metrics import Metrics
from serve.refusals import NotFoundError
from serve.settings import EngineSettings

TOPOLOGY = fleet()
ROWS = telemetry(TOPOLOGY)
STEP = timedelta(seconds=SPEC.step_s)
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture
def server(registry: Path, hands: Hands) -> Iterator[Running]:
    with running(registry, clock=hands) as server:
        yield server


def expected(made: Path, rows: pl.DataFrame, at: datetime) -> np.ndarray:
    return Predictor(load(made)).forecast(rows.lazy(), at).outputs.quantiles


@pytest.mark.parametrize(("write", "kind"), [(as_json, "application/json"), (as_arrow, ARROW)])
def test_what_is_pushed_is_forecast_from(
    server: Running, made: Path, write: Callable[[pl.DataFrame], bytes], kind: str
) -> None:
    """Over the socket, in batches, with one sent twice: the same bits as the predictor makes of the whole."""
    for part in (ROWS[:2000], ROWS[2000:4000], ROWS[2000:4000], ROWS[4000:]):
        reply = server.ask("POST", "/v1/telemetry", write(part), {"content-type": kind})
        assert (reply.status, reply.json) == (202, {"rows": len(part)})
    server.push(ROWS.head(0))
    issued = server.engine.newest("day-ahead")
    assert not issued.falls_back()
    assert issued.time == NOW
    np.testing.assert_array_equal(issued.forecast.outputs.quantiles, expected(made, ROWS, NOW))


ONE = {"time": "2026-03-04T00:00:00Z", "entity_id": "server-0", "power_w": 1.0}


@pytest.mark.parametrize(
    ("body", "kind", "status", "told"),
    [
        (b"{", "application/json", 400, ""),
        (b"{}", "application/json", 400, "array"),
        (json.dumps([{**ONE, "power": 2.0}]).encode(), "application/json", 400, "power"),
        (json.dumps([{**ONE, "power_w": "much"}]).encode(), "application/json", 400, ""),
        (json.dumps([{**ONE, "time": "yesterday"}]).encode(), "application/json", 400, ""),
        (json.dumps([{"power_w": 1.0}]).encode(), "application/json", 400, ""),
        (b"time,power_w", "text/csv", 415, "text/csv"),
        (b"ARROW1" * 10, ARROW, 400, "Arrow"),
        (as_arrow(ROWS)[:-500], ARROW, 400, "cut short"),
        (as_arrow(ROWS, "zstd"), ARROW, 400, "compress the request"),
        (as_arrow(ROWS.rename({"time": "when"})), ARROW, 400, "time"),
        (as_arrow(ROWS.with_columns(pl.col("power_w").cast(pl.String))), ARROW, 400, "power_w"),
    ],
)
def test_telemetry_that_is_none_is_refused_with_a_reason(
    server: Running, body: bytes, kind: str, status: int, told: str
) -> None:
    reply = server.ask("POST", "/v1/telemetry", body, {"content-type": kind})
    assert reply.status == status
    assert told in reply.error


def test_rows_that_have_no_place_are_counted_and_a_wrong_unit_is_told(server: Running) -> None:
    server.push(pl.concat([ROWS, ROWS.head(3).with_columns(entity_id=pl.lit("stranger"))]))
    name = "fleetcast_telemetry_rows_set_aside_total"
    assert server.metric(name, forecast="day-ahead", reason="unknown entity") == 3
    kilowatts = telemetry(TOPOLOGY, seed=1).with_columns(pl.col("power_w") / 1000)
    server.push(kilowatts)
    assert server.metric(name, forecast="day-ahead", reason="refused batch") == len(kilowatts)
    assert "kW" in server.engine.problems["telemetry of day-ahead"]
    assert not server.engine.newest("day-ahead").falls_back()
    server.push(ROWS)
    assert "telemetry of day-ahead" not in server.engine.problems


def test_a_wrong_unit_spoils_no_batch_beside_it(server: Running) -> None:
    kilowatts = telemetry(TOPOLOGY, seed=1).with_columns(pl.col("power_w") / 1000)
    held = threading.Event()
    server.engine.ask(lambda: held.wait(30))
    server.engine.push(kilowatts)
    server.engine.push(ROWS)
    held.set()
    server.push(ROWS.head(0))
    name = "fleetcast_telemetry_rows_set_aside_total"
    assert server.metric(name, forecast="day-ahead", reason="refused batch") == len(kilowatts)
    assert not server.engine.newest("day-ahead").falls_back()


def test_a_source_that_dies_is_labelled_and_can_be_refused(server: Running, hands: Hands) -> None:
    server.push(ROWS)
    assert not server.engine.newest("day-ahead").falls_back()
    hands.now = NOW + 4 * STEP
    server.push(ROWS.head(0))
    issued = server.engine.newest("day-ahead")
    assert set(issued.table()["source"]) == {"last_good", "seasonal"}
    model_only = "/v1/forecasts/day-ahead/headroom?allow_fallback=false"
    assert server.ask("GET", model_only).status == 503
    server.push(telemetry(TOPOLOGY, hands.now))
    assert not server.engine.newest("day-ahead").falls_back()
    assert server.ask("GET", model_only).status == 200


def test_names_that_there_are_not(server: Running) -> None:
    with pytest.raises(NotFoundError, match="day-ahead"):
        server.engine.newest("week-ahead")


def test_files_are_read_as_they_grow(registry: Path, made: Path, tmp_path: Path, hands: Hands) -> None:
    source = tmp_path / "telemetry"
    source.mkdir()
    ROWS.write_parquet(source / "history.parquet")
    settings = EngineSettings(registry, telemetry=str(source), every_s=0.05, watch_s=0.05, trial=False)
    engine = Engine(settings, hands, Metrics())
    heard: list[Issued] = []
    engine.subscribe(heard.append)
    feed = Feed(engine)
    engine.start()
    feed.start()
    try:
        wait_until(lambda: bool(heard), "there is a forecast")
        assert not heard[0].falls_back()  # the first one waits for the history
        np.testing.assert_array_equal(heard[0].forecast.outputs.quantiles, expected(made, ROWS, NOW))
        more = telemetry(TOPOLOGY, NOW + STEP, hours=1, seed=5).filter(pl.col("time") >= NOW)
        more.write_parquet(source / "newest.parquet")
        hands.now = NOW + STEP
        wait_until(lambda: heard[-1].time == NOW + STEP, "it goes on")
        both = pl.concat([ROWS, more])
        np.testing.assert_array_equal(heard[-1].forecast.outputs.quantiles, expected(made, both, NOW + STEP))
        shutil.rmtree(source)
        wait_until(lambda: "source" in engine.problems, "the loss is noticed")
        hands.now = NOW + 9 * STEP
        wait_until(lambda: any(issued.falls_back() for issued in heard), "it falls back")
    finally:
        feed.stop()
        engine.stop()


def test_a_listener_that_fails_stops_nobody(server: Running) -> None:
    heard: list[Issued] = []
    server.engine.subscribe(lambda issued: 1 / 0)
    server.engine.subscribe(heard.append)
    server.push(ROWS)
    assert heard
    assert server.metric("fleetcast_failures_total", where="listener") == len(heard)


def test_more_telemetry_than_can_wait_is_told_to_come_back(server: Running) -> None:
    held, busy = threading.Event(), threading.Event()
    server.engine.ask(lambda: busy.set() or held.wait(20))
    assert busy.wait(20)
    try:
        pushes, body = server.state.settings.limits.pushes, as_arrow(ROWS.tail(1))
        replies = [server.ask("POST", "/v1/telemetry", body, {"content-type": ARROW}) for _ in range(pushes + 1)]
        assert [reply.status for reply in replies] == [202] * pushes + [503]
        assert replies[-1].headers["retry-after"] == "1"
    finally:
        held.set()


def test_metrics_are_exposed(server: Running) -> None:
    server.push(ROWS)
    server.ask("GET", "/v2")
    text = server.ask("GET", "/metrics").body.decode()
    assert f'fleetcast_telemetry_rows_total{{forecast="day-ahead"}} {float(len(ROWS))}' not in text  # some are too old
    assert re.search(r'^fleetcast_http_requests_total\{method="GET",route="/v2",status="200"\} [1-9]', text, re.M)


def test_sigterm_lets_requests_end_and_exits_with_0(registry: Path) -> None:
    server = Process(registry, "--linger-s", "1")
    try:
        wait_until(lambda: ask(server.address, "GET", "/v2/health/ready").status == 200, "it is ready")
        target = Target(server.address, "day-ahead")
        body = json.dumps(target.request(1)).encode()
        head = f"POST {target.path}/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(head + body[:100])
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: ask(server.address, "GET", "/v2/health/ready").status == 503, "it is not ready")
            assert ask(server.address, "GET", "/v2/health/live").status == 200
            client.sendall(body[100:])
            answer = client.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert server.ended() == 0
        assert [line["event"] for line in server.events][-2:] == ["draining", "ended"]
    finally:
        server.process.kill()


def test_a_file_that_comes_days_late_fills_its_gap(registry: Path, made: Path, tmp_path: Path, hands: Hands) -> None:
    source = tmp_path / "telemetry"
    source.mkdir()
    gap = pl.col("time").is_between(NOW - timedelta(hours=20), NOW - timedelta(hours=18))
    ROWS.filter(~gap).write_parquet(source / "most.parquet")
    settings = EngineSettings(registry, telemetry=str(source), every_s=0.05, watch_s=0.05, trial=False)
    engine = Engine(settings, hands, Metrics())
    feed = Feed(engine)
    engine.start()
    feed.start()
    try:
        wait_until(lambda: engine.is_ready and engine.live("day-ahead").issued is not None, "there is a forecast")
        gapped = engine.newest("day-ahead").forecast.outputs.quantiles
        ROWS.filter(gap).write_parquet(source / "late.parquet")
        whole = expected(made, ROWS, NOW)
        assert not np.array_equal(gapped, whole)
        wait_until(
            lambda: np.array_equal(engine.newest("day-ahead").forecast.outputs.quantiles, whole), "the gap is filled"
        )
    finally:
        feed.stop()
        engine.stop()
