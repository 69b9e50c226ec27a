"""The losses against implementations from outside, integrals and numbers worked by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from outside_scores import quantile_score

from forecast.models.cdf import Cdf, in_units, quantiles_of
from forecast.training.losses import crps, pinball

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)


@hypothesis_settings(deadline=None)
@given(seed=st.integers(0, 2**31), missing=st.floats(0, 0.9))
def test_is_the_mean_quantile_score_of_observed_steps_in_typical_units(seed: int, missing: float) -> None:
    random = np.random.default_rng(seed)
    target = random.normal(100, 30, (4, 2, 6)).astype(np.float32)
    quantiles = random.normal(100, 30, (4, 2, 5, 6)).astype(np.float32)
    unit = random.uniform(1, 50, (4, 2, 1)).astype(np.float32)
    target[random.random(target.shape) < missing] = np.nan
    score = quantile_score(target[:, :, None], quantiles, np.array(LEVELS)[:, None]) / unit[:, :, None]
    expected = np.nanmean(score) if not np.isnan(target).all() else 0.0
    found = pinball(
        *(torch.from_numpy(part) for part in (quantiles, target)), torch.tensor(LEVELS), torch.from_numpy(unit)
    )
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_by_hand() -> None:
    quantiles = torch.tensor([10.0, 20.0])[None, None, :, None]
    target, unit = torch.full((1, 1, 1), 16.0), torch.full((1, 1, 1), 2.0)
    # Level 0.1 is 6 too low, level 0.9 is 4 too high: (0.1 · 6 + 0.1 · 4) / 2 levels / 2 W.
    assert pinball(quantiles, target, torch.tensor([0.1, 0.9]), unit).item() == pytest.approx(0.25)


def test_a_step_that_was_not_observed_teaches_nothing() -> None:
    quantiles = torch.zeros(1, 1, 5, 3, requires_grad=True)
    target = torch.tensor([1.0, torch.nan, 3.0])[None, None]
    pinball(quantiles, target, torch.tensor(LEVELS), torch.ones(1, 1, 1)).backward()
    assert quantiles.grad is not None
    assert torch.isfinite(quantiles.grad).all()
    assert (quantiles.grad[..., 1] == 0).all()
    assert (quantiles.grad[..., [0, 2]] != 0).all()


def test_nothing_observed_is_a_loss_of_zero() -> None:
    quantiles = torch.zeros(1, 1, 5, 3, requires_grad=True)
    loss = pinball(quantiles, torch.full((1, 1, 3), torch.nan), torch.tensor(LEVELS), torch.ones(1, 1, 1))
    loss.backward()
    assert loss.item() == 0.0
    assert quantiles.grad is not None
    assert (quantiles.grad == 0).all()


def test_the_true_quantiles_score_best() -> None:
    target = torch.randn(20_000, 1, 1, generator=torch.Generator().manual_seed(0))
    levels = torch.tensor(LEVELS)
    true = torch.distributions.Normal(0.0, 1.0).icdf(levels)[None, None, :, None].expand(20_000, -1, -1, -1)
    unit = torch.ones(20_000, 1, 1)
    best = pinball(true, target, levels, unit)
    for worse in (true * 1.2, true * 0.8, true + 0.2, true - 0.2):
        assert pinball(worse, target, levels, unit) > best


def random_cdf(seed: int, cells: int) -> tuple[Cdf, np.ndarray, np.ndarray]:
    """One window, target and step, and its values and cumulated masses."""
    random = np.random.default_rng(seed)
    values, masses = np.sort(random.normal(size=cells + 1)), random.dirichlet(np.ones(cells))
    parts = (torch.tensor(values)[None, None], torch.tensor(masses)[None, None, :, None], torch.ones(1, 1, 1))
    return Cdf(*parts, torch.zeros(1, 1, 1)), values, np.concatenate([[0.0], masses.cumsum()])


@hypothesis_settings(deadline=None)
@given(seed=st.integers(0, 2**31), cells=st.integers(1, 12), truth=st.floats(-5, 5))
def test_crps_is_the_integral_that_defines_it(seed: int, cells: int, truth: float) -> None:
    cdf, values, cumulated = random_cdf(seed, cells)
    fine = np.linspace(-6, 6, 120_001)
    expected = np.trapezoid((np.interp(fine, values, cumulated) - (fine >= truth)) ** 2, fine)
    found = crps(cdf, torch.full((1, 1, 1), truth, dtype=torch.float64))
    assert found.item() == pytest.approx(expected, abs=3e-4)


@hypothesis_settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), truth=st.floats(-3, 3))
def test_crps_is_twice_the_mean_pinball_loss_over_all_levels(seed: int, truth: float) -> None:
    cdf, _, _ = random_cdf(seed, 8)
    levels = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    quantiles, target = quantiles_of(cdf, levels.tolist()), torch.full((1, 1, 1), truth, dtype=torch.float64)
    expected = 2 * pinball(quantiles, target, levels, torch.ones(1, 1, 1))
    assert crps(cdf, target).item() == pytest.approx(expected.item(), abs=2e-3)


def test_crps_counts_observed_steps_only_in_the_targets_unit() -> None:
    masses = torch.ones(1, 1, 1, 2)
    cdf = Cdf(torch.tensor([[[2.0, 2.0]]]), masses, torch.full((1, 1, 1), 100.0), torch.zeros(1, 1, 2))  # 200 W
    assert crps(cdf, torch.tensor([[[500.0, torch.nan]]])).item() == pytest.approx(3.0)
    assert crps(cdf, torch.full((1, 1, 2), torch.nan)).item() == 0.0


@hypothesis_settings(deadline=None)
@given(seed=st.integers(0, 2**31), unit=st.floats(0.01, 100.0))
def test_a_cdf_in_other_units_holds_the_same_quantiles_and_scores_in_those(seed: int, unit: float) -> None:
    cdf, _, _ = random_cdf(seed, 8)
    cdf = cdf._replace(shift=torch.ones(1, 1, 1))
    told = in_units(cdf, torch.full((1, 1, 1), unit))
    torch.testing.assert_close(quantiles_of(told, LEVELS), quantiles_of(cdf, LEVELS))
    target = torch.full((1, 1, 1), 0.3, dtype=torch.float64)
    torch.testing.assert_close(crps(told, target) * unit, crps(cdf, target))


def test_crps_of_a_point_on_a_cell_without_width_has_a_finite_gradient() -> None:
    logits = torch.zeros(1, 1, 3, 1, requires_grad=True)
    cdf = Cdf(torch.tensor([[[0.0, 1.0, 1.0, 2.0]]]), logits.softmax(2), torch.ones(1, 1, 1), torch.zeros(1, 1, 1))
    crps(cdf, torch.ones(1, 1, 1)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
