"""What the summary says of how much of a context was observed, in training and in use."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.models.scaling import Scaler
from forecast.models.summary import Summary

DAY = 24
SPEC = ForecastSpec(3600, 7 * DAY, DAY, ("power_w",), ("power_w",), (0.1, 0.5, 0.9))
SHARE = 2  # after mean and spread of the only channel


def summary_of(known: int, training: bool, spec: ForecastSpec = SPEC) -> Tensor:
    """Of a machine whose last `known` steps were observed."""
    load = 500 + 100 * torch.sin(torch.arange(float(spec.context_steps)))
    load[: spec.context_steps - known] = torch.nan
    static = torch.tensor([[1000.0, 90.0, 1.0, 1.0]])
    torch.manual_seed(0)
    summary = Summary(spec, skus=1, ahead=0).train(training)
    found: Tensor = summary(Scaler(spec)(load[None, None], static), torch.zeros(1, 0, 1), static)[0]
    return found


@pytest.mark.parametrize(("known", "training", "share"), [
    (0, False, 0.0), (6, False, 0.125), (24, False, 0.5), (48, False, 1.0), (120, False, 1.0), (168, False, 1.0),
    (0, True, 0.0), (24, True, 1 / 7), (168, True, 1.0),
])  # fmt: skip
def test_two_days_count_as_whole_in_use_and_not_in_training(known: int, training: bool, share: float) -> None:
    assert summary_of(known, training)[SHARE].item() == pytest.approx(share)


def test_of_a_context_of_minutes_half_counts_as_whole_in_use() -> None:
    spec = replace(SPEC, step_s=15, context_steps=40, horizon_steps=40)
    assert [summary_of(known, training=False, spec=spec)[SHARE].item() for known in (10, 20, 30)] == [0.5, 1.0, 1.0]


def test_a_context_of_minutes_is_told_apart_by_its_last_tenth() -> None:
    spec = replace(SPEC, step_s=15, context_steps=40, horizon_steps=40)
    assert Summary(spec, skus=1, ahead=0).spans == [1, 4, 40]
    assert Summary(SPEC, skus=1, ahead=0).spans == [1, 1, DAY]


def test_a_whole_context_reads_the_same_in_training_and_in_use() -> None:
    assert torch.equal(summary_of(7 * DAY, training=True), summary_of(7 * DAY, training=False))
