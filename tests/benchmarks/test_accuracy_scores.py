"""Scores and the bootstrap of their differences, against cases whose answer is known."""

import numpy as np
import pytest

from benchmarks.accuracy.scores import Losses, interval


def losses(values: np.ndarray) -> Losses:
    return Losses(values[:, None], np.ones((len(values), 1)))


def test_the_interval_of_independent_windows_is_that_of_a_mean() -> None:
    random = np.random.default_rng(0)
    gap = random.normal(0.3, 1.0, 1000)
    low, high = interval(np.arange(1000), 1, [losses(np.zeros(1000))], losses(gap), 0)
    reach = 1.96 * gap.std() / np.sqrt(1000)
    assert (high + low) / 2 == pytest.approx(gap.mean(), abs=0.1 * reach)
    assert (high - low) / 2 == pytest.approx(reach, rel=0.25)  # 25 blocks tell a deviation within about a seventh


def test_windows_that_repeat_each_other_do_not_make_it_surer() -> None:
    random = np.random.default_rng(1)
    days = random.normal(0.0, 1.0, 30)
    gap = np.repeat(days, 24)
    low, high = interval(np.arange(720), 24, [losses(np.zeros(720))], losses(gap), 0)
    assert (high - low) / 2 == pytest.approx(1.96 * days.std() / np.sqrt(30), rel=0.3)


def test_entities_of_one_time_are_drawn_together() -> None:
    """A shock that hits all entities at once is one observation, however many entities there are."""
    random = np.random.default_rng(2)
    shock = random.normal(0.0, 1.0, 200)
    one = interval(np.arange(200), 1, [losses(np.zeros(200))], losses(shock), 0)
    origin, gap = np.repeat(np.arange(200), 5), np.repeat(shock, 5)
    five = interval(origin, 1, [losses(np.zeros(1000))], losses(gap), 0)
    np.testing.assert_allclose(one, five)


def test_the_same_forecast_differs_by_nothing() -> None:
    same = losses(np.random.default_rng(3).random(100))
    assert interval(np.arange(100), 4, [same, same], same, 0) == (0.0, 0.0)


def test_ours_is_the_mean_over_seeds() -> None:
    ours = [losses(np.full(100, value)) for value in (1.0, 3.0)]
    assert interval(np.arange(100), 4, ours, losses(np.full(100, 5.0)), 0) == pytest.approx((3.0, 3.0))


def test_a_constant_ratio_is_weighted_by_size() -> None:
    size = np.random.default_rng(4).uniform(1, 100, (200, 1))
    low, high = interval(np.arange(200), 2, [Losses(0 * size, size)], Losses(0.07 * size, size), 0)
    assert (low, high) == pytest.approx((0.07, 0.07))
