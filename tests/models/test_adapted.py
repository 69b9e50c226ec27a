"""A model on a site with other channels forecasts what it would if they were unknown to it."""

from dataclasses import replace

import pytest
import torch
from every_model import build, random_inputs

from forecast.contracts.specs import ForecastSpec
from forecast.models.adapted import adapted
from forecast.models.base import CdfModel
from forecast.models.cdf import quantiles_of


@pytest.fixture(params=["adaptive_cdf", "linear"])
def model_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_same_interface_is_the_model_itself(spec: ForecastSpec, model_name: str) -> None:
    model = build(model_name, spec)
    assert adapted(model, spec, spec) is model


@torch.no_grad()
def test_channels_that_the_site_lacks_are_unknown_and_targets_that_it_lacks_are_dropped(
    spec: ForecastSpec, model_name: str
) -> None:
    model = build(model_name, spec, noise=0.05)
    past, future, static = random_inputs(spec, 5)
    site = replace(spec, targets=("temperature_c",), past=("temperature_c", "inlet_c"))
    moved = adapted(model, spec, site)
    inlet = torch.full_like(past[:, :1], 20.0)
    quantiles = moved(torch.cat([past[:, 1:2], inlet], dim=1), future, static)
    unknown = past.clone()
    unknown[:, [0, 2]] = torch.nan
    assert torch.equal(quantiles, model(unknown, future, static)[:, 1:2])


@torch.no_grad()
def test_what_the_site_tells_beyond_is_not_looked_at(spec: ForecastSpec, model_name: str) -> None:
    model = build(model_name, spec, noise=0.05)
    past, future, static = random_inputs(spec, 5)
    site = replace(spec, past=(*spec.past, "inlet_c"), future=("holiday", *spec.future))
    inlet, holiday = torch.full_like(past[:, :1], 20.0), torch.ones_like(future[:, :1])
    moved = adapted(model, spec, site)
    found = moved(torch.cat([past, inlet], 1), torch.cat([holiday, future], 1), static)
    assert torch.equal(found, model(past, future, static))


@torch.no_grad()
def test_a_cdf_stays_one(spec: ForecastSpec) -> None:
    site = replace(spec, targets=("temperature_c",), past=("temperature_c",))
    moved = adapted(build("adaptive_cdf", spec, noise=0.05), spec, site)
    assert isinstance(moved, CdfModel)
    past, future, static = random_inputs(site, 4)
    cdf, beside = moved.scored(past, future, static)
    assert beside is not None
    assert cdf.masses.shape[1] == beside.shape[1] == 1
    share = 0.25 * (torch.tensor(moved.steps) / 4).clamp(max=1.0)
    told = (1 - share) * quantiles_of(cdf, spec.quantile_levels) + share * beside[..., moved.steps]
    assert torch.allclose(told, moved(past, future, static)[..., moved.steps], rtol=1e-4, atol=1e-3)
