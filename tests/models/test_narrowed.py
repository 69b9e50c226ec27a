"""A model for fewer channels tells what the whole one does where the others are unknown to it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from every_model import build, random_inputs

from forecast.contracts.specs import CALENDAR, ForecastSpec
from forecast.features.outlook import OUTLOOK_NAMES
from forecast.models.adapted import adapted
from forecast.models.adaptive_cdf import AdaptiveCdfConfig
from forecast.models.base import QuantileModel
from forecast.models.narrowed import narrowed, narrowed_spec

#: Contexts that hold days, that are shorter than an hour, and that are told jobs.
SPECS: dict[str, dict[str, Any]] = {
    "days": {},
    "minutes": {"step_s": 15, "context_steps": 40, "horizon_steps": 40},
    "jobs": {"future": (*CALENDAR, *OUTLOOK_NAMES)},
}
SITES = [
    (("power_w",), ("power_w",)),
    (("temperature_c",), ("temperature_c", "inlet_c", "power_w")),
    (("temperature_c", "power_w"), ("temperature_c", "power_w")),
    (("power_w", "temperature_c"), ("power_w", "temperature_c", "inlet_c")),
    (("power_w", "temperature_c"), ("power_w", "temperature_c", "fan_speed_rpm")),
]


@pytest.fixture(params=SPECS)
def own(request: pytest.FixtureRequest, spec: ForecastSpec) -> ForecastSpec:
    return replace(spec, past=("power_w", "temperature_c", "inlet_c", "utilization_ratio"), **SPECS[request.param])


def both(own: ForecastSpec, site: ForecastSpec) -> tuple[QuantileModel, QuantileModel]:
    fewer = narrowed_spec(AdaptiveCdfConfig(), own, site)
    whole, model = build("adaptive_cdf", own, noise=0.05), build("adaptive_cdf", fewer)
    model.load_state_dict(narrowed(whole.state_dict(), own, fewer))
    return adapted(whole, own, site), adapted(model, fewer, site)


@torch.no_grad()
@pytest.mark.parametrize(("targets", "past"), SITES)
def test_it_tells_what_the_whole_one_does_of_what_the_site_has(
    own: ForecastSpec, targets: tuple[str, ...], past: tuple[str, ...]
) -> None:
    site = replace(own, targets=targets, past=past)
    whole, fewer = both(own, site)
    inputs = random_inputs(site, 6)
    assert torch.allclose(whole(*inputs), fewer(*inputs), rtol=1e-4, atol=1e-3)


def test_a_site_that_records_one_channel_pays_for_one(own: ForecastSpec) -> None:
    site = replace(own, targets=("power_w",), past=("power_w",))
    whole, fewer = both(own, site)
    assert sum(weight.numel() for weight in fewer.parameters()) < sum(weight.numel() for weight in whole.parameters())
    assert narrowed_spec(AdaptiveCdfConfig(), own, site) == site


def test_what_cannot_do_without_is_left_as_it_is(own: ForecastSpec) -> None:
    site = replace(own, targets=("temperature_c",), past=("temperature_c",))
    assert narrowed_spec(AdaptiveCdfConfig(width=8), own, site) == own
    told_jobs = replace(own, future=(*CALENDAR, *OUTLOOK_NAMES))
    assert narrowed_spec(AdaptiveCdfConfig(), told_jobs, site) == told_jobs, "jobs are told of a power that is forecast"
