"""What other days and other hours say, before anything is learnt and with part of them missing."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import torch
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.features.calendar import calendar
from forecast.models.adaptive_cdf import _decoded
from forecast.models.course import HourlyCourse, tells_hourly_course
from forecast.models.days import Days, Said
from forecast.models.scaling import Scaled, Scaler

STEP_S, DAY = 900, 96


@pytest.fixture(scope="module")
def spec() -> ForecastSpec:
    return ForecastSpec(STEP_S, 7 * DAY, DAY, ("power_w",), ("power_w",), (0.1, 0.5, 0.9))


def scaled_of(spec: ForecastSpec, load: Tensor) -> Scaled:
    """`load [B, L]`, W, of machines of 1 kW."""
    return Scaler(spec)(load[:, None], torch.tensor([[1000.0, 90.0, 1.0, 1.0]]).repeat(len(load), 1))


def days_of(spec: ForecastSpec) -> Days:
    steps = _decoded(spec.horizon_steps, 20)
    return Days(spec, torch.tensor(steps), spec.context_steps // spec.day_steps)


def said(spec: ForecastSpec, load: Tensor, origin: datetime = datetime(2026, 3, 11, tzinfo=UTC)) -> tuple[Said, Scaled]:
    future = torch.tensor(calendar(origin, spec.horizon_steps, spec.step_s, "UTC").to_numpy()).T[None]
    scaled = scaled_of(spec, load)
    return days_of(spec)(scaled, future.repeat(len(load), 1, 1)), scaled


def daily(days: float, amplitude: float = 200.0) -> Tensor:
    """A load that is the same every day, from seven days ago on."""
    time = torch.arange(int(days * DAY)) / DAY
    return 500 + amplitude * torch.sin(2 * torch.pi * time)


def test_a_load_that_repeats_every_day_is_forecast_untrained(spec: ForecastSpec) -> None:
    load = daily(8)
    found, scaled = said(spec, load[None, : 7 * DAY])
    truth = (load[7 * DAY + torch.tensor(_decoded(DAY, 20))] / 1000 - scaled.loc[0, 0]) / scaled.spread[0, 0]
    away = (found.median[0, 0] - truth).abs()
    assert away.mean() < 0.4 * truth.abs().mean()
    torch.testing.assert_close(found.weights.sum(2), torch.ones_like(found.weights[:, :, 0]))


def test_a_step_to_a_new_level_lifts_what_other_days_say_and_fades(spec: ForecastSpec) -> None:
    usual = daily(7)
    lifted = usual.clone()
    lifted[-4:] += 150
    (low, _), (high, scaled) = said(spec, usual[None]), said(spec, lifted[None])
    rise = high.median[0, 0] * scaled.spread[0, 0] - low.median[0, 0] * scaled_of(spec, usual[None]).spread[0, 0]
    assert rise[0] > 0.1
    assert rise[-1].abs() < 0.05


def test_weekends_lean_on_weekends(spec: ForecastSpec) -> None:
    """Asked on a Saturday morning, the newest Sunday and Saturday count more than any working day."""
    found, _ = said(spec, daily(7)[None], datetime(2026, 3, 14, tzinfo=UTC))
    kind = found.weights[0, 0, :, 0].topk(2).indices + 1  # days back from Saturday
    assert set(kind.tolist()) == {6, 7}


def test_a_day_that_was_not_seen_says_nothing(spec: ForecastSpec) -> None:
    load = daily(7)
    load[-3 * DAY : -2 * DAY] = torch.nan
    found, _ = said(spec, load[None])
    assert found.weights[0, 0, 2, 1:-1].max() < 1e-6
    assert torch.isfinite(found.median).all()
    empty, _ = said(spec, torch.full((1, 7 * DAY), torch.nan))
    assert torch.isfinite(empty.median).all()


@pytest.mark.parametrize("context", [12, DAY, DAY + 5])
def test_contexts_of_a_day_and_less_have_a_forecast(spec: ForecastSpec, context: int) -> None:
    short = replace(spec, context_steps=context)
    found, _ = said(short, 500 + torch.rand(3, context))
    assert found.median.shape == (3, 1, len(_decoded(DAY, 20)))
    assert found.paths.shape[2] == context // DAY
    assert torch.isfinite(found.median).all()


def test_a_pattern_of_every_hour_is_taken_off_and_told_ahead(spec: ForecastSpec) -> None:
    pattern = torch.tensor([60.0, -20.0, -20.0, -20.0])
    load = 500 + 50 * torch.randn(1, generator=torch.Generator().manual_seed(0)) + pattern.repeat(7 * 24)
    scaled = scaled_of(spec, load[None])
    course = HourlyCourse(spec)(scaled)
    flat = course.scaled.z[0, 0] * scaled.spread[0, 0]
    told = course.ahead[0, 0] * scaled.spread[0, 0] * 1000
    assert flat.abs().max() < 0.003
    torch.testing.assert_close(told, pattern.repeat(24), rtol=0.05, atol=0.0)


def test_hours_with_a_gap_teach_no_pattern(spec: ForecastSpec) -> None:
    load = 500 + torch.tensor([60.0, -20.0, -20.0, -20.0]).repeat(7 * 24)
    load[::4] = torch.nan
    assert not HourlyCourse(spec)(scaled_of(spec, load[None])).ahead.any()


def test_steps_of_an_hour_have_no_course_within_it_and_a_day_tells_one(spec: ForecastSpec) -> None:
    assert not tells_hourly_course(replace(spec, step_s=3600, context_steps=168, horizon_steps=24))
    assert tells_hourly_course(replace(spec, context_steps=DAY))
    assert not tells_hourly_course(replace(spec, context_steps=DAY - 1))


def test_a_week_ago_is_preferred_where_it_was_seen_only(spec: ForecastSpec) -> None:
    load = 500 + 100 * torch.randn(2, spec.context_steps, generator=torch.Generator().manual_seed(0))
    load[1, : -2 * DAY] = torch.nan
    future = torch.tensor(
        calendar(datetime(2026, 3, 11, tzinfo=UTC), spec.horizon_steps, spec.step_s, "UTC").to_numpy()
    )
    scaled, days = scaled_of(spec, load), days_of(spec)
    before = days(scaled, future.T[None].repeat(2, 1, 1)).weights
    days.prefer_week(0, 1.0)
    after = days(scaled, future.T[None].repeat(2, 1, 1)).weights
    assert (after[0, 0, 6] > before[0, 0, 6]).all()
    assert (after[0, 0, :6] < before[0, 0, :6]).all()
    assert torch.allclose(after[1], before[1], atol=1e-6)


@pytest.mark.parametrize("context", [3 * DAY, 3 * DAY + 1, 4 * DAY - 1])
def test_each_day_is_looked_at_with_half_an_hour_on_either_side(spec: ForecastSpec, context: int) -> None:
    days = Days(replace(spec, context_steps=context), torch.arange(DAY), 3)
    torch.manual_seed(0)
    both = torch.randn(2, 2, context)
    padded = torch.nn.functional.pad(both, (days.beside, days.beside))
    cut = [padded[:, :, context - day * DAY :][:, :, : DAY + 2 * days.beside] for day in (1, 2, 3)]
    torch.testing.assert_close(days.of_days(both), torch.matmul(torch.stack(cut, dim=2), days.day))


def test_a_course_is_told_to_the_end_of_an_hour_that_is_cut(spec: ForecastSpec) -> None:
    hour, cut = 3600 // STEP_S, 1
    odd = replace(spec, context_steps=7 * DAY + cut, horizon_steps=2 * hour + cut)
    load = torch.arange(-odd.context_steps, 0) % hour
    course = HourlyCourse(odd)(scaled_of(odd, 100.0 + 10.0 * load[None].float()))
    assert course.scaled.z.std() < 0.1
    ahead = course.ahead[0, 0]
    assert ahead.diff()[: hour - 1].min() > 0
    torch.testing.assert_close(ahead[: hour + cut], ahead[hour:])
