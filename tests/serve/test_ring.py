"""The ring holds what the predictor would make of all the telemetry that came, however it came."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fleets import NOW, SPEC, fleet, telemetry, write_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecast.bundle.load import load
from forecast.contracts.errors import DataError
from forecast.predictor import Forecast, Predictor
from serve.engine.ring import Ring

TOPOLOGY = fleet()


def broken(rows: pl.DataFrame) -> pl.DataFrame:
    """With a sensor that has stuck since before midnight, and a server that has been silent for most of a day."""
    stuck = (pl.col("entity_id") == "server-2") & (pl.col("time") > NOW - timedelta(hours=5))
    silent = (pl.col("entity_id") == "server-3") & (pl.col("time") > NOW - timedelta(hours=23))
    return rows.filter(~silent).with_columns(power_w=pl.when(stuck).then(500.0).otherwise("power_w"))


ROWS = broken(telemetry(TOPOLOGY))


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(load(write_bundle(tmp_path_factory.mktemp("bundle") / "k1", "k1", TOPOLOGY)))


def of(ring: Ring, predictor: Predictor) -> Forecast:
    panel = ring.panel()
    return predictor.at(panel, panel.step(NOW))


def assert_same(mine: Forecast, expected: Forecast) -> None:
    for name, values in expected.outputs._asdict().items():
        np.testing.assert_array_equal(getattr(mine.outputs, name), values, err_msg=name)
    assert (mine.status, mine.source, mine.data_time) == (expected.status, expected.source, expected.data_time)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.floats(0.6, 1.0), max_size=12), seed=st.integers(0, 99))
def test_whatever_the_batches_the_forecast_is_that_of_the_raw_telemetry(
    predictor: Predictor, cuts: list[float], seed: int
) -> None:
    """Bit for bit, with batches of any size, shuffled within, and each of them sent twice."""
    ring = Ring(TOPOLOGY, SPEC)
    edges = [0, *sorted({int(cut * len(ROWS)) for cut in cuts}), len(ROWS)]
    for first, end in pairwise(edges):
        if first == end:
            continue
        batch = ROWS[first:end].sample(fraction=1, shuffle=True, seed=seed)
        for _ in range(2):
            ring.take(batch, batch["time"].max())
    assert_same(of(ring, predictor), predictor.forecast(ROWS.lazy(), NOW))


def test_days_go_by_in_the_same_memory(predictor: Predictor) -> None:
    rows, ring = telemetry(TOPOLOGY, hours=24 * 12), Ring(TOPOLOGY, SPEC)
    sizes = set()
    for day in range(12):
        begin = NOW - timedelta(days=12 - day)
        batch = rows.filter(pl.col("time").is_between(begin, begin + timedelta(days=1), closed="left"))
        ring.take(batch, begin + timedelta(days=1))
        sizes.add((ring.panel().chunks[0].base.nbytes, ring.targets().shape[-1]))
    assert len(sizes) == 1
    assert_same(of(ring, predictor), predictor.forecast(rows.lazy(), NOW))


def test_history_that_comes_entity_by_entity_fills_what_is_empty(predictor: Predictor) -> None:
    ring = Ring(TOPOLOGY, SPEC)
    for _, rows in ROWS.group_by("entity_id"):
        ring.take(rows, NOW)
    assert_same(of(ring, predictor), predictor.forecast(ROWS.lazy(), NOW))


def test_late_samples_count_with_their_step_while_it_is_open_and_else_only_where_nothing_was(
    predictor: Predictor,
) -> None:
    hour, day = NOW - timedelta(minutes=50), NOW - timedelta(hours=20)
    held = (pl.col("time") > hour) & (pl.col("entity_id") == "server-1") | pl.col("time").is_between(
        day, day + timedelta(minutes=5)
    )
    ring = Ring(TOPOLOGY, SPEC)
    ring.take(ROWS.filter(~held), NOW)
    taken = ring.take(ROWS.filter(held), NOW)
    assert taken.set_aside["too late"] > 0  # of steps that are closed and were seen in part
    whole = Ring(TOPOLOGY, SPEC)
    whole.take(ROWS, NOW)
    np.testing.assert_allclose(ring.targets(), whole.targets(), rtol=0.1)
    in_time = Ring(TOPOLOGY, SPEC)
    in_time.take(ROWS.filter(pl.col("time") <= hour), NOW)
    in_time.take(ROWS.filter(pl.col("time") > hour), NOW)
    assert_same(of(in_time, predictor), predictor.forecast(ROWS.lazy(), NOW))


def test_rows_that_have_no_place_are_counted() -> None:
    odd = pl.concat(
        [
            ROWS.head(1).with_columns(time=pl.lit(NOW + timedelta(seconds=121)).cast(pl.Datetime("us", "UTC"))),
            ROWS.head(2).with_columns(time=pl.lit(NOW - timedelta(days=30)).cast(pl.Datetime("us", "UTC"))),
            ROWS.head(3).with_columns(time=pl.lit(None, pl.Datetime("us", "UTC"))),
            ROWS.tail(4).with_columns(entity_id=pl.lit("stranger")),
            ROWS.tail(5),
        ]
    )
    taken = Ring(TOPOLOGY, SPEC).take(odd, NOW)
    assert taken.rows == 5
    assert taken.set_aside == {"from the future": 1, "too old": 2, "unreadable time": 3, "unknown entity": 4}


def test_a_batch_in_another_unit_is_refused_and_changes_nothing(predictor: Predictor) -> None:
    ring, early = Ring(TOPOLOGY, SPEC), pl.col("time") < NOW - timedelta(minutes=30)
    ring.take(ROWS.filter(early), NOW)
    before = of(ring, predictor)
    with pytest.raises(DataError, match="kW"):
        ring.take(ROWS.filter(~early).with_columns(pl.col("power_w") / 1000), NOW)
    assert_same(of(ring, predictor), before)
    ring.take(ROWS.filter(~early), NOW)
    assert_same(of(ring, predictor), predictor.forecast(ROWS.lazy(), NOW))


def test_a_ring_for_another_fleet_takes_over_what_it_knows(predictor: Predictor, tmp_path: Path) -> None:
    ring = Ring(TOPOLOGY, SPEC)
    ring.take(ROWS, NOW)
    grown = fleet(servers=8)
    other = Ring(grown, SPEC)
    other.adopt(ring, NOW)
    places = [grown.entities.index(name) for name in TOPOLOGY.entities if name.startswith("server")]
    mine = [TOPOLOGY.entities.index(name) for name in TOPOLOGY.entities if name.startswith("server")]
    end = other.step(NOW)
    np.testing.assert_array_equal(
        other.observed(np.array(places), end - 96, end), ring.observed(np.array(mine), end - 96, end)
    )
    assert other.complete() == ring.complete()


def test_readers_see_what_was_observed_and_nothing_beyond_it() -> None:
    ring = Ring(TOPOLOGY, SPEC)
    ring.take(ROWS, NOW)
    end = ring.step(NOW)
    seen = ring.observed(np.array([0, 4]), end - 4, end + 2)
    assert seen.shape == (3, 2, 6)
    assert np.isnan(seen[:, :, 4:]).all()
    assert not np.isnan(seen[:, :, :4]).any()


def test_faults_are_told_of_the_newest_steps() -> None:
    ring = Ring(TOPOLOGY, SPEC)
    ring.take(ROWS, NOW)
    assert ring.faults(4)["stuck_sensor"] >= 4
    assert ring.faults(4)["gap"] > 0
    assert "stuck_sensor" not in Ring(TOPOLOGY, SPEC).faults(4)
