"""What every source owes its reader, whatever it reads; the kinds are in `every_source.SOURCES`."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from every_source import SOURCES, Case
from polars.testing import assert_frame_equal

from forecast.contracts.signals import SIGNALS
from forecast.contracts.tables import TELEMETRY, UTC
from forecast.traces.trace import Trace


@pytest.fixture(params=SOURCES, ids=lambda source: source.__name__)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    make: Callable[[Path], Case] = request.param
    return make(tmp_path)


def of_the_fleet(trace: Trace) -> pl.DataFrame:
    """Rows with a time of entities that the tree knows, in order."""
    known = trace.telemetry.filter(
        pl.col("time").is_not_null(), pl.col("entity_id").is_in(trace.topology.entities)
    ).collect()
    return known.sort("entity_id", "time")


def test_it_keeps_the_contract_and_tells_the_truth_in_si(case: Case) -> None:
    trace = case.source.read()
    TELEMETRY.check(trace.telemetry.drop_nulls("time"), "source")
    schema = trace.telemetry.collect_schema()
    assert schema["time"] == UTC
    assert {dtype for name, dtype in schema.items() if name in SIGNALS} <= {pl.Float32, pl.Float64}
    expected = case.expected.sort("entity_id", "time")
    assert_frame_equal(of_the_fleet(trace), expected, check_column_order=False, check_dtypes=False, rel_tol=1e-12)


def test_rows_that_cannot_be_placed_stay_in_to_be_counted(case: Case) -> None:
    trace = case.source.read()
    assert trace.telemetry.collect().height - of_the_fleet(trace).height == case.stray


def test_it_is_read_when_it_is_needed(case: Case) -> None:
    plan = case.source.read().telemetry.explain()
    assert not re.search(r'DF \[[^]]*"(time|when)"', plan), "telemetry in memory"


def test_its_key_is_that_of_its_content(case: Case) -> None:
    trace = case.source.read()
    rows = of_the_fleet(trace)
    again = case.source.read()
    assert (again.key, again.parts) == (trace.key, trace.parts)
    changed = case.change().read()
    assert changed.key != trace.key
    assert changed.parts != trace.parts
    assert not of_the_fleet(changed).equals(rows)


def test_its_parts_cover_its_samples(case: Case) -> None:
    trace = case.source.read()
    assert len({part.name for part in trace.parts}) == len(trace.parts) > 0
    ranges = [(part.first, part.last) for part in trace.parts if part.first is not None]
    for time in of_the_fleet(trace)["time"].unique():
        assert any(first <= time <= last for first, last in ranges if last is not None)


def test_until_ends_it_and_is_in_its_key(case: Case) -> None:
    trace = case.source.read()
    rows = of_the_fleet(trace)
    middle: datetime = rows["time"].unique().sort()[11]
    until = replace(case.source, until=middle.replace(tzinfo=None).isoformat()).read()
    assert of_the_fleet(until).equals(rows.filter(pl.col("time") < middle))
    assert until.key != trace.key
    assert until.telemetry.collect()["time"].null_count() == trace.telemetry.collect()["time"].null_count()
