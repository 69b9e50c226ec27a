"""The answer to a plan is learnt from what came true, and what was fitted before it stays as it was."""

import copy

import numpy as np
import pytest
import torch
from every_model import build
from trees import MONDAY, node, tree_of

from forecast.calibration.response import fit_response_offsets
from forecast.contracts.specs import CALENDAR, ForecastSpec
from forecast.models.what_if import Answering, WhatIf
from forecast.training.config import TrainerConfig, TrainingConfig
from forecast.training.response import fit_response
from forecast.windows.gather import Windows
from forecast.windows.hindsight import Hindsight
from forecast.windows.inputs import Constants
from forecast.windows.panel import Panel

SPEC = ForecastSpec(
    step_s=60,
    context_steps=40,
    horizon_steps=30,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "fan_speed_rpm"),
    quantile_levels=(0.1, 0.5, 0.9),
    future=(*CALENDAR, "planned_power_w", "planned_fan_speed_rpm"),
)
STEPS, NAMES, TAU_S, RISE_C = 2000, [f"n{index}" for index in range(6)], 300.0, 50.0
TREE = tree_of(*(node(name, power_limit_w=1000.0) for name in NAMES))


def telemetry() -> np.ndarray:
    """`[C, N, T]`: load that steps at random, and a single stage of heat read at the end of each step, with noise."""
    random = np.random.default_rng(0)
    newest = np.maximum.accumulate(np.where(random.random((6, STEPS)) < 0.1, np.arange(STEPS), 0), axis=1)
    power = np.take_along_axis(random.uniform(100, 1000, (6, STEPS)), newest, axis=1)
    rise, decay = np.zeros((6, STEPS)), np.exp(-SPEC.step_s / TAU_S)
    for step in range(1, STEPS):
        rise[:, step] = decay * rise[:, step - 1] + (1 - decay) * RISE_C * power[:, step] / 1000
    values = np.stack([power, 25 + rise + random.normal(0, 0.3, rise.shape), np.full_like(power, 3000.0)])
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def windows() -> Windows:
    panel = Panel(MONDAY, SPEC.step_s, SPEC.past, TREE.entities, (telemetry(),))
    return Windows(panel, Constants.of(TREE, TREE.skus), SPEC, torch.device("cpu"))


def test_hindsight_plans_what_came_and_does_not_always_tell_the_fans(windows: Windows) -> None:
    entity, origin = torch.arange(4), torch.full((4,), 100)
    plan, fan = (SPEC.future.index(name) for name in SPEC.future[-2:])
    batch, plain = Hindsight(windows).batch(entity, origin), windows.batch(entity, origin)
    assert torch.equal(batch.future[:, plan], batch.target[:, 0])
    assert plain.future[:, plan].isnan().all()
    assert torch.equal(batch.future[:, :4], plain.future[:, :4])
    assert sorted(batch.future[:, fan].isnan().all(1).tolist()) == [False, False, False, True]


def test_learns_the_time_constant_and_covers_and_leaves_the_model_alone(windows: Windows) -> None:
    model = build("linear", SPEC.unplanned)
    before = copy.deepcopy(model.state_dict())
    answering, hindsight = Answering(model, WhatIf(SPEC, 1), SPEC), Hindsight(windows)
    first, validation, end = (torch.full((6,), step) for step in (0, 1500, STEPS))
    pairs = windows.pairs(first, validation), windows.pairs(validation, end, stride=7)
    training = TrainingConfig(steps=100, batch=64, validate_every=50)
    fit_response(answering, hindsight, *pairs, training, TrainerConfig(), 0, lambda *_: None)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())

    answer = answering.what_if.temperature
    assert answer is not None
    sku = torch.ones(1, dtype=torch.long)
    power = torch.tensor([[0.1, 0.9]])
    ends = answer.response.drive(power, torch.zeros_like(power), sku).detach()[0].diff(dim=1)[:, 0]
    after = torch.arange(1.0, 3000.0)
    rise = (ends[:, None] * (1 - torch.exp(-after / answer.response.tau_s().detach()[:, None]))).sum(0)
    t63_s = float(after[(rise >= (1 - np.exp(-1)) * ends.sum()).float().argmax()])
    assert t63_s == pytest.approx(TAU_S, rel=0.2)

    fit_response_offsets(answering.eval(), hindsight, pairs[1])
    batch = hindsight.batch(pairs[1][:, 0], pairs[1][:, 1])
    with torch.no_grad():
        low, median, high = answering(batch.past, batch.future, batch.static)[:, 1].unbind(1)
    truth = batch.target[:, 1]
    assert float((truth - median).abs().mean()) < 0.6
    assert float(((truth >= low) & (truth <= high)).float().mean()) == pytest.approx(0.8, abs=0.03)
