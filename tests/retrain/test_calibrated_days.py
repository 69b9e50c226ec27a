"""Which days a calibration counts: those that taught the model nothing leave as little open as those that validated."""

from dataclasses import replace

import pytest
from smoke_run import Smoke

from forecast.retrain.learn import Learner
from forecast.retrain.prepare import prepare
from forecast.retrain.stages import Stages
from forecast.retrain.start import Start
from forecast.training.fit import Fit


@pytest.fixture(scope="module")
def learner(smoke: Smoke) -> Learner:
    """Of one entity, whose few days are few draws."""
    whole = Learner.of(smoke.config, prepare(smoke.config, Stages(2)))
    first = (pairs[pairs[:, 0] == 0] for pairs in (whole.train, whole.validation))
    return replace(whole, train=next(first), validation=next(first))


def width(learner: Learner, step: int) -> float:
    """How far apart the outermost levels are told, in normal scores, on average."""
    offsets = learner.calibrate(Fit(step, 0.0)).calibration.by_step()
    return float((offsets[:, :, -1] - offsets[:, :, 0]).mean())


def test_weights_that_stay_as_they_began_are_told_narrower(learner: Learner) -> None:
    assert width(learner, 0) < 0.99 * width(learner, 20)


def test_a_champion_learnt_from_those_days_before(learner: Learner) -> None:
    began = replace(learner, start=Start(champion="yesterday"))
    assert width(began, 0) == width(learner, 20)
