"""The usual day: one course by whatever clock a window begins, taken off what was seen and told ahead."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import torch
from every_model import random_inputs
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.features.calendar import calendar
from forecast.models.adaptive_cdf import AdaptiveCdf, AdaptiveCdfConfig
from forecast.models.course import Course, UsualDay, learns_usual_day
from forecast.models.scaling import Scaled, Scaler

DAY = 96
NOON = datetime(2026, 3, 11, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def spec() -> ForecastSpec:
    return ForecastSpec(900, 2 * DAY, DAY, ("power_w",), ("power_w",), (0.1, 0.5, 0.9))


@pytest.fixture
def usual(spec: ForecastSpec) -> UsualDay:
    """What of two SKUs only the second has learnt."""
    torch.manual_seed(0)
    part = UsualDay(spec, 2)
    torch.nn.init.normal_(part.sku.weight[2])
    return part


def at(spec: ForecastSpec, usual: UsualDay, origin: datetime, sku: float, past: Tensor) -> tuple[Scaled, Course]:
    static = torch.tensor([[1000.0, 90.0, 1.0, sku]])
    scaled = Scaler(spec)(past, static)
    future = torch.tensor(calendar(origin, spec.horizon_steps, spec.step_s, "UTC").to_numpy()).T[None]
    return scaled, usual(scaled, future, static)


def test_it_is_one_course_whenever_a_window_begins(spec: ForecastSpec, usual: UsualDay) -> None:
    past = 500 + 100 * torch.rand(1, 1, 2 * DAY)
    scaled, now = at(spec, usual, NOON, 2.0, past)
    _, later = at(spec, usual, NOON + timedelta(hours=6), 2.0, past)
    behind = scaled.z - now.scaled.z
    assert now.ahead.detach().std() > 1
    torch.testing.assert_close(now.ahead[..., 24:], later.ahead[..., :-24], rtol=0, atol=1e-3)
    torch.testing.assert_close(behind, now.ahead.repeat(1, 1, 2), rtol=0, atol=1e-3)


def test_what_was_not_seen_stays_unknown(spec: ForecastSpec, usual: UsualDay) -> None:
    past = 500 + 100 * torch.rand(1, 1, 2 * DAY)
    past[..., 10:50] = torch.nan
    _, course = at(spec, usual, NOON, 2.0, past)
    assert not course.scaled.z[..., 10:50].any()


@pytest.mark.parametrize("sku", [0.0, 1.0])
def test_a_kind_of_which_nothing_was_learnt_has_none(spec: ForecastSpec, usual: UsualDay, sku: float) -> None:
    scaled, course = at(spec, usual, NOON, sku, 500 + 100 * torch.rand(1, 1, 2 * DAY))
    assert not course.ahead.any()
    assert torch.equal(course.scaled.z, scaled.z)


def test_power_stays_above_zero_on_the_least_usual_day(spec: ForecastSpec) -> None:
    past, future, static = random_inputs(spec, 20)
    past = past * (torch.rand(20, 1, 2 * DAY) < 0.1)  # idle, mostly
    model = AdaptiveCdf(AdaptiveCdfConfig(), spec, 3).eval()
    assert model.usual is not None
    torch.nn.init.normal_(model.usual.sku.weight)
    assert (model(past, future, static) >= 0).all()


@pytest.mark.parametrize(("steps", "learns"), [(DAY - 1, False), (DAY, True), (7 * DAY - 1, True), (7 * DAY, False)])
def test_contexts_that_show_no_day_or_a_week_of_them_learn_none(spec: ForecastSpec, steps: int, learns: bool) -> None:
    assert learns_usual_day(replace(spec, context_steps=steps)) is learns
