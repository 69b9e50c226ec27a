"""Paths over the horizon as straight lines between a few knots: smooth, and with few weights to learn."""

import torch
from torch import Tensor

#: Enough for an hourly profile of a day ahead.
_MOST = 24


def knots(horizon_steps: int) -> int:
    """How many knots carry a path of so many steps."""
    return min(_MOST, horizon_steps)


def hats(horizon_steps: int) -> Tensor:
    """Weights `[knots, H]`: a path given at the knots, times these, is the path at every step.

    Each column holds the linear interpolation weights of its step, which sum to one; knots lie evenly from the first
    step to the last.
    """
    count = knots(horizon_steps)
    place = torch.linspace(0, count - 1, horizon_steps) if count > 1 else torch.zeros(horizon_steps)
    return (1 - (place - torch.arange(count)[:, None]).abs()).clamp(min=0.0)
