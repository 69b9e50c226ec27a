"""Between the quantiles of a forecast and beyond them, the same way as its graph tells exceedance."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from forecast.features.gridded import Floats

#: How a level is reached: it is one of the forecast's, lies between two, or in a tail.
Basis = Literal["quantile", "interpolated", "tail"]


def basis(levels: Sequence[float], level: float) -> Basis:
    """How `quantile` reaches a level."""
    if round(level, 9) in levels:
        return "quantile"
    return "interpolated" if levels[0] < level < levels[-1] else "tail"


def quantile(values: Floats, levels: Sequence[float], level: float) -> Floats:
    """The quantile at any level in (0, 1), `[..., H]`, of quantiles `[..., Q, H]` at `levels`, which ascend.

    The inverse of `forecast.exceedance`: linear between two quantiles, exponential outside the outermost two, where
    p = p₁·exp(-ln(p₂ / p₁)·d / (x₂ - x₁)) at a distance d beyond x₁.
    """
    level = round(level, 9)
    if level in levels:
        return values[..., levels.index(level), :]
    if level < levels[0]:
        return _beyond(values[..., 0, :], values[..., 1, :], level, levels[0], levels[1])
    if level > levels[-1]:
        return _beyond(values[..., -1, :], values[..., -2, :], 1 - level, 1 - levels[-1], 1 - levels[-2])
    above = int(np.searchsorted(levels, level))
    share = np.float32((level - levels[above - 1]) / (levels[above] - levels[above - 1]))
    low, high = values[..., above - 1, :], values[..., above, :]
    between: Floats = low + share * (high - low)
    return between


def _beyond(outer: Floats, inner: Floats, tail: float, outer_tail: float, inner_tail: float) -> Floats:
    beyond: Floats = outer + np.float32(math.log(outer_tail / tail) / math.log(inner_tail / outer_tail)) * (
        outer - inner
    )
    return beyond
