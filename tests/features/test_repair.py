"""Bad rows and values: what is set aside, how it is counted, and that the order of arrival means nothing."""

import random
from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import at, samples, values_of

from forecast.contracts.signals import SIGNALS
from forecast.features.repair import repair, setbacks

DCGM_BLANK = 2_147_483_632.0
SENTINELS = (DCGM_BLANK, -1.0, float("nan"), float("inf"), float("-inf"))
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 3),
        st.none() | st.sampled_from([1.0, 2.0, 50.0, 2e9, *SENTINELS]),
    ),
    max_size=15,
)


def counts(telemetry: pl.LazyFrame) -> dict[str, int]:
    return dict(setbacks(telemetry).iter_rows())


@pytest.mark.parametrize("signal", SIGNALS)
def test_what_is_outside_its_physical_range_is_not_observed(signal: str) -> None:
    low, high = SIGNALS[signal].low, SIGNALS[signal].high
    inside = [low, (low + high) / 2, high]
    outside = [low - 0.01, high * 1.01, float("nan"), float("inf"), float("-inf"), None]
    telemetry = samples(*(("a", index, value) for index, value in enumerate([*inside, *outside])), signal=signal)
    repaired = values_of(repair(telemetry), signal)
    assert [repaired["a", index] for index in range(9)] == [*inside, *[None] * 6]
    assert counts(telemetry) == {f"impossible {signal}": 5}, "a null is not impossible, it is absent"


def test_the_blank_of_a_driver_is_no_temperature() -> None:
    telemetry = samples(("a", 0, DCGM_BLANK), ("a", 1, 55.0), signal="temperature_c")
    assert values_of(repair(telemetry), "temperature_c") == {("a", 0): None, ("a", 1): 55.0}


def test_one_impossible_signal_leaves_the_others_of_its_row() -> None:
    telemetry = samples(("a", 0, 200.0)).with_columns(temperature_c=pl.lit(DCGM_BLANK), inlet_c=pl.lit(22.0))
    row = repair(telemetry).collect().row(0, named=True)
    assert (row["power_w"], row["temperature_c"], row["inlet_c"]) == (200.0, None, 22.0)


def test_an_identical_repeat_becomes_one_row() -> None:
    telemetry = samples(("a", 0, 5.0), ("a", 0, 5.0), ("a", 0, 5.0), ("b", 0, 5.0))
    assert values_of(repair(telemetry)) == {("a", 0): 5.0, ("b", 0): 5.0}
    assert counts(telemetry) == {"identical duplicate": 2}


def test_repeats_that_disagree_are_all_set_aside() -> None:
    telemetry = samples(("a", 0, 5.0), ("a", 0, 6.0), ("a", 0, 5.0), ("a", 1, 7.0), ("b", 0, 8.0))
    assert values_of(repair(telemetry)) == {("a", 1): 7.0, ("b", 0): 8.0}
    assert counts(telemetry) == {"conflicting duplicate": 3}


def test_repeats_that_differ_in_one_signal_only_disagree() -> None:
    telemetry = samples(("a", 0, 5.0), ("a", 0, 5.0)).with_columns(temperature_c=pl.Series([40.0, 41.0]))
    assert repair(telemetry).collect().is_empty()


def test_two_blanks_of_different_kinds_say_the_same() -> None:
    telemetry = samples(("a", 0, DCGM_BLANK), ("a", 0, -1.0), signal="temperature_c").with_columns(
        pl.when(pl.col("temperature_c") < 0).then(float("nan")).otherwise("temperature_c").alias("temperature_c")
    )
    assert values_of(repair(telemetry), "temperature_c") == {("a", 0): None}
    assert counts(telemetry) == {"impossible temperature_c": 2, "identical duplicate": 1}


def test_healthy_telemetry_has_no_reasons() -> None:
    assert setbacks(samples(("a", 0, 1.0), ("b", 0, None))).is_empty()


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_means_nothing(rows: list[tuple[str, int, float | None]], shuffler: random.Random) -> None:
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    assert values_of(repair(samples(*shuffled))) == values_of(repair(samples(*rows)))
    assert counts(samples(*shuffled)) == counts(samples(*rows))


@given(ROWS)
def test_repair_leaves_nothing_more_to_repair(rows: list[tuple[str, int, float | None]]) -> None:
    once = repair(samples(*rows)).collect().lazy()
    assert values_of(repair(once)) == values_of(once)
    assert counts(once) == {}


@given(ROWS)
def test_every_row_is_kept_or_counted(rows: list[tuple[str, int, float | None]]) -> None:
    telemetry = samples(*rows)
    found = Counter(counts(telemetry))
    kept = repair(telemetry).collect().height
    assert kept + found["identical duplicate"] + found["conflicting duplicate"] == len(rows)


@given(ROWS, st.integers(0, 3))
def test_a_sample_never_depends_on_later_ones(rows: list[tuple[str, int, float | None]], now: int) -> None:
    known = [row for row in rows if row[1] < now]
    seen = values_of(repair(samples(*rows)).filter(pl.col("time") < at(now)))
    assert seen == values_of(repair(samples(*known)))
