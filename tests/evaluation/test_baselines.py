"""What anyone could do: point forecasts by hand, and quantiles that never look at the test range."""

import dataclasses

import numpy as np
import pytest
from small_fleet import daily_load, panel_of

from forecast.contracts.specs import ForecastSpec
from forecast.evaluation.baselines import Naive, _quantiles, baselines, seasonal_mae
from forecast.evaluation.splits import Split

NAN = float("nan")
SPEC = ForecastSpec(
    step_s=21_600,  # four steps a day
    context_steps=8,
    horizon_steps=6,
    targets=("power_w",),
    past=("power_w",),
    quantile_levels=(0.1, 0.5, 0.9),
)


def still(values: list[float], spec: ForecastSpec = SPEC, season: int = 0) -> list[float]:
    """The median of a baseline whose errors taught it nothing, forecast from the end of `values`."""
    panel = panel_of(np.array(values)[None, None], spec)
    naive = Naive(spec, season).fit(panel, split_at(0, panel.steps))
    quantiles = naive.predict(panel, panel.steps)
    assert np.array_equal(quantiles[:, :, 0], quantiles[:, :, -1], equal_nan=True)
    return list(quantiles[0, 0, 1])


def split_at(test: int, end: int, entities: int = 1) -> Split:
    return Split(np.full(entities, test), np.full(entities, test), end, {})


def same(actual: list[float], expected: list[float]) -> None:
    np.testing.assert_array_equal(np.array(actual, np.float32), np.array(expected, np.float32))


def test_persistence_repeats_the_last_value() -> None:
    same(still([1, 2, 3, 4, 5, 6, 7, 8]), [8] * 6)


def test_persistence_repeats_the_last_value_observed() -> None:
    same(still([1, 2, 3, 4, 5, 6, NAN, NAN]), [6] * 6)


def test_the_seasonal_forecast_repeats_the_last_day_beyond_a_day_too() -> None:
    same(still([1, 2, 3, 4, 5, 6, 7, 8], season=4), [5, 6, 7, 8, 5, 6])


def test_a_value_missing_a_day_ago_is_that_of_two_days_ago() -> None:
    same(still([1, 2, 3, 4, 5, NAN, 7, 8], season=4), [5, 2, 7, 8, 5, 2])


def test_a_value_missing_on_every_day_is_the_last_observed() -> None:
    same(still([1, NAN, 3, 4, 5, NAN, 7, NAN], season=4), [5, 7, 7, 4, 5, 7])


def test_a_season_as_long_as_the_context() -> None:
    same(still([1, 2, 3, 4, 5, 6, 7, 8], season=8), [1, 2, 3, 4, 5, 6])


def test_nothing_observed_in_the_context_is_no_forecast() -> None:
    same(still([NAN] * 8), [NAN] * 6)
    same(still([NAN] * 8, season=4), [NAN] * 6)


def test_only_seasons_that_fit_the_context_are_tried(spec: ForecastSpec) -> None:
    assert [naive.name for naive in baselines(spec, [24, 168])] == ["persistence", "seasonal_naive_24h"]
    assert [naive.name for naive in baselines(SPEC, [48, 24])] == [
        "persistence",
        "seasonal_naive_48h",
        "seasonal_naive_24h",
    ]


def test_quantiles_are_those_of_its_own_errors() -> None:
    random = np.random.default_rng(0)
    values = 100 + 10 * random.standard_normal((1, 1, 4_000))
    panel = panel_of(values, SPEC)
    quantiles = Naive(SPEC, 0).fit(panel, split_at(4_000, 4_000)).predict(panel, 2_000)
    offsets = quantiles[0, 0] - panel.read(1_999, 2_000)[0, 0]
    # The difference of two independent draws has a deviation of 10 · √2.
    expected = 14.142 * np.array([-1.2816, 0.0, 1.2816])
    np.testing.assert_allclose(offsets, np.repeat(expected[:, None], 6, 1), atol=4.5)


def test_quantiles_widen_with_the_horizon_of_a_random_walk() -> None:
    walk = np.cumsum(np.random.default_rng(0).standard_normal(4_000))[None, None]
    panel = panel_of(walk, SPEC)
    quantiles = Naive(SPEC, 0).fit(panel, split_at(4_000, 4_000)).predict(panel, 2_000)[0, 0]
    width = quantiles[-1] - quantiles[0]
    assert width[5] > 1.7 * width[0]


@pytest.mark.parametrize("season", [0, 24])
@pytest.mark.parametrize("same_test", [True, False])
def test_quantiles_learn_nothing_from_the_test_range(spec: ForecastSpec, season: int, same_test: bool) -> None:
    values = daily_load(spec, entities=3, days=30)
    tests = np.full(3, 20 * 24) if same_test else np.array([15, 20, 25]) * 24
    ranges = dataclasses.replace(split_at(0, 30 * 24, 3), test=tests)
    noise = np.random.default_rng(9).normal(500, 5_000, values.shape)
    noisy = np.where(np.arange(30 * 24) >= tests[:, None], noise, values)
    first, second = (panel_of(part, spec) for part in (values, noisy))
    learnt = [Naive(spec, season).fit(panel, ranges) for panel in (first, second)]
    origin = 15 * 24
    np.testing.assert_array_equal(*(naive.predict(first, origin) for naive in learnt))
    everything = Naive(spec, season).fit(second, split_at(30 * 24, 30 * 24, 3))
    assert not np.array_equal(everything.predict(first, origin), learnt[0].predict(first, origin))


def test_the_forecast_reads_nothing_from_its_origin_on(spec: ForecastSpec) -> None:
    values = daily_load(spec, entities=2, days=20)
    noisy = values.copy()
    noisy[..., 300:] = -1.0
    naive = Naive(spec, 24).fit(panel_of(values, spec), split_at(300, 480, 2))
    first, second = (naive.predict(panel_of(part, spec), 300) for part in (values, noisy))
    np.testing.assert_array_equal(first, second)


def test_seasonal_mae_by_hand() -> None:
    values = np.array([[1, 2, 3, 4, 3, 2, NAN, 8, 99, 99, 99, 99], [5.0] * 12])[None]
    scale = seasonal_mae(panel_of(values, SPEC), SPEC, np.array([8, 8]))
    # The last day before the end against the one before: |3 - 1|, |2 - 2|, unknown, |8 - 4|.
    np.testing.assert_allclose(scale, [[2.0], [0.0]])


def test_seasonal_mae_of_less_than_two_days_is_unknown() -> None:
    assert np.isnan(seasonal_mae(panel_of(np.ones((1, 1, 3)), SPEC), SPEC, np.array([3]))).all()
    assert np.isnan(seasonal_mae(panel_of(np.ones((1, 1, 12)), SPEC), SPEC, np.array([4]))).all()


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.97])
def test_quantiles_of_many_rows_at_once_are_those_of_numpy(missing: float) -> None:
    random = np.random.default_rng(0)
    errors = random.normal(0, 50, (9, 7, 2, 5)).astype(np.float32)
    errors[random.random(errors.shape) < missing] = np.nan
    errors[:, 3, 1] = np.nan
    levels = (0.01, 0.1, 0.5, 0.9, 0.99)
    found = _quantiles(errors, levels)
    for entity in range(7):
        for target in range(2):
            mine = errors[:, entity, target]
            known = mine[~np.isnan(mine)]
            expected = np.quantile(known, levels) if known.size else np.zeros(len(levels))
            np.testing.assert_allclose(found[entity, target], expected, rtol=1e-5, atol=1e-4)
