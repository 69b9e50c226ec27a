"""The dispatch API's reads of servers of their own: what falls back, what was refused, and 10,000 entities."""

import io
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from dispatching import get, rows
from fleets import NOW, SPEC, fleet, publish, telemetry, write_bundle
from loopback import wait_until
from polars.testing import assert_frame_equal
from running import running

from serve.engine.issued import RUNGS
from serve.http import dispatch_replies as replies
from serve.http.forms import ARROW, PARQUET
from serve.settings import Limits

TOPOLOGY = fleet()
ROWS = telemetry(TOPOLOGY)
STEP = timedelta(seconds=SPEC.step_s)


def test_more_rows_than_json_takes_are_asked_for_in_another_form(shared_registry: Path) -> None:
    with running(shared_registry, limits=replace(Limits(), rows=71)) as server:
        server.push(ROWS)
        assert ARROW in get(server).error
        assert len(rows(server, until="PT1H45M")) == 63
        assert len(pl.read_ipc_stream(io.BytesIO(get(server, accept=ARROW).body))) == 72


def test_a_fallback_is_labelled_and_can_be_refused(shared_registry: Path) -> None:
    now = NOW
    lonely = ROWS.filter(pl.col("entity_id") != "server-0")
    with running(shared_registry, clock=lambda: now) as server:
        told = get(server, "/status").json
        assert (told["without_data"], told["age_s"]) == (9, None)
        server.push(lonely)
        told = get(server, "/status").json
        replies.Health.model_validate(told)
        assert told["sources"] == dict.fromkeys(RUNGS, 0) | {"model": 8, "safe_bound": 1}
        assert (told["without_data"], told["statuses"]["no_data"]) == (1, 1)
        assert told["rows_set_aside"]["too old"] > 0
        assert get(server, allow_fallback=False).status == 503
        assert get(server, entity="server-1", allow_fallback=False).status == 200
        reply = get(server, entity="server-0", allow_fallback=False)
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert "allow_fallback" in reply.error
        assert {row["source"] for row in rows(server, entity="server-0")} == {"safe_bound"}
        for row in rows(server, "/headroom", entity="server-0", confidence=0.99):
            assert (row["headroom"], row["age_s"], row["source"]) == (0.0, None, "safe_bound")
        for query in ({}, {"limit": 500.0}, {"limit": 1500.0}):
            assert {row["exceedance"] for row in rows(server, "/exceedance", entity="server-0", **query)} == {None}
        now = NOW + 4 * STEP
        server.push(ROWS.head(0))
        told = get(server, "/status").json
        assert (told["age_s"], told["falls_back"]) == (4 * SPEC.step_s, True)
        assert {row["source"] for row in rows(server, entity="server-1")} == {"last_good", "seasonal"}


def test_a_cycle_is_a_forecast_that_was_made_and_tells_what_it_took(shared_registry: Path) -> None:
    """Looks that find nothing new are no cycles: they would make the others seem fast."""
    with running(shared_registry, every_s=1e-3) as server:
        server.push(ROWS)
        cycles = get(server, "/status").json["cycles"]
        for _ in range(20):
            server.engine.ask(lambda: None).result(30)
        told = get(server, "/status").json
        assert told["cycles"] == cycles >= 1
        assert told["cycle_s"] == pytest.approx(sum(told["cycle_parts"].values()))
        assert all(seconds >= 0 for seconds in told["cycle_parts"].values())
        assert told["mean_cycle_s"] > 0


def test_a_bundle_that_was_refused_is_told(registry: Path, made: Path) -> None:
    with running(registry) as server:
        broken = publish(registry, made, "k2")
        (broken / "model.onnx").write_bytes(b"no graph")
        wait_until(lambda: get(server, "/status").json["bundle_refused"] is not None, "it is refused")
        assert get(server, "/status").json["bundle_id"] == "k1"


def test_ten_thousand_entities_at_once(tmp_path: Path) -> None:
    many = fleet(servers=9_997)
    publish(tmp_path / "registry", write_bundle(tmp_path / "made", "k1", many), "k1")
    servers = [name for name in many.entities if name.startswith("server")]
    times = [NOW - STEP * (step + 1) for step in range(4)]
    heard = pl.DataFrame({"entity_id": servers}).join(
        pl.DataFrame({"time": pl.Series(times, dtype=pl.Datetime("us", "UTC"))}), how="cross"
    )
    with running(tmp_path / "registry") as server:
        server.push(heard.with_columns(power_w=pl.lit(500.0), temperature_c=pl.lit(60.0)))
        table = pl.read_ipc_stream(io.BytesIO(get(server, accept=ARROW).body))
        assert_frame_equal(table, server.engine.newest("day-ahead").table(), check_exact=True)
        assert len(table) == 10_000 * SPEC.horizon_steps
        told = get(server, "/map").json
        assert len(told["entity_id"]) == len(told["targets"]["power_w"]["share"]) == 10_000
        assert len(pl.read_parquet(io.BytesIO(get(server, "/headroom", accept=PARQUET).body))) == 20_000
        assert "server-4711" in get(server, entity="server 4711").error
