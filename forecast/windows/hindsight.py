"""Windows whose plans are what came true: what a model learns "what if" from."""

import torch
from torch import Tensor

from forecast.contracts.specs import PLANS
from forecast.windows.gather import Batch, Windows

#: In one window of so many no fan speed is told, as nobody may.
_UNTOLD = 4


class Hindsight:
    """Batches in which the load that was observed over the horizon had been planned, and the fans with it.

    What a schedule really planned is not looked at: temperature answers to what ran.

    Args:
        windows: of a specification that names plans.
    """

    def __init__(self, windows: Windows) -> None:
        self.spec, self.level_code, self.group = windows.spec, windows.level_code, windows.group
        self._windows = windows.told(windows.spec.unplanned)

    def batch(self, entity: Tensor, origin: Tensor) -> Batch:
        """Windows of `entity [B]` whose first forecast step is `origin [B]`, told what came as planned."""
        batch = self._windows.batch(entity, origin)
        told = dict(zip(self._windows.spec.future, batch.future.unbind(1), strict=True))
        for plan, signal in PLANS.items():
            told[plan] = torch.full_like(batch.future[:, 0], torch.nan)
            if signal in self.spec.past:
                told[plan] = self._windows.came(signal, entity, origin)
        untold = ((entity + origin) % _UNTOLD == 0)[:, None]
        told["planned_fan_speed_rpm"] = told["planned_fan_speed_rpm"].masked_fill(untold, torch.nan)
        return batch._replace(future=torch.stack([told[name] for name in self.spec.future], dim=1))
