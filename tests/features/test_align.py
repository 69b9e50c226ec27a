"""Samples to the grid: labelled with the start of the step, made of what lies inside it."""

from statistics import fmean

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import at, samples, values_of

from forecast.features.align import align

MOMENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 59), st.none() | st.floats(0, 1e6)), max_size=20
)


def test_a_step_is_the_mean_of_its_samples_and_bears_the_time_it_begins() -> None:
    telemetry = samples(("a", 0, 1.0), ("a", 4, 3.0), ("a", 5, 10.0), ("a", 9.999, 20.0), ("b", 7, 8.0))
    assert values_of(align(telemetry, 300)) == {("a", 0): 2.0, ("a", 5): 15.0, ("b", 5): 8.0}


def test_only_observed_samples_enter_the_mean() -> None:
    telemetry = samples(("a", 0, None), ("a", 1, 4.0), ("a", 2, None), ("a", 5, None))
    assert values_of(align(telemetry, 300)) == {("a", 0): 4.0, ("a", 5): None}


def test_each_signal_has_its_own_observations() -> None:
    telemetry = samples(("a", 0, 2.0), ("a", 1, None)).with_columns(inlet_c=pl.Series([None, 20.0]))
    row = align(telemetry, 300).collect().row(0, named=True)
    assert (row["power_w"], row["inlet_c"]) == (2.0, 20.0)


def test_a_step_without_samples_is_absent_not_filled() -> None:
    assert values_of(align(samples(("a", 0, 1.0), ("a", 20, 1.0)), 300)) == {("a", 0): 1.0, ("a", 20): 1.0}


@pytest.mark.parametrize(("step_s", "minute"), [(60, 1234), (300, 1230), (3600, 1200), (86_400, 0)])
def test_the_grid_begins_at_midnight_utc(step_s: int, minute: int) -> None:
    assert list(values_of(align(samples(("a", 1234.5, 1.0)), step_s))) == [("a", minute)]


@given(MOMENTS)
def test_it_agrees_with_means_taken_by_hand(rows: list[tuple[str, int, float | None]]) -> None:
    groups: dict[tuple[str, float], list[float]] = {}
    for entity, minute, value in rows:
        groups.setdefault((entity, minute // 15 * 15), []).extend([] if value is None else [value])
    aligned = values_of(align(samples(*rows), 900))
    assert aligned.keys() == groups.keys()
    for key, values in groups.items():
        assert aligned[key] == (pytest.approx(fmean(values), abs=1e-9) if values else None)


@given(MOMENTS, MOMENTS, st.integers(0, 3))
def test_a_sample_after_a_step_never_changes_it(
    before: list[tuple[str, int, float | None]], after: list[tuple[str, int, float | None]], quarter: int
) -> None:
    now = quarter * 15
    past = [row for row in before if row[1] < now]
    future = [row for row in after if row[1] >= now]
    seen = align(samples(*past, *future), 900).filter(pl.col("time") < at(now))
    assert values_of(seen) == values_of(align(samples(*past), 900))
