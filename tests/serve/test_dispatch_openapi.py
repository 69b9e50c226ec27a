"""Whatever OpenAPI allows, and what it does not, is answered as OpenAPI says: never by a failure of ours."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fleets import fleet, publish, telemetry
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from planned import write_planned
from running import Running, running
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from serve.http.app import routes

TOPOLOGY = fleet()
BASE = "/v1/forecasts"

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]

#: How what OpenAPI does not allow is refused; a thousand and one names may be more than headers or bodies may hold.
REFUSED = [400, 404, 405, 406, 413, 415, 431, 503]

OPERATIONS = [
    ("GET", BASE),
    *(("GET", f"{BASE}/{{name}}{path}") for path in (
        "", "/status", "/topology", "/map", "/observed", "/headroom", "/tightest", "/exceedance"
    )),
    ("POST", f"{BASE}/{{name}}/what-if"),
    ("POST", f"{BASE}/{{name}}/placements"),
    ("POST", "/v1/telemetry"),
    ("GET", "/metrics"),
]  # fmt: skip


WITHOUT_QUESTION = {BASE, f"{BASE}/{{name}}/status", "/metrics"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("openapi")
    publish(folder / "registry", write_planned(folder / "made", "k1", TOPOLOGY), "k1")
    with running(folder / "registry") as server:
        server.push(telemetry(TOPOLOGY))
        yield server


@pytest.fixture(scope="module")
def document(server: Running) -> Any:
    return routes(server.state).openapi()


@pytest.fixture(scope="module")
def schema(document: Any) -> Any:
    rejection = {"expected-statuses": REFUSED}
    config = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": rejection}})
    return schemathesis.openapi.from_dict(document, config=config)


def test_every_route_that_is_told_is_asked(document: Any) -> None:
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert told == set(OPERATIONS)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_openapi_says_is_true(server: Running, schema: Any, method: str, path: str, mode: GenerationMode) -> None:
    """Requests that it allows, of a forecast that there is, and requests that it does not."""
    if mode is GenerationMode.NEGATIVE and path in WITHOUT_QUESTION:
        pytest.skip("there is nothing to ask wrongly")
    operation = schema[path][method]
    there = {"path_parameters": {"name": "day-ahead"}} if "{name}" in path else {}

    @settings(
        max_examples=10, deadline=None, database=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(mode, **there))
        case.call_and_validate(base_url=f"http://{server.address}", checks=CHECKS)

    fuzz()
