"""The probability that a target passes a limit, from issued quantiles: any limit, by the graph's own interpolation."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from forecast.contracts.signals import RESOLUTION
from forecast.features.gridded import Floats

#: Of a limit of 0 no share is left; nothing is measured as closely as this, W or °C.
_LEAST = 1e-9


def exceedance(quantiles: Floats, levels: Sequence[float], limit: Floats) -> Floats:
    """Probability `[..., H]` that quantiles `[..., Q, H]` at `levels` give to passing `limit` `[..., 1]` or `[..., H]`.

    As `ForecastGraph.exceedance`: linear between quantiles, exponential outside them. NaN where the limit is.
    """
    rows = np.moveaxis(np.asarray(quantiles, np.float64), -2, 0)
    bound = np.broadcast_to(np.asarray(limit, np.float64), rows.shape[1:])
    near = np.maximum(np.abs(bound) * RESOLUTION, _LEAST)
    over = np.zeros(bound.shape)
    for at, (low, high) in enumerate(pairwise(rows)):
        share = np.clip((bound - low) / np.maximum(high - low, near), 0.0, 1.0)
        over += (levels[at + 1] - levels[at]) * (1.0 - share)
    above = _tail(bound - rows[-1], np.maximum(rows[-1] - rows[-2], near), levels)
    below = _tail(rows[0] - bound, np.maximum(rows[1] - rows[0], near), levels)
    probability: Floats = np.clip(over + above + levels[0] - below, 0.0, 1.0).astype(np.float32)
    return probability


def _tail(beyond: np.ndarray, width: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Probability of lying more than `beyond` outside the outermost quantile; all of its share when inside.

    `beyond` and `width`, how far apart the outer two quantiles lie, are `[..., H]`, in the target's unit.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        fallen = np.exp(-math.log(levels[1] / levels[0]) * np.maximum(beyond, 0.0) / width)
    return levels[0] * np.where((width == 0) & (beyond <= 0), 1.0, fallen)
