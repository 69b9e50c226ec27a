"""A cycle as messages: nothing lost, one id for one forecast, names that no topic trips over."""

from dataclasses import replace
from urllib.parse import unquote

import orjson
from hypothesis import given
from hypothesis import strategies as st
from issuing import NOON, SPEC, expected, ids, issue, later, rows_of

from serve.sinks.messages import messages, route, token


def test_rows_come_out_as_they_went_in_to_the_bit() -> None:
    issued = issue()
    rows = rows_of([message.data for message in messages(issued)])
    assert rows.select(expected(issued).columns).equals(expected(issued))


def test_a_structured_event_is_the_data_and_what_is_said_of_it() -> None:
    for message in messages(issue()):
        event = orjson.loads(message.structured)
        assert event.pop("data") == orjson.loads(message.data)
        assert event == message.attributes
        assert {"specversion", "id", "source", "type"} <= event.keys()
        assert event["time"] == "2026-03-04T12:00:00Z"


def test_an_id_is_of_one_forecast_however_often_it_is_written() -> None:
    issued = issue()
    again = replace(issued, issued_at=NOON.replace(minute=7))
    other_bundle = replace(issued, forecast=replace(issued.forecast, bundle_id="bundle-3"))
    others = [issue(shift=1.0), later(issued, 1), replace(issued, name="hour-ahead"), other_bundle]
    assert ids(issued) == ids(again)
    told = [one for made in (issued, *others) for one in ids(made)]
    assert len(set(told)) == len(told)


def test_only_some_levels() -> None:
    assert {message.entity_id for message in messages(issue(), ("rack", "site"))} == {"rack-1", "site-1"}
    assert list(messages(issue(), ("hall",))) == []


def test_large_fleets_come_whole_and_in_order() -> None:
    issued = issue([f"server-{at:04}" for at in range(1200)])
    assert [message.entity_id for message in messages(issued)] == list(issued.topology.entities)


@given(st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True))
def test_names_stay_apart_and_harmless_in_topics_and_headers(names: list[str]) -> None:
    names = [name.encode("utf-8", "replace").decode() for name in names]
    tokens = [token(name) for name in names]
    assert [unquote(one) for one in tokens] == names
    for one in tokens:
        assert one
        assert one.isascii()
        assert one.isprintable()
        assert not set(one) & set("./+#*> $\r\n\x00")


def test_a_prefix_has_levels() -> None:
    assert route(".", "site/a.b", "day-ahead", "x/y") == "site.a%2Eb.day-ahead.x%2Fy"


def test_a_message_is_no_larger_than_its_horizon_makes_it() -> None:
    """Brokers refuse what is too large, NATS from 1 MB on."""
    sizes: list[int] = [len(message.structured) for message in messages(issue(["x" * 200]))]
    columns, steps = len(issue().table().columns), SPEC.horizon_steps
    assert max(sizes) < 1200 + 30 * columns * steps
