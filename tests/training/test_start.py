"""Beginning with weights that were learnt elsewhere: kept as they are, or where training does harm."""

import math

import pytest
import torch
from every_model import build
from small_fleet import daily_load, pairs_in, windows_of

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.specs import ForecastSpec
from forecast.training.config import TrainerConfig, TrainingConfig
from forecast.training.fit import fit
from forecast.windows.gather import Windows

CUT, END = 20 * 24, 26 * 24


@pytest.fixture
def windows(spec: ForecastSpec) -> Windows:
    return windows_of(daily_load(spec, entities=2, days=26), spec, ("server", "rack"))


def test_no_step_leaves_the_weights_and_tells_their_loss(windows: Windows) -> None:
    model = build("linear", windows.spec)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    pairs = torch.empty(0, 2, dtype=torch.long), pairs_in(windows, CUT, END, 6)
    config = TrainingConfig(steps=0, start_from="pretrained")
    fitted = fit(model, windows, *pairs, config, TrainerConfig(), 0, lambda *_: None)
    assert fitted.step == 0
    assert 0 < fitted.validation_loss < 1
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert not model.training


def test_without_a_window_to_judge_by_they_are_taken_unjudged(windows: Windows) -> None:
    none = torch.empty(0, 2, dtype=torch.long)
    config = TrainingConfig(steps=0, start_from="pretrained")
    fitted = fit(build("linear", windows.spec), windows, none, none, config, TrainerConfig(), 0, lambda *_: None)
    assert math.isnan(fitted.validation_loss)


def test_training_that_only_does_harm_keeps_what_it_began_with(windows: Windows) -> None:
    model = build("linear", windows.spec)
    pairs = pairs_in(windows, 0, CUT), pairs_in(windows, CUT, END, 6)
    fit(model, windows, *pairs, TrainingConfig(steps=40, batch=32, validate_every=10), TrainerConfig(), 0, lambda *_: 0)
    good = {name: weight.clone() for name, weight in model.state_dict().items()}
    harm = TrainingConfig(steps=4, batch=4, learning_rate=5.0, validate_every=2, start_from="mine.safetensors")
    fitted = fit(model, windows, *pairs, harm, TrainerConfig(), 0, lambda *_: None)
    assert fitted.step == 0
    assert all(torch.equal(weight, good[name]) for name, weight in model.state_dict().items())


def test_steps_need_windows_to_learn_from(windows: Windows) -> None:
    none = torch.empty(0, 2, dtype=torch.long)
    config = TrainingConfig(steps=1, start_from="pretrained")
    with pytest.raises(DataError, match="no training window"):
        fit(build("linear", windows.spec), windows, none, none, config, TrainerConfig(), 0, lambda *_: None)


def test_no_steps_and_nothing_to_start_from_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.steps is 0; .* or 0 with training\.start_from"):
        TrainingConfig(steps=0)
