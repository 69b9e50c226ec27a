"""Samples of metrics become rows of signals: numbers worked out by hand, and order of rows does not matter."""

import math
import random
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from trees import at, node, table_of

from forecast.contracts.errors import ConfigError
from forecast.contracts.tables import UTC
from forecast.contracts.topology import Topology
from forecast.traces.metrics import MetricSpec, limits, resets, widen
from forecast.traces.trace import checked

SCHEMA = {"time": UTC, "entity_id": pl.String, "metric": pl.String, "series": pl.String, "value": pl.Float64}
TOPOLOGY = Topology.of(table_of(node("a", power_limit_w=700.0), node("b", temperature_limit_c=None), node("c")))
BLANK = 2147483647.0
NAN = "not a number"

Sample = tuple[datetime | None, str, str, str | None, float | None]


def frame(*samples: Sample) -> pl.LazyFrame:
    return pl.LazyFrame(list(samples), schema=SCHEMA, orient="row")


def wide(samples: pl.LazyFrame | list[Sample], **metrics: MetricSpec) -> list[tuple[Any, ...]]:
    """Rows of (time, entity, signals…) in order; None for null, NAN for a NaN."""
    lazy = frame(*samples) if isinstance(samples, list) else samples
    table = checked(widen(lazy, metrics, TOPOLOGY), "widened").collect()
    rows = table.sort("entity_id", "time").rows()
    return [tuple(NAN if isinstance(cell, float) and math.isnan(cell) else cell for cell in row) for row in rows]


@pytest.mark.parametrize(
    ("spec", "raw", "si"),
    [
        (MetricSpec(signal="power_w"), 512.5, 512.5),
        (MetricSpec(signal="power_w", unit="mW"), 512_500.0, 512.5),
        (MetricSpec(signal="power_w", unit="kW"), 6.5, 6500.0),
        (MetricSpec(signal="temperature_c", unit="degF"), 140.0, 60.0),
        (MetricSpec(signal="inlet_c", unit="K"), 295.15, 22.0),
        (MetricSpec(signal="utilization_ratio", unit="percent"), 85.0, 0.85),
        (MetricSpec(signal="temperature_c", kind="margin"), 57.0, 33.0),
        (MetricSpec(signal="temperature_c", kind="margin", unit="degF"), 18.0, 80.0),
        (MetricSpec(signal="power_w", kind="margin", unit="kW"), 0.25, 450.0),
    ],
)
def test_a_value_in_its_unit_becomes_the_signal(spec: MetricSpec, raw: float, si: float) -> None:
    ((time, entity, value),) = wide([(at(0), "a", "m", None, raw)], m=spec)
    assert (time, entity) == (at(0), "a")
    assert value == pytest.approx(si, abs=1e-9)


def test_a_margin_below_no_known_limit_is_unknown() -> None:
    spec = MetricSpec(signal="temperature_c", kind="margin")
    samples: list[Sample] = [(at(0), "b", "m", None, 30.0), (at(0), "stranger", "m", None, 30.0)]
    assert wide(samples, m=spec) == [(at(0), "b", None), (at(0), "stranger", None)]


def test_metrics_of_different_rates_meet_where_their_times_do() -> None:
    samples: list[Sample] = [
        *((at(minute), "a", "watts", None, 100.0 + minute) for minute in range(4)),
        *((at(minute), "a", "heat", None, 50.0 + minute) for minute in (0, 2)),
        (at(1), "b", "heat", None, 40.0),
        (at(1), "b", "fan", None, 4000.0),
    ]
    rows = wide(samples, watts=MetricSpec(), heat=MetricSpec(signal="temperature_c"))
    assert rows == [
        (at(0), "a", 100.0, 50.0),
        (at(1), "a", 101.0, None),
        (at(2), "a", 102.0, 52.0),
        (at(3), "a", 103.0, None),
        (at(1), "b", None, 40.0),
    ]


@pytest.mark.parametrize(("combine", "expected"), [("max", 70.0), ("min", 50.0), ("mean", 60.0), ("sum", 180.0)])
def test_series_of_one_entity_are_combined(combine: str, expected: float) -> None:
    samples: list[Sample] = [(at(0), "a", "m", name, value) for name, value in (("0", 50.0), ("1", 70.0), ("2", 60.0))]
    samples.append((at(1), "a", "m", "0", None))
    assert wide(samples, m=MetricSpec(combine=combine)) == [(at(0), "a", expected), (at(1), "a", None)]


def test_sentinels_are_nan_so_that_they_are_counted() -> None:
    spec = MetricSpec(signal="temperature_c", unit="degF", sentinels=[BLANK, 0.0])
    samples: list[Sample] = [
        (at(0), "a", "m", "0", BLANK),
        (at(0), "a", "m", "1", 0.0),
        (at(1), "a", "m", "0", BLANK),
        (at(1), "a", "m", "1", 140.0),
        (at(0), "a", "other", "0", 0.0),
    ]
    rows = wide(samples, m=spec, other=MetricSpec(signal="inlet_c"))
    assert rows == [(at(0), "a", NAN, 0.0), (at(1), "a", pytest.approx(60.0), None)]


def test_a_sum_with_a_blank_in_it_is_no_measurement() -> None:
    samples: list[Sample] = [(at(0), "a", "m", "psu1", 400.0), (at(0), "a", "m", "psu2", BLANK)]
    assert wide(samples, m=MetricSpec(combine="sum", sentinels=[BLANK])) == [(at(0), "a", NAN)]


def test_a_sample_that_is_there_twice_adds_nothing() -> None:
    twice: list[Sample] = [(at(0), "a", "m", "psu1", 400.0)] * 2 + [(at(0), "a", "m", "psu2", 300.0)]
    differing: list[Sample] = [*twice, (at(0), "a", "m", "psu2", 310.0)]
    assert wide(twice, m=MetricSpec(combine="sum")) == [(at(0), "a", 700.0)]
    assert wide(twice, m=MetricSpec(combine="mean")) == [(at(0), "a", 350.0)]
    assert wide(differing, m=MetricSpec(combine="sum")) == [(at(0), "a", NAN)]


def test_the_lowest_rank_with_a_value_is_taken() -> None:
    metrics = {
        "chassis": MetricSpec(rank=2),
        "psu_in": MetricSpec(rank=0, combine="sum", sentinels=[BLANK]),
        "psu_out": MetricSpec(rank=1, combine="sum", sentinels=[BLANK]),
    }
    samples: list[Sample] = [
        *((at(minute), "a", "chassis", None, 900.0) for minute in (0, 1, 2)),
        (at(0), "a", "psu_in", "1", 800.0),
        (at(0), "a", "psu_out", "1", 750.0),
        (at(1), "a", "psu_in", "1", BLANK),
        (at(1), "a", "psu_out", "1", 740.0),
        (at(2), "a", "psu_out", "1", BLANK),
        (at(3), "a", "psu_out", "1", BLANK),
    ]
    rows = wide(samples, **metrics)
    assert rows == [(at(0), "a", 800.0), (at(1), "a", 740.0), (at(2), "a", 900.0), (at(3), "a", NAN)]


def test_metrics_of_one_rank_are_combined_like_series() -> None:
    samples: list[Sample] = [(at(0), "a", "cpu", "1", 60.0), (at(0), "a", "gpu", "1", 80.0)]
    heat = MetricSpec(signal="temperature_c")
    assert wide(samples, cpu=heat, gpu=heat) == [(at(0), "a", 80.0)]


def test_a_counter_gives_the_mean_power_of_each_interval_at_its_start() -> None:
    """1 kWh in 60 s is 60 kW; 0.5 kWh in 120 s is 15 kW; the last reading opens an interval that nothing closes."""
    samples: list[Sample] = [(at(m), "a", "energy", "x", kwh) for m, kwh in ((0, 10.0), (1, 11.0), (3, 11.5))]
    rows = wide(samples, energy=MetricSpec(kind="counter", unit="kWh"))
    assert [row[0] for row in rows] == [at(0), at(1), at(3)]
    assert [row[2] for row in rows] == [pytest.approx(60_000.0), pytest.approx(15_000.0), None]


def test_a_reset_is_no_measurement_and_is_listed() -> None:
    """500 mJ per ms, a restart from nothing, and on; the other series goes on undisturbed."""
    energy = MetricSpec(kind="counter", unit="mJ", combine="sum")
    samples: list[Sample] = [
        *((at(m), "a", "energy", "0", mj) for m, mj in ((0, 6e6), (1, 36e6), (2, 3e6), (3, 33e6))),
        *((at(m), "a", "energy", "1", 60e6 * m) for m in range(4)),
        *((at(m), "b", "energy", "0", 12e6 * m) for m in range(2)),
    ]
    rows = wide(samples, energy=energy)
    assert rows == [
        (at(0), "a", 1500.0),
        (at(1), "a", 1000.0),
        (at(2), "a", 1500.0),
        (at(3), "a", None),
        (at(0), "b", 200.0),
        (at(1), "b", None),
    ]
    found = resets(frame(*samples), {"energy": energy, "gauge": MetricSpec(rank=1)})
    assert found.rows() == [("a", "0", at(2))]


def test_a_counter_next_to_a_blank_is_blank_and_a_repeated_reading_changes_nothing() -> None:
    energy = MetricSpec(kind="counter", sentinels=[BLANK])
    samples: list[Sample] = [
        (at(m), "a", "energy", "0", j) for m, j in ((0, 0.0), (0, 0.0), (1, 6e3), (2, BLANK), (3, 18e3), (4, 24e3))
    ]
    powers = {0: 100.0, 1: NAN, 2: NAN, 3: 100.0, 4: None}
    assert wide(samples, energy=energy) == [(at(minute), "a", power) for minute, power in powers.items()]
    assert resets(frame(*samples), {"energy": energy}).is_empty()


def test_gauges_and_counters_share_a_row() -> None:
    samples: list[Sample] = [
        (at(0), "a", "energy", "0", 0.0),
        (at(1), "a", "energy", "0", 6e3),
        (at(0), "a", "heat", None, 61.0),
    ]
    metrics = {"energy": MetricSpec(kind="counter"), "heat": MetricSpec(signal="temperature_c")}
    assert wide(samples, **metrics) == [(at(0), "a", 100.0, 61.0), (at(1), "a", None, None)]


def test_samples_without_a_time_stay_apart_to_be_counted() -> None:
    samples: list[Sample] = [(None, "a", "m", None, 1.0), (None, "a", "m", None, 1.0), (at(0), "a", "m", None, 2.0)]
    assert wide(samples, m=MetricSpec()) == [(None, "a", 1.0), (None, "a", 1.0), (at(0), "a", 2.0)]


def test_rows_come_in_the_order_of_the_samples_so_that_late_ones_are_seen() -> None:
    metrics = {
        "watts": MetricSpec(rank=1),
        "psu": MetricSpec(combine="sum"),
        "energy": MetricSpec(kind="counter", rank=2),
        "heat": MetricSpec("temperature_c"),
    }
    names = list(metrics)
    order = [minute for minute in range(200) if minute != 50] + [50]
    samples: list[Sample] = [(at(m), entity, names[m % 4], None, 1.0 + m) for m in order for entity in ("a", "b")]
    rows = widen(frame(*samples), metrics, TOPOLOGY).collect()
    assert rows.select("time", "entity_id").rows() == [(at(m), entity) for m in order for entity in ("a", "b")]


def test_limits_that_entities_report() -> None:
    metrics = {
        "cap": MetricSpec(signal="power_limit_w", unit="mW"),
        "slowdown": MetricSpec(signal="temperature_limit_c", sentinels=[0.0]),
        "power": MetricSpec(),
    }
    samples: list[Sample] = [
        (at(0), "a", "cap", None, 700e3),
        (at(1), "a", "cap", None, 500e3),
        (at(0), "a", "slowdown", None, 89.0),
        (at(0), "b", "slowdown", None, 0.0),
        (at(0), "c", "power", None, 100.0),
    ]
    assert limits(frame(*samples), metrics).rows() == [("a", 700.0, 89.0), ("b", None, None)]
    none = limits(frame(*samples), {"power": MetricSpec()})
    assert none.is_empty()
    assert none.columns == ["entity_id", "power_limit_w", "temperature_limit_c"]


def test_power_limits_of_the_parts_are_added_where_the_spec_says_so() -> None:
    samples: list[Sample] = [(at(m), "a", "cap", gpu, 300.0 + m) for m in (0, 1) for gpu in ("0", "1")]
    spec = MetricSpec(signal="power_limit_w", combine="sum")
    assert limits(frame(*samples), {"cap": spec}).rows() == [("a", 602.0, None)]


def test_limits_are_no_signals() -> None:
    telemetry = widen(
        frame((at(0), "a", "cap", None, 700.0)),
        {"cap": MetricSpec(signal="power_limit_w"), "power": MetricSpec()},
        TOPOLOGY,
    )
    assert telemetry.collect_schema().names() == ["time", "entity_id", "power_w"]
    assert telemetry.collect().is_empty()


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        ({"m": MetricSpec(signal="watts")}, "metrics.m: signal='watts'; known are power_w, temperature_c"),
        ({"m": MetricSpec(unit="degC")}, "metrics.m: unit='degC'; known are W, mW, kW, MW."),
        ({"m": MetricSpec(kind="rate")}, "metrics.m: kind='rate'; known are gauge, margin, counter."),
        ({"m": MetricSpec(combine="median")}, "metrics.m: combine='median'; known are max, mean, sum, min."),
        ({"m": MetricSpec(kind="counter", unit="kW")}, "metrics.m: unit='kW'; known are J, mJ"),
        ({"m": MetricSpec("inlet_c", kind="counter")}, "a counter of energy gives power, not inlet_c"),
        ({"m": MetricSpec("inlet_c", kind="margin")}, "a margin is left below a limit; inlet_c has none"),
        ({"m": MetricSpec(), "n": MetricSpec(combine="sum")}, "metrics.n: combine='sum', but m of the same signal"),
    ],
)
def test_metrics_that_mean_nothing_are_refused(metrics: dict[str, MetricSpec], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        widen(frame(), metrics, TOPOLOGY)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


ANY = {
    "cpu": MetricSpec(signal="temperature_c", unit="degF", sentinels=[0.0]),
    "left": MetricSpec(signal="temperature_c", kind="margin", rank=1),
    "psu": MetricSpec(combine="sum", sentinels=[0.0]),
    "energy": MetricSpec(kind="counter", unit="mJ", rank=1),
}
SAMPLES = st.lists(
    st.tuples(
        st.integers(0, 5).map(lambda minute: at(0) + timedelta(minutes=minute)),
        st.sampled_from(["a", "b"]),
        st.sampled_from([*ANY, "unmapped"]),
        st.sampled_from([None, "0", "1"]),
        st.one_of(st.none(), st.integers(0, 2000).map(float)),
    ),
    max_size=40,
)


@given(SAMPLES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(samples: list[Sample], rng: random.Random) -> None:
    shuffled = rng.sample(samples, len(samples))
    first, second = (
        widen(frame(*rows), ANY, TOPOLOGY).sort("entity_id", "time").collect() for rows in (samples, shuffled)
    )
    assert_frame_equal(first, second)
    assert first.select("time", "entity_id").is_unique().all()
    mapped = {(time, entity) for time, entity, metric, _, value in samples if metric in ANY}
    assert set(first.select("time", "entity_id").rows()) <= mapped
