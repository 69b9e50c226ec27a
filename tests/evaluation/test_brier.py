"""Probabilities of passing a limit: the graph's own numbers, and scores worked by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forecast.contracts.specs import ForecastSpec
from forecast.evaluation.brier import brier
from forecast.exceedance import exceedance
from forecast.models.base import QuantileModel
from forecast.models.graph import ForecastGraph

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)
SPEC = ForecastSpec(
    step_s=3600, context_steps=2, horizon_steps=3, targets=("power_w",), past=("power_w",), quantile_levels=LEVELS
)


class Nothing(QuantileModel):
    """A model that is never asked."""


@given(
    start=st.floats(0, 1e5),
    steps=st.lists(st.floats(0, 1e4), min_size=4, max_size=4),
    limit=st.floats(1, 2e5),
)
def test_any_limit_is_met_as_the_graph_meets_its_own(start: float, steps: list[float], limit: float) -> None:
    quantiles = np.cumsum([start, *steps]).astype(np.float32)[None, None, :, None].repeat(3, -1)
    graph = ForecastGraph(Nothing(), torch.zeros(8, 1, 5, 3), SPEC)
    limits = np.full((1, 1, 1), limit, np.float32)
    expected = graph.exceedance(torch.from_numpy(quantiles), torch.from_numpy(limits)).numpy()
    assert exceedance(quantiles, LEVELS, limits) == pytest.approx(expected, abs=2e-3)


def test_an_unknown_limit_is_passed_with_unknown_probability() -> None:
    quantiles = np.arange(5.0)[None, :, None]
    assert np.isnan(exceedance(quantiles, LEVELS, np.array([[np.nan]]))).all()


def test_scores_by_hand() -> None:
    found = brier(np.array([0.9, 0.2, 0.15, 0.5]), np.array([1.0, 0.0, 1.0, np.nan]), np.array([0.5]))
    assert found.score == pytest.approx((0.01 + 0.04 + 0.7225) / 3)
    assert found.climatology == pytest.approx(0.25)
    assert found.skill == pytest.approx(1 - (0.7725 / 3) / 0.25)
    assert found.rate == pytest.approx(2 / 3)
    assert found.reliability.rows() == [(0.15, 1.0, 1), (0.2, 0.0, 1), (0.9, 1.0, 1)]
    assert found.miscalibration == pytest.approx((0.85 + 0.2 + 0.1) / 3)


def test_probabilities_that_are_kept_are_reliable_and_have_the_skill_of_their_spread() -> None:
    random = np.random.default_rng(0)
    told = random.random(200_000)
    came = (random.random(told.size) < told).astype(float)
    found = brier(told, came, np.array([0.5]))
    assert found.miscalibration < 0.005
    assert found.score == pytest.approx(1 / 6, abs=0.002)  # the mean of p (1 - p) for p evenly in 0 to 1
    assert found.skill == pytest.approx(1 / 3, abs=0.01)


def test_nothing_known_has_no_score() -> None:
    found = brier(np.array([0.5]), np.array([np.nan]), np.array([0.1]))
    assert np.isnan([found.score, found.climatology, found.skill, found.rate]).all()
    assert found.reliability.is_empty()


def test_where_nothing_happens_and_the_climate_knew_there_is_no_skill_to_have() -> None:
    assert np.isnan(brier(np.array([0.1]), np.array([0.0]), np.array([0.0])).skill)
