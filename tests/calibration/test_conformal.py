"""Calibration of a forecaster that is known to be wrong, on data whose distribution is known."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
import torch
from small_fleet import pairs_in, windows_of
from torch import Tensor

from forecast.calibration.conformal import fit_offsets, newest
from forecast.contracts.signals import LEVELS
from forecast.contracts.specs import ForecastSpec
from forecast.models.base import QuantileModel
from forecast.models.graph import ForecastGraph
from forecast.models.recalibrate import normal_scores, part_steps

SERVER, RACK, SITE = (LEVELS.index(name) + 1 for name in ("server", "rack", "site"))


class Wrong(QuantileModel):
    """Quantiles of a normal distribution around `centre`, whatever the past: too narrow, too high, or both."""

    def __init__(self, spec: ForecastSpec, centre: tuple[float, float], deviation: tuple[float, float]) -> None:
        super().__init__()
        step = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(spec.quantile_levels))
        steps = torch.tensor(deviation)[:, None] * step + torch.tensor(centre)[:, None]
        self.quantiles = steps[:, :, None].expand(-1, -1, spec.horizon_steps)

    def forward(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        return self.quantiles.expand(len(past), -1, -1, -1)


def noise(spec: ForecastSpec, entities: int, steps: int, seed: int, skewed: bool = False) -> np.ndarray:
    """Independent draws `[C, N, T]`: power about 500 W, temperature about 60 °C."""
    random = np.random.default_rng(seed)
    draws = random.exponential(size=(3, entities, steps)) if skewed else random.normal(size=(3, entities, steps))
    return np.array([500.0, 60.0, 0.5])[:, None, None] + np.array([50.0, 5.0, 0.1])[:, None, None] * draws


def offsets_of(
    model: QuantileModel, values: np.ndarray, spec: ForecastSpec, levels: Sequence[str], stride: int = 12
) -> Tensor:
    windows = windows_of(values, spec, levels)
    return fit_offsets(model, windows, pairs_in(windows, 0, values.shape[2], stride))


def spread_of(offsets: Tensor, spec: ForecastSpec) -> float:
    """How far out levels `[Q]` are told: their scores over normal ones, as least squares sees it."""
    z = normal_scores(spec.quantile_levels)
    return float(((offsets + z) * z).sum() / (z * z).sum())


def covered(
    model: QuantileModel, offsets: Tensor, values: np.ndarray, spec: ForecastSpec, levels: Sequence[str]
) -> np.ndarray:
    """Share of outcomes at or below each quantile of the deployed graph, `[T, Q, H]`."""
    windows = windows_of(values, spec, levels)
    pairs = pairs_in(windows, 0, values.shape[2], spec.horizon_steps)
    batch = windows.batch(pairs[:, 0], pairs[:, 1])
    quantiles = ForecastGraph(model, offsets, spec)(batch.past, batch.future, batch.static)[0]
    below = torch.where(batch.target.isnan()[:, :, None], torch.nan, (batch.target[:, :, None] <= quantiles).double())
    return below.nanmean(0).numpy()


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize(
    ("centre", "deviation"),
    [
        ((500.0, 60.0), (10.0, 1.0)),  # too sure
        ((650.0, 50.0), (50.0, 5.0)),  # biased, each target its own way
        ((300.0, 75.0), (5.0, 2.0)),
    ],
)
def test_every_level_covers_its_share_of_fresh_data(
    spec: ForecastSpec, skewed: bool, centre: tuple[float, float], deviation: tuple[float, float]
) -> None:
    levels, model = ["server"] * 6, Wrong(spec, centre, deviation)
    offsets = offsets_of(model, noise(spec, 6, 12_000, 0, skewed), spec, levels)
    fresh = noise(spec, 6, 12_000, 1, skewed)
    before = covered(model, torch.zeros_like(offsets), fresh, spec, levels).mean(-1)
    after = covered(model, offsets, fresh, spec, levels)
    nominal = np.array(spec.quantile_levels)
    assert np.abs(before - nominal).max() > 0.05
    np.testing.assert_allclose(after.mean(-1), np.broadcast_to(nominal, (2, 5)), atol=0.025)
    np.testing.assert_allclose(after, np.broadcast_to(nominal[:, None], (2, 5, 12)), atol=0.03)


def test_what_is_too_wide_is_narrowed_by_as_much_as_its_days_are_trusted(spec: ForecastSpec) -> None:
    """A year narrows half of the way; the bias is taken out in full."""
    levels, model = ["server"] * 6, Wrong(spec, (520.0, 60.0), (100.0, 10.0))
    offsets = offsets_of(model, noise(spec, 6, 362 * 24, 0), spec, levels)[SERVER, :, :, 0]
    # True 0.9 quantile: 500 + 1.28 · 50, which stands at 0.44 of a normal about 520 of deviation 100.
    z = NormalDist().inv_cdf(0.9)
    assert offsets[0, 2].item() == pytest.approx(-0.2, abs=0.04)
    assert offsets[0, 3].item() == pytest.approx(-0.2 - 0.5 * z / 2, abs=0.04)
    assert offsets[1, 1].item() == pytest.approx(0.5 * z / 2, abs=0.04)


def test_a_calibrated_forecast_is_left_alone(spec: ForecastSpec) -> None:
    model = Wrong(spec, (500.0, 60.0), (50.0, 5.0))
    offsets = offsets_of(model, noise(spec, 6, 12_000, 0), spec, ["server"] * 6)
    assert offsets.abs().max() < 0.15


@pytest.mark.parametrize(("horizons", "entities", "draws"), [(1, 1, 1), (4, 1, 4), (4, 3, 4), (1, 3, 3), (2, 40, 40)])
def test_a_few_days_of_a_few_machines_leave_the_next_one_open(
    spec: ForecastSpec, horizons: int, entities: int, draws: int
) -> None:
    """Told √(1 + 1/n) times as wide as by a multitude that saw the very same."""
    hours, many = (1 + horizons) * spec.horizon_steps, 1_200
    seen = noise(spec, 1, hours, 0)

    def width(count: int) -> float:
        windows = windows_of(seen.repeat(count, axis=1), spec, ["server"] * count)
        pairs = pairs_in(windows, spec.horizon_steps, hours, spec.horizon_steps).repeat(many // count, 1)
        offsets = fit_offsets(Wrong(spec, (500.0, 60.0), (5.0, 0.5)), windows, pairs)[SERVER, 0, :, 0]
        return spread_of(offsets, spec)

    assert width(entities) / width(many) == pytest.approx(math.sqrt((1 + 1 / draws) / (1 + 1 / many)), rel=1e-2)


@pytest.mark.parametrize(("horizons", "entities", "draws"), [(1, 1, 1), (4, 1, 4), (2, 40, 40)])
def test_few_draws_tell_one_factor_rather_than_each_level_its_own(
    spec: ForecastSpec, horizons: int, entities: int, draws: int
) -> None:
    """Of what a multitude that saw the very same would tell of each level by itself, n / (n + 3)."""
    hours, many = (1 + horizons) * spec.horizon_steps, 1_200
    seen = noise(spec, 1, hours, 0, skewed=True)
    z = normal_scores(spec.quantile_levels)

    def out(count: int, counted: int) -> Tensor:
        windows = windows_of(seen.repeat(count, axis=1), spec, ["server"] * count)
        pairs = pairs_in(windows, spec.horizon_steps, hours, spec.horizon_steps).repeat(many // count, 1)
        offsets = fit_offsets(Wrong(spec, (500.0, 60.0), (5.0, 0.5)), windows, pairs)[SERVER, 0, :, 0]
        return ((offsets - offsets.flip(0)) / 2 + z) / math.sqrt(1 + 1 / counted)

    each, own = out(many, many), draws / (draws + 3)
    alike = (each * z).sum() / (z * z).sum() * z
    assert (each - alike).abs().max() > 0.2
    torch.testing.assert_close(out(entities, draws), own * each + (1 - own) * alike, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(("horizons", "entities", "draws"), [(1, 1, 1), (4, 1, 4), (4, 3, 4), (2, 40, 40)])
def test_a_forecast_is_moved_by_what_chance_would_not(
    spec: ForecastSpec, horizons: int, entities: int, draws: int
) -> None:
    """Of what a multitude that saw the very same would be moved by m, m² / (m² + 1/n)."""
    hours, many = (1 + horizons) * spec.horizon_steps, 1_200
    seen = noise(spec, 1, hours, 0)

    def moves(count: int) -> Tensor:
        windows = windows_of(seen.repeat(count, axis=1), spec, ["server"] * count)
        pairs = pairs_in(windows, spec.horizon_steps, hours, spec.horizon_steps).repeat(many // count, 1)
        offsets = fit_offsets(Wrong(spec, (530.0, 60.0), (50.0, 5.0)), windows, pairs)[SERVER, 0]
        return (offsets + offsets.flip(0)) / 2

    most, told = moves(many), moves(entities)
    squared = (most * most).mean(0)
    assert squared.max() > 0.3
    assert torch.allclose(told[2], most[2] * squared / (squared + 1 / draws), rtol=0.05, atol=0.01)


def test_for_stranger_sites_levels_lie_further_from_the_median(spec: ForecastSpec) -> None:
    windows = windows_of(noise(spec, 3, 600, 0), spec, ["server"] * 3)
    pairs = pairs_in(windows, 0, 600, 12)
    model = Wrong(spec, (520.0, 55.0), (10.0, 1.0))
    z = torch.tensor([NormalDist().inv_cdf(level) for level in spec.quantile_levels])
    as_found, wider = (fit_offsets(model, windows, pairs, wider=by)[SERVER, :, :, 0] + z for by in (1.0, 1.2))
    torch.testing.assert_close(wider - wider.flip(1), 1.2 * (as_found - as_found.flip(1)))


def test_each_part_of_the_horizon_is_calibrated_by_itself(spec: ForecastSpec) -> None:
    width = part_steps(spec)
    assert spec.horizon_steps > width
    model = Wrong(spec, (500.0, 60.0), (50.0, 5.0))
    # One origin a day at midnight, so that a step of the horizon is an hour of the day.
    values = noise(spec, 4, 6_000, 0)
    values[0, :, np.arange(6_000) % 24 < width] += 50
    offsets = offsets_of(model, values, spec, ["server"] * 4, stride=24)[SERVER, 0, 2]
    assert offsets[:width].numpy() == pytest.approx(1.0, abs=0.1)
    assert offsets[width:].numpy() == pytest.approx(0.0, abs=0.1)


def test_the_training_range_counts_as_much_as_the_validation_range(spec: ForecastSpec) -> None:
    """Where few days are half a deviation high and many are right, the median is told between the two."""
    values = noise(spec, 2, 200 * 24, 0)
    values[0, :, 190 * 24 :] += 50
    model = Wrong(spec, (500.0, 60.0), (50.0, 5.0))
    windows = windows_of(values, spec, ["server"] * 2)
    before, after = (pairs_in(windows, first * 24, last * 24, 6) for first, last in ((0, 190), (190, 200)))
    alone = fit_offsets(model, windows, after)[SERVER, 0, 2].mean()
    both = fit_offsets(model, windows, after, before)[SERVER, 0, 2].mean()
    assert alone.item() == pytest.approx(1.0, abs=0.1)
    assert both.item() == pytest.approx(0.5, abs=0.1)  # halves about 0 and about 1 have their median between


@pytest.mark.parametrize(("learnt", "draws"), [(True, 3), (False, 12)])
def test_days_that_taught_nothing_leave_less_open(spec: ForecastSpec, learnt: bool, draws: int) -> None:
    """Nine horizons of training and three of validation are twelve draws, unless the model learnt from the nine."""
    horizon, many = spec.horizon_steps, 1_200
    seen = noise(spec, 1, 13 * horizon, 0)

    def width(count: int, learnt: bool) -> float:
        windows = windows_of(seen.repeat(count, axis=1), spec, ["server"] * count)
        before, after = (
            pairs_in(windows, first * horizon, last * horizon, horizon).repeat(many // count, 1)
            for first, last in ((1, 10), (10, 13))
        )
        model = Wrong(spec, (500.0, 60.0), (5.0, 0.5))
        offsets = fit_offsets(model, windows, after, before, learnt)[SERVER, 0, :, 0]
        return spread_of(offsets, spec)

    ratio = width(1, learnt) / width(many, learnt)
    assert ratio == pytest.approx(math.sqrt((1 + 1 / draws) / (1 + 1 / many)), rel=1e-2)


def test_of_the_training_range_only_what_lies_near_is_looked_at() -> None:
    trained = torch.stack([torch.arange(3000) // 1000, torch.arange(3000) % 1000], 1)
    validation = torch.tensor([[0, 1000], [0, 1100]])
    assert newest(trained, validation).tolist() == [[0, step] for step in range(600, 1000)]


def test_a_level_with_few_days_leans_on_all(spec: ForecastSpec) -> None:
    levels = ["server"] * 4 + ["rack"]
    values = noise(spec, 5, 200 * 24, 0)
    values[0, 4] += 50
    values[0, 4, : -2 * 24] = np.nan  # the rack has reported for two days only
    values[1, 4] = np.nan
    values[0, 4, -4 * 24 : -2 * 24] = 500  # its context
    model = Wrong(spec, (500.0, 60.0), (50.0, 5.0))
    windows = windows_of(values, spec, levels)
    last = pairs_in(windows, 0, values.shape[2], 12)
    last = last[(last[:, 0] < 4) | (last[:, 1] >= 198 * 24)]
    offsets = fit_offsets(model, windows, last)[:, 0, 2].mean(-1)
    own, pool = fit_offsets(model, windows, last[last[:, 0] == 4])[SITE, 0, 2].mean(), offsets[SITE]
    assert abs(offsets[SERVER] - pool) < 0.05
    assert pool < 0.1 * own
    # Two days against twenty that would weigh half: an eleventh of the way.
    assert (offsets[RACK] - pool) / (own - pool) == pytest.approx(1 / 11, abs=0.03)


def test_a_level_with_many_days_is_hardly_drawn_to_the_others(spec: ForecastSpec) -> None:
    levels = ["server", "rack"]
    values = noise(spec, 2, 400 * 24, 0)
    values[0, 1] += 50
    model = Wrong(spec, (500.0, 60.0), (50.0, 5.0))
    offsets = offsets_of(model, values, spec, levels)[:, 0, 2].mean(-1)
    assert offsets[SERVER] == pytest.approx(0.0, abs=0.1)
    assert offsets[RACK] == pytest.approx(1.0, abs=0.1)


def test_windows_of_one_day_count_once(spec: ForecastSpec) -> None:
    """Hourly origins of three days weigh no more against the pool than two origins a day do."""
    levels = ["server", "rack"]
    values = noise(spec, 2, 60 * 24, 0)
    values[0, 1] += 50
    model = Wrong(spec, (500.0, 60.0), (50.0, 5.0))
    windows = windows_of(values, spec, levels)
    servers = pairs_in(windows, 0, values.shape[2], 12)
    servers = servers[servers[:, 0] == 0].repeat(40, 1)  # the pool is theirs
    for stride in (1, 12):
        racks = pairs_in(windows, 30 * 24, 33 * 24, stride)
        racks = racks[racks[:, 0] == 1]
        own = fit_offsets(model, windows, racks)[SITE, 0, 2].mean()
        offsets = fit_offsets(model, windows, torch.cat([servers, racks]))[:, 0, 2].mean(-1)
        assert (offsets[RACK] - offsets[SITE]) / (own - offsets[SITE]) == pytest.approx(3 / 23, abs=0.04)


def test_levels_without_data_and_unknown_ones_use_the_pool(spec: ForecastSpec) -> None:
    offsets = offsets_of(Wrong(spec, (650.0, 60.0), (50.0, 5.0)), noise(spec, 2, 2_400, 0), spec, ["server", "rack"])
    assert offsets.shape == (len(LEVELS) + 1, 2, 5, 12)
    assert torch.equal(offsets[0], offsets[SITE])
    assert offsets[0].any()
    assert not torch.equal(offsets[0], offsets[SERVER])


def test_steps_that_were_not_observed_are_ignored(spec: ForecastSpec) -> None:
    levels, model = ["server"] * 6, Wrong(spec, (650.0, 50.0), (10.0, 1.0))
    values = noise(spec, 6, 12_000, 0)
    values[:, np.random.default_rng(2).random((6, 12_000)) < 0.4] = np.nan
    offsets = offsets_of(model, values, spec, levels)
    assert torch.isfinite(offsets).all()
    after = covered(model, offsets, noise(spec, 6, 12_000, 1), spec, levels).mean(-1)
    np.testing.assert_allclose(after, np.broadcast_to(spec.quantile_levels, (2, 5)), atol=0.025)


def test_a_target_that_was_never_observed_is_left_as_the_model_made_it(spec: ForecastSpec) -> None:
    values = noise(spec, 2, 2_400, 0)
    values[1] = np.nan
    offsets = offsets_of(Wrong(spec, (650.0, 50.0), (10.0, 1.0)), values, spec, ["server"] * 2)
    assert (offsets[:, 1] == 0).all()
    assert offsets[:, 0].all()


def test_a_forecast_without_width_can_be_widened(spec: ForecastSpec) -> None:
    levels, model = ["server"] * 6, Wrong(spec, (500.0, 60.0), (0.0, 0.0))
    offsets = offsets_of(model, noise(spec, 6, 12_000, 0), spec, levels)
    after = covered(model, offsets, noise(spec, 6, 12_000, 1), spec, levels).mean(-1)
    np.testing.assert_allclose(after, np.broadcast_to(spec.quantile_levels, (2, 5)), atol=0.01)


def test_a_horizon_shorter_than_its_parts(spec: ForecastSpec) -> None:
    short = ForecastSpec.from_dict(spec.to_dict() | {"horizon_steps": 3})
    offsets = offsets_of(Wrong(short, (650.0, 60.0), (50.0, 5.0)), noise(short, 2, 2_400, 0), short, ["server"] * 2)
    assert offsets.shape == (len(LEVELS) + 1, 2, 5, 3)
    assert offsets[:, 0].all()
