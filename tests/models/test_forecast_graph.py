"""The deployed graph around a model whose quantiles are given: calibration, headroom and exceedance."""

import math
from itertools import pairwise
from statistics import NormalDist

import pytest
import torch
from every_model import MODELS, build, random_inputs
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.models.base import QuantileModel
from forecast.models.graph import ForecastGraph

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)
SPEC = ForecastSpec(
    step_s=3600, context_steps=2, horizon_steps=1, targets=("power_w",), past=("power_w",), quantile_levels=LEVELS
)


class Given(QuantileModel):
    """Forecasts the same quantiles whatever it sees."""

    def __init__(self, quantiles: Tensor) -> None:
        super().__init__()
        self.quantiles = quantiles

    def forward(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        return self.quantiles.expand(len(past), -1, -1, -1)


def graph(quantiles: list[float], spec: ForecastSpec = SPEC, offsets: Tensor | None = None) -> ForecastGraph:
    """A graph whose model gives `quantiles` for every target and step."""
    shape = (8, len(spec.targets), len(spec.quantile_levels), spec.horizon_steps)
    given_quantiles = torch.tensor(quantiles)[None, None, :, None].expand(1, *shape[1:])
    return ForecastGraph(Given(given_quantiles), torch.zeros(shape) if offsets is None else offsets, spec)


def run(quantiles: list[float], limit: float, **settings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantiles `[Q]`, headroom `[Q]` and exceedance of one step under a power limit."""
    return run_graph(graph(quantiles, **settings), limit)


def run_graph(deployed: ForecastGraph, limit: float, level: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    static = torch.tensor([[limit, limit, level, 1.0]])
    found, headroom, exceedance = deployed(torch.zeros(1, 1, 2), torch.zeros(1, 4, 1), static)
    return found[0, 0, :, 0], headroom[0, 0, :, 0], exceedance[0, 0, 0]


def exceedance(quantiles: list[float], limit: float) -> float:
    return float(run(quantiles, limit)[2])


LINE = [10.0, 20.0, 50.0, 80.0, 90.0]


@pytest.mark.parametrize(
    ("limit", "probability"),
    [
        (50.0, 0.5),  # at the median
        (20.0, 0.9),  # at a quantile: one less its level
        (65.0, 0.3),  # half-way between the median and the 0.9 quantile
        (15.0, 0.925),
        (90.0, 0.05),  # at the outermost
        (100.0, 0.025),  # the mass beyond halves from 80 to 90, so it halves again to 100
        (110.0, 0.0125),
        (5.0, 1 - 0.05 / math.sqrt(2)),
        (10_000.0, 0.0),
    ],
)
def test_exceedance_by_hand(limit: float, probability: float) -> None:
    assert exceedance(LINE, limit) == pytest.approx(probability, abs=1e-6)


def test_exceedance_far_below_the_forecast_is_certain() -> None:
    assert exceedance([510.0, 520.0, 550.0, 580.0, 590.0], 1.0) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("limit", [3.1, 4.0, 6.0, 9.0])
def test_an_exponential_tail_is_continued_exactly(limit: float) -> None:
    quantiles = [-math.log(1 - level) for level in LEVELS]
    assert exceedance(quantiles, limit) == pytest.approx(math.exp(-limit), rel=1e-4)


@pytest.mark.parametrize("limit", [62.0, 80.0, 95.0, 100.0, 104.0, 120.0])
def test_exceedance_of_a_normal_forecast_is_near_the_normal_tail(limit: float) -> None:
    fine = tuple(round(0.05 * index, 2) for index in range(1, 20))
    normal = NormalDist(100, 10)
    spec = ForecastSpec(
        step_s=3600, context_steps=2, horizon_steps=1, targets=("power_w",), past=("power_w",), quantile_levels=fine
    )
    found = run_graph(graph([normal.inv_cdf(level) for level in fine], spec), limit)[2]
    assert float(found) == pytest.approx(1 - normal.cdf(limit), abs=0.01)


@pytest.mark.parametrize(("limit", "probability"), [(69.0, 1.0), (71.0, 0.0), (80.0, 0.0)])
def test_a_forecast_without_width_is_certain_either_way(limit: float, probability: float) -> None:
    assert exceedance([70.0] * 5, limit) == pytest.approx(probability, abs=1e-3)


@hypothesis_settings(deadline=None)
@given(
    start=st.floats(0, 1e6),
    steps=st.lists(st.floats(0, 1e5), min_size=4, max_size=4),
    limits=st.lists(st.floats(1, 2e6), min_size=2, max_size=20),
)
def test_a_higher_limit_is_never_likelier_to_be_passed(start: float, steps: list[float], limits: list[float]) -> None:
    quantiles = torch.tensor([start, *steps]).cumsum(0).tolist()
    deployed = graph(quantiles)
    found = [float(run_graph(deployed, limit)[2]) for limit in sorted(limits)]
    assert all(0 <= probability <= 1 for probability in found)
    assert all(low <= high + 1e-5 for high, low in pairwise(found))


def test_headroom_is_the_limit_less_the_mirrored_quantile() -> None:
    headroom = run(LINE, 100.0)[1]
    assert headroom.tolist() == pytest.approx([10.0, 20.0, 50.0, 80.0, 90.0])
    assert run([10.0, 20.0, 30.0, 40.0, 95.0], 100.0)[1].tolist() == pytest.approx([5.0, 60.0, 70.0, 80.0, 90.0])


def test_headroom_can_be_negative() -> None:
    assert run(LINE, 85.0)[1].tolist() == pytest.approx([-5.0, 5.0, 35.0, 65.0, 75.0])


def test_without_a_limit_headroom_and_exceedance_are_unknown_and_quantiles_are_not() -> None:
    quantiles, headroom, over = run(LINE, math.nan)
    assert quantiles.tolist() == pytest.approx(LINE)
    assert headroom.isnan().all()
    assert over.isnan()


def test_each_target_meets_its_own_limit() -> None:
    spec = ForecastSpec(
        step_s=3600,
        context_steps=2,
        horizon_steps=1,
        targets=("temperature_c", "power_w"),
        past=("temperature_c", "power_w"),
        quantile_levels=LEVELS,
    )
    static = torch.tensor([[500.0, 90.0, 2, 1], [math.nan, 90.0, 2, 1]])
    _, headroom, over = graph(LINE, spec)(torch.zeros(2, 2, 2), torch.zeros(2, 4, 1), static)
    assert headroom[0, 0, 2] == 40.0
    assert headroom[0, 1, 2] == 450.0
    assert over[0, 0, 0] == pytest.approx(0.05)
    assert headroom[1, 1].isnan().all()
    assert not headroom[1, 0].isnan().any()


def hottest(inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The temperature `[B, 1, 1]` at which each window's governor holds, or what it saw if that is more."""
    past, _, static = inputs
    seen = past[:, 1].nan_to_num(-torch.inf).amax(-1)
    return torch.maximum(seen, static[:, 1].nan_to_num(torch.inf) + 4.0)[:, None, None]


HOT = ForecastSpec(
    step_s=3600,
    context_steps=2,
    horizon_steps=1,
    targets=("temperature_c",),
    past=("temperature_c",),
    quantile_levels=LEVELS,
)


@pytest.mark.parametrize(
    ("limit", "seen", "expected"),
    [
        (76.0, 70.0, [10.0, 20.0, 50.0, 80.0, 80.0]),  # throttled 4 °C above its limit
        (76.0, 85.0, [10.0, 20.0, 50.0, 80.0, 85.0]),  # it was hotter before
        (math.nan, 70.0, LINE),  # nobody knows the limit
        (76.0, math.nan, [10.0, 20.0, 50.0, 80.0, 80.0]),
    ],
)
def test_no_temperature_passes_what_its_governor_allows(limit: float, seen: float, expected: list[float]) -> None:
    static = torch.tensor([[1000.0, limit, 2.0, 1.0]])
    found, _, over = graph(LINE, HOT)(torch.full((1, 1, 2), seen), torch.zeros(1, 4, 1), static)
    assert found.flatten().tolist() == expected
    if limit == 76.0:  # half-way from the median to the 0.9 quantile lies 65, and 76 is 26 of the 30 between them
        assert over.item() == pytest.approx(0.5 - 0.4 * 26 / 30)


def test_power_has_no_governor() -> None:
    assert run(LINE, 60.0)[0].tolist() == LINE


@pytest.mark.parametrize("name", MODELS)
def test_offsets_of_zero_leave_the_quantiles_as_the_model_made_them(name: str, spec: ForecastSpec) -> None:
    model, inputs = build(name, spec, noise=0.1), random_inputs(spec, 5)
    raw = model(*inputs)
    shape = (8, len(spec.targets), len(spec.quantile_levels), spec.horizon_steps)
    quantiles, headroom, _ = ForecastGraph(model, torch.zeros(shape), spec)(*inputs)
    torch.testing.assert_close(quantiles[:, 0], raw[:, 0], rtol=1e-5, atol=1e-3)
    # Colder than -40 °C is no reading of any sensor; hotter than 4 °C above its limit a governor lets nothing run.
    torch.testing.assert_close(quantiles[:, 1], torch.minimum(raw[:, 1].clamp(min=-40.0), hottest(inputs)))
    assert (headroom.diff(dim=2) >= 0).all()


def test_an_offset_tells_a_quantile_at_another_level() -> None:
    offsets = torch.zeros(8, 1, 5, 1)
    offsets[:, :, 2] = NormalDist().inv_cdf(0.9)
    offsets[:, :, 1] = (NormalDist().inv_cdf(0.05) - NormalDist().inv_cdf(0.1)) / 2
    assert run(LINE, 100.0, offsets=offsets)[0].tolist() == pytest.approx([10.0, 15.0, 80.0, 80.0, 90.0])


@pytest.mark.parametrize(("score", "expected"), [(1.0, 100.0), (-1.0, 90.0), (-20.0, 80.0)])
def test_beyond_the_outermost_quantile_a_score_is_half_a_deviation_of_the_context(
    score: float, expected: float
) -> None:
    """A context of 100 and 140 deviates by 20 from its mean; told below another, a quantile is raised to it."""
    offsets = torch.zeros(8, 1, 5, 1)
    offsets[:, :, 4] = score
    past = torch.tensor([[[100.0, 140.0]]])
    found = graph(LINE, offsets=offsets)(past, torch.zeros(1, 4, 1), torch.tensor([[1e3, 90.0, 2.0, 1.0]]))[0]
    if score == -1.0:
        normal = NormalDist()
        share = (normal.inv_cdf(0.95) - 1 - normal.inv_cdf(0.5)) / normal.inv_cdf(0.9)
        expected = max(80.0, 50 + 30 * share)
    assert found[0, 0, 4, 0].item() == pytest.approx(expected)


def test_each_level_of_the_fleet_has_its_own_offsets() -> None:
    offsets = torch.zeros(8, 1, 5, 1)
    offsets[5, :, 2] = NormalDist().inv_cdf(0.9)
    deployed = graph(LINE, offsets=offsets)
    assert run_graph(deployed, 100.0, level=5)[0].tolist() == pytest.approx([10.0, 20.0, 80.0, 80.0, 90.0])
    for other in (0, 4, 6):
        assert run_graph(deployed, 100.0, level=other)[0].tolist() == pytest.approx(LINE)


@hypothesis_settings(deadline=None)
@given(
    shifts=st.lists(st.floats(-5, 5), min_size=5, max_size=5),
    raises=st.lists(st.floats(0, 50), min_size=5, max_size=5),
)
def test_where_the_models_quantiles_rise_no_calibrated_one_falls(shifts: list[float], raises: list[float]) -> None:
    offsets = torch.tensor(shifts)[None, None, :, None].expand(8, 1, 5, 1)
    higher = (torch.tensor(LINE) + torch.tensor(raises)).cummax(0).values.tolist()
    before, after = (run(quantiles, 100.0, offsets=offsets)[0] for quantiles in (LINE, higher))
    assert (after >= before - 1e-4).all()


@hypothesis_settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=5, max_size=5))
def test_no_offset_makes_quantiles_cross_or_power_negative(shifts: list[float]) -> None:
    offsets = torch.tensor(shifts)[None, None, :, None].expand(8, 1, 5, 1)
    quantiles, headroom, _ = run(LINE, 100.0, offsets=offsets)
    assert (quantiles.diff() >= 0).all()
    assert (headroom.diff() >= 0).all()
    assert (quantiles >= 0).all()


def test_temperature_below_zero_is_a_temperature() -> None:
    frost = [-60.0, -20.0, -15.0, -10.0, -5.0]
    assert run_graph(graph(frost, HOT), 88.0)[0].tolist() == [-40.0, -20.0, -15.0, -10.0, -5.0]
