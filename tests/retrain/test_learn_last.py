"""Once the calibration is fitted, machines that only validated are learnt from too; what comes after them is not."""

from dataclasses import replace

import pytest
import torch
from smoke_run import Smoke
from torch import Tensor

from forecast.models.graph import ForecastGraph
from forecast.retrain.config import JobConfig
from forecast.retrain.learn import Learner
from forecast.retrain.prepare import Prepared, prepare
from forecast.retrain.stages import Stages
from forecast.training.fit import Fit


@pytest.fixture(scope="module")
def prepared(smoke: Smoke) -> Prepared:
    return prepare(smoke.config, Stages(2))


def of_strangers(config: JobConfig, prepared: Prepared) -> Learner:
    """Every other machine trains, the others validate."""
    learner = Learner.of(config, prepared)
    odd = [pairs[:, 0] % 2 == 1 for pairs in (learner.train, learner.validation)]
    return replace(learner, train=learner.train[~odd[0]], validation=learner.validation[odd[1]])


def weights(learner: Learner) -> Tensor:
    return torch.cat([weight.flatten().clone() for weight in learner.model.state_dict().values()])


def last(learner: Learner, config: JobConfig) -> Tensor:
    learner.learn_last(config, Fit(20, 0.0), lambda *_: None)
    return weights(learner)


@torch.no_grad()
def told(graph: ForecastGraph, learner: Learner) -> Tensor:
    batch = learner.windows.batch(*learner.validation.T)
    quantiles: Tensor = graph(batch.past, batch.future, batch.static)[0]
    return quantiles


def test_what_strangers_calibrated_is_kept_and_what_they_teach_is_in_the_graph(
    smoke: Smoke, prepared: Prepared
) -> None:
    learner = of_strangers(smoke.config, prepared)
    fitted = learner.train_model(smoke.config, lambda *_: None)
    graph = learner.calibrate(fitted)
    offsets, before = graph.calibration.offsets.clone(), told(graph, learner)
    learner.learn_last(smoke.config, fitted, lambda *_: None)
    assert not graph.training
    assert torch.equal(graph.calibration.offsets, offsets)
    assert not torch.allclose(told(graph, learner), before, rtol=1e-3)


def test_nothing_from_the_test_range_on_is_learnt(smoke: Smoke, prepared: Prepared) -> None:
    honest, probed = (of_strangers(smoke.config, prepared) for _ in range(2))
    test = int(prepared.split.test.min())
    came = probed.windows._ahead  # [N, C, origin, step ahead], overlapping views of the record
    for steps in (came[:, :, test:, 0], came[:, :, -1]):
        steps.copy_(torch.randn(steps.shape))
    assert not torch.equal(honest.windows._ahead.nan_to_num(), came.nan_to_num())
    assert torch.equal(last(honest, smoke.config), last(probed, smoke.config))


@pytest.mark.parametrize("strangers", [True, False])
def test_validation_stays_apart_where_machines_are_known_or_it_is_told_to(
    smoke: Smoke, prepared: Prepared, strangers: bool
) -> None:
    config = replace(smoke.config, training=replace(smoke.config.training, last_share=0.0 if strangers else 0.5))
    learner = of_strangers(config, prepared) if strangers else Learner.of(config, prepared)
    before = weights(learner)
    assert torch.equal(last(learner, config), before)
