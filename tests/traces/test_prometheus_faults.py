"""Servers that refuse, redirect, lie or are not there: one line that says what to do, and no secret in it."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_server import free_port

from forecast.contracts.errors import ConfigError, DataError
from forecast.traces.metrics import MetricSpec
from forecast.traces.prometheus import PrometheusSource
from forecast.traces.prometheus_api import PrometheusApi
from forecast.traces.templates import check_template, fill
from forecast.traces.tree import TreeSpec

START = datetime(2026, 6, 1, tzinfo=UTC)

#: What a request gets: status, headers, body, and how many bytes are promised beyond it.
Answer = tuple[int, dict[str, str], bytes, int]


@contextmanager
def server(answer: Callable[[http.server.BaseHTTPRequestHandler], Answer]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body, more = answer(self)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body) + more)}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as it:
        threading.Thread(target=it.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{it.server_port}"
        it.shutdown()


def source(url: str, cache: Path, **changes: Any) -> PrometheusSource:
    plain = PrometheusSource(
        url=url,
        cache=str(cache),
        start="2026-06-01",
        until="2026-06-02",
        attempts=1,
        timeout_s=5,
        metrics={"watts": MetricSpec()},
        entity={"": "{host}"},
        tree=TreeSpec(),
    )
    return replace(plain, **changes)


def refusal(one: PrometheusSource, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        one.read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><title>Sign in</title>", 0), "answers with a web page"),
        ((302, {"Location": "https://login.example/"}, b"", 0), "it redirects, to a login page perhaps"),
        ((200, {}, b'{"status": "success", "data": [{"__name__": "wa', 0), "no whole JSON (47 bytes)"),
        ((200, {}, b'{"status": "success", "data": [', 500), "no answer after 1 attempt"),
        ((200, {}, b'{"cluster_name": "elastic"}', 0), "not a Prometheus (status 200 and no result)"),
        (
            (200, {}, b'{"status": "success", "data": {"a": 1}}', 0),
            "its answer has no list of series",
        ),
        (
            (
                400,
                {},
                b'{"status": "error", "error": "invalid parameter \\"start\\":\\nnope"}',
                0,
            ),
            'refused with status 400: invalid parameter "start": nope',
        ),
        (
            (200, {}, b'{"status": "success", "data": [], "warnings": ["store b: connection refused"]}', 0),
            "gave a part only: store b: connection refused",
        ),
        ((401, {}, b"Unauthorized", 0), "refused with status 401 (check source.headers_env)"),
        ((404, {}, b"404 page not found", 0), "refused with status 404 (check source.url)"),
        ((503, {}, b"Service Unavailable", 0), "refused with status 503"),
        ((429, {}, b'{"status": "error", "error": "tenant over its limit"}', 0), "429: tenant over its limit"),
    ],
)
def test_a_wrong_answer_is_told_in_one_line_with_the_servers_words(answer: Answer, words: str, tmp_path: Path) -> None:
    with server(lambda _: answer) as url:
        told = refusal(source(url, tmp_path))
    assert words in told
    assert url in told
    assert not list(tmp_path.rglob("*.parquet"))


def test_nobody_there(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    told = refusal(source(url, tmp_path))
    assert told.startswith(f"{url}: no answer after 1 attempt (")
    assert "Connection refused" in told


def test_a_server_that_never_ends_its_answer_is_left(tmp_path: Path) -> None:
    over = threading.Event()

    def hang(_: http.server.BaseHTTPRequestHandler) -> Answer:
        over.wait(30)
        return 200, {}, b"", 0

    with server(hang) as url:
        told = refusal(source(url, tmp_path, timeout_s=0.2))
        over.set()
    assert "no answer after 1 attempt (Read timed out" in told


def test_no_more_attempts_than_set(tmp_path: Path) -> None:
    asked = []

    def busy(request: http.server.BaseHTTPRequestHandler) -> Answer:
        asked.append(request.path)
        return 503, {"Retry-After": "0"}, b"", 0

    with server(busy) as url:
        refusal(source(url, tmp_path, attempts=3))
    assert len(asked) == 3


def test_a_secret_comes_from_the_environment_and_goes_to_the_server_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROMETHEUS_AUTHORIZATION", "Bearer s3cret")
    seen = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> Answer:
        seen.append(request.headers["Authorization"])
        return 403, {}, b"no", 0

    with server(answer) as url:
        one = source(url, tmp_path, headers_env={"Authorization": "PROMETHEUS_AUTHORIZATION"})
        told = refusal(one)
    assert seen == ["Bearer s3cret"]
    assert "s3cret" not in told + repr(one) + repr(PrometheusApi(url, {"Authorization": "Bearer s3cret"}, None, 1, 1))
    assert "s3cret" not in "".join(capfd.readouterr())
    monkeypatch.delenv("PROMETHEUS_AUTHORIZATION")
    assert "no variable PROMETHEUS_AUTHORIZATION" in refusal(one, ConfigError)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": ""}, "source.url is not set"),
        ({"url": "prometheus.example"}, "source.url='prometheus.example' must begin with http://"),
        ({"url": "http://me:secret@prometheus"}, "source.url holds a user or password; put them into"),
        ({"metrics": {}}, "source.metrics is empty"),
        ({"metrics": {"up{job=1}": MetricSpec()}}, "a key is a metric's name"),
        ({"metrics": {"watts": MetricSpec(labels={"a=~'x',b": "c"})}}, "is no label's name"),
        ({"entity": {}}, "source.entity has no template for watts"),
        ({"entity": {"": "host"}}, "must have {label}"),
        ({"entity": {"": "{host:[0-9]{3}}"}}, "the pattern without braces"),
        ({"entity": {"": "{host:(}"}}, "is no regular expression"),
        ({"level": {"": "blade"}}, "'blade' is no level"),
        ({"step_s": 7}, "source.step_s=7 does not divide a day"),
        ({"start": "2026-07-01"}, "source.start=2026-07-01 is not before 2026-06-02"),
        ({"timeout_s": 0}, "source.timeout_s=0 must be positive"),
        ({"ca_file": "absent.pem"}, "source.ca_file=absent.pem"),
    ],
)
def test_a_setting_that_cannot_be_is_named(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refusal(replace(source("http://127.0.0.1:9", tmp_path), **changes), ConfigError)


@pytest.mark.parametrize(
    ("template", "labels", "filled"),
    [
        ("{Hostname}/gpu{gpu}", {"Hostname": "node-1", "gpu": "3"}, "node-1/gpu3"),
        ("{instance:[^:]+}", {"instance": "node-1:9290"}, "node-1"),
        ("{instance:^([^.:]+)}", {"instance": "node-1.example:9290"}, "node-1"),
        ("{instance:^bmc-(.+):[0-9]+$}", {"instance": "bmc-node-1:443"}, "node-1"),
        ("{instance:^bmc-(.+):[0-9]+$}", {"instance": "node-1:443"}, None),
        ("{rack}", {"instance": "node-1:443"}, None),
        ("{rack}", {"rack": ""}, None),
    ],
)
def test_a_template_makes_an_id_of_labels(template: str, labels: dict[str, str], filled: str | None) -> None:
    check_template(template, "here")
    assert fill(template, labels) == filled


def test_numbers_that_are_none_arrive_as_what_they_are(tmp_path: Path) -> None:
    points = [[START.timestamp() + i, text] for i, text in enumerate(["NaN", "+Inf", "-Inf", "1e3", "0.25"])]

    def answer(request: http.server.BaseHTTPRequestHandler) -> Answer:
        if "/series" in request.path:
            return 200, {}, b'{"status": "success", "data": [{"__name__": "watts", "host": "a"}]}', 0
        matrix = f'[{{"metric": {{"__name__": "watts", "host": "a"}}, "values": {points}}}]'.replace("'", '"')
        body = f'{{"status": "success", "data": {{"resultType": "matrix", "result": {matrix}}}}}'
        return 200, {}, body.encode(), 0

    with server(answer) as url:
        found = source(url, tmp_path).read().telemetry.collect()
    assert str(found["power_w"].to_list()) == "[nan, inf, -inf, 1000.0, 0.25]"
    assert found["time"].to_list() == [START + timedelta(seconds=i) for i in range(5)]
    assert found.schema["time"] == pl.Datetime("us", "UTC")
