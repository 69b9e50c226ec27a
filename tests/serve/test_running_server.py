"""The server over days in minutes: what is published comes in, what is pushed counts, and what dies is labelled."""

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
from fleets import NOW, SPEC, as_arrow, as_json, fleet, publish, telemetry, write_bundle
from loopback import wait_until
from protocol_client import Target
from running import Hands, Process, Running, ask, running
from unsound import copied, other_key, outside, point, rewrite, shorten, soft_link

from forecast.bundle.load import load
from forecast.predictor import Predictor
from forecast.registry.store import Registry
from serve.engine.engine import Engine
from serve.engine.feed import Feed
from serve.engine.issued import Issued
from serve.metrics import Metrics
from serve.refusals import NotFoundError
from serve.run import newest_of
from serve.settings import EngineSettings

TOPOLOGY = fleet()
ROWS = telemetry(TOPOLOGY)
STEP = timedelta(seconds=SPEC.step_s)
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "made", "made", TOPOLOGY)


@pytest.fixture
def registry(made: Path, tmp_path: Path) -> Path:
    publish(tmp_path / "registry", made, "k1")
    return tmp_path / "registry"


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def server(registry: Path, hands: Hands) -> Iterator[Running]:
    with running(registry, clock=hands) as server:
        yield server


def version(server: Running) -> str:
    return str(server.ask("GET", "/v2/models/day-ahead").json["versions"][0])


def expected(made: Path, rows: pl.DataFrame, at: datetime) -> np.ndarray:
    return Predictor(load(made)).forecast(rows.lazy(), at).outputs.quantiles


def metric(server: Running, name: str, **labels: str) -> float:
    return server.state.metrics.registry.get_sample_value(name, labels) or 0.0


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
    assert metric(server, name, forecast="day-ahead", reason="unknown entity") == 3
    kilowatts = telemetry(TOPOLOGY, seed=1).with_columns(pl.col("power_w") / 1000)
    server.push(kilowatts)
    assert metric(server, name, forecast="day-ahead", reason="refused batch") == len(kilowatts)
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
    assert metric(server, name, forecast="day-ahead", reason="refused batch") == len(kilowatts)
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


def test_a_new_bundle_comes_into_service_and_no_request_fails(server: Running, tmp_path: Path) -> None:
    server.push(ROWS)
    target = Target(server.address, "day-ahead")
    body = json.dumps(target.request(2)).encode()
    statuses, stop = [], threading.Event()

    def ask_on() -> None:
        while not stop.is_set():
            statuses.append(target.ask("POST", f"{target.path}/infer", body).status)

    asking = [threading.Thread(target=ask_on) for _ in range(2)]
    for thread in asking:
        thread.start()
    before = server.engine.newest("day-ahead").forecast.outputs.quantiles
    for round_ in range(2, 12):
        other = write_bundle(tmp_path / f"made{round_}", "made", TOPOLOGY, shift=float(round_))
        publish(tmp_path / "registry", other, f"k{round_}")
        wait_until(lambda key=f"k{round_}": version(server) == key, "it is in service")
    stop.set()
    for thread in asking:
        thread.join()
    assert set(statuses) == {200}
    after = server.engine.refresh("day-ahead").result(20).forecast
    assert after.bundle_id == "k11"
    np.testing.assert_allclose(after.outputs.quantiles[:6], before[:6] + 11.0, atol=1e-3)
    assert metric(server, "fleetcast_reloads_total", forecast="day-ahead", result="in service") == 11


def test_a_rollback_comes_into_service_too(server: Running, registry: Path, made: Path) -> None:
    publish(registry, made, "k2")
    wait_until(lambda: version(server) == "k2", "the new one is in service")
    store = Registry(registry, "day-ahead")
    with store.lock():
        store.rollback()
    wait_until(lambda: version(server) == "k1", "the old one is again")


@pytest.mark.parametrize("damage", [shorten, rewrite, outside, soft_link, other_key])
def test_a_bundle_that_is_not_sound_is_refused_and_the_old_one_stays(
    server: Running, registry: Path, made: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(copied(made, registry, "k2"))
    point(registry, "k2")
    wait_until(lambda: "bundle of day-ahead" in server.engine.problems, "it is refused")
    assert version(server) == "k1"
    assert server.ask("GET", "/v2/health/ready").status == 200
    target = Target(server.address, "day-ahead")
    assert target.infer(target.request(1)).json["model_version"] == "k1"
    assert metric(server, "fleetcast_reloads_total", forecast="day-ahead", result="refused") == 1
    publish(registry, made, "k3")
    wait_until(lambda: version(server) == "k3", "a sound one is in service")
    wait_until(lambda: not server.engine.problems, "all is well again")


def test_a_bundle_that_is_mended_comes_into_service(server: Running, registry: Path, made: Path) -> None:
    """And what refuses it is counted once, however often it is tried."""
    folder = copied(made, registry, "k2")
    whole = (folder / "model.onnx").read_bytes()
    shorten(folder)
    point(registry, "k2")
    wait_until(lambda: "bundle of day-ahead" in server.engine.problems, "it is refused")
    wait_until(lambda: server.engine._watches["day-ahead"]._tries == 2, "it is tried again")
    (folder / "model.onnx").write_bytes(whole)
    wait_until(lambda: version(server) == "k2", "it is in service", 30.0)
    assert metric(server, "fleetcast_reloads_total", forecast="day-ahead", result="refused") == 1


def test_a_bundle_is_tried_in_a_process_of_its_own(registry: Path) -> None:
    with running(registry, trial=True) as server:
        assert version(server) == "k1"


def test_a_bundle_of_a_grown_fleet_keeps_what_was_heard(server: Running, registry: Path, tmp_path: Path) -> None:
    server.push(ROWS)
    grown = fleet(servers=7)
    publish(registry, write_bundle(tmp_path / "grown", "made", grown), "k2")
    wait_until(lambda: version(server) == "k2", "it is in service")
    issued = server.engine.refresh("day-ahead").result(20)
    by_entity = dict(zip(grown.entities, issued.forecast.source, strict=True))
    assert by_entity.pop("server-6") == "safe_bound"
    assert by_entity["server-0"] == "model"


def test_a_fleet_that_grows_beside_its_bundle(registry: Path, tmp_path: Path) -> None:
    file = tmp_path / "topology.parquet"
    TOPOLOGY.table.write_parquet(file)
    with running(registry, topology=str(file)) as server:
        rows = telemetry(fleet(servers=8))
        server.push(rows)
        assert set(server.engine.newest("day-ahead").forecast.source) == {"model"}
        fleet(servers=8).table.write_parquet(tmp_path / "new")
        (tmp_path / "new").replace(file)
        wait_until(lambda: len(server.engine.newest("day-ahead").topology.entities) == 11, "the fleet has grown")
        source = dict(zip(fleet(servers=8).entities, server.engine.newest("day-ahead").forecast.source, strict=True))
        assert (source["server-0"], source["server-7"]) == ("model", "safe_bound")
        server.push(rows)
        assert set(server.engine.newest("day-ahead").forecast.source) == {"model"}
        file.unlink()
        wait_until(lambda: "topology" in server.engine.problems, "the loss is noticed")
        assert not server.engine.newest("day-ahead").falls_back()


def test_several_forecasts_of_one_fleet(registry: Path, made: Path) -> None:
    publish(registry, made, "w1", name="week-ahead")
    with running(registry) as server:
        wait_until(lambda: len(server.engine.names) == 2, "both are in service")
        server.push(ROWS)
        assert {name: server.engine.newest(name).falls_back() for name in server.engine.names} == {
            "day-ahead": False,
            "week-ahead": False,
        }
    with running(registry, names=("week-ahead",)) as server:
        assert server.engine.names == ("week-ahead",)
        assert server.ask("GET", "/v2/models/day-ahead").status == 404


def test_a_registry_that_is_away_for_a_while_is_told_and_then_no_more(server: Running, registry: Path) -> None:
    registry.rename(registry.with_name("aside"))
    wait_until(lambda: "registry" in server.engine.problems, "it is missed")
    assert version(server) == "k1"
    registry.with_name("aside").rename(registry)
    wait_until(lambda: not server.engine.problems, "all is well again")


def test_without_a_bundle_it_is_live_and_waits(tmp_path: Path, made: Path) -> None:
    (tmp_path / "registry").mkdir()
    with running(tmp_path / "registry", is_ready=False) as server:
        wait_until(server.engine._watched.is_set, "the registry was looked at")
        assert server.ask("GET", "/v2/health/live").status == 200
        assert server.ask("GET", "/v2/health/ready").status == 503
        assert server.ask("GET", "/v2/models/day-ahead").status == 404
        publish(tmp_path / "registry", made, "k1")
        wait_until(lambda: server.ask("GET", "/v2/health/ready").status == 200, "it is ready")


def test_a_forecast_of_which_nothing_was_good_enough_yet_holds_back_no_other(registry: Path, tmp_path: Path) -> None:
    """Its name comes first, and a record is played from the end of its telemetry."""
    first = Registry(registry, "another")
    with first.lock():
        first.reject("k0", None, "worse than anyone")
    ROWS.write_parquet(tmp_path / "rows.parquet")
    assert newest_of(EngineSettings(registry, telemetry=str(tmp_path / "rows.parquet"))) == NOW
    with running(registry) as server:
        assert server.ask("GET", "/v2/health/ready").status == 200
        assert server.engine.names == ("day-ahead",)


def test_a_further_forecast_whose_first_version_is_refused_holds_back_no_other(
    server: Running, registry: Path, made: Path, tmp_path: Path
) -> None:
    shorten(Path(shutil.copytree(made, tmp_path / "bad")))
    publish(registry, tmp_path / "bad", "w1", name="week-ahead")
    wait_until(lambda: "bundle of week-ahead" in server.engine.problems, "it is refused")
    assert server.ask("GET", "/v2/health/ready").status == 200
    assert server.ask("GET", "/v2/models/week-ahead").status == 503
    publish(registry, made, "w2", name="week-ahead")
    wait_until(lambda: "week-ahead" in server.engine.names, "a sound one is in service")


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
    assert metric(server, "fleetcast_failures_total", where="listener") == len(heard)


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
