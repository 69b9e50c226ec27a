"""The Lightning module: gathers a batch by index, scores it, steps the optimiser.

Every model is validated by the loss of its quantiles, whatever it is trained on.
"""

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import Tensor

from forecast.models.base import CdfModel, QuantileModel
from forecast.models.cdf import in_units
from forecast.models.scaling import Scaler
from forecast.training.gaps import Gaps
from forecast.training.losses import crps, pinball
from forecast.windows.gather import Batch, Gatherer


class Fitting(lightning.LightningModule):
    """One model being fitted on windows that lie on its device.

    Args:
        model: what is fitted.
        windows: gathers batches.
        gaps: hides parts of those that are learnt from.
        steps: optimiser steps in all, for the schedule.
        learning_rate: its peak, reached after a tenth of the steps and annealed to zero.
        weight_decay: of AdamW.
        by_spread: power of the context's spread in which errors count, see `TrainingConfig`.
    """

    def __init__(
        self,
        model: QuantileModel,
        windows: Gatherer,
        gaps: Gaps,
        steps: int,
        learning_rate: float,
        weight_decay: float,
        by_spread: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.windows, self.gaps = windows, gaps
        self.steps, self.learning_rate, self.weight_decay = steps, learning_rate, weight_decay
        self.by_spread = by_spread
        self.scaler = Scaler(windows.spec)
        self.levels: Tensor
        self.register_buffer("levels", torch.tensor(windows.spec.quantile_levels))

    def _quantile_loss(self, batch: Batch) -> Tensor:
        return self._pinball(self.model(batch.past, batch.future, batch.static), batch)

    def _pinball(self, quantiles: Tensor, batch: Batch) -> Tensor:
        return pinball(quantiles, batch.target, self.levels, self._unit(batch))

    def _unit(self, batch: Batch) -> Tensor:
        """What an error of one is, `[B, T, 1]`."""
        scaled = self.scaler(batch.past, batch.static)
        unit: Tensor = scaled.unit * scaled.spread**self.by_spread
        return unit[:, : self.scaler.targets]

    def training_step(self, pairs: Tensor, index: int) -> Tensor:
        batch = self.gaps(self.windows.batch(pairs[:, 0], pairs[:, 1]))
        if isinstance(self.model, CdfModel):
            cdf, beside = self.model.scored(batch.past, batch.future, batch.static)
            loss = crps(in_units(cdf, self._unit(batch)), batch.target[:, :, self.model.steps])
            return loss if beside is None else loss + self._pinball(beside, batch)
        return self._quantile_loss(batch)

    def validation_step(self, pairs: Tensor, index: int) -> None:
        self.log(
            "validation_loss",
            self._quantile_loss(self.windows.batch(pairs[:, 0], pairs[:, 1])),
            batch_size=len(pairs),
            on_epoch=True,
        )

    @torch.no_grad()
    def loss(self, judged: Sequence[Tensor]) -> float:
        """The loss that validates, over batches of pairs `[M, 2]`."""
        losses = [len(pairs) * self._quantile_loss(self.windows.batch(pairs[:, 0], pairs[:, 1])) for pairs in judged]
        return float(sum(losses)) / sum(len(pairs) for pairs in judged)

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        rising = min(max(0.1, 1.5 / self.steps), 0.9)  # of fewer than fifteen steps, PyTorch divides by what rises
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.learning_rate, self.steps, pct_start=rising)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
