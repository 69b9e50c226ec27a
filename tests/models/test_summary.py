"""What the summary says of how much of a context was observed, in training and in use."""

import pytest
import torch
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.models.scaling import Scaler
from forecast.models.summary import Summary

DAY = 24
SPEC = ForecastSpec(3600, 7 * DAY, DAY, ("power_w",), ("power_w",), (0.1, 0.5, 0.9))
SHARE = 2  # after mean and spread of the only channel


def summary_of(known: int, training: bool) -> Tensor:
    """Of a machine whose last `known` hours were observed."""
    load = 500 + 100 * torch.sin(torch.arange(7.0 * DAY))
    load[: 7 * DAY - known] = torch.nan
    static = torch.tensor([[1000.0, 90.0, 1.0, 1.0]])
    torch.manual_seed(0)
    summary = Summary(SPEC, skus=1, ahead=0).train(training)
    found: Tensor = summary(Scaler(SPEC)(load[None, None], static), torch.zeros(1, 0, 1), static)[0]
    return found


@pytest.mark.parametrize(("known", "training", "share"), [
    (0, False, 0.0), (24, False, 2 / 7), (42, False, 0.5), (84, False, 1.0), (120, False, 1.0), (168, False, 1.0),
    (0, True, 0.0), (24, True, 1 / 7), (168, True, 1.0),
])  # fmt: skip
def test_half_a_context_counts_as_whole_in_use_and_not_in_training(known: int, training: bool, share: float) -> None:
    assert summary_of(known, training)[SHARE].item() == pytest.approx(share)


def test_a_whole_context_reads_the_same_in_training_and_in_use() -> None:
    assert torch.equal(summary_of(7 * DAY, training=True), summary_of(7 * DAY, training=False))
