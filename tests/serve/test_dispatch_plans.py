"""What if this load ran here: plans and candidate places over a real socket, by a graph that answers to plans."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fleets import NOW, SPEC, fleet, publish, telemetry, write_bundle
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from planned import PLANNED, RESPONSE, export_planned, write_planned
from polars.testing import assert_frame_equal
from running import Reply, Running, running

from forecast.bundle.load import load
from forecast.predictor import Predictor
from serve.dispatch.what_if import moved_odds
from serve.engine.issued import Issued
from serve.http import dispatch_replies as replies
from serve.http.forms import ARROW

TOPOLOGY = fleet()
ROWS = telemetry(TOPOLOGY).filter(pl.col("entity_id") != "server-4")
STEP = timedelta(seconds=SPEC.step_s)
STEPS = SPEC.horizon_steps
MEDIAN = SPEC.quantile_levels.index(0.5)


@pytest.fixture(scope="module", params=[True, False], ids=["the end apart", "the whole graph"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planned(tmp_path_factory.mktemp("plans") / "made", "k1", TOPOLOGY, apart=request.param)


@pytest.fixture(scope="module")
def server(shared_registry: Path) -> Iterator[Running]:
    """Of server-4 nobody ever heard: a safe bound speaks for it."""
    with running(shared_registry) as server:
        server.push(ROWS)
        yield server


@pytest.fixture(scope="module")
def unplanned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("unplanned")
    publish(folder / "registry", write_bundle(folder / "made", "k1", TOPOLOGY), "k1")
    with running(folder / "registry") as server:
        server.push(ROWS)
        yield server


def post(server: Running, path: str, body: Any, accept: str = "application/json") -> Reply:
    headers = {"content-type": "application/json", "accept": accept}
    return server.ask("POST", f"/v1/forecasts/day-ahead{path}", json.dumps(body).encode(), headers)


def what_if(server: Running, *plans: dict[str, Any], query: str = "") -> pl.DataFrame:
    """The forecast under plans."""
    reply = post(server, f"/what-if{query}", {"plans": plans}, ARROW)
    assert reply.status == 200, reply.body
    return pl.read_ipc_stream(io.BytesIO(reply.body))


def of(table: pl.DataFrame, entity: str, column: str) -> np.ndarray:
    return table.filter(entity_id=entity)[column].to_numpy()


def issued(server: Running) -> Issued:
    return server.engine.newest("day-ahead")


def added(entity: str, power_w: Any) -> dict[str, Any]:
    return {"entity_id": entity, "added_power_w": power_w}


def followed(entity: str, power_w: Any) -> dict[str, Any]:
    return {"entity_id": entity, "power_w": power_w}


def at(step: float) -> str:
    return (NOW + step * STEP).isoformat()


def check_followed(server: Running, made: Path) -> None:
    """As if the plan had stood in the job table; but for what a batch of another size rounds otherwise."""
    job = {
        "job_id": "what-if", "entity_id": "server-1", "kind": "plan", "status": "reserved",
        "start_time": NOW + 2 * STEP, "end_time": NOW + 5 * STEP, "planned_power_w": 900.0,
        "available_at": NOW - STEP,
    }  # fmt: skip
    jobs = pl.DataFrame([job]).with_columns(pl.col(pl.Datetime).cast(pl.Datetime("us", "UTC"))).lazy()
    expected = Predictor(load(made)).told(jobs).forecast(ROWS.lazy(), NOW).table().filter(entity_id="server-1")
    for power_w in ({at(2): 900, at(5): None}, [None, None, 900, 900, 900]):
        table = what_if(server, followed("server-1", power_w)).filter(entity_id="server-1")
        assert set(table["plan"]) == {"followed"}
        assert set(table["answered_by"]) == {"graph"}
        assert_frame_equal(table.drop("plan", "answered_by"), expected, rel_tol=1e-5, abs_tol=1e-3)


def test_a_plan_that_is_followed_is_the_predictors_answer_to_it(server: Running, made: Path) -> None:
    check_followed(server, made)


@pytest.mark.slow
def test_so_it_is_with_the_graph_that_training_exports(tmp_path: Path) -> None:
    made = export_planned(tmp_path / "made", "k1", TOPOLOGY)
    publish(tmp_path / "registry", made, "k1")
    with running(tmp_path / "registry") as server:
        server.push(ROWS)
        check_followed(server, made)
        check_candidates(server)
        check_more_power(server, added)
        check_more_power(server, followed)


def test_what_is_added_warms_by_what_the_graph_answers_to_it(server: Running) -> None:
    before = issued(server).table()
    plan = np.array([0, 300, 300, 0, 0, 150, 0, 0])
    table = what_if(server, added("server-1", plan.tolist()))
    warmed = np.convolve(plan, RESPONSE)[:STEPS]
    for level in (5, 10, 50, 90, 95):
        heat, room = f"temperature_c_p{level}", f"thermal_headroom_c_p{level}"
        np.testing.assert_allclose(of(table, "server-1", heat), of(before, "server-1", heat) + warmed, atol=1e-3)
        np.testing.assert_allclose(of(table, "server-1", room), of(before, "server-1", room) - warmed, atol=1e-3)


def test_those_above_carry_what_is_drawn_more(server: Running) -> None:
    before = issued(server).table()
    table = what_if(server, followed("server-1", [990.0] * STEPS), added("server-0", {at(0): 100}))
    assert table["entity_id"].unique(maintain_order=True).to_list() == [
        "server-0", "server-1", "rack-0", "rack-1", "site-1",
    ]  # fmt: skip
    more = {
        "server-0": np.full(STEPS, 100.0),
        "rack-0": np.full(STEPS, 100.0),
        "rack-1": 990.0 - of(before, "server-1", "power_w_p50"),
        "site-1": 1090.0 - of(before, "server-1", "power_w_p50"),
    }
    for entity, by in more.items():
        for level in (5, 10, 50, 90, 95):
            load, room = f"power_w_p{level}", f"power_headroom_w_p{level}"
            np.testing.assert_allclose(of(table, entity, load), of(before, entity, load) + by, rtol=1e-5)
            np.testing.assert_allclose(of(table, entity, room), of(before, entity, room) - by, rtol=1e-5, atol=1e-2)
    for entity in ("rack-0", "rack-1", "site-1"):
        assert set(table.filter(entity_id=entity)["plan"]) == {"below"}
        assert np.isnan(of(table, entity, "temperature_c_p50")).all()


def test_nothing_added_changes_nothing(server: Running) -> None:
    before = issued(server).table()
    table = what_if(server, added("server-1", [0.0] * STEPS))
    for entity in ("server-1", "rack-1", "site-1"):
        columns = [pl.col(entity_columns) for entity_columns in before.columns]
        assert_frame_equal(
            table.filter(entity_id=entity).select(columns), before.filter(entity_id=entity), check_exact=True
        )


@pytest.mark.parametrize("kind", [added, followed])
def test_more_power_leaves_less_room_and_is_never_cooler(server: Running, kind: Any) -> None:
    check_more_power(server, kind)


def check_more_power(server: Running, kind: Any) -> None:
    """At every level and step, of load, temperature and odds; and within what is planned it does warm."""
    tables = [
        what_if(server, kind("server-1", {at(1): power_w, at(4): None})).filter(entity_id="server-1")
        for power_w in (0, 100, 400, 900, 1500)
    ]
    for column in tables[0].columns:
        if column.startswith(("power_w", "temperature_c", "power_headroom", "thermal")):
            values = np.array([table[column].to_numpy() for table in tables])
            sign = -1 if "headroom" in column else 1
            assert (sign * np.diff(values, axis=0) >= -1e-4).all(), column
    warmed = [table["temperature_c_p50"].to_numpy() for table in tables]
    assert (warmed[3][2:4] > warmed[0][2:4]).all()
    np.testing.assert_array_equal(warmed[3][:1], warmed[0][:1])


def test_what_is_taken_away_leaves_more(server: Running) -> None:
    before = issued(server).table()
    table = what_if(server, added("server-1", [-200.0] * STEPS))
    for entity in ("server-1", "rack-1", "site-1"):
        by = of(before, entity, "power_w_p95") - of(table, entity, "power_w_p95")
        np.testing.assert_allclose(by, 200.0, rtol=1e-4)
        assert (of(table, entity, "power_w_exceedance") <= of(before, entity, "power_w_exceedance")).all()
    assert (of(table, "server-1", "temperature_c_p50") <= of(before, "server-1", "temperature_c_p50")).all()
    nothing = what_if(server, added("server-1", [-1e6] * STEPS))
    assert (of(nothing, "server-1", "power_w_p95") == 0).all()
    assert (of(nothing, "server-1", "power_headroom_w_p5") == 1000).all()


def test_values_are_held_until_the_next_and_averaged_within_a_step(server: Running) -> None:
    """A third of the first step, half of the last, and a time that is told twice."""
    told = {at(1 / 3): 300, at(1): 600, "PT45M": 900, at(3): 450, at(4.5): None, "2020-01-01T00:00Z": None}
    listed = what_if(server, added("server-1", [200.0, 600.0, 600.0, 450.0, 225.0]))
    assert_frame_equal(what_if(server, added("server-1", told)), listed, rel_tol=1e-6)
    whole = what_if(server, followed("server-1", told))
    np.testing.assert_allclose(of(whole, "server-1", "power_w_p50")[:5], [300, 600, 600, 450, 450], rtol=1e-5)


def test_where_a_fallback_speaks_only_the_load_is_moved(server: Running) -> None:
    before = issued(server).table()
    plan = added("server-4", [None, 100, 100])
    table = what_if(server, plan)
    assert set(table.filter(entity_id="server-4")["answered_by"]) == {"shift"}
    np.testing.assert_array_equal(of(table, "server-4", "power_headroom_w_p5")[:3], [0, -100, -100])
    heat = of(table, "server-4", "temperature_c_p50")
    assert heat[0] == of(before, "server-4", "temperature_c_p50")[0]
    assert np.isnan(heat[1:]).all()
    assert post(server, "/what-if?allow_fallback=false", {"plans": [plan]}).status == 503
    # Of what it draws nothing is known: those above are told to expect all of the plan beside what they forecast.
    table = what_if(server, followed("server-4", [400.0] * STEPS))
    np.testing.assert_allclose(of(table, "rack-0", "power_w_p50"), of(before, "rack-0", "power_w_p50") + 400, rtol=1e-6)


def test_where_the_graph_knows_no_plans_the_load_is_what_is_planned(unplanned: Running) -> None:
    before = issued(unplanned).table()
    table = what_if(unplanned, followed("server-1", [None, 1100.0, 900.0]))
    assert set(table["answered_by"]) == {"shift"}
    for level in (5, 50, 95):
        np.testing.assert_array_equal(of(table, "server-1", f"power_w_p{level}")[1:3], [1100, 900])
        np.testing.assert_array_equal(of(table, "server-1", f"power_headroom_w_p{level}")[1:3], [-100, 100])
    np.testing.assert_array_equal(of(table, "server-1", "power_w_exceedance")[1:3], [1, 0])
    mine = pl.col("entity_id") == "server-1"
    first = table.filter(mine).drop("plan", "answered_by")[:1]
    assert_frame_equal(first, before.filter(mine)[:1], check_exact=True)
    assert np.isnan(of(table, "server-1", "temperature_c_p95")[1:]).all()
    (row,) = place(unplanned, ("server-1", 50.0))
    assert (row["answered_by"], row["thermal_headroom_c"], row["fits"]) == ("shift", None, None)
    assert row["power_headroom_w"] > 0


@given(
    quantiles=arrays(np.float32, (5, 1), elements=st.floats(0, 2000, width=32)),
    odds=st.floats(0, 1, width=32),
    by=st.floats(0, 500, width=32),
)
def test_odds_never_shrink_by_what_is_added(quantiles: np.ndarray, odds: float, by: float) -> None:
    quantiles.sort(axis=0)
    limit = np.array([1000.0], np.float32)
    told = [
        moved_odds(quantiles, np.array([odds], np.float32), SPEC.quantile_levels, limit, np.array([more], np.float32))
        for more in (-2 * by, -by, 0.0, by, 2 * by)
    ]
    assert (np.diff(np.concatenate(told)) >= 0).all()
    assert told[2] == np.float32(odds)


def place(server: Running, *candidates: Any, confidence: float = 0.9) -> list[dict[str, Any]]:
    """Rows of candidates, each an entity, W, and if it has one a stretch."""
    asked = [
        {"entity_id": entity, "added_power_w": power_w, **dict(zip(("from", "until"), stretch, strict=False))}
        for entity, power_w, *stretch in candidates
    ]
    reply = post(server, f"/placements?confidence={confidence}", {"candidates": asked})
    assert reply.status == 200, reply.body
    replies.Placements.model_validate(reply.json)
    return list(reply.json["rows"])


CANDIDATES = [
    (entity, power_w, *stretch)
    for entity in ("server-0", "server-1", "server-4", "rack-0", "rack-1", "site-1")
    for power_w in (0.0, 150.0, 900.0, 20_000.0)
    for stretch in ((), ("PT15M", "PT1H"))
]


def test_each_candidate_is_what_the_plan_alone_would_leave(server: Running) -> None:
    check_candidates(server)


def check_candidates(server: Running) -> None:
    """Headroom and odds are those of `what-if` over the candidate's steps, and no candidate minds another."""
    for row, candidate in zip(place(server, *CANDIDATES), CANDIDATES, strict=True):
        entity, power_w, *stretch = candidate
        first, end = (1, 4) if stretch else (0, STEPS)
        plan = [power_w if first <= step < end else None for step in range(STEPS)]
        told = what_if(server, added(entity, plan)).filter(
            pl.col("valid_time").is_between(NOW + first * STEP, NOW + (end - 1) * STEP)
        )
        mine = told.filter(entity_id=entity)
        for left, column, odds in (
            ("power_headroom_w", "power_headroom_w_p10", "power"),
            ("thermal_headroom_c", "thermal_headroom_c_p10", "thermal"),
        ):
            least = mine[column].min()
            if least is None:
                assert row[left] is row[f"{odds}_tightest"] is row[f"{odds}_exceedance"] is None
                continue
            assert row[left] == pytest.approx(least, rel=1e-5, abs=1e-3)
            signal = {"power": "power_w", "thermal": "temperature_c"}[odds]
            largest = mine[f"{signal}_exceedance"].max()
            assert row[f"{odds}_exceedance"] == (None if largest is None else pytest.approx(largest, abs=1e-5))
            tightest = mine.filter(valid_time=datetime.fromisoformat(row[f"{odds}_tightest"]))
            assert tightest[column].item() == pytest.approx(least, rel=1e-5, abs=1e-3)
        above = told.filter(pl.col("entity_id") != entity)
        if above.is_empty():
            assert row["above"] is row["above_headroom_w"] is None
        else:
            least = above["power_headroom_w_p10"].min()
            assert row["above_headroom_w"] == pytest.approx(least, rel=1e-5, abs=1e-2)
            assert row["above"] in above.sort("power_headroom_w_p10")["entity_id"][:1]
        rooms = [row[name] for name in ("power_headroom_w", "thermal_headroom_c", "above_headroom_w")]
        known = [room for room in rooms if room is not None]
        if min(known) < 0:
            assert row["fits"] is False
        else:
            assert row["fits"] is (None if row["thermal_headroom_c"] is None else True)


def test_more_confidence_leaves_less_beside_a_candidate(server: Running) -> None:
    sure = [place(server, ("server-1", 150.0), ("rack-0", 900.0), confidence=c) for c in (0.5, 0.9, 0.92, 0.95, 0.99)]
    for column in ("power_headroom_w", "thermal_headroom_c", "above_headroom_w"):
        rooms = np.array([[row[column] for row in rows] for rows in sure])
        assert (np.diff(rooms, axis=0) <= 0).all(), column
        assert (rooms[-1] < rooms[0]).all(), column


def test_candidates_come_back_as_arrow_and_in_columns(server: Running) -> None:
    body = {"candidates": [{"entity_id": "server-1", "added_power_w": 10}] * 3}
    table = pl.read_ipc_stream(io.BytesIO(post(server, "/placements", body, ARROW).body))
    assert table["candidate"].to_list() == [0, 1, 2]
    reply = post(server, "/placements?layout=columns", body).json
    replies.Placements.model_validate(reply)
    assert reply["columns"]["entity_id"] == ["server-1"] * 3
    told = post(server, "/what-if?quantile=0.95&target=power_w&until=PT30M", {"plans": [added("server-1", [5.0])]}).json
    replies.WhatIf.model_validate(told)
    assert len(told["rows"]) == 6
    assert {row["target"] for row in told["headroom"]} == {"power_w"}
    assert told["headroom"][0]["headroom"] == pytest.approx(
        min(of(what_if(server, added("server-1", [5.0])), "server-1", "power_headroom_w_p10")[:2]), rel=1e-5
    )


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (None, 400, "body"),
        ({}, 400, "plans"),
        ({"plans": []}, 400, "plans"),
        ({"plans": [added("server-1", [1.0])] * 1001}, 400, "plans"),
        ({"plans": [{"entity_id": "server-1"}]}, 400, "plans.0"),
        ({"plans": [added("server-1", [1.0]) | followed("server-1", [1.0])]}, 400, "plans.0"),
        ({"plans": [added("server-1", [1.0]) | {"unit": "kW"}]}, 400, "plans.0.unit: there is no such field"),
        ({"plans": [followed("server-1", [0.0, 0.9, None])]}, 400, "plans.0.power_w: 0.9 W at most"),
        ({"plans": [followed("server-1", [-1.0])]}, 400, "plans.0.power_w.0"),
        ({"plans": [followed("server-1", [1e10])]}, 400, "plans.0.power_w.0"),
        ({"plans": [added("server-1", [float("nan")])]}, 400, "plans.0.added_power_w.0"),
        ({"plans": [added("server-1", {"18:00": 1.0})]}, 400, "plans.0.added_power_w: 18:00"),
        ({"plans": [added("server-1", [])]}, 400, "plans.0.added_power_w"),
        ({"plans": [added("server-1", {at(99): 1.0})]}, 400, "nothing is planned"),
        ({"plans": [added("server-1", [None] * 8)]}, 400, "nothing is planned"),
        ({"plans": [added("server-1", [1.0] * 9)]}, 400, "9 values"),
        ({"plans": [added("server-11", [1.0])]}, 404, "plans.0.entity_id"),
        ({"plans": [added("server-1", [1.0]), followed("server-1", [100.0])]}, 400, "two plans"),
        ({"plans": [added("server-1", [1.0]), followed("site-1", [100.0])]}, 400, "server-1 is a part of site-1"),
    ],
)
def test_a_plan_that_means_nothing_names_its_field(server: Running, body: Any, status: int, told: str) -> None:
    reply = post(server, "/what-if", body)
    assert reply.status == status
    assert told in reply.error


@pytest.mark.parametrize(
    ("candidate", "status", "told"),
    [
        ({"entity_id": "server-1"}, 400, "candidates.0.added_power_w"),
        ({"entity_id": "server-1", "added_power_w": "much"}, 400, "candidates.0.added_power_w"),
        ({"entity_id": "server-1", "added_power_w": 1, "until": "P9D"}, 400, "candidates.0.until"),
        ({"entity_id": "server-1", "added_power_w": 1, "from": "now"}, 400, "candidates.0.from"),
        ({"entity_id": "server-1", "added_power_w": 1, "from": "P3D"}, 400, "candidates.0.from: 2026-03-07T01:00:00Z"),
        ({"entity_id": "rock-1", "added_power_w": 1}, 404, "rack-1"),
    ],
)
def test_a_candidate_that_means_nothing_names_its_field(
    server: Running, candidate: dict[str, Any], status: int, told: str
) -> None:
    reply = post(server, "/placements", {"candidates": [candidate]})
    assert reply.status == status
    assert told in reply.error


def test_a_forecast_without_power_takes_no_plans(tmp_path: Path) -> None:
    spec = replace(SPEC, targets=("temperature_c",), past=("temperature_c", "power_w"))
    publish(tmp_path / "registry", write_bundle(tmp_path / "made", "k1", TOPOLOGY, spec), "k1")
    with running(tmp_path / "registry") as server:
        assert "no power_w" in post(server, "/what-if", {"plans": [added("server-1", [1.0])]}).error
        candidates = {"candidates": [{"entity_id": "server-1", "added_power_w": 1}]}
        assert "no power_w" in post(server, "/placements", candidates).error


def test_what_the_graph_was_given_is_kept_with_its_own_forecast(server: Running) -> None:
    """Asked again without a plan, it says what it said, whatever came meanwhile."""
    kept = issued(server)
    assert kept.given is not None
    again = kept.given.asked(range(len(kept.rung))).run(kept.given.inputs)
    model = ~kept.rung.any(axis=1)
    np.testing.assert_array_equal(again.quantiles[model], kept.forecast.outputs.quantiles[model])
    assert PLANNED.future[-1] == "planned_power_w"
    assert kept.time == datetime(2026, 3, 4, 1, tzinfo=UTC)
