"""What training minimises."""

import torch
from torch import Tensor

from forecast.models.cdf import Cdf


def pinball(quantiles: Tensor, target: Tensor, levels: Tensor, unit: Tensor) -> Tensor:
    """Mean pinball loss over observed steps, in typical units so that a site and a server weigh alike.

    Args:
        quantiles: `[B, T, Q, H]`.
        target: `[B, T, H]`, NaN where not observed.
        levels: `[Q]`.
        unit: `[B, T, 1]`, typical scale of each target.

    The loss of level q is max(q · e, (q - 1) · e) for the error e = target - quantile (Koenker and Bassett, 1978).
    """
    known = ~torch.isnan(target)
    truth = torch.where(known, target, quantiles[:, :, 0].detach())[:, :, None]
    error = (truth - quantiles) / unit[:, :, None]
    loss = torch.maximum(levels[:, None] * error, (levels[:, None] - 1) * error).mean(2)
    return (loss * known).sum() / known.sum().clamp(min=1)


def crps(cdf: Cdf, target: Tensor) -> Tensor:
    """Mean continuous ranked probability score of CDFs over observed steps, in typical units.

    Args:
        cdf: at P steps.
        target: `[B, T, P]`, NaN where not observed.

    The score is ∫ (F(x) - 1{x ≥ y})² dx (Matheson and Winkler, 1976), here without error for a piecewise linear F. In a
    cell of unit width where F rises from a to b, ∫ F² = a·b + (b - a)² / 3; where the share r of it lies above y,
    r · (1 - 2·b + r·(b - a)) is added. Past the ends of the grid the score is the distance.
    """
    known = ~torch.isnan(target)
    low, high = cdf.values[:, :, :-1, None], cdf.values[:, :, 1:, None]
    truth = torch.where(known, target / cdf.unit - cdf.shift, cdf.values[:, :, :1])[:, :, None]
    above = cdf.masses.cumsum(2)
    right = 1 - ((truth - low) / (high - low).clamp(min=1e-9)).clamp(0.0, 1.0)
    squared = above * (above - cdf.masses) + cdf.masses * cdf.masses / 3
    score = torch.matmul((high - low).transpose(2, 3), squared + right * (1 - 2 * above + right * cdf.masses))
    beyond = (truth - high[:, :, -1:]).clamp(min=0.0) + (low[:, :, :1] - truth).clamp(min=0.0)
    return ((score + beyond)[:, :, 0] * known).sum() / known.sum().clamp(min=1)
