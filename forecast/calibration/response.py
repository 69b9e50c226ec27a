"""Conformal offsets of the answer to a plan: of the residual alone, so that they do not depend on planned power."""

import numpy as np
import torch
from torch import Tensor

from forecast.models.recalibrate import PARTS
from forecast.models.what_if import Answering
from forecast.windows.hindsight import Hindsight

#: Where the plan says less of the response than this, the forecast without it is what counts.
_SAID = 0.99


@torch.no_grad()
def fit_response_offsets(answering: Answering, windows: Hindsight, pairs: Tensor) -> None:
    """Set the offsets `[Q, H]` of the temperature's answer so that each quantile covers its share of `pairs`.

    As `forecast.calibration.conformal.fit_offsets`, per part of the horizon, over all entities: what is left once power
    is known is much the same everywhere.

    Args:
        answering: in evaluation mode.
        pairs: `[M, 2]` of (entity, origin), none of which it was trained on.
    """
    answer = answering.what_if.temperature
    if answer is None or not len(pairs):
        return
    answer.offsets.zero_()
    errors = torch.cat([_errors(answering, windows, chunk) for chunk in pairs.split(512)]).cpu().numpy()
    offsets = np.zeros(errors.shape[1:])
    for part in np.array_split(np.arange(errors.shape[2]), PARTS):
        for index, level in enumerate(windows.spec.quantile_levels):
            values = errors[:, index, part]
            known = values[~np.isnan(values)]
            if known.size:
                offsets[index, part] = np.quantile(known, level)
    answer.offsets.copy_(torch.from_numpy(offsets))


def _errors(answering: Answering, windows: Hindsight, pairs: Tensor) -> Tensor:
    """(temperature - quantile) / reach, `[M, Q, H]`, NaN where it was not observed or the plan says little."""
    batch = windows.batch(pairs[:, 0], pairs[:, 1])
    marginal = answering.marginal(batch.past, batch.future, batch.static)
    assert answering.what_if.temperature is not None  # noqa: S101 - as fit_response_offsets made sure
    hot = windows.spec.targets.index("temperature_c")
    power = windows.spec.targets.index("power_w") if "power_w" in windows.spec.targets else None
    median = windows.spec.quantile_levels.index(0.5)
    load = None if power is None else marginal[:, power, median]
    answered, width, share = answering.what_if.temperature.answered(
        marginal[:, hot], load, batch.past, batch.future, batch.static
    )
    errors = (batch.target[:, hot, None] - answered) / width
    return torch.where(share[:, None] >= _SAID, errors, torch.nan)
