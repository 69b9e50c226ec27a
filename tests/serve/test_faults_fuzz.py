"""Bytes that something changed on the way, on routes that OpenAPI says little of: telemetry in Arrow, and `/v2`."""

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from attacked import INFER, Attacked, attacked
from fleets import as_arrow, as_json, fleet, telemetry
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from protocol_client import binary

from serve.http.push import ARROW, read_rows
from serve.refusals import BadRequestError

ROWS = telemetry(fleet(), hours=30).tail(20)

#: Written by pyarrow 26, as base64: rows of `time`, `entity_id` and `power_w` in each of its forms of them.
PYARROW = {
    name: base64.b64decode(text)
    for name, text in json.loads((Path(__file__).parent / "pyarrow_streams.json").read_text()).items()
}

STREAMS = [
    as_arrow(ROWS),
    as_arrow(ROWS.with_columns(pl.col("entity_id").cast(pl.Categorical), pl.col("power_w").cast(pl.Float32))),
    *PYARROW.values(),
]

#: What a length or a place may be instead.
NUMBERS = st.sampled_from([0, 1, -1, 127, 2**16, 2**31 - 1, -(2**31), 2**32, 2**40, 2**60, 2**63 - 1, -(2**63)])

fuzzed = settings(
    max_examples=200, deadline=None, database=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked(tmp_path_factory.mktemp("fuzzed")) as server:
        yield server


@st.composite
def damaged(draw: Any, contents: list[bytes]) -> bytes:
    """One of the contents, a few places of which are not as they were."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content) - 1))
        match draw(st.sampled_from(["byte", "int", "long", "cut", "gap", "more"])):
            case "byte":
                content[at] = draw(st.integers(0, 255))
            case "int":
                content[at & ~3 : (at & ~3) + 4] = (draw(NUMBERS) & 0xFFFFFFFF).to_bytes(4, "little")
            case "long":
                content[at & ~7 : (at & ~7) + 8] = (draw(NUMBERS) & (2**64 - 1)).to_bytes(8, "little")
            case "cut":
                del content[max(at, 1) :]
            case "gap":
                del content[max(at, 1) : at + draw(st.integers(1, 64))]
            case "more":
                content[at:at] = bytes(draw(st.integers(1, 64)))
    return bytes(content)


@pytest.mark.parametrize("name", PYARROW)
def test_what_another_library_wrote_is_read_as_it_reads_it_itself(name: str) -> None:
    rows, minutes = read_rows(ARROW, PYARROW[name]), [0, 1] * 3 if name == "deltas" else range(6)
    names = ["server-0", "server-1", None, "rack-äöü-a-long-name-over-12", "server-0", "server-1"]
    assert rows["time"].dt.strftime("%d %H:%M").to_list() == [f"04 00:0{minute}" for minute in minutes]
    assert rows["entity_id"].to_list() == (["a", "a", "b", "a", "c", None] if name == "deltas" else names)
    assert rows["power_w"].to_list() in (
        [1.5, None, 3.0, 4.0, 5.0, -6.0], [1.0, None, 3.0, 4.0, 5.0, 6.0], [None] * 6, [1.0, 2.0] * 3
    )  # fmt: skip


TIMES = pl.col("time")
REFUSED = {
    "no zone": ROWS.with_columns(TIMES.dt.replace_time_zone(None)),
    "a date": ROWS.with_columns(TIMES.dt.date()),
    "numbers for names": ROWS.with_columns(entity_id=pl.lit(1)),
    "a list": ROWS.with_columns(power_w=pl.lit([1.0, 2.0])),
    "truth": ROWS.with_columns(power_w=pl.lit(value=True)),
    "another column": ROWS.with_columns(other=pl.lit(1.0)),
    "a long name": ROWS.with_columns(entity_id=pl.lit("n" * 257)),
    "a long name of many": ROWS.with_columns(entity_id=pl.lit("n" * 257).cast(pl.Categorical)),
}


@pytest.mark.parametrize("rows", REFUSED.values(), ids=REFUSED)
def test_streams_of_other_forms_are_refused(rows: pl.DataFrame) -> None:
    with pytest.raises(BadRequestError):
        read_rows(ARROW, as_arrow(rows))


def test_times_at_the_ends_of_what_a_number_holds(server: Attacked) -> None:
    for time in (2**63 - 1, -(2**63), 0):
        for unit in ("ns", "us", "ms"):
            rows = ROWS.with_columns(pl.lit(time).cast(pl.Datetime(unit, "UTC")).alias("time"))
            assert server.ask("POST", "/v1/telemetry", as_arrow(rows), {"content-type": ARROW}).status == 202
    server.assert_unharmed()


def ask_all(server: Attacked, path: str, contents: list[bytes], headers: dict[str, str]) -> None:
    """Damaged contents are taken, refused or asked for again, and neither fail nor end the process."""
    before, statuses = server.resident_bytes, Counter[int]()

    @fuzzed
    @given(damaged(contents))
    def fuzz(body: bytes) -> None:
        reply = server.ask("POST", path, body, headers)
        full = reply.status == 503 and reply.headers["retry-after"] == "1"  # the engine has yet to take in what came
        assert full or reply.status < 500
        statuses[reply.status] += 1

    fuzz()
    assert statuses[400] > statuses[503], statuses
    server.assert_unharmed()
    assert server.resident_bytes - before < 150 * 1024**2


def test_damaged_arrow_streams(server: Attacked) -> None:
    ask_all(server, "/v1/telemetry", STREAMS, {"content-type": ARROW})


def test_damaged_rows_of_json(server: Attacked) -> None:
    ask_all(
        server, "/v1/telemetry", [as_json(ROWS)[:2000], as_json(ROWS.head(3))], {"content-type": "application/json"}
    )


def test_damaged_tensors(server: Attacked) -> None:
    body, headers = binary(server.target.tensors(2))
    ask_all(server, INFER, [body], headers)


def test_damaged_requests_for_inference(server: Attacked) -> None:
    ask_all(server, INFER, [json.dumps(server.target.request(1)).encode()[:3000]], {"content-type": "application/json"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ["id", "parameters", "inputs", "outputs"]
OF_TENSORS = ["name", "shape", "datatype", "data", "parameters"]


def test_requests_for_inference_with_anything_anywhere(server: Attacked) -> None:
    sound: Callable[[], dict[str, Any]] = lambda: server.target.request(1)  # noqa: E731

    @fuzzed
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        request = sound()
        if data.draw(st.booleans()):
            request[data.draw(st.sampled_from(FIELDS))] = data.draw(JSON)
        else:
            request["inputs"][data.draw(st.integers(0, 2))][data.draw(st.sampled_from(OF_TENSORS))] = data.draw(JSON)
        assert server.target.infer(request).status < 500

    fuzz()
    server.assert_unharmed()
