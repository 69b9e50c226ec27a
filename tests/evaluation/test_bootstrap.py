"""Bounds of figures of few days hold as often as they say, and percentiles would not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from forecast.evaluation.bootstrap import Array, Resamples, student


def mean(sums: Array) -> Array:
    return sums[..., 0] / sums[..., 1]


def days_of(values: np.ndarray) -> Array:
    return np.column_stack([values, np.ones(len(values))])


@given(st.floats(0.005, 0.995), st.floats(1, 60))
def test_quantiles_of_students_t_are_scipys(level: float, freedom: float) -> None:
    assert student(level, freedom) == pytest.approx(stats.t.ppf(level, freedom), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("days", [3, 7])
def test_an_upper_bound_is_below_the_truth_as_rarely_as_was_asked(days: int) -> None:
    random = np.random.default_rng(0)
    resamples = Resamples(days)
    draws = [random.normal(0, 1, days) for _ in range(400)]
    uppers = np.array([resamples.bounds(days_of(each), mean, 0.1).upper for each in draws])
    assert (uppers < 0).mean() == pytest.approx(0.1, abs=0.045), "three standard errors of 400 draws"


def test_bounds_lie_on_both_sides_and_widen_with_what_is_asked() -> None:
    resamples = Resamples(7)
    sums = days_of(np.random.default_rng(1).normal(5, 1, 7))
    loose, strict = (resamples.bounds(sums, mean, chance) for chance in (0.2, 0.01))
    assert strict.lower < loose.lower < loose.value == strict.value < loose.upper < strict.upper


def test_days_that_agree_leave_nothing_to_chance() -> None:
    bounds = Resamples(7).bounds(days_of(np.full(7, 2.0)), mean, 0.05)
    assert bounds == pytest.approx((2.0, 2.0, 2.0))


def test_neighbours_that_go_together_count_as_fewer_days() -> None:
    random = np.random.default_rng(2)
    pairs = np.repeat(random.normal(0, 1, 16), 2)
    apart = random.permutation(pairs)
    resamples = Resamples(32)
    together = resamples.bounds(days_of(pairs), mean, 0.1)
    assert together.upper - together.value > 1.1 * (resamples.bounds(days_of(apart), mean, 0.1).upper - together.value)


def test_one_day_tells_no_bounds() -> None:
    bounds = Resamples(1).bounds(days_of(np.array([3.0])), mean, 0.1)
    assert bounds.value == 3.0
    assert np.isnan(bounds[1:]).all()


def test_the_same_seed_gives_the_same_bounds() -> None:
    sums = days_of(np.random.default_rng(3).normal(0, 1, 7))
    assert Resamples(7, 4).bounds(sums, mean, 0.1) == Resamples(7, 4).bounds(sums, mean, 0.1)
    assert Resamples(7, 4).bounds(sums, mean, 0.1) != Resamples(7, 5).bounds(sums, mean, 0.1)
