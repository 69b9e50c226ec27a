"""What every model promises; a new one joins by its file in `configs/model`."""

import pytest
import torch
from every_model import MODELS, build, random_inputs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.models.base import CdfModel
from forecast.training.losses import crps, pinball

SPEC = ForecastSpec(
    step_s=3600,
    context_steps=48,
    horizon_steps=12,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "utilization_ratio"),
    quantile_levels=(0.05, 0.1, 0.5, 0.9, 0.95),
)

every_model = pytest.mark.parametrize("name", MODELS)


@torch.no_grad()
def run(name: str, past: Tensor, future: Tensor, static: Tensor, noise: float = 0.1, seed: int = 0) -> Tensor:
    return build(name, SPEC, seed, noise)(past, future, static)


def of_one_size(result: Tensor, static: Tensor) -> Tensor:
    """Power in nameplates and temperature in units of 100 °C, so that one tolerance fits both."""
    unit = torch.stack([static[:, 0], torch.full_like(static[:, 0], 100.0)], dim=1)
    return result / unit[:, :, None, None]


def test_the_configured_models_are_found() -> None:
    assert {"linear", "patch_mixer"} <= set(MODELS)


@every_model
def test_gives_a_quantile_per_target_level_and_step(name: str) -> None:
    assert run(name, *random_inputs(SPEC, 7)).shape == (7, 2, 5, 12)


@every_model
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), missing=st.floats(0, 1), noise=st.floats(0, 1))
def test_finite_and_never_crossing_whatever_the_weights_and_the_gaps(
    name: str, seed: int, missing: float, noise: float
) -> None:
    result = run(name, *random_inputs(SPEC, 4, seed, missing), noise=noise, seed=seed)
    assert torch.isfinite(result).all()
    assert (result.diff(dim=2) >= 0).all()


@every_model
def test_power_is_never_negative(name: str) -> None:
    past, future, static = random_inputs(SPEC, 16)
    past[:, 0] *= 1e-3
    result = run(name, past, future, static, noise=0.5)
    assert (result[:, 0] >= 0).all()
    assert (result[:, 0] > 0).any()


@every_model
@pytest.mark.parametrize("case", ["nothing observed", "limits unknown", "both", "codes unknown", "constant", "idle"])
def test_finite_in_corner_cases(name: str, case: str) -> None:
    past, future, static = random_inputs(SPEC, 3)
    if case in {"nothing observed", "both"}:
        past.fill_(torch.nan)
    if case in {"limits unknown", "both"}:
        static[:, :2] = torch.nan
    if case == "codes unknown":
        static[:, 2:] = 0
    if case == "constant":
        past.fill_(20.0)
    if case == "idle":
        past.fill_(0.0)
    result = run(name, past, future, static)
    assert torch.isfinite(result).all()
    assert (result.diff(dim=2) >= 0).all()


@every_model
def test_rows_of_a_batch_do_not_influence_each_other(name: str) -> None:
    past, future, static = random_inputs(SPEC, 6)
    together = of_one_size(run(name, past, future, static), static)
    for row in range(6):
        alone = run(name, *(part[row : row + 1] for part in (past, future, static)))
        torch.testing.assert_close(of_one_size(alone, static[row : row + 1])[0], together[row], rtol=1e-4, atol=1e-5)
    past[1:], static[1:, :2] = torch.nan, torch.nan
    beside_nothing = of_one_size(run(name, past, future, static), static)
    torch.testing.assert_close(beside_nothing[0], together[0], rtol=1e-4, atol=1e-5)


@every_model
@pytest.mark.parametrize("factor", [0.5, 3.0, 1000.0])
@pytest.mark.parametrize("nameplate", ["known", "unknown"])
def test_a_fleet_k_times_as_large_draws_k_times_the_power(name: str, factor: float, nameplate: str) -> None:
    past, future, static = random_inputs(SPEC, 5)
    size = static[:, :1, None].clone()
    if nameplate == "unknown":
        static[:, 0] = torch.nan
    small = run(name, past, future, static)
    past[:, 0] *= factor
    static[:, 0] *= factor
    large = run(name, past, future, static)
    torch.testing.assert_close(large[:, 0] / factor / size, small[:, 0] / size, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(large[:, 1], small[:, 1], rtol=1e-4, atol=1e-3)


@every_model
def test_every_input_is_used(name: str) -> None:
    inputs, others = random_inputs(SPEC, 4, seed=0), random_inputs(SPEC, 4, seed=1)
    before = run(name, *inputs, noise=0.5)
    for part in range(3):
        mixed = [others[part] if index == part else inputs[index] for index in range(3)]
        assert not torch.equal(run(name, *mixed, noise=0.5), before)


@every_model
def test_the_same_input_gives_the_same_forecast(name: str) -> None:
    model, inputs = build(name, SPEC, noise=0.1), random_inputs(SPEC, 3)
    assert torch.equal(model(*inputs), model(*inputs))


@every_model
def test_overfits_one_batch(name: str) -> None:
    model, inputs = build(name, SPEC), random_inputs(SPEC, 8)
    random = torch.Generator().manual_seed(1)
    unit = torch.stack([inputs[2][:, 0], torch.full((8,), 10.0)], dim=1)[..., None]
    target = (torch.rand(8, 2, 12, generator=random) * torch.tensor([1.0, 6.0])[:, None]) * unit
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(200):
        loss = pinball(model(*inputs), target, torch.tensor(SPEC.quantile_levels), unit)
        optimiser.zero_grad()
        (_own(model, inputs, target) if isinstance(model, CdfModel) else loss).backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-20:]) < 0.25 * losses[0]


def _own(model: CdfModel, inputs: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Tensor:
    """What training minimises, but for units: all are near one another here."""
    cdf, beside = model.scored(*inputs)
    assert beside is not None
    levels = torch.tensor(SPEC.quantile_levels)
    return crps(cdf, target[:, :, model.steps]) + pinball(beside, target, levels, cdf.unit)


@every_model
def test_every_weight_learns(name: str) -> None:
    model, inputs = build(name, SPEC, noise=0.05), random_inputs(SPEC, 32)
    target = inputs[0][:, :2, :12].nan_to_num(1.0)
    unit = torch.stack([inputs[2][:, 0], torch.full((32,), 10.0)], dim=1)[..., None]
    pinball(model(*inputs), target, torch.tensor(SPEC.quantile_levels), unit).backward()
    idle = [label for label, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not idle
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
