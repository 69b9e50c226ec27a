"""Scores against brute force, an outside scorer, and numbers worked by hand."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from outside_scores import quantile_score

from forecast.evaluation.metrics import WQL_LEVELS, Tally

LEVELS = (0.01, 0.05, *WQL_LEVELS, 0.95, 0.99)
FEW = (0.1, 0.5, 0.9)
ALL = np.array([True])


def one(actual: list[float], quantiles: list[list[float]], levels: tuple[float, ...] = FEW) -> Tally:
    """One entity, one target: `actual [H]` and a list of paths `[Q][H]`."""
    tally = Tally(1, 1, levels, np.zeros(len(actual), np.int64))
    tally.add(np.array([0]), np.array(actual)[None, None], np.array(quantiles)[None, None])
    return tally


class Random:
    """Windows of three entities at random origins, with gaps, and their tally."""

    def __init__(self, seed: int, missing: float) -> None:
        random = np.random.default_rng(seed)
        self.parts = np.array([0, 0, 1, 1, 2])
        self.tally = Tally(3, 2, LEVELS, self.parts)
        self.entity, self.actual, self.quantiles = [], [], []
        for _ in range(4):
            chosen = np.flatnonzero(random.random(3) < 0.7)
            actual = random.normal(5, 20, (chosen.size, 2, 5)).astype(np.float32)
            actual[random.random(actual.shape) < missing] = np.nan
            quantiles = np.sort(random.normal(5, 20, (chosen.size, 2, len(LEVELS), 5)), axis=2).astype(np.float32)
            self.tally.add(chosen, actual, quantiles)
            self.entity += chosen.tolist()
            self.actual += list(actual)
            self.quantiles += list(quantiles)

    def chosen(self, group: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
        """`[M, H]` and `[M, Q, H]` of the windows of a group, in double precision."""
        rows = [row for row, entity in enumerate(self.entity) if group[entity]]
        actual = [self.actual[row][target] for row in rows]
        quantiles = [self.quantiles[row][target] for row in rows]
        return np.array(actual, float).reshape(-1, 5), np.array(quantiles, float).reshape(-1, len(LEVELS), 5)

    def wql(self, group: np.ndarray, target: int, steps: slice | np.ndarray = slice(None)) -> float:
        actual, quantiles = self.chosen(group, target)
        actual, quantiles = actual[:, steps], quantiles[:, :, steps]
        levels = [index for index, level in enumerate(LEVELS) if level in WQL_LEVELS]
        scores = quantile_score(actual[:, None], quantiles[:, levels], np.array(WQL_LEVELS)[:, None])
        size = np.nansum(np.abs(actual))
        return float(np.mean(2 * np.nansum(scores, axis=(0, 2)) / size)) if size else float("nan")


groups = st.lists(st.booleans(), min_size=3, max_size=3).map(np.array)
seeds = st.integers(0, 2**31)
gaps = st.floats(0, 1)
fast = hypothesis_settings(deadline=None, max_examples=50)


@fast
@given(seeds, gaps, groups)
def test_wql_is_that_of_an_outside_scorer(seed: int, missing: float, group: np.ndarray) -> None:
    data = Random(seed, missing)
    for target in (0, 1):
        assert data.tally.wql(group, target) == pytest.approx(data.wql(group, target), rel=1e-5, nan_ok=True)


@fast
@given(seeds, gaps, groups)
def test_wql_by_part_is_wql_of_the_parts_steps(seed: int, missing: float, group: np.ndarray) -> None:
    data = Random(seed, missing)
    expected = [data.wql(group, 0, np.flatnonzero(data.parts == part)) for part in range(3)]
    assert data.tally.wql_by_part(group, 0).tolist() == pytest.approx(expected, rel=1e-5, nan_ok=True)


@fast
@given(seeds, gaps, groups)
def test_the_other_scores_are_those_of_brute_force(seed: int, missing: float, group: np.ndarray) -> None:
    data = Random(seed, missing)
    actual, quantiles = data.chosen(group, 1)
    known = ~np.isnan(actual)
    assert data.tally.count[group, 1].sum() == known.sum()
    assert data.tally.windows[group, 1].sum() == known.any(1).sum()
    if not known.any():
        assert np.isnan(data.tally.mae(group, 1))
        assert np.isnan(data.tally.covered(group, 1)).all()
        return
    median = quantiles[:, LEVELS.index(0.5)]
    assert data.tally.mae(group, 1) == pytest.approx(np.nanmean(np.abs(actual - median)), rel=1e-5)
    below = [(actual[known] <= quantiles[:, index][known]).mean() for index in range(len(LEVELS))]
    assert data.tally.covered(group, 1).tolist() == pytest.approx(below)
    inside = (actual > quantiles[:, 2]) & (actual <= quantiles[:, -3])
    assert data.tally.coverage(group, 1, 0.8) == pytest.approx(inside[known].mean())


@fast
@given(seeds, gaps)
def test_sums_of_a_group_are_the_sums_of_its_members(seed: int, missing: float) -> None:
    tally = Random(seed, missing).tally
    alone = [np.arange(3) == entity for entity in range(3)]
    for sums in (tally.count, tally.error, tally.magnitude, tally.pinball, tally.windows):
        np.testing.assert_allclose(sums[np.ones(3, bool)].sum(0), sum(sums[each].sum(0) for each in alone))


def test_wql_by_hand() -> None:
    tally = one([100.0, 50.0], [[90.0, 60.0], [100.0, 70.0], [120.0, 80.0]])
    # Level 0.1: 0.1 · 10 + 0.9 · 10 = 10. Level 0.5: 0.5 · 20 = 10. Level 0.9: 0.1 · 20 + 0.1 · 30 = 5. Over 150.
    assert tally.wql(ALL, 0) == pytest.approx((20 + 20 + 10) / 3 / 150)


def test_wql_is_pooled_and_not_a_mean_of_ratios() -> None:
    tally = Tally(2, 1, FEW, np.zeros(1, np.int64))
    tally.add(np.array([0, 1]), np.array([[[1000.0]], [[1.0]]]), np.array([[[[1000.0]] * 3], [[[2.0]] * 3]]))
    # Only the small entity errs, by 1: pinball 0.9, 0.5 and 0.1 over |y| of 1001.
    assert tally.wql(np.array([True, True]), 0) == pytest.approx(2 * 0.5 / 1001)
    assert tally.wql(np.array([False, True]), 0) == pytest.approx(2 * 0.5 / 1)


def test_wql_does_not_count_the_tails() -> None:
    levels = (0.01, 0.1, 0.5, 0.9, 0.99)
    near, far = (one([5.0], [[low], [5.0], [5.0], [5.0], [-low]], levels) for low in (5.0, -900.0))
    assert near.wql(ALL, 0) == far.wql(ALL, 0) == 0.0


def test_wql_of_outcomes_that_are_all_zero_is_unknown() -> None:
    assert np.isnan(one([0.0], [[1.0]] * 3).wql(ALL, 0))


def test_mae_by_hand_over_observed_steps() -> None:
    tally = one([10.0, np.nan, 30.0], [[0.0] * 3, [12.0, 99.0, 26.0], [0.0] * 3])
    assert tally.mae(ALL, 0) == pytest.approx(3.0)


def test_mase_is_the_mean_over_entities() -> None:
    tally = Tally(3, 1, FEW, np.zeros(2, np.int64))
    median = np.array([[[0.0, 0.0]] * 3] * 3)[:, None]
    tally.add(np.arange(3), np.array([[[2.0, 4.0]], [[10.0, 10.0]], [[np.nan, np.nan]]]), median)
    naive = np.array([[6.0], [5.0], [1.0]])
    everyone = np.ones(3, bool)
    # 3 / 6 and 10 / 5; the third was never observed.
    assert tally.mase(everyone, 0, naive) == pytest.approx((0.5 + 2.0) / 2)
    naive[1] = 0.0  # a series that never changed has no scale
    assert tally.mase(everyone, 0, naive) == pytest.approx(0.5)
    assert np.isnan(tally.mase(np.array([False, False, True]), 0, naive))


@pytest.mark.parametrize("outcome", [19.0, 20.0])
def test_coverage_by_hand(outcome: float) -> None:
    tally = one([5.0, 15.0, outcome, 25.0], [[10.0] * 4, [15.0] * 4, [20.0] * 4])
    assert tally.covered(ALL, 0).tolist() == pytest.approx([0.25, 0.5, 0.75])
    assert tally.coverage(ALL, 0, 0.8) == pytest.approx(0.5)


def test_coverage_of_an_interval_that_was_not_forecast_is_unknown() -> None:
    assert np.isnan(one([5.0], [[1.0], [2.0], [3.0]]).coverage(ALL, 0, 0.98))


def test_coverage_of_a_calibrated_forecast_is_nominal() -> None:
    outcome = np.random.default_rng(0).normal(size=100_000)
    normal = {0.01: -2.326, 0.1: -1.2816, 0.5: 0.0, 0.9: 1.2816, 0.99: 2.326}
    tally = one(outcome.tolist(), [[value] * outcome.size for value in normal.values()], tuple(normal))
    assert tally.coverage(ALL, 0, 0.8) == pytest.approx(0.8, abs=0.005)
    assert tally.coverage(ALL, 0, 0.98) == pytest.approx(0.98, abs=0.002)


@pytest.mark.parametrize("score", [Tally.wql, Tally.mae])
def test_an_empty_group_has_no_score(score: Callable[[Tally, np.ndarray, int], float]) -> None:
    assert np.isnan(score(one([1.0], [[1.0]] * 3), np.array([False]), 0))
