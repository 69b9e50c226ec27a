"""What the outlook of jobs adds to the cells of a distribution, and that nothing is added where nothing is known."""

import torch
from every_model import SKUS, build
from told_jobs import AT, SPEC, STEPS, inputs
from torch import Tensor
from torch.testing import assert_close

from forecast.contracts.specs import CALENDAR, ForecastSpec
from forecast.features.outlook import OUTLOOK_NAMES
from forecast.models.adaptive_cdf import AdaptiveCdf
from forecast.models.ahead import AheadScaler
from forecast.models.known import JobOutlook, has_outlook
from forecast.models.scaling import Scaler


def looked(past: Tensor, future: Tensor, static: Tensor) -> tuple[JobOutlook, Tensor, Tensor, Tensor]:
    """The part, its logits of cells 50 W wide, the shift of the linear forecast, and its features."""
    scaled = Scaler(SPEC)(past, static)
    part = JobOutlook(SPEC, STEPS, state=4, hidden=8)
    centres, told = part.look(scaled, AheadScaler(SPEC)(future, scaled), torch.zeros(len(past), 4))[:2]
    edges = (torch.linspace(0.0, 1.05, 22) - scaled.loc[:, :1]) / scaled.spread[:, :1]
    values = edges.expand(-1, 2, -1)
    step = torch.zeros(len(past), len(STEPS), 8)
    with torch.no_grad():
        part.follow.bias[:2] = 1.0
    return (
        part,
        part(values, scaled, centres, told[..., 0], step),
        part.shift(told, scaled, step, torch.zeros(len(past), 2, len(STEPS))),
        told,
    )


def test_only_a_forecast_of_power_that_is_told_all_of_it_listens() -> None:
    assert has_outlook(SPEC)
    for future in (CALENDAR, (*CALENDAR, *OUTLOOK_NAMES[:-1])):
        spec = ForecastSpec.from_dict({**SPEC.to_dict(), "future": future})
        assert not has_outlook(spec)
        assert build("adaptive_cdf", spec).jobs is None  # type: ignore[union-attr]
    assert isinstance(model := build("adaptive_cdf", SPEC), AdaptiveCdf)
    assert model.jobs is not None
    assert SKUS


def test_mass_gathers_where_the_load_would_lie_once_its_job_has_ended() -> None:
    """Idle machines draw a quarter of their nameplate before anything is learnt: 250 W from step 6 on."""
    _, logits, shift, _ = looked(*inputs(0.0, 0.0))
    best = (50 * logits[:, 0].argmax(2) + 25).float()
    assert ((best[:, :6] - 600).abs() <= 50).all()
    assert ((logits[:, 0, 6:, 5] - logits[:, 0, 6:, 18]) > 0.3).all(), "250 W is likelier than 925 W"
    assert (shift[:, 0, 6:] < -1).all()
    assert (shift[:, 0, :6].abs() < 1e-4).all()


def test_a_heavier_job_moves_mass_upwards() -> None:
    light, heavy = (looked(*inputs(power, 1.0))[1][:, 0, 6:] for power in (0.4, 0.9))
    centre = torch.arange(21) * 50.0 + 25
    means = [(logits.softmax(2) * centre).sum(2) for logits in (light, heavy)]
    assert (means[1] > means[0] + 50).all()


def test_temperature_gains_nothing_directly() -> None:
    _, logits, shift, _ = looked(*inputs(0.0, 0.0))
    assert not logits[:, 1].any()
    assert not shift[:, 1].any()


def test_where_nothing_is_known_nothing_is_added() -> None:
    past, future, static = inputs(0.0, 0.0)
    future[:, list(AT.values())] = torch.nan
    _, logits, shift, told = looked(past, future, static)
    assert not logits.any()
    assert not shift.any()
    assert not told.any()


def test_a_schedule_of_nonsense_leaves_a_forecast() -> None:
    past, future, static = inputs(0.0, 0.0)
    for value in (-1e12, 1e12, 0.0):
        future[:, list(AT.values())] = value
        found = build("adaptive_cdf", SPEC, noise=0.1)(past, future, static)
        assert torch.isfinite(found).all()
        assert (found.diff(dim=2) >= 0).all()


def test_what_is_drawn_beside_the_jobs_comes_again_at_its_time_of_day() -> None:
    """A service that draws 400 to 600 W by the hour, and a job of 200 W that began just now and stays."""
    past, future, static = inputs(0.0, 0.0)
    daily = 500.0 + 100 * torch.sin(torch.arange(48 + 12) * (2 * torch.pi / 24))
    past[:, 0] = daily[:48]
    past[:, 0, -1] += 200.0
    for name, now in (("expected_power_w", 200.0), ("running_power_w", 200.0), ("usual_power_w", 0.0)):
        future[:, AT[name]] = now
    for name in ("expected_busy_ratio", "running_busy_ratio", "usual_busy_ratio"):
        future[:, AT[name]] = 1.0
    scaled = Scaler(SPEC)(past, static)
    part = JobOutlook(SPEC, STEPS, state=4, hidden=8)
    centres = part.look(scaled, AheadScaler(SPEC)(future, scaled), torch.zeros(len(past), 4)).centres
    off = past[0, 0, -1] - daily[48] - 200
    expected = daily[48:] + 200 + off * torch.exp(-STEPS / 3)
    assert_close(1000 * centres[0, 4].detach(), expected, atol=1.0, rtol=0.0)
