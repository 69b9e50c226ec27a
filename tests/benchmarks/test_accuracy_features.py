"""Hand-made features by hand."""

import numpy as np

from benchmarks.accuracy.peers.features import Clock, of_steps, of_window

NAN = np.nan


def test_the_newest_values_lead() -> None:
    past = np.arange(1, 49, dtype=np.float32).reshape(1, 1, 48)
    made = of_window(past, 0, 24)[0]
    np.testing.assert_array_equal(made[:5], [48, 47, 46, 43, 37])
    np.testing.assert_allclose(made[5:11], [47, 45.5, 42.5, 36.5, 24.5, 24.5])
    np.testing.assert_array_equal(made[14:16], [25, 48])
    np.testing.assert_array_equal(made[16:19], [6, 25, 43])  # nearest to 10, 50 and 90 %: ranks 4.7, 23.5 and 42.3


def test_missing_values_count_for_nothing() -> None:
    past = np.full((1, 1, 48), NAN, np.float32)
    past[0, 0, [40, 46]] = [10, 30]
    made = of_window(past, 0, 24)[0]
    assert np.isnan(made[0])
    np.testing.assert_allclose(made[5:8], [30, 30, 20])
    np.testing.assert_array_equal(made[16:19], [10, 10, 30])
    np.testing.assert_allclose(made[19], 22 / 24)


def test_the_same_time_of_earlier_days_is_found_beyond_a_day_too() -> None:
    past = np.arange(72, dtype=np.float32).reshape(1, 1, 72)
    origin, ahead = np.array([72]), np.array([[0, 5, 24, 47]])
    made = of_steps(past, 0, 24, origin, ahead, Clock(3600, 0.0))[0]
    np.testing.assert_array_equal(made[:, 0], [0, 5, 24, 47])
    np.testing.assert_array_equal(made[:, 1], [0, 5, 0, 23])
    np.testing.assert_array_equal(made[:, 2], [3, 3, 4, 4])
    np.testing.assert_array_equal(made[:, 3], [48, 53, 48, 71])
    np.testing.assert_array_equal(made[:, 4], [24, 29, 24, 47])
    np.testing.assert_array_equal(made[:, 6], [24, 29, 24, 47])


def test_fine_steps_are_smoothed_around_the_same_time() -> None:
    day = 96
    past = np.zeros((1, 1, 2 * day), np.float32)
    past[0, 0, day + 10] = 5
    made = of_steps(past, 0, day, np.array([2 * day]), np.array([[8, 10, 13]]), Clock(900, 0.0))[0]
    np.testing.assert_allclose(made[:, 3], [1, 1, 0])
