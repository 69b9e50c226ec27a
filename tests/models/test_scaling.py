"""Normalisation inside the graph: what it makes of gaps, idle machines and unknown nameplates, and its inverse."""

import math

import pytest
import torch
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.models.scaling import Scaled, Scaler


def scale(spec: ForecastSpec, power: list[float], limit: float = 1000.0) -> Scaled:
    """Scale one row whose channels all read `power`."""
    past = torch.tensor(power).expand(1, len(spec.past), len(power))
    return Scaler(spec)(past, torch.tensor([[limit, 88.0, 2.0, 1.0]]))


def restored(spec: ForecastSpec, scaled: Scaled, z: float) -> Tensor:
    """Power and temperature that a normalised value stands for."""
    return Scaler(spec).restore(torch.full((1, len(spec.targets), 1, 1), z), scaled).flatten()


def test_observed_values_come_back(spec: ForecastSpec) -> None:
    power = torch.rand(4, 3, 48, generator=torch.Generator().manual_seed(0)) * 900
    power[torch.rand(power.shape, generator=torch.Generator().manual_seed(1)) < 0.3] = torch.nan
    scaler = Scaler(spec)
    scaled = scaler(power, torch.tensor([[1000.0, 88.0, 2.0, 1.0]]).expand(4, -1))
    back = scaler.restore(scaled.z[:, :2, None], scaled)[:, :, 0]
    seen = ~power[:, :2].isnan()
    torch.testing.assert_close(back[seen], power[:, :2][seen], rtol=1e-4, atol=1e-2)
    assert torch.equal(scaled.seen.bool(), ~power.isnan())


def test_mean_and_spread_are_of_observed_values_only(spec: ForecastSpec) -> None:
    gappy = scale(spec, [100.0, math.nan, 300.0, math.nan])
    plain = scale(spec, [100.0, 300.0])
    torch.testing.assert_close(gappy.loc, plain.loc)
    torch.testing.assert_close(gappy.spread, plain.spread)
    assert gappy.loc[0, 0, 0] == pytest.approx(0.2)
    assert gappy.z[0, 0, [1, 3]].tolist() == [0.0, 0.0]


def test_a_constant_series_is_not_stretched_into_noise(spec: ForecastSpec) -> None:
    constant = scale(spec, [500.0] * 8)
    assert (constant.z == 0).all()
    assert restored(spec, constant, 0.0)[0] == pytest.approx(500.0)
    flicker = scale(spec, [500.0, 501.0] * 8)
    assert flicker.z[:, 0].abs().max() < 0.1


def test_nothing_observed_is_finite_and_restores_to_zero(spec: ForecastSpec) -> None:
    nothing = scale(spec, [math.nan] * 8)
    assert all(torch.isfinite(part).all() for part in nothing)
    assert restored(spec, nothing, 0.0).tolist() == [0.0, 0.0]


def test_an_idle_unit_reads_lower_than_a_busy_one_of_the_same_nameplate(spec: ForecastSpec) -> None:
    assert scale(spec, [50.0] * 8).loc[0, 0] < scale(spec, [900.0] * 8).loc[0, 0]


def test_an_idle_unit_without_nameplate_is_finite(spec: ForecastSpec) -> None:
    idle = scale(spec, [0.0] * 8, limit=math.nan)
    assert all(torch.isfinite(part).all() for part in idle)


def test_an_unknown_nameplate_is_the_largest_power_seen(spec: ForecastSpec) -> None:
    guessed = scale(spec, [100.0, math.nan, 400.0], limit=math.nan)
    assert guessed.unit[0, 0, 0] == 400.0


def test_power_stops_at_zero_and_temperature_does_not(spec: ForecastSpec) -> None:
    power, temperature = restored(spec, scale(spec, [10.0, 20.0] * 4), -100.0).tolist()
    assert power == 0.0
    assert temperature < 0.0
