"""A CDF over a grid: its quantiles, the grid itself, and where over the horizon it is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from every_model import SKUS, random_inputs
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from forecast.bundle.export import export
from forecast.bundle.golden import TOLERANCE
from forecast.contracts.errors import ConfigError
from forecast.contracts.specs import ForecastSpec
from forecast.models.adaptive_cdf import PARTS, AdaptiveCdf, AdaptiveCdfConfig
from forecast.models.cdf import Cdf, quantiles_of
from forecast.models.graph import ForecastGraph
from forecast.models.grid import Grid
from forecast.models.linear import Straight
from forecast.models.scaling import Scaled, Scaler
from forecast.windows.gather import Batch


def one(values: list[float], masses: list[float], unit: float = 1.0) -> Cdf:
    """A CDF of one window, target and step."""
    told = torch.tensor(masses)[None, None, :, None]
    return Cdf(torch.tensor(values)[None, None], told, torch.full((1, 1, 1), unit), torch.zeros(1, 1, 1))


def test_quantiles_by_hand() -> None:
    cdf = one([0.0, 1.0, 3.0], [0.5, 0.5], unit=100.0)
    assert quantiles_of(cdf, (0.1, 0.5, 0.75))[0, 0, :, 0].tolist() == pytest.approx([20.0, 100.0, 200.0])


def test_a_machine_that_is_idle_or_busy_has_no_quantile_between() -> None:
    cdf = one([50.0, 50.0, 300.0, 300.0], [0.6, 0.0, 0.4])
    found = quantiles_of(cdf, (0.1, 0.5, 0.59, 0.61, 0.9))[0, 0, :, 0]
    assert found.tolist() == pytest.approx([50.0, 50.0, 50.0, 300.0, 300.0])


@given(seed=st.integers(0, 2**31), cells=st.integers(1, 30))
def test_quantiles_are_those_that_interpolation_finds(seed: int, cells: int) -> None:
    random = np.random.default_rng(seed)
    values, masses = np.sort(random.normal(size=cells + 1)), random.dirichlet(np.ones(cells))
    levels = (0.01, 0.25, 0.5, 0.75, 0.99)
    found = quantiles_of(one(values.tolist(), masses.tolist()), levels)[0, 0, :, 0]
    expected = np.interp(levels, np.concatenate([[0], masses.cumsum()]), values)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def grid_of(spec: ForecastSpec, past: Tensor, static: Tensor) -> tuple[Grid, Scaled, Tensor]:
    grid, scaled = Grid(spec), Scaler(spec)(past, static)
    return grid, scaled, grid(scaled)


def test_the_grid_holds_the_newest_value_the_extremes_and_what_could_come(spec: ForecastSpec) -> None:
    past, _, static = random_inputs(spec, 5, missing=0.0)
    _, scaled, values = grid_of(spec, past, static)
    physical = (values * scaled.spread[:, :2] + scaled.loc[:, :2]) * scaled.unit[:, :2]
    assert (values.diff(dim=2) >= 0).all()
    for seen in (past[:, :2, -1], past[:, :2].amax(2), past[:, :2].amin(2)):
        apart = (physical - seen[..., None]).abs().amin(2) / (scaled.unit * scaled.spread)[:, :2, 0]
        assert (apart < 0.03).all()
    assert (physical[:, 0, 0].abs() / static[:, 0] < 1e-5).all()
    assert (physical[:, 0, -1] > static[:, 0]).all()
    assert (physical[:, 1, -1] > past[:, 1].amax(1) + 10).all()


@pytest.mark.parametrize(("horizon", "hottest"), [(288, 84.0), (287, 54.5)])
def test_who_idled_at_34_degrees_may_be_busy_a_day_ahead(spec: ForecastSpec, horizon: int, hottest: float) -> None:
    spec = replace(spec, step_s=300, horizon_steps=horizon)
    past, _, static = random_inputs(spec, 1, missing=0.0)
    past[:, 1] = 34 + 0.5 * (torch.arange(past.shape[2]) % 2)
    _, scaled, values = grid_of(spec, past, static)
    physical = (values * scaled.spread[:, :2] + scaled.loc[:, :2]) * scaled.unit[:, :2]
    assert physical[0, 1, -1].item() == pytest.approx(hottest, abs=0.2)
    past[:, 1, 0] = 75.0
    _, scaled, values = grid_of(spec, past, static)
    physical = (values * scaled.spread[:, :2] + scaled.loc[:, :2]) * scaled.unit[:, :2]
    assert physical[0, 1, -1].item() == pytest.approx(95.0, abs=0.5)  # who was busy is known to be


@pytest.mark.parametrize("digit", [1e-7, -1e-7, 1e-6])
def test_readings_that_are_quantised_do_not_hang_on_the_last_digit(spec: ForecastSpec, digit: float) -> None:
    past, _, static = random_inputs(spec, 20, missing=0.1)
    past[:, 1] = past[:, 1].round()
    past[:, 0] = (past[:, 0] / static[:, :1] * 10).round() / 10 * static[:, :1]
    (grid, scaled, values), (_, other, others) = (grid_of(spec, each, static) for each in (past, past * (1 + digit)))
    torch.testing.assert_close(grid.cells(values, scaled), grid.cells(others, other), rtol=0, atol=5e-3)


def test_shares_of_the_cells_are_where_the_context_was(spec: ForecastSpec) -> None:
    past, _, static = random_inputs(spec, 1, missing=0.0)
    static[:, 0], past[:, 0, ::2], past[:, 0, 1::2] = 1000.0, 100.0, 800.0
    grid, scaled, values = grid_of(spec, past, static)
    shares = (2 * grid.cells(values, scaled)[0, 0, Grid.SHARES]).exp().T - 0.01
    centre = (values[0, 0, 1:] + values[0, 0, :-1]) / 2 * scaled.spread[0, 0] + scaled.loc[0, 0]
    for span in range(3):
        assert shares[centre < 0.3, span].sum() == pytest.approx(0.5, abs=0.02)
        assert shares[(centre > 0.3) & (centre < 0.6), span].abs().max() < 1e-4


@pytest.mark.parametrize(("horizon", "points"), [(1, 20), (12, 20), (48, 20), (288, 20), (288, 2)])
def test_steps_are_told_from_the_first_to_the_last_and_lines_join_them(
    spec: ForecastSpec, horizon: int, points: int
) -> None:
    model = AdaptiveCdf(AdaptiveCdfConfig(points=points, width=0), replace(spec, horizon_steps=horizon), 1)
    assert model.steps[0] == 0
    assert model.steps[-1] == horizon - 1
    assert len(model.steps) <= points
    assert model.hats.shape == (len(model.steps), horizon)
    line = torch.tensor(model.steps, dtype=torch.float32) @ model.hats
    torch.testing.assert_close(line, torch.arange(float(horizon)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("width", [0, 16])
def test_masses_are_a_distribution_and_no_cell_of_some_width_is_empty(width: int, spec: ForecastSpec) -> None:
    model, inputs = AdaptiveCdf(AdaptiveCdfConfig(width=width), spec, SKUS).eval(), random_inputs(spec, 6, missing=0.5)
    shake(model, 0.3)
    cdf, beside = model.scored(*inputs)
    torch.testing.assert_close(cdf.masses.sum(2), torch.ones(6, 2, len(model.steps)))
    assert (cdf.masses[(cdf.values.diff(dim=2) > 1e-3)] > 0).all()
    told = quantiles_of(cdf, spec.quantile_levels)
    assert beside is not None
    share = 0.25 * (torch.tensor(model.steps) / 4).clamp(max=1.0)
    expected = model.scaler.possible((1 - share) * told + share * beside[..., model.steps])
    torch.testing.assert_close(model(*inputs)[..., model.steps], expected, rtol=1e-4, atol=1e-3)


def shake(model: AdaptiveCdf, by: float) -> None:
    """Weights as if something had been learnt: some are zero at first."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(by * torch.randn_like(weight))


def test_a_context_of_less_than_a_day_knows_no_other_days(spec: ForecastSpec, tmp_path: Path) -> None:
    short = replace(spec, context_steps=12)
    model = AdaptiveCdf(AdaptiveCdfConfig(width=16), short, SKUS)
    graph = ForecastGraph(model, torch.zeros(8, 2, 5, spec.horizon_steps), short).eval()
    assert export(graph, Batch(*random_inputs(short, 4), torch.empty(0)), tmp_path) <= TOLERANCE


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_left_out_is_missed(part: str, spec: ForecastSpec) -> None:
    fine = replace(spec, step_s=900, context_steps=192)
    inputs = random_inputs(fine, 4, missing=0.1)
    whole, less = (AdaptiveCdf(AdaptiveCdfConfig(without=without), fine, 1).eval() for without in ([], [part]))
    shake(whole, 0.1)
    less.load_state_dict(whole.state_dict(), strict=False)
    assert not torch.allclose(whole(*inputs), less(*inputs))


def test_only_parts_can_be_left_out() -> None:
    with pytest.raises(ConfigError, match=r"model\.without names 'head'; it can leave out state, normal, days, course"):
        AdaptiveCdfConfig(without=["head"])


@pytest.mark.parametrize(("name", "value"), [("points", 1), ("hidden", 0), ("rank", -1), ("dropout", 1.0)])
def test_sizes_that_cannot_be_are_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{name} is {value}; it"):
        AdaptiveCdfConfig(**{name: value})


@pytest.mark.parametrize("horizon", [40, 96])
def test_the_linear_member_is_told_at_its_knots_as_it_is_at_every_step(spec: ForecastSpec, horizon: int) -> None:
    long = replace(spec, context_steps=7 * 24, horizon_steps=horizon)
    torch.manual_seed(0)
    model = AdaptiveCdf(AdaptiveCdfConfig(), long, SKUS).eval()
    past, future, static = random_inputs(long, 3, missing=0.0)
    cdf, beside = model.scored(past, future, static)
    assert beside is not None
    distribution = torch.matmul(quantiles_of(cdf._replace(shift=torch.zeros(1, 1, 1)), model.levels), model.hats)
    told = (model.share * distribution + (1 - model.share) * beside) / cdf.unit[:, :, None]
    found = model(past, future, static) / cdf.unit[:, :, None]
    # Where a quantile of the linear member would lie below zero, that is seen at the knots only.
    assert (found - told).abs().max() < 0.02


@pytest.mark.parametrize("horizon", [96, 100])
def test_quantiles_calibrated_as_sums_of_curves_are_those_calibrated_one_by_one(
    spec: ForecastSpec, horizon: int
) -> None:
    long = replace(spec, context_steps=7 * 24, horizon_steps=horizon)
    torch.manual_seed(0)
    model = AdaptiveCdf(AdaptiveCdfConfig(), long, SKUS).eval()
    past, future, static = random_inputs(long, 3)
    offsets = 0.5 * torch.randn(8, len(long.targets), len(long.quantile_levels), 1).expand(-1, -1, -1, horizon)
    graph = ForecastGraph(model, offsets, long)
    curves = model.curves()
    assert curves is not None
    assert 2 * len(curves) <= horizon
    one_by_one = graph.calibration(model(past, future, static), past, static)
    torch.testing.assert_close(graph.marginal(past, future, static), one_by_one, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_the_linear_members_widths_are_interpolated_in_its_weights_as_in_what_they_tell(spec: ForecastSpec) -> None:
    long = replace(spec, horizon_steps=96)
    linear = Straight(long, 5)
    linear.steps.weight.normal_()
    summary, at = torch.randn(3, 5), torch.tensor([0, 1, 7, 50, 95])
    told = torch.matmul(linear.at_knots(summary), linear.hats)[..., at]
    torch.testing.assert_close(linear.at_steps(summary, at), told)


@torch.no_grad()
def test_what_lies_below_the_possible_is_cut_where_a_target_has_such(spec: ForecastSpec) -> None:
    for targets in (spec.targets, ("temperature_c",)):
        others = tuple(name for name in spec.past if name not in targets)
        scaler = Scaler(replace(spec, targets=targets, past=(*targets, *others)))
        assert scaler.bounded == ("power_w" in targets)
        cold = torch.full((3, len(targets), 2, 4), -10.0)
        assert bool((scaler.possible(cold) == cold).all()) != scaler.bounded


def test_of_a_long_context_the_newest_day_and_quantiles_tell_where_it_was(spec: ForecastSpec) -> None:
    """A week at 5 min that lies high for half of its newest quarter day, and low for a third of all before."""
    week = replace(spec, step_s=300, context_steps=2016, horizon_steps=288)
    past, _, static = random_inputs(week, 2, missing=0.0)
    past[0, 0, :-36] = torch.where(torch.arange(1980) < 660, 100.0, 200.0)
    past[0, 0, -36:] = 700.0
    past[1, 0] = torch.nan
    scaled, grid = Scaler(week)(past, static), Grid(week)
    watts = torch.tensor([150.0, 500.0, 800.0]) / scaled.unit[0, 0]
    values = ((watts - scaled.loc[0, 0]) / scaled.spread[0, 0])[None, None].expand(2, len(week.targets), -1)
    shares = grid._ranks(values, scaled)[:, 0]
    torch.testing.assert_close(shares[0, :2, 1:], torch.tensor([[0.5, 1.0], [7 / 8, 1.0]]))
    torch.testing.assert_close(shares[0, 2], torch.tensor([1 / 3, 1980 / 2016, 1.0]), atol=0.04, rtol=0)
    assert (shares[1] == 0).all()
