"""Quantiles from a centre and steps, and their repair."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from forecast.models.quantiles import beside, never_crossing, normal_steps, spread_out, steps_between

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)


def column(*values: float) -> torch.Tensor:
    """`[1, 1, len(values), 1]`."""
    return torch.tensor(values)[None, None, :, None]


def test_steps_spread_outwards_from_the_median() -> None:
    spread = spread_out(torch.full((1, 1, 1), 100.0), column(1.0, 10.0, 20.0, 2.0), LEVELS)
    assert spread.flatten().tolist() == [89.0, 90.0, 100.0, 120.0, 122.0]


def test_a_negative_step_makes_levels_meet() -> None:
    spread = spread_out(torch.zeros(1, 1, 1), column(-1.0, 10.0, -5.0, 2.0), LEVELS)
    assert spread.flatten().tolist() == [-10.0, -10.0, 0.0, 0.0, 2.0]


@hypothesis_settings(deadline=None)
@given(st.integers(0, 2**31))
def test_spread_never_crosses_and_keeps_its_median(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    centre, steps = torch.randn(2, 3, 7, generator=random), torch.randn(2, 3, 4, 7, generator=random)
    spread = spread_out(centre, steps, LEVELS)
    assert (spread.diff(dim=2) >= 0).all()
    assert torch.equal(spread[:, :, 2], centre)


def test_normal_steps_rebuild_a_normal_distribution() -> None:
    steps = normal_steps(LEVELS, 3.0)
    spread = spread_out(torch.full((1, 1, 1), 7.0), steps[None, None, :, None], LEVELS)
    np.testing.assert_allclose(
        spread.flatten(), torch.distributions.Normal(7.0, 3.0).icdf(torch.tensor(LEVELS)), rtol=1e-6
    )


def test_steps_between_the_same_levels_are_themselves() -> None:
    assert torch.equal(steps_between(LEVELS, LEVELS), torch.eye(4))


@given(st.sets(st.integers(1, 49), min_size=1))
def test_a_normal_distribution_told_at_other_levels_stays_one(lower: set[int]) -> None:
    levels = [*sorted(level / 100 for level in lower), 0.5, *sorted(1 - level / 100 for level in lower)]
    steps = steps_between(LEVELS, levels) @ normal_steps(LEVELS, 3.0)
    torch.testing.assert_close(steps, normal_steps(levels, 3.0), rtol=1e-4, atol=1e-5)


@hypothesis_settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 19))
def test_repair_is_the_running_maximum(seed: int, levels: int) -> None:
    crossed = torch.randn(3, 2, levels, 5, generator=torch.Generator().manual_seed(seed))
    np.testing.assert_array_equal(never_crossing(crossed), np.maximum.accumulate(crossed.numpy(), axis=2))


def test_steps_beside_a_quantile_reach_from_its_neighbour_to_the_next() -> None:
    steps = torch.tensor([10.0, 40.0, 30.0, 10.0])
    assert (beside(LEVELS) @ steps).tolist() == [10.0, 50.0, 70.0, 40.0, 10.0]
