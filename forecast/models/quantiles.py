"""Non-crossing quantiles from a centre and steps outwards."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

import torch
from torch import Tensor


def spread_out(centre: Tensor, steps: Tensor, levels: Sequence[float]) -> Tensor:
    """Quantiles `[B, T, Q, H]` around their median.

    Args:
        centre: `[B, T, H]`, the median.
        steps: `[B, T, Q - 1, H]`; negative ones count as zero, so levels can meet and never cross. In order of level,
            each is the distance between two neighbouring levels.
        levels: quantile levels, symmetric about 0.5.
    """
    middle = levels.index(0.5)
    steps = torch.relu(steps)
    below = steps[:, :, :middle].flip(2).cumsum(2).flip(2)
    above = steps[:, :, middle:].cumsum(2)
    centre = centre[:, :, None]
    return torch.cat([centre - below, centre, centre + above], dim=2)


def normal_steps(levels: Sequence[float], deviation: float) -> Tensor:
    """Distances `[Q - 1]` between neighbouring quantiles of a normal distribution: where training starts."""
    normal = NormalDist(sigma=deviation)
    points = [normal.inv_cdf(level) for level in levels]
    return torch.tensor([high - low for low, high in pairwise(points)])


def never_crossing(quantiles: Tensor) -> Tensor:
    """The running maximum along Q of `[B, T, Q, H]`, unrolled because ONNX has none; for a handful of levels."""
    highest = [quantiles[:, :, 0]]
    for level in range(1, quantiles.shape[2]):
        highest.append(torch.maximum(highest[-1], quantiles[:, :, level]))
    return torch.stack(highest, dim=2)


def reach(quantiles: Tensor, levels: Sequence[float]) -> Tensor:
    """How far each quantile of `[B, T, Q, H]` could move: from neighbour to neighbour, and 1 % of the median.

    The unit in which calibration shifts quantiles. It is local: where a machine is either idle or busy the middle of
    the distribution is wide, but its top is not, and must not be pushed past what the machine can do. The second part
    lets calibration widen an interval that has no width.
    """
    ends = torch.cat([quantiles[:, :, :1], quantiles, quantiles[:, :, -1:]], dim=2)
    return ends[:, :, 2:] - ends[:, :, :-2] + 0.01 * quantiles[:, :, levels.index(0.5), None].abs()
