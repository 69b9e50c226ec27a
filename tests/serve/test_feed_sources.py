"""The server follows every kind of source: what it forecasts is what the predictor makes of the source read at once."""

import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from every_source import FLEET, ROWS, SOURCES, Case, openmetrics, scraped, scraped_source
from fleets import publish, write_bundle
from loopback import wait_until
from prometheus_server import Server
from running import Hands, Running, running
from trees import at

from forecast.bundle.load import load
from forecast.contracts.specs import ForecastSpec
from forecast.predictor import Forecast, Predictor
from forecast.traces.files import FileSource
from forecast.traces.files_pull import FilesPull
from forecast.traces.read import read_trace
from forecast.traces.settings import JobsSpec, SlurmSpec
from forecast.traces.trace import Trace
from serve.engine.feed import Feed
from serve.http.forms import PARQUET

STEP = timedelta(hours=1)
SPEC = ForecastSpec(
    step_s=3600,
    context_steps=12,
    horizon_steps=6,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c"),
    quantile_levels=(0.1, 0.5, 0.9),
)


COLUMNS = [
    "forecast_time",
    "valid_time",
    "entity_id",
    *(f"{target}_p{level}" for target in SPEC.targets for level in (10, 50, 90)),
    "power_headroom_w_p10",
]


@contextmanager
def fed(folder: Path, trace: Trace, clock: Hands, **settings: Any) -> Iterator[Running]:
    """A server of a bundle for the trace's fleet, that follows a source."""
    publish(folder / "registry", write_bundle(folder / "made", "made", trace.topology, SPEC), "k1")
    with running(folder / "registry", clock=clock, every_s=0.05, **settings) as server:
        feed = Feed(server.engine)
        feed.start()
        try:
            yield server
        finally:
            feed.stop()


def newest(server: Running) -> Forecast | None:
    issued = server.engine.live("day-ahead").issued
    return None if issued is None else issued.forecast


def status(server: Running) -> dict[str, Any]:
    found: dict[str, Any] = server.ask("GET", "/v1/forecasts/day-ahead/status").json
    return found


def over_the_socket(server: Running) -> pl.DataFrame:
    reply = server.ask("GET", "/v1/forecasts/day-ahead", headers={"accept": PARQUET})
    assert reply.status == 200
    return pl.read_parquet(reply.body).select(COLUMNS)


def is_same(found: Forecast | None, wanted: Forecast) -> bool:
    return found is not None and all(
        np.array_equal(getattr(found.outputs, name), values, equal_nan=True)
        for name, values in wanted.outputs._asdict().items()
    )


def living(folder: Path) -> Case:
    """A Prometheus that is there."""
    server = Server(folder / "prometheus", history=openmetrics(ROWS))
    server.start()
    return Case(scraped_source(server.url, folder / "cache"), change=server.stop)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [*(make for make in SOURCES if make is not scraped), living])
def test_what_it_forecasts_is_what_the_predictor_makes_of_the_whole(
    make: Callable[[Path], Case], tmp_path: Path
) -> None:
    """Bit for bit, from the history that there is at first and from what comes after it."""
    case = make(tmp_path)
    try:
        trace = read_trace(case.source)
        last = trace.telemetry.select(pl.col("time").max()).collect().item()
        hands = Hands(last - 6 * STEP)
        with fed(tmp_path, trace, hands, source=case.source) as server:
            for moment in (hands.now, last - 2 * STEP, last + STEP):
                hands.now = moment
                whole = Predictor(load(tmp_path / "made")).forecast(trace.telemetry.drop_nulls("time"), moment)
                wait_until(lambda whole=whole: is_same(newest(server), whole), f"it forecasts from {whole.time}")
                assert over_the_socket(server).equals(whole.table().select(COLUMNS))
            assert status(server)["sources"]["model"] == len(trace.topology.entities)
            assert status(server)["problems"] == {}
    finally:
        if make is living:
            case.change()


def test_a_prometheus_that_dies_is_told_and_made_up_for_when_it_is_back(tmp_path: Path) -> None:
    """A real one is stopped for three hours of its history, and started again."""
    prometheus = Server(tmp_path / "prometheus", history=openmetrics(ROWS))
    prometheus.start()
    source = scraped_source(prometheus.url, tmp_path / "cache")
    trace = source.read()
    hands = Hands(at(12 * 60))
    try:
        with fed(tmp_path, trace, hands, source=source) as server:
            wait_until(lambda: newest(server) is not None, "there is a forecast")
            assert status(server)["sources"]["model"] == len(trace.topology.entities)
            prometheus.stop()
            hands.now = at(16 * 60)
            wait_until(lambda: status(server)["sources"]["model"] == 0, "it falls back")
            # A poll may meet the server as it goes down: it answers 503 then.
            away = rf"{prometheus.url}: no answer after 1 attempt \(.*\); check source.url, .*\."
            wait_until(lambda: re.fullmatch(away, status(server)["problems"].get("source", "")), "it says why")
            assert b'fleetcast_problem{where="source"} 1.0' in server.ask("GET", "/metrics").body
            assert set(over_the_socket(server)["forecast_time"]) == {at(16 * 60)}
            prometheus.start()
            whole = Predictor(load(tmp_path / "made")).forecast(trace.telemetry, at(16 * 60))
            wait_until(lambda: is_same(newest(server), whole), "the gap is filled")
            wait_until(lambda: status(server)["problems"] == {}, "all is well again")
    finally:
        prometheus.stop()


def test_an_answer_of_401_is_one_line_without_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FLEETCAST_TEST_SECRET", "Bearer hush-hush")
    shown: list[str] = []

    class Closed(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers["Authorization"])
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Closed) as closed:
        threading.Thread(target=closed.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{closed.server_port}"
        source = scraped_source(url, tmp_path / "cache")
        trace = FileSource(path=rows_in(tmp_path), entities=FLEET).read()
        secret = replace(source, headers_env={"Authorization": "FLEETCAST_TEST_SECRET"})
        with fed(tmp_path, trace, Hands(at(12 * 60)), source=secret) as server:
            wait_until(lambda: "source" in status(server)["problems"], "it says why")
            assert status(server)["problems"]["source"] == f"{url}: refused with status 401 (check source.headers_env)."
            wait_until(lambda: newest(server) is not None, "it forecasts all the same")
            assert status(server)["sources"]["safe_bound"] == len(trace.topology.entities)
            told = json.dumps(status(server)) + server.ask("GET", "/metrics").body.decode() + caplog.text
        closed.shutdown()
    assert set(shown) == {"Bearer hush-hush"}
    assert "hush" not in told


def rows_in(folder: Path) -> str:
    ROWS.write_parquet(folder / "rows.parquet")
    return str(folder / "rows.parquet")


def test_what_is_known_ahead_and_cannot_be_read_keeps_no_telemetry_away(tmp_path: Path) -> None:
    source = FileSource(
        path=rows_in(tmp_path), entities=FLEET, jobs=JobsSpec(str(tmp_path / "sacct.txt"), slurm=SlurmSpec())
    )
    trace = replace(source, jobs=None).read()
    with fed(tmp_path, trace, Hands(at(12 * 60)), source=source) as server:
        wait_until(lambda: newest(server) is not None, "there is a forecast")
        assert status(server)["sources"]["model"] == len(trace.topology.entities)
        assert "sacct.txt" in status(server)["problems"]["known ahead"]
        fields = "JobID|State|Start|End|Timelimit|NodeList|AllocTRES"
        row = "1|RUNNING|2026-03-02T11:00:00|Unknown|02:00:00|a|cpu=8,node=1"
        (tmp_path / "sacct.txt").write_text(f"{fields}\n{row}\n")
        wait_until(lambda: "time_zone" in status(server)["problems"].get("known ahead", ""), "its clock is not told")
        (tmp_path / "sacct.txt").write_text(f"{fields}\n{row.replace('11:00:00', '11:00:00+0000')}\n")
        wait_until(lambda: status(server)["problems"] == {}, "it is as it should be")


def test_a_panic_of_the_reader_is_a_problem_and_ends_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no `Exception`: the feed ended without a word."""
    trace = FileSource(path=rows_in(tmp_path), entities=FLEET).read()

    def panics(*_: object) -> Iterator[pl.DataFrame]:
        raise pl.exceptions.PanicException("assertion failed\nand where")

    with monkeypatch.context() as patched:
        patched.setattr(FilesPull, "rows", panics)
        with fed(tmp_path, trace, Hands(at(12 * 60)), telemetry=rows_in(tmp_path)) as server:
            wait_until(lambda: status(server)["problems"] == {"source": "assertion failed"}, "it is told")
            patched.undo()
            wait_until(lambda: status(server)["problems"] == {}, "it is read after all")


def test_a_forecast_that_comes_into_service_later_is_told_at_once_and_what_it_lacks_is_its_own(tmp_path: Path) -> None:
    trace = FileSource(path=rows_in(tmp_path), entities=FLEET).read()
    registry = tmp_path / "registry"
    publish(registry, write_bundle(tmp_path / "made", "made", trace.topology, SPEC), "k1")
    wide = replace(SPEC, past=(*SPEC.past, "fan_speed_rpm"), context_steps=6)
    with running(registry, clock=Hands(at(12 * 60)), telemetry=rows_in(tmp_path), every_s=3600.0) as server:
        feed = Feed(server.engine)
        feed.start()
        try:
            wait_until(lambda: newest(server) is not None, "there is a forecast")
            publish(registry, write_bundle(tmp_path / "later", "made", trace.topology, wide), "k1", "later")
            wait_until(lambda: "later" in server.engine.names, "another one is in service")
            wait_until(lambda: server.engine.live("later").issued is not None, "it forecasts too")
            found = server.ask("GET", "/v1/forecasts/later/status").json
            assert found["sources"]["model"] == len(trace.topology.entities)
            assert set(found["problems"]) == {"columns of later"}
            assert "no fan_speed_rpm" in found["problems"]["columns of later"]
            assert status(server)["problems"] == {}
        finally:
            feed.stop()
