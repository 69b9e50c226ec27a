"""What training minimises."""

import torch
from torch import Tensor


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
