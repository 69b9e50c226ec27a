"""The training loop on a small fleet with a daily rhythm."""

import copy

import numpy as np
import pytest
import torch
from every_model import build
from small_fleet import daily_load, pairs_in, windows_of
from torch import Tensor

from forecast.contracts.errors import DataError
from forecast.contracts.specs import ForecastSpec
from forecast.models.base import QuantileModel
from forecast.training.config import TrainerConfig, TrainingConfig
from forecast.training.fit import Fit, fit, spread
from forecast.training.losses import pinball
from forecast.windows.gather import Windows

CUT, END = 20 * 24, 26 * 24
SHORT = TrainingConfig(steps=40, batch=32, validate_every=10)


@pytest.fixture
def windows(spec: ForecastSpec) -> Windows:
    return windows_of(daily_load(spec, entities=3, days=26), spec, ("server", "server", "rack"))


def trained(windows: Windows, config: TrainingConfig = SHORT, seed: int = 0) -> tuple[QuantileModel, Fit]:
    model = build("linear", windows.spec)
    train, validation = pairs_in(windows, 0, CUT), pairs_in(windows, CUT, END, 6)
    return model, fit(model, windows, train, validation, config, TrainerConfig(), seed, lambda *_: None)


@torch.no_grad()
def validation_loss(model: QuantileModel, windows: Windows) -> float:
    """Mean pinball loss over the validation range in nameplates and tens of degrees, in one batch."""
    pairs = pairs_in(windows, CUT, END, 6)
    batch = windows.batch(pairs[:, 0], pairs[:, 1])
    unit = torch.tensor([1000.0, 10.0])[None, :, None].expand(len(pairs), -1, -1)
    model.eval()
    quantiles = model(batch.past, batch.future, batch.static)
    return pinball(quantiles, batch.target, torch.tensor(windows.spec.quantile_levels), unit).item()


def weights(model: QuantileModel) -> list[Tensor]:
    return list(copy.deepcopy(model.state_dict()).values())


def test_validation_loss_falls(windows: Windows) -> None:
    before = validation_loss(build("linear", windows.spec), windows)
    _, fitted = trained(windows)
    assert fitted.validation_loss < 0.9 * before


def test_the_loss_reported_is_that_of_the_weights_kept(windows: Windows) -> None:
    model, fitted = trained(windows)
    assert validation_loss(model, windows) == pytest.approx(fitted.validation_loss, rel=1e-4)


def test_the_best_weights_are_kept_when_later_steps_do_harm(spec: ForecastSpec) -> None:
    values = daily_load(spec, entities=3, days=26)
    # The training range teaches the opposite of what validates: days there alternate, days here do not.
    values[..., :CUT] *= np.repeat(np.where(np.arange(20) % 2, 1.0, 0.3), 24)
    windows = windows_of(values, spec, ("server", "server", "rack"))
    model, fitted = trained(windows, TrainingConfig(steps=60, batch=32, learning_rate=0.05, validate_every=2))
    assert fitted.step < 60
    assert validation_loss(model, windows) == pytest.approx(fitted.validation_loss, rel=1e-4)


def test_the_model_comes_back_ready_to_forecast(windows: Windows) -> None:
    model, _ = trained(windows)
    assert not model.training


def test_the_same_seed_gives_the_same_weights_and_another_does_not(windows: Windows) -> None:
    first, second, other = (weights(trained(windows, seed=seed)[0]) for seed in (1, 1, 2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(first, other, strict=True))


def test_dropout_is_drawn_from_the_seed_too(windows: Windows) -> None:
    def mixer() -> list[Tensor]:
        model = build("patch_mixer", windows.spec)
        config = TrainingConfig(steps=3, batch=8, validate_every=3)
        pairs = pairs_in(windows, 0, CUT), pairs_in(windows, CUT, END, 24)
        fit(model, windows, *pairs, config, TrainerConfig(), 5, lambda *_: None)
        return weights(model)

    first = mixer()
    torch.rand(7)  # what ran before must not matter
    assert all(torch.equal(*pair) for pair in zip(first, mixer(), strict=True))


def test_targets_that_were_not_observed_do_not_stop_it(spec: ForecastSpec) -> None:
    values = daily_load(spec, entities=3, days=26)
    values[:, :, ::3] = torch.nan
    values[1, 0] = torch.nan
    model, fitted = trained(windows_of(values, spec, ("server", "server", "rack")))
    assert 0 < fitted.validation_loss < 1
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_a_fit_may_be_as_short_as_a_step(windows: Windows, steps: int) -> None:
    _, fitted = trained(windows, TrainingConfig(steps=steps, batch=8, validate_every=1))
    assert 1 <= fitted.step <= steps


def test_progress_reaches_the_end(windows: Windows) -> None:
    shares: list[float] = []
    pairs = pairs_in(windows, 0, CUT), pairs_in(windows, CUT, END, 6)
    config = TrainingConfig(steps=5, batch=8, validate_every=2)
    fit(
        build("linear", windows.spec),
        windows,
        *pairs,
        config,
        TrainerConfig(),
        0,
        lambda share, _: shares.append(share),
    )
    assert shares == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("lacking", ["training", "validation"])
def test_without_a_window_it_says_what_to_do(windows: Windows, lacking: str) -> None:
    some, none = pairs_in(windows, 0, CUT), torch.empty(0, 2, dtype=torch.long)
    pairs = (none, some) if lacking == "training" else (some, none)
    with pytest.raises(DataError, match=f"no {lacking} window.*shorten window.context_steps.*bring more data"):
        fit(build("linear", windows.spec), windows, *pairs, SHORT, TrainerConfig(), 0, lambda *_: None)


def test_spread_keeps_the_ends_and_the_order() -> None:
    pairs = torch.stack([torch.arange(100), torch.arange(100)], 1)
    kept = spread(pairs, 12)
    assert len(kept) == 12
    assert kept[0, 0] == 0
    assert kept[-1, 0] == 99
    assert (kept[:, 0].diff() > 0).all()
    assert torch.equal(spread(pairs, 100), pairs)


def test_a_model_that_tells_its_cdf_is_judged_by_its_quantiles(windows: Windows) -> None:
    model = build("adaptive_cdf", windows.spec)
    before = validation_loss(model, windows)
    pairs = pairs_in(windows, 0, CUT), pairs_in(windows, CUT, END, 6)
    fitted = fit(model, windows, *pairs, SHORT, TrainerConfig(), 0, lambda *_: None)
    assert fitted.validation_loss < 0.8 * before
    assert validation_loss(model, windows) == pytest.approx(fitted.validation_loss, rel=1e-4)
