"""What is known ahead inside the graph: units, masks, and how a forecast follows it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from every_model import MODELS, build, random_inputs
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from forecast.bundle.export import export
from forecast.bundle.golden import TOLERANCE, check_golden
from forecast.bundle.session import MODEL, Session
from forecast.contracts.signals import LEVELS
from forecast.contracts.specs import CALENDAR, FUTURE, ForecastSpec
from forecast.models.ahead import AheadScaler
from forecast.models.graph import ForecastGraph
from forecast.models.scaling import Scaler
from forecast.training.losses import pinball
from forecast.windows.gather import Batch

SPEC = ForecastSpec(
    step_s=3600,
    context_steps=48,
    horizon_steps=12,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "utilization_ratio"),
    quantile_levels=(0.05, 0.1, 0.5, 0.9, 0.95),
    future=tuple(FUTURE),
)
OPTIONAL = [index for index, name in enumerate(SPEC.future) if FUTURE[name].optional]
POWERS = [index for index, name in enumerate(SPEC.future) if FUTURE[name].typical_scale is None]

every_model = pytest.mark.parametrize("name", MODELS)


def ahead(spec: ForecastSpec, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
    return AheadScaler(spec)(future, Scaler(spec)(past, static))


def test_degrees_count_from_a_mild_day_and_watts_in_nameplates() -> None:
    past, future, static = random_inputs(SPEC, 2, missing=0.0)
    future[:, SPEC.future.index("outdoor_c")] = 25.0
    future[:, SPEC.future.index("scheduled_power_w")] = static[:, :1] / 4
    found = ahead(SPEC, past, future, static)
    assert found[:, SPEC.future.index("outdoor_c")].unique().tolist() == [1.0]
    torch.testing.assert_close(found[:, SPEC.future.index("scheduled_power_w")], torch.full((2, 12), 0.25))
    static[:, 0] = torch.nan
    unlimited = ahead(SPEC, past, future, static)[:, SPEC.future.index("scheduled_power_w")]
    torch.testing.assert_close(
        unlimited * past[:, 0].amax(1, keepdim=True), future[:, SPEC.future.index("scheduled_power_w")]
    )


def test_unknown_reads_zero_and_its_mask_says_so() -> None:
    past, future, static = random_inputs(SPEC, 5, missing=0.5)
    found = ahead(SPEC, past, future, static)
    assert found.shape == (5, len(FUTURE) + len(OPTIONAL), 12)
    masks = found[:, len(FUTURE) :]
    assert torch.equal(masks.bool(), ~future[:, OPTIONAL].isnan())
    assert (found[:, OPTIONAL][masks == 0] == 0).all()


def test_where_only_a_clock_tells_nothing_is_added() -> None:
    clock = replace(SPEC, future=CALENDAR)
    inputs = random_inputs(clock, 3)
    assert ahead(clock, *inputs) is inputs[1]


@every_model
@given(seed=st.integers(0, 2**31), missing=st.floats(0, 1))
def test_finite_and_never_crossing_whatever_is_unknown(name: str, seed: int, missing: float) -> None:
    result = build(name, SPEC, seed, noise=0.3)(*random_inputs(SPEC, 3, seed, missing))
    assert torch.isfinite(result).all()
    assert (result.diff(dim=2) >= 0).all()


@every_model
@pytest.mark.parametrize("factor", [0.5, 1000.0])
def test_a_fleet_k_times_as_large_with_k_times_the_jobs_draws_k_times_the_power(name: str, factor: float) -> None:
    model, (past, future, static) = build(name, SPEC, noise=0.1), random_inputs(SPEC, 5)
    size = static[:, :1, None].clone()
    small = model(past, future, static)
    past[:, 0] *= factor
    static[:, 0] *= factor
    future[:, POWERS] *= factor
    large = model(past, future, static)
    torch.testing.assert_close(large[:, 0] / factor / size, small[:, 0] / size, rtol=1e-4, atol=1e-5)


@every_model
def test_every_weight_learns_and_every_covariate_is_used(name: str) -> None:
    model, (past, future, static) = build(name, SPEC, noise=0.05), random_inputs(SPEC, 32)
    future.requires_grad_()
    target = past[:, :2, :12].nan_to_num(1.0)
    unit = torch.stack([static[:, 0], torch.full((32,), 10.0)], dim=1)[..., None]
    pinball(model(past, future, static), target, torch.tensor(SPEC.quantile_levels), unit).backward()
    idle = [label for label, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not idle
    assert future.grad is not None
    assert torch.isfinite(future.grad).all()
    assert future.grad.abs().sum((0, 2)).gt(0).all()


@every_model
def test_a_schedule_that_says_it_all_is_learnt_in_few_steps(name: str) -> None:
    """Load jumps to what was scheduled: without the schedule nobody could know."""
    spec = replace(SPEC, future=(*CALENDAR, "scheduled_power_w"))
    model, (past, future, static) = build(name, spec), random_inputs(spec, 64, missing=0.0)
    past[:, 0] = 0.2 * static[:, :1] * (1 + 0.1 * torch.randn(64, 48))
    jump = 0.2 + 0.6 * torch.rand(64, 1)
    future[:, -1] = jump * static[:, :1]
    target = torch.stack([future[:, -1], past[:, 1, :12]], dim=1)
    unit = torch.stack([static[:, 0], torch.full((64,), 10.0)], dim=1)[..., None]
    levels = torch.tensor(spec.quantile_levels)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-2)
    first = 0.0
    for _ in range(60):
        loss = pinball(model(past, future, static)[:, :1], target[:, :1], levels, unit[:, :1])
        first = first or loss.item()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.25 * first


# Exports take long: what the linear model is told of is exported in windows/test_ahead_leakage.py.
@pytest.mark.parametrize("name", [name for name in MODELS if name != "linear"])
def test_both_runtimes_agree_on_what_is_known_ahead(name: str, tmp_path: Path) -> None:
    past, future, static = random_inputs(SPEC, 6, missing=0.3)
    future[0, OPTIONAL] = torch.nan
    offsets = torch.zeros(len(LEVELS) + 1, 2, len(SPEC.quantile_levels), SPEC.horizon_steps)
    graph = ForecastGraph(build(name, SPEC, noise=0.02), offsets, SPEC).eval()
    assert export(graph, Batch(past, future, static, torch.empty(0)), tmp_path) <= TOLERANCE
    check_golden(tmp_path, Session((tmp_path / MODEL).read_bytes()))


@pytest.mark.slow  # the same parts are members of what test_adaptive_cdf.py exports with such a context
def test_a_context_of_less_than_a_day_exports_too(tmp_path: Path) -> None:
    spec = replace(SPEC, context_steps=12, future=CALENDAR)
    offsets = torch.zeros(len(LEVELS) + 1, 2, len(spec.quantile_levels), spec.horizon_steps)
    graph = ForecastGraph(build("linear", spec), offsets, spec).eval()
    assert export(graph, Batch(*random_inputs(spec, 4), torch.empty(0)), tmp_path) <= TOLERANCE
