"""Non-crossing quantiles from a centre and steps outwards."""

import math
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
    return centre[:, :, None] + apart(steps, levels)


def apart(steps: Tensor, levels: Sequence[float]) -> Tensor:
    """How far quantiles lie from their median, `[B, T, Q, H]`, by the `steps` of `spread_out`."""
    return torch.matmul(outwards(levels).to(steps), torch.relu(steps))


def outwards(levels: Sequence[float]) -> Tensor:
    """How often each quantile passes each step from one level to the next on its way from the median, `[Q, Q - 1]`.

    1 above it, -1 below it.
    """
    middle, count = levels.index(0.5), torch.arange(len(levels))
    quantile, step = count[:, None], count[:-1]
    return ((step >= middle) & (step < quantile)).float() - ((step < middle) & (step >= quantile)).float()


def beside(levels: Sequence[float]) -> Tensor:
    """1 where a step from one level to the next ends or begins at a quantile, `[Q, Q - 1]`."""
    apart = torch.arange(len(levels))[:, None] - torch.arange(len(levels) - 1)
    return ((apart == 0) | (apart == 1)).float()


def normal_steps(levels: Sequence[float], deviation: float) -> Tensor:
    """Distances `[Q - 1]` between neighbouring quantiles of a normal distribution: where training starts."""
    normal = NormalDist(sigma=deviation)
    points = [normal.inv_cdf(level) for level in levels]
    return torch.tensor([high - low for low, high in pairwise(points)])


def steps_between(have: Sequence[float], want: Sequence[float]) -> Tensor:
    """Shares `[W - 1, Q - 1]` of the steps between the levels `have` (Q) that make those between `want` (W).

    Between two levels a quantile moves evenly with its normal score, and beyond the outermost as between the last two:
    a normal distribution stays one. The same levels give the identity.
    """
    scores = [NormalDist().inv_cdf(level) for level in have]
    edges = [-math.inf, *scores[1:-1], math.inf]
    gaps = [high - low for low, high in pairwise(scores)]
    rows = []
    for low, high in pairwise(NormalDist().inv_cdf(level) for level in want):
        ends = [(max(low, begin), min(high, end)) for begin, end in pairwise(edges)]
        rows.append([max(end - begin, 0.0) / gap for (begin, end), gap in zip(ends, gaps, strict=True)])
    return torch.tensor(rows)


def never_crossing(quantiles: Tensor, floor: Tensor | None = None) -> Tensor:
    """The running maximum along Q of `[B, T, Q, H]`, unrolled because ONNX has none; for a handful of levels.

    None is below `floor`, which broadcasts to `[B, T, 1, H]`.
    """
    first, *others = quantiles.split(1, dim=2)
    highest = [first if floor is None else torch.maximum(first, floor)]
    for quantile in others:
        highest.append(torch.maximum(highest[-1], quantile))
    return torch.cat(highest, dim=2)
