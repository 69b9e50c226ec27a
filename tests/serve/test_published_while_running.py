"""What is published while the server runs: it comes into service if it is sound, and no request fails meanwhile."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fleets import NOW, fleet, publish, telemetry, write_bundle
from loopback import wait_until
from protocol_client import Target
from running import Running, running
from unsound import copied, other_key, outside, point, rewrite, shorten, soft_link

from forecast.registry.store import Registry
from serve.run import newest_of
from serve.settings import EngineSettings

TOPOLOGY = fleet()
ROWS = telemetry(TOPOLOGY)


@pytest.fixture
def server(registry: Path) -> Iterator[Running]:
    with running(registry) as server:
        yield server


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
        wait_until(lambda key=f"k{round_}": server.version == key, "it is in service")
    stop.set()
    for thread in asking:
        thread.join()
    assert set(statuses) == {200}
    after = server.engine.refresh("day-ahead").result(20).forecast
    assert after.bundle_id == "k11"
    np.testing.assert_allclose(after.outputs.quantiles[:6], before[:6] + 11.0, atol=1e-3)
    assert server.metric("fleetcast_reloads_total", forecast="day-ahead", result="in service") == 11


def test_a_rollback_comes_into_service_too(server: Running, registry: Path, made: Path) -> None:
    publish(registry, made, "k2")
    wait_until(lambda: server.version == "k2", "the new one is in service")
    store = Registry(registry, "day-ahead")
    with store.lock():
        store.rollback()
    wait_until(lambda: server.version == "k1", "the old one is again")


@pytest.mark.parametrize("damage", [shorten, rewrite, outside, soft_link, other_key])
def test_a_bundle_that_is_not_sound_is_refused_and_the_old_one_stays(
    server: Running, registry: Path, made: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(copied(made, registry, "k2"))
    point(registry, "k2")
    wait_until(lambda: "bundle of day-ahead" in server.engine.problems, "it is refused")
    assert server.version == "k1"
    assert server.ask("GET", "/v2/health/ready").status == 200
    target = Target(server.address, "day-ahead")
    assert target.infer(target.request(1)).json["model_version"] == "k1"
    assert server.metric("fleetcast_reloads_total", forecast="day-ahead", result="refused") == 1
    publish(registry, made, "k3")
    wait_until(lambda: server.version == "k3", "a sound one is in service")
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
    wait_until(lambda: server.version == "k2", "it is in service", 30.0)
    assert server.metric("fleetcast_reloads_total", forecast="day-ahead", result="refused") == 1


def test_a_bundle_is_tried_in_a_process_of_its_own(registry: Path) -> None:
    with running(registry, trial=True) as server:
        assert server.version == "k1"


def test_a_bundle_of_a_grown_fleet_keeps_what_was_heard(server: Running, registry: Path, tmp_path: Path) -> None:
    server.push(ROWS)
    grown = fleet(servers=7)
    publish(registry, write_bundle(tmp_path / "grown", "made", grown), "k2")
    wait_until(lambda: server.version == "k2", "it is in service")
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
    assert server.version == "k1"
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
