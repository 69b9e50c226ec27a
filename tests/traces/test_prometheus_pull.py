"""A living Prometheus is followed: only what is new is asked for, and what was missed is made up for.

Needs Debian's prometheus package; skipped without it.
"""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest
from every_source import FLEET, ROWS, openmetrics
from polars.testing import assert_frame_equal
from prometheus_server import Proxy, Server, proxy
from trees import at, node, tree_of

from forecast.contracts.errors import ConfigError, DataError, TransientError
from forecast.traces.metrics import MetricSpec
from forecast.traces.prometheus import PrometheusSource
from forecast.traces.prometheus_pull import PrometheusPull

LATE = timedelta(hours=1)
TREE = tree_of(*(node(name) for name in FLEET))

#: A sample is asked for when it is so old.
SETTLED = timedelta(seconds=15)
SIGNALS = ("power_w", "temperature_c")


def source(url: str, **changes: object) -> PrometheusSource:
    plain = PrometheusSource(
        url=url,
        metrics={"node_power_watts": MetricSpec(), "node_heat_celsius": MetricSpec(signal="temperature_c")},
        entity={"node_": "{instance:[^:]+}"},
        timeout_s=5,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


BEGIN = at(0)


def told(pull: PrometheusPull, until: datetime, begin: datetime = BEGIN) -> pl.DataFrame:
    """What is told up to `until` by samples' own times."""
    pieces = list(pull.rows(begin, until + SETTLED))
    return pl.concat(pieces) if pieces else pl.DataFrame(schema=ROWS.schema)


def assert_rows(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert_frame_equal(
        found.unique().select(expected.columns).sort("entity_id", "time"),
        expected.sort("entity_id", "time"),
        rel_tol=1e-12,
    )


def asked_for(server: Proxy) -> list[tuple[float, float]]:
    """From when to when each query for samples reaches, seconds."""
    spans = []
    for _, path in server.asked:
        asked = {key: values[0] for key, values in parse_qs(urlsplit(path).query).items()}
        if urlsplit(path).path == "/api/v1/query":
            length_ms = int(asked["query"].rpartition("[")[2].removesuffix("ms]"))
            spans.append((float(asked["time"]) - length_ms / 1e3, float(asked["time"])))
    return spans


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    energy = (
        f'node_energy_joules_total{{instance="a:9100"}} {1000.0 * minute * (minute + 1)} {at(60 + minute).timestamp()}'
        for minute in range(90)
    )
    it = Server(tmp_path_factory.mktemp("prometheus"), history=openmetrics(ROWS, *energy))
    it.start()
    yield it
    it.stop()


def test_instalments_make_up_what_there_is_and_only_what_is_new_is_asked_for(server: Server) -> None:
    with proxy(server.url) as counted:
        pull = PrometheusPull(source(counted.url), TREE, LATE)
        parts = [told(pull, at(60 * 10 + 1))]
        counted.asked.clear()
        parts += [told(pull, at(60 * hour + 1)) for hour in (11, 12)]
        assert min(begin for begin, _ in asked_for(counted)) >= at(60 * 8).timestamp() - 1
        counted.asked.clear()
        parts.append(told(pull, at(60 * 12 + 2)))
        assert min(begin for begin, _ in asked_for(counted)) >= at(60 * 12 - 2).timestamp() - 1
        assert parts[-1].is_empty()
        parts.append(told(pull, at(24 * 60)))
    assert_rows(pl.concat(parts), ROWS)


def test_history_is_asked_for_in_pieces_of_bounded_length(server: Server) -> None:
    with proxy(server.url) as counted:
        found = told(PrometheusPull(source(counted.url), TREE, LATE), at(24 * 60))
    assert_rows(found, ROWS)
    assert len(asked_for(counted)) >= 8
    assert max(end - begin for begin, end in asked_for(counted)) <= 6 * 3600


def test_what_was_missed_while_it_was_away_comes_later(server: Server) -> None:
    with proxy(server.url) as way:
        pull = PrometheusPull(source(way.url), TREE, LATE)
        first = told(pull, at(60 * 10 + 1))
        way.faults[:] = ["away"] * 3
        for hour in (11, 12, 13):
            with pytest.raises(TransientError, match="no answer after 1 attempt"):
                told(pull, at(60 * hour + 1))
        rest = told(pull, at(24 * 60))
    assert_rows(pl.concat([first, rest]), ROWS)


def test_it_is_stopped_and_started_again(tmp_path: Path) -> None:
    server = Server(tmp_path / "prometheus", history=openmetrics(ROWS))
    server.start()
    try:
        pull = PrometheusPull(source(server.url), TREE, LATE)
        first = told(pull, at(60 * 10 + 1))
        server.stop()
        with pytest.raises(TransientError):
            told(pull, at(60 * 12))
        server.start()
        assert_rows(pl.concat([first, told(pull, at(24 * 60))]), ROWS)
    finally:
        server.stop()


def test_a_failure_in_the_midst_of_history_does_not_begin_it_anew(server: Server) -> None:
    with proxy(server.url) as way:
        pull = PrometheusPull(source(way.url), TREE, LATE)
        way.faults[:] = ["", "", "", "", "away"]
        parts = []
        with pytest.raises(TransientError):
            parts += pull.rows(at(0), at(24 * 60))  # what it yielded before is lost with the exception
        way.asked.clear()
        rest = told(pull, at(24 * 60))
        assert min(begin for begin, _ in asked_for(way)) > at(60).timestamp()
    assert rest["time"].max() == ROWS["time"].max()


def test_steps_are_those_of_the_batch_and_each_is_told_once(server: Server, tmp_path: Path) -> None:
    """Of two hours: a step that was told is asked for again with the next, and not told again."""
    steps = source(server.url, step_s=7200)
    pull = PrometheusPull(steps, TREE, LATE)
    together = pl.concat([told(pull, at(60 * hour)) for hour in (5, 9, 14, 24)])
    batch = replace(steps, start=at(0).isoformat(), until=at(24 * 60).isoformat(), cache=str(tmp_path)).read()
    assert not together.select("time", "entity_id").is_duplicated().any()
    assert_rows(together, batch.telemetry.select("time", "entity_id", *SIGNALS).collect())


def test_energy_is_told_as_power_once_the_next_reading_is_there(server: Server) -> None:
    metrics = {"node_energy_joules_total": MetricSpec(kind="counter")}
    pull = PrometheusPull(source(server.url, metrics=metrics), TREE, LATE)
    parts = [told(pull, at(60.5 + minute)) for minute in range(1, 60, 7)]
    parts.append(told(pull, at(60.5 + 89)))
    found = pl.concat(parts).unique().filter(pl.col("entity_id") == "a").sort("time")
    assert found["power_w"].to_list() == pytest.approx([1000.0 * 2 * (minute + 1) / 60 for minute in range(89)])
    assert found["time"].is_unique().all()


def test_silence_is_told_with_its_beginning_and_ends_by_itself(server: Server) -> None:
    pull = PrometheusPull(source(server.url), TREE, LATE)
    with pytest.raises(DataError, match=r"no samples of any of the 2 metrics since 2026-\d\d-\d\dT\d\d:\d\dZ"):
        told(pull, at(-60), at(-120))
    assert_rows(told(pull, at(24 * 60)), ROWS)


def test_a_secret_that_the_environment_lacks_is_told_before_anything_is_asked() -> None:
    with pytest.raises(ConfigError, match="no variable FLEETCAST_TEST_SECRET"):
        source("http://127.0.0.1:9", headers_env={"Authorization": "FLEETCAST_TEST_SECRET"}).pull(TREE, LATE)


def test_a_server_that_says_nothing_is_given_up_after_its_time() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Silent) as silent:
        threading.Thread(target=silent.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{silent.server_port}"
        with pytest.raises(TransientError, match=r"check source\.url"):
            told(PrometheusPull(source(url, timeout_s=0.2), TREE, LATE), at(60))
        silent.shutdown()
    assert len(_Silent.asked) == 1  # one attempt: the next look is the next


def test_a_server_that_trickles_is_given_up_after_its_time() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Trickling) as trickling:
        threading.Thread(target=trickling.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{trickling.server_port}"
        with pytest.raises(TransientError, match="an answer without end"):
            told(PrometheusPull(source(url, timeout_s=0.2), TREE, LATE), at(60))
        trickling.shutdown()


class _Trickling(http.server.BaseHTTPRequestHandler):
    """A space of JSON every tenth of a second, as long as somebody listens."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 30))
        self.end_headers()
        tick = threading.Event()
        with contextlib.suppress(OSError):
            while not tick.wait(0.1):
                self.wfile.write(b" ")

    def log_message(self, *_: object) -> None:
        pass


class _Silent(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 - of one test

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.rfile.read(1)  # until the client gives up
