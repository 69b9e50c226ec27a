"""Split conformal offsets per level of the fleet tree, target, part of the horizon, and quantile."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.contracts.signals import LEVELS
from forecast.contracts.specs import ForecastSpec
from forecast.models.base import QuantileModel
from forecast.models.quantiles import reach
from forecast.windows.gather import Gatherer

#: The horizon is calibrated in this many equal parts.
PARTS = 8

#: A group's own offset counts half when it holds this many independent windows; the rest is the offset over all groups.
HALF_TRUSTED = 20.0


@torch.no_grad()
def fit_offsets(model: QuantileModel, windows: Gatherer, pairs: Tensor) -> Tensor:
    """Offsets `[G, T, Q, H]` that make each quantile cover its share of `pairs`, in units of `reach`.

    G counts the level codes, 0 for unknown. For level q the offset is the q-quantile of (y - quantile) / reach: the
    normalised, one-sided form of conformalised quantile regression (Romano, Patterson and Candès, 2019). Windows of one
    entity on one day tell much the same; a group with few such days leans on all groups together.

    Args:
        model: in evaluation mode.
        pairs: `[M, 2]` of (entity, origin), none of which the model was trained on.
    """
    errors = torch.cat([_errors(model, windows, chunk) for chunk in pairs.split(512)]).cpu().numpy()
    level = windows.level_code[pairs[:, 0]].cpu().numpy()
    days = torch.stack([pairs[:, 0], pairs[:, 1] // windows.spec.day_steps], 1).cpu().numpy()
    pooled = _offsets(errors, windows.spec)
    offsets = np.repeat(pooled[None], len(LEVELS) + 1, axis=0)
    for code in np.unique(level):
        group = level == code
        independent = len(np.unique(days[group], axis=0))
        trust = independent / (independent + HALF_TRUSTED)
        offsets[code] = trust * _offsets(errors[group], windows.spec) + (1 - trust) * pooled
    return torch.from_numpy(offsets).float()


def _errors(model: QuantileModel, windows: Gatherer, pairs: Tensor) -> Tensor:
    """(target - quantile) / reach, `[M, T, Q, H]`, NaN where not observed."""
    batch = windows.batch(pairs[:, 0], pairs[:, 1])
    raw = model(batch.past, batch.future, batch.static)
    return (batch.target[:, :, None] - raw) / reach(raw, windows.spec.quantile_levels)


def _offsets(errors: NDArray[np.float32], spec: ForecastSpec) -> NDArray[np.float64]:
    """`[T, Q, H]` from `[M, T, Q, H]`: one value per part of the horizon; 0 where nothing was observed."""
    offsets = np.zeros(errors.shape[1:])
    for part in np.array_split(np.arange(spec.horizon_steps), PARTS):
        if not part.size:
            continue
        block = errors[..., part]
        for target in range(errors.shape[1]):
            seen = ~np.isnan(block[:, target, 0])
            for index, level in enumerate(spec.quantile_levels):
                values = block[:, target, index][seen]
                if values.size:
                    offsets[target, index, part] = np.quantile(values, level)
    return offsets
