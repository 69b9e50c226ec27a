"""The dispatch API's reads, over a real socket: what comes back is what was issued, for whom and when it was asked."""

import http.client
import io
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from dispatching import BASE, get, rows
from fleets import NOW, SPEC, fleet, telemetry
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import BaseModel
from running import Running, running

from forecast.bundle.load import load
from forecast.contracts.signals import LEVELS, TARGETS
from forecast.contracts.tables import forecast_table
from forecast.exceedance import exceedance
from forecast.headroom import tightest
from forecast.predictor import Forecast, Predictor
from serve.dispatch.chart import STATUSES
from serve.dispatch.quantiles import quantile
from serve.dispatch.times import duration
from serve.engine.issued import RUNGS
from serve.http import dispatch_replies as replies
from serve.http.forms import ARROW, PARQUET, form_of
from serve.http.server import listen
from serve.refusals import NotAcceptableError
from serve.settings import HttpSettings

TOPOLOGY = fleet()
ROWS = telemetry(TOPOLOGY)
STEP = timedelta(seconds=SPEC.step_s)
END = NOW + STEP * SPEC.horizon_steps


@pytest.fixture(scope="module")
def server(shared_registry: Path) -> Iterator[Running]:
    with running(shared_registry) as server:
        server.push(ROWS)
        yield server


@pytest.fixture(scope="module")
def expected(made: Path) -> Forecast:
    return Predictor(load(made)).forecast(ROWS.lazy(), NOW)


@pytest.mark.parametrize(("accept", "read"), [(ARROW, pl.read_ipc_stream), (PARQUET, pl.read_parquet)])
def test_rows_are_the_predictors_table(server: Running, expected: Forecast, accept: str, read: Any) -> None:
    reply = get(server, accept=accept)
    assert reply.headers["content-type"] == accept
    table = read(io.BytesIO(reply.body))
    assert_frame_equal(table, expected.table(), check_exact=True)
    forecast_table(SPEC).check(table.lazy(), "answer")


def test_json_tells_the_same_in_rows_and_in_columns(server: Running, expected: Forecast) -> None:
    table = expected.table()
    told = pl.DataFrame(rows(server), infer_schema_length=None)
    by_column = pl.DataFrame(get(server, layout="columns").json["columns"])
    for answer in (told, by_column):
        assert answer.columns == table.columns
        typed = answer.with_columns(
            pl.col("forecast_time", "valid_time", "data_time").str.to_datetime(time_zone="UTC", time_unit="us"),
            pl.col(pl.Float64).cast(pl.Float32),
        )
        assert_frame_equal(typed, table, check_exact=True)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"level": "rack"}, ["rack-0", "rack-1"]),
        ({"under": "rack-0"}, ["server-0", "server-2", "server-4", "rack-0"]),
        ({"under": "site-1", "level": "site"}, ["site-1"]),
        ({"entity": ["rack-1", "server-3", "rack-1"]}, ["server-3", "rack-1"]),
        ({"entity": ["server-0", "server-1"], "under": "rack-1"}, ["server-1"]),
        ({"under": "server-5"}, ["server-5"]),
        ({"level": "gpu"}, []),
    ],
)
def test_entities_are_found_by_name_level_and_subtree(server: Running, query: dict[str, Any], names: list[str]) -> None:
    assert [row["entity_id"] for row in rows(server, until="PT15M", **query)] == names
    assert [row["entity_id"] for row in rows(server, "/topology", **query)] == names
    assert [row["entity_id"] for row in rows(server, "/headroom", target="power_w", **query)] == names
    assert get(server, "/map", **query).json["entity_id"] == names


@pytest.mark.parametrize(
    ("query", "first", "end"),
    [
        ({}, 0, 8),
        ({"until": "PT15M"}, 0, 1),
        ({"until": "PT1S"}, 0, 1),
        ({"until": "PT15M1S"}, 0, 2),
        ({"from": "PT14M59S"}, 0, 8),
        ({"from": "PT15M", "until": "PT1H"}, 1, 4),
        ({"from": "2026-03-04T01:30Z", "until": "2026-03-04T04:45:00+02:00"}, 2, 7),
        ({"from": "2026-03-04 01:30:00+00:00"}, 2, 8),
        ({"from": "2000-01-01T00:00Z", "until": "PT2H"}, 0, 8),
    ],
)
def test_steps_are_those_that_overlap_the_stretch(server: Running, query: dict[str, str], first: int, end: int) -> None:
    reply = get(server, entity="rack-0", quantile=0.5, **query)
    times = [datetime.fromisoformat(row["valid_time"]) for row in reply.json["rows"]]
    assert times == [NOW + STEP * step for step in range(first, end)]
    assert datetime.fromisoformat(reply.json["from"]) == times[0]
    assert datetime.fromisoformat(reply.json["until"]) == times[-1] + STEP


def test_a_plus_sign_that_came_as_a_space_is_one(server: Running) -> None:
    assert server.ask("GET", f"{BASE}?entity=rack-0&until=2026-03-04T03:30:00+02:00").status == 200


def test_quantiles_and_targets_are_chosen(server: Running) -> None:
    row = rows(server, entity="rack-0", quantile=[0.95, 0.5], target="power_w")[0]
    values = {name for name in row if name.startswith(("power", "thermal", "temperature"))}
    assert values == {
        "power_w_p50", "power_w_p95", "power_headroom_w_p50", "power_headroom_w_p95", "power_w_exceedance"
    }  # fmt: skip
    assert "0.05" in get(server, quantile=0.97).error


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
def test_headroom_is_what_the_forecast_keeps(server: Running, expected: Forecast, confidence: float) -> None:
    kept = tightest(expected, confidence)
    told = pl.DataFrame(rows(server, "/headroom", confidence=confidence), infer_schema_length=None)
    joined = told.join(kept, on=["entity_id", "target"], suffix="_kept")
    assert len(joined) == len(kept) == len(told)
    np.testing.assert_array_equal(joined["headroom"].cast(pl.Float32), joined["headroom_kept"].cast(pl.Float32))
    np.testing.assert_allclose(joined["share"], joined["share_kept"], rtol=1e-6)
    level = SPEC.quantile_levels.index(round(1 - confidence, 9))
    for row in told.iter_rows(named=True):
        place = TOPOLOGY.entities.index(row["entity_id"])
        room = expected.outputs.headroom[place, SPEC.targets.index(row["target"]), level]
        assert datetime.fromisoformat(row["valid_time"]) == NOW + STEP * int(room.argmin())


def test_a_shorter_stretch_leaves_no_less_room(server: Running) -> None:
    rooms = [[row["headroom"] for row in rows(server, "/headroom", until=f"PT{15 * step}M")] for step in range(1, 9)]
    assert (np.diff(rooms, axis=0) <= 0).all()


def test_more_confidence_leaves_less_room(server: Running) -> None:
    """On levels of the forecast, between them, and in its tails."""
    sure = [0.001, 0.03, 0.05, 0.07, 0.1, 0.3, 0.5, 0.8, 0.9, 0.93, 0.95, 0.96, 0.99, 0.999]
    replies = [get(server, "/headroom", confidence=confidence).json for confidence in sure]
    rooms = np.array([[row["headroom"] for row in reply["rows"]] for reply in replies])
    assert (np.diff(rooms, axis=0) < 0).all()
    assert [reply["basis"] for reply in replies] == [
        "tail", "tail", "quantile", "interpolated", "quantile", "interpolated", "quantile", "interpolated", "quantile",
        "interpolated", "quantile", "tail", "tail", "tail",
    ]  # fmt: skip


@given(
    steps=st.lists(st.floats(20, 500), min_size=4, max_size=4),
    start=st.floats(-1000, 1000),
    level=st.floats(0.001, 0.999),
)
def test_a_quantile_is_passed_as_often_as_it_says(steps: list[float], start: float, level: float) -> None:
    """Quantile and exceedance are two ways to read one distribution, where a sensor could tell its values apart."""
    levels = SPEC.quantile_levels
    quantiles = (start + np.cumsum([0.0, *steps]))[:, None]
    at = quantile(quantiles, levels, level)
    assert exceedance(quantiles, levels, at) == pytest.approx(1 - level, abs=1e-5)


def test_exceedance_at_the_own_limit_is_the_graphs_word(server: Running, expected: Forecast) -> None:
    for query in ({}, {"limit": 1000.0}):
        told = rows(server, "/exceedance", level="server", **query)
        odds = np.array([row["exceedance"] for row in told], np.float32).reshape(-1, SPEC.horizon_steps)
        servers = [place for place, name in enumerate(TOPOLOGY.entities) if name.startswith("server")]
        np.testing.assert_array_equal(odds, expected.outputs.exceedance[servers, 0])
        assert {row["limit"] for row in told} == {1000.0}


def test_a_higher_limit_is_passed_less_often(server: Running, expected: Forecast) -> None:
    replies = [get(server, "/exceedance", entity="rack-0", limit=limit).json for limit in range(0, 4000, 100)]
    odds = np.array([[row["exceedance"] for row in reply["rows"]] for reply in replies])
    assert (np.diff(odds, axis=0) <= 0).all()
    assert (odds[0] > 0.999).all()
    assert (odds[-1] < 1e-6).all()
    place = TOPOLOGY.entities.index("rack-0")
    median = expected.outputs.quantiles[place, 0, 2]
    at = get(server, "/exceedance", entity="rack-0", limit=float(median[0])).json["rows"][0]["exceedance"]
    assert at == pytest.approx(0.5, abs=1e-4)
    for reply in replies:
        largest = max(reply["rows"], key=lambda row: row["exceedance"])
        assert reply["largest"][0]["exceedance"] == largest["exceedance"]


def test_the_tightest_come_first(server: Running, expected: Forecast) -> None:
    ranked = tightest(expected, 0.9)
    for n in (1, 3, 100):
        told = rows(server, "/tightest", n=n)
        for target in SPEC.targets:
            names = [row["entity_id"] for row in told if row["target"] == target]
            assert names == ranked.filter(target=target).head(n)["entity_id"].to_list()
    low = ranked.filter(pl.col("level") == "rack", target="power_w")["entity_id"][0]
    assert rows(server, "/tightest", n=1, level="rack", target="power_w")[0]["entity_id"] == low


def test_the_map_says_what_headroom_and_topology_say(server: Running) -> None:
    told = get(server, "/map", confidence=0.95, until="PT1H").json
    replies.FleetMap.model_validate(told)
    rooms = rows(server, "/headroom", confidence=0.95, until="PT1H")
    for target in SPEC.targets:
        least = [row["headroom"] for row in rooms if row["target"] == target]
        np.testing.assert_allclose(told["targets"][target]["headroom"], least, atol=0.051)
        odds = rows(server, "/exceedance", target=target, until="PT1H")
        largest = np.array([row["exceedance"] for row in odds]).reshape(-1, 4).max(axis=1)
        np.testing.assert_allclose(told["targets"][target]["exceedance"], largest, atol=5.1e-5)
    for at, row in enumerate(rows(server, "/topology")):
        parent = told["parent"][at]
        assert (None if parent < 0 else told["entity_id"][parent]) == row["parent_id"]
        assert told["levels"][told["level"][at]] == row["level"]
    part = get(server, "/map", under="rack-0").json
    assert part["parent"] == [3, 3, 3, -1]


def test_what_was_observed_is_what_the_ring_holds(server: Running) -> None:
    told = rows(server, "/observed", entity=["rack-0", "server-1"], last="PT2H")
    live = server.engine.live("day-ahead")
    places = np.array([TOPOLOGY.entities.index(name) for name in ("server-1", "rack-0")])
    end = live.ring.step(NOW)
    seen = live.ring.observed(places, end - 8, end)
    for at, name in enumerate(SPEC.past):
        values = np.array([row[name] for row in told], np.float32).reshape(2, 8)
        np.testing.assert_array_equal(values, seen[at])
    assert datetime.fromisoformat(told[-1]["time"]) == NOW - STEP


ANSWERS: list[tuple[str, type[BaseModel]]] = [
    ("", replies.Forecasts),
    ("/status", replies.Health),
    ("/topology", replies.Entities),
    ("/headroom", replies.Rooms),
    ("/tightest", replies.Rooms),
    ("/exceedance", replies.Odds),
    ("/map", replies.FleetMap),
    ("/observed?entity=rack-0", replies.Observed),
]


@pytest.mark.parametrize(("path", "model"), ANSWERS)
def test_answers_are_what_openapi_says(server: Running, path: str, model: type[BaseModel]) -> None:
    reply = server.ask("GET", BASE + path)
    model.model_validate(reply.json)
    if path not in {"/status", "/map"}:
        told = server.ask("GET", f"{BASE}{path}{'&' if '?' in path else '?'}layout=columns").json
        model.model_validate(told)
        assert "rows" not in told


@pytest.mark.parametrize("path", [BASE, f"{BASE}/map", "/v2", "/"])
def test_head_answers_as_get_does_and_keeps_the_body(server: Running, path: str) -> None:
    connection = http.client.HTTPConnection(server.address, timeout=30)
    heads = []
    for method in ("HEAD", "GET"):
        connection.request(method, path)
        response = connection.getresponse()
        content = response.read()
        heads.append((response.status, response.headers["content-length"], response.headers["content-type"]))
    connection.close()
    assert heads == [(200, str(len(content)), response.headers["content-type"])] * 2
    assert server.ask("HEAD", f"{BASE}/what-if").status == 405


def test_every_row_says_where_it_comes_from(server: Running) -> None:
    for path in ("", "/headroom", "/tightest", "/exceedance"):
        reply = get(server, path, entity="rack-0").json
        assert (reply["bundle_id"], reply["forecast"]) == ("k1", "day-ahead")
        assert datetime.fromisoformat(reply["forecast_time"]) == NOW
        for row in reply["rows"]:
            assert (row["bundle_id"], row["source"], row["status"]) == ("k1", "model", "ok")
            assert datetime.fromisoformat(row["data_time"]) == NOW


def test_forecasts_are_listed(server: Running) -> None:
    told = server.ask("GET", "/v1/forecasts").json
    replies.Summaries.model_validate(told)
    (one,) = told["forecasts"]
    assert one["entities"] == {"server": 6, "rack": 2, "site": 1}
    assert (one["name"], one["age_s"], one["falls_back"], one["takes_plans"]) == ("day-ahead", 0.0, False, False)


@pytest.mark.parametrize(
    ("path", "query", "status", "told"),
    [
        ("", {"until": "18:00"}, 400, "until: 18:00"),
        ("", {"until": "2026-03-04T18:00"}, 400, "until"),
        ("", {"until": "P1M"}, 400, "until: P1M"),
        ("", {"until": "PT0S"}, 400, "until"),
        ("", {"until": "P1D"}, 400, "2026-03-04T03:00:00Z"),
        ("", {"from": "PT2H"}, 400, "from: 2026-03-04T03:00:00Z is beyond"),
        ("", {"from": "0001-01-01T00:00+14:00"}, 400, "from"),
        ("", {"from": "9999-12-31T23:59Z"}, 400, "from"),
        ("", {"entity": "rack-00"}, 404, "rack-0"),
        ("", {"under": "server5"}, 404, "server-5"),
        ("", {"entity": "x" * 257}, 400, "entity"),
        ("", {"level": "shelf"}, 400, "level"),
        ("", {"target": "inlet_c"}, 400, "target"),
        ("", {"levels": "rack"}, 400, "levels"),
        ("", {"layout": "table"}, 400, "layout"),
        ("", {"quantile": "high"}, 400, "quantile"),
        ("/headroom", {"confidence": "1"}, 400, "confidence"),
        ("/headroom", {"confidence": "nan"}, 400, "confidence"),
        ("/headroom", {"confidense": "0.9"}, 400, "confidense"),
        ("/tightest", {"n": "0"}, 400, "n"),
        ("/exceedance", {"limit": "inf"}, 400, "limit"),
        ("/exceedance", {"target": ["power_w", "temperature_c"]}, 400, "target"),
        ("/observed", {}, 400, "entity"),
        ("/observed", {"entity": "rack-0", "last": "2026"}, 400, "last"),
    ],
)
def test_a_request_that_means_nothing_names_its_field(
    server: Running, path: str, query: dict[str, Any], status: int, told: str
) -> None:
    reply = get(server, path, **query)
    assert reply.status == status
    assert told in reply.error
    assert "\n" not in reply.error


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html, application/*;q=0.5", "application/json"),
        (f"application/json;q=0.1, {ARROW}", ARROW),
        (f"{PARQUET}; q=0.9, */*;q=0.2", PARQUET),
        ("application/json;q=0, */*", ARROW),
    ],
)
def test_the_form_is_the_one_that_is_wanted_most(accept: str | None, form: str) -> None:
    assert form_of(accept) == form


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "application/json;q=x", "text/*"])
def test_a_form_that_there_is_not(server: Running, accept: str) -> None:
    with pytest.raises(NotAcceptableError):
        form_of(accept)
    assert get(server, accept=accept).status == 406


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT6H", 21_600),
        ("P1DT1H1M1S", 90_061),
        ("P2W", 1_209_600),
        ("P", None),
        ("PT", None),
        ("P1Y", None),
        ("6H", None),
    ],
)
def test_durations(text: str, seconds: int | None) -> None:
    later = duration(text)
    assert (None if later is None else later.total_seconds()) == seconds


def test_an_answer_on_a_connection_that_is_kept_alive_does_not_wait_for_the_last() -> None:
    with listen(HttpSettings(port=0)) as sock, socket.create_connection(sock.getsockname()[:2]):
        accepted, _ = sock.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_words_of_the_api_are_those_of_the_house() -> None:
    assert list(replies.Level.__args__) == list(LEVELS)
    assert list(replies.Target.__args__) == list(TARGETS)
    assert list(replies.Source.__args__) == list(RUNGS)
    assert list(replies.Status.__args__) == list(STATUSES)
