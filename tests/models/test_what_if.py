"""What if: the exported graph under plans, whatever the weights and inputs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from every_model import SKUS, build, random_inputs
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.bundle.answer import ANSWER, Answer
from forecast.bundle.export import export
from forecast.bundle.golden import disagreements
from forecast.bundle.session import MODEL, Outputs, Session
from forecast.contracts.specs import CALENDAR, PLANS, ForecastSpec
from forecast.models.graph import ForecastGraph
from forecast.models.thermal import ThermalResponse
from forecast.models.what_if import WhatIf, held
from forecast.windows.gather import Batch
from forecast.windows.inputs import Inputs

SPEC = ForecastSpec(
    step_s=300,
    context_steps=48,
    horizon_steps=24,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "inlet_c", "fan_speed_rpm"),
    quantile_levels=(0.05, 0.1, 0.5, 0.9, 0.95),
    future=(*CALENDAR, *PLANS),
)
POWER, FAN = (SPEC.future.index(name) for name in PLANS)
ROWS = 6


def graph_of(seed: int, spec: ForecastSpec = SPEC) -> ForecastGraph:
    """A graph with weights and offsets of its own: nothing here is trained, and all must hold all the same."""
    model = build("linear", spec.unplanned, seed, noise=0.2)
    what_if = WhatIf(spec, SKUS).eval()
    shape = (8, len(spec.targets), len(spec.quantile_levels), spec.horizon_steps)
    with torch.no_grad():
        for weight in what_if.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        if what_if.temperature is not None:
            what_if.temperature.offsets.normal_(0.0, 2.0)
            what_if.temperature.response.bend.copy_(torch.tensor([-1.5, 0.1, 1.5]))  # the outer ones past their limits
    return ForecastGraph(model, torch.randn(shape), spec, what_if).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, inputs = tmp_path_factory.mktemp("graph"), random_inputs(SPEC, ROWS)
    assert export(graph_of(0), Batch(*inputs, inputs[0][:, :2, :1]), folder) < 1e-4
    return folder


@pytest.fixture(scope="module")
def exported(folder: Path) -> Session:
    return Session((folder / MODEL).read_bytes())


@pytest.fixture(scope="module")
def answer(folder: Path) -> Answer:
    return Answer((folder / ANSWER).read_bytes())


def inputs_of(seed: int, missing: float) -> Inputs:
    return Inputs(*(part.numpy() for part in random_inputs(SPEC, ROWS, seed, missing)))


def planned(inputs: Inputs, plan: np.ndarray) -> Inputs:
    future = inputs.future.copy()
    future[:, POWER] = plan
    return Inputs(inputs.past, future, inputs.static)


raising = given(
    seed=st.integers(0, 2**31),
    missing=st.floats(0, 1),
    untold=st.floats(0, 1),
    raised=st.floats(0.02, 1),
    most=st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 100.0]),
)


@settings(max_examples=60, deadline=None)
@raising
def test_more_planned_power_never_cools_or_unloads_anything(
    exported: Session, seed: int, missing: float, untold: float, raised: float, most: float
) -> None:
    inputs = inputs_of(seed, missing)
    low, high = (exported.run(each) for each in plan_and_more(inputs, seed, untold, raised, most))
    for outputs in (low, high):
        assert np.isfinite(outputs.quantiles).all()
        assert (np.diff(outputs.quantiles, axis=2) >= 0).all()
    assert (high.quantiles >= low.quantiles).all()
    assert (high.headroom <= low.headroom).all()


@settings(max_examples=60, deadline=None)
@raising
@torch.no_grad()
def test_more_planned_power_never_cools_whatever_was_learnt(
    seed: int, missing: float, untold: float, raised: float, most: float
) -> None:
    """Weights that no training finds, most of them past where they are cut off."""
    torch.manual_seed(seed)
    what_if, inputs = WhatIf(SPEC, SKUS).eval(), inputs_of(seed, missing)
    assert what_if.temperature is not None
    for weight in what_if.temperature.response.parameters():
        weight.normal_(0.0, 1.0)
    marginal = torch.randn(ROWS, 2, len(SPEC.quantile_levels), SPEC.horizon_steps).cumsum(2)
    low, high = (
        what_if(marginal, *map(torch.from_numpy, (each.past, each.future, each.static)))
        for each in plan_and_more(inputs, seed, untold, raised, most)
    )
    assert torch.isfinite(high).all()
    assert (high >= low).all()


def plan_and_more(inputs: Inputs, seed: int, untold: float, raised: float, most: float) -> tuple[Inputs, Inputs]:
    """Inputs with a plan, and with one that draws more at some steps and less at none."""
    random = np.random.default_rng(seed)
    nameplate = inputs.static[:, :1]
    shape = (ROWS, SPEC.horizon_steps)
    plan = (1.5 * nameplate * random.random(shape)).astype(np.float32)
    plan[random.random(shape) < untold] = np.nan
    more = plan + (random.random(shape) < raised) * (most * nameplate * random.random(shape)).astype(np.float32)
    return planned(inputs, plan), planned(inputs, more.astype(np.float32))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), missing=st.floats(0, 1), untold=st.floats(0, 1))
def test_the_end_of_a_graph_answers_as_the_whole(
    exported: Session, answer: Answer, seed: int, missing: float, untold: float
) -> None:
    """From the quantiles without plans, whatever was planned when they were made."""
    random, inputs = np.random.default_rng(seed), inputs_of(seed, missing)
    plan = (1.5 * inputs.static[:, :1] * random.random((ROWS, SPEC.horizon_steps))).astype(np.float32)
    plan[random.random(plan.shape) < untold] = np.nan
    _, marginal = exported.run_with_marginal(planned(inputs, np.roll(plan, 1)))
    assert marginal is not None
    asked = planned(inputs, plan)
    assert max(disagreements(answer.run(marginal, answer.glance(asked)), exported.run(asked)).values()) < 1e-5


def run(session: Session, inputs: Inputs, plan: np.ndarray | float) -> Outputs:
    full = np.broadcast_to(np.asarray(plan, np.float32), (ROWS, SPEC.horizon_steps))
    return session.run(planned(inputs, full))


def test_the_load_follows_its_plan_within_what_a_meter_reads(exported: Session) -> None:
    inputs = inputs_of(3, 0.2)
    plan = inputs.static[:, :1] * np.linspace(0.1, 0.9, SPEC.horizon_steps, dtype=np.float32)
    load = run(exported, inputs, plan).quantiles[:, 0]
    np.testing.assert_allclose(load[:, 2], plan, rtol=1e-6)
    np.testing.assert_allclose(load[:, 4] / plan, 1 + 1.645 * 0.01, rtol=1e-3)


def test_temperature_answers_and_goes_on_answering_after_the_plan(exported: Session) -> None:
    inputs = inputs_of(4, 0.2)
    inputs.static[:, 1] = np.nan  # no limit, no governor
    plan = np.full((ROWS, SPEC.horizon_steps), np.nan, np.float32)
    plan[:, 3:6] = 0.0
    idle = run(exported, inputs, plan)
    plan[:, 3:6] = inputs.static[:, :1]
    busy = run(exported, inputs, plan)
    warmer = (busy.quantiles - idle.quantiles)[:, 1, 2]
    assert (warmer[:, :3] == 0).all()
    assert (warmer[:, 5] > 1.0).all()
    assert (warmer[:, 6:] >= 0).all()
    assert (warmer[:, -1] < 0.5 * warmer[:, 5]).all()
    np.testing.assert_array_equal(
        np.delete(busy.quantiles[:, 0], [3, 4, 5], 2), np.delete(idle.quantiles[:, 0], [3, 4, 5], 2)
    )


def test_without_a_plan_the_forecast_is_the_one_that_never_heard_of_plans() -> None:
    graph, inputs = graph_of(1), random_inputs(SPEC, ROWS, 5)
    inputs[1][:, [POWER, FAN]] = torch.nan
    plain = ForecastGraph(graph.model, torch.zeros(8, 2, 5, SPEC.horizon_steps), SPEC.unplanned).eval()
    plain.calibration = graph.calibration
    for found, expected in zip(graph(*inputs), plain(inputs[0], inputs[1][:, :POWER], inputs[2]), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_fans_cool(exported: Session) -> None:
    """Where the residual says nothing: it may know more of fans than convection does, but not of power."""
    what_if = WhatIf(SPEC, SKUS).eval()
    graph = ForecastGraph(build("linear", SPEC.unplanned), torch.zeros(8, 2, 5, SPEC.horizon_steps), SPEC, what_if)
    past, future, static = random_inputs(SPEC, ROWS, 6)
    static[:, 1] = torch.nan
    future[:, POWER] = static[:, :1]
    future[:, FAN] = 2000.0
    slow = graph(past, future, static)[0]
    future[:, FAN] = 6000.0
    fast = graph(past, future, static)[0]
    assert (fast[:, 1] < slow[:, 1] - 0.5).all()
    assert torch.equal(fast[:, 0], slow[:, 0])


@pytest.mark.parametrize(
    ("targets", "past", "future"),
    [
        (("temperature_c",), ("temperature_c", "power_w"), ("planned_power_w",)),
        (("power_w",), ("power_w",), ("planned_power_w",)),
        (("power_w", "temperature_c"), ("power_w", "temperature_c"), ("planned_fan_speed_rpm",)),
        (("temperature_c",), ("temperature_c",), ("planned_power_w",)),
    ],
)
def test_any_choice_of_channels_can_be_asked(
    targets: tuple[str, ...], past: tuple[str, ...], future: tuple[str, ...]
) -> None:
    spec = ForecastSpec(3600, 30, 5, targets, past, SPEC.quantile_levels, (*CALENDAR, *future))
    quantiles = graph_of(0, spec)(*random_inputs(spec, 3))[0]
    assert torch.isfinite(quantiles).all()
    assert (quantiles.diff(dim=2) >= 0).all()


@pytest.mark.parametrize("case", ["nothing observed", "limits unknown", "both", "no power", "no temperature"])
def test_finite_in_corner_cases(exported: Session, case: str) -> None:
    inputs = inputs_of(7, 0.2)
    if case in {"nothing observed", "both"}:
        inputs.past[:] = np.nan
    if case in {"limits unknown", "both"}:
        inputs.static[:, :2] = np.nan
    if case == "no power":
        inputs.past[:, 0] = np.nan
    if case == "no temperature":
        inputs.past[:, 1] = np.nan
    assert np.isfinite(run(exported, inputs, 500.0).quantiles).all()


@torch.no_grad()
def test_power_is_bent_as_told_and_on_lines() -> None:
    response = ThermalResponse(60, 8, 8, skus=1, fans_told=False)
    log_flow, sku = torch.zeros(1, 41), torch.ones(1, dtype=torch.long)
    power = torch.linspace(0.0, 2.0, 41)[None]
    straight = response.drive(power, log_flow, sku)
    torch.testing.assert_close(straight, power[:, None] * straight[:, :, 20:21])
    response.bend.copy_(torch.tensor([-0.2, 0.0, 0.4]))
    slopes = (response.drive(power, log_flow, sku).diff() / straight.diff())[0]
    middle = (power[0, :20:2] + 0.05).clamp(max=0.95)
    for stage, bend in enumerate((-2.0, 0.0, 4.0)):
        torch.testing.assert_close(slopes[stage, :20:2], (bend * (0.5 - middle)).exp(), rtol=1e-4, atol=0)
        torch.testing.assert_close(slopes[stage, 18:], slopes[stage, 18:19].expand(22), rtol=1e-4, atol=0)


def test_the_last_observation_is_held() -> None:
    nan = torch.nan
    values = torch.tensor([[nan, 2.0, nan, 6.0, nan], [nan] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]])
    (filled,), (seen,) = held(values[None])
    assert filled.tolist() == [[4.0, 2.0, 2.0, 6.0, 6.0], [0.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]]
    assert seen.sum(1).tolist() == [2.0, 0.0, 5.0]


@torch.no_grad()
def test_quantiles_of_the_answer_move_by_their_reach() -> None:
    answer = graph_of(3).what_if
    assert answer is not None
    assert answer.temperature is not None
    past, future, static = random_inputs(SPEC, ROWS, missing=0.0)
    future[:, POWER] = 500.0
    marginal, load = 20 + torch.rand(ROWS, 5, 24).cumsum(1), torch.full((ROWS, 24), 300.0)
    offsets = answer.temperature.offsets
    moved, reach, share = answer.temperature.answered(marginal, load, past, future, static)
    offsets.zero_()
    unmoved, _, _ = answer.temperature.answered(marginal, load, past, future, static)
    assert reach.min() > 0
    by = share[:, None] * reach * torch.ones_like(offsets)
    offsets.fill_(1.0)
    raised, _, _ = answer.temperature.answered(marginal, load, past, future, static)
    torch.testing.assert_close(raised - unmoved, by, rtol=1e-4, atol=1e-3)
    assert not torch.allclose(moved, unmoved)
