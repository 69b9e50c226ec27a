"""Training and calibration: a prepared panel to the graph that will serve."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forecast.calibration.conformal import fit_offsets
from forecast.models.base import QuantileModel
from forecast.models.graph import ForecastGraph
from forecast.retrain.config import JobConfig
from forecast.retrain.prepare import Prepared
from forecast.training.fit import Fit, Progress, fit, spread
from forecast.windows.gather import Batch, Windows
from forecast.windows.inputs import Constants

#: Calibration needs many days, not neighbouring steps of one.
_CALIBRATION_WINDOWS = 4096

#: Validation origins are this many steps apart at least: neighbours tell the same.
_VALIDATION_STRIDE = 6


@dataclass(frozen=True, eq=False)
class Learner:
    """A model and the windows it learns from, on the training device."""

    model: QuantileModel
    windows: Windows
    train: Tensor
    validation: Tensor

    @classmethod
    def of(cls, config: JobConfig, prepared: Prepared) -> "Learner":
        torch.manual_seed(config.seed)
        device = config.trainer.device()
        skus = prepared.trace.topology.skus
        constants = Constants.of(prepared.trace.topology, skus, prepared.ahead)
        windows = Windows(prepared.panel, constants, prepared.spec, device)
        first, validation, test = (
            torch.as_tensor(np.asarray(steps), device=device)
            for steps in (np.zeros_like(prepared.split.test), prepared.split.validation, prepared.split.test)
        )
        return cls(
            model=config.model.build(prepared.spec, len(skus)).to(device),
            windows=windows,
            train=windows.pairs(first, validation),
            validation=windows.pairs(validation, test, _VALIDATION_STRIDE),
        )

    def train_model(self, config: JobConfig, progress: Progress) -> Fit:
        return fit(
            self.model,
            self.windows,
            self.train,
            self.validation,
            config.training,
            config.trainer,
            config.seed,
            progress,
        )

    def calibrate(self) -> ForecastGraph:
        """The deployed graph, on the CPU, with offsets fitted on the validation range."""
        self.model.to(self.train.device)
        offsets = fit_offsets(self.model, self.windows, spread(self.validation, _CALIBRATION_WINDOWS))
        return ForecastGraph(self.model, offsets, self.windows.spec).cpu().eval()

    def example(self) -> Batch:
        """A few validation windows, on the CPU."""
        pairs = spread(self.validation, 8)
        return Batch(*(part.cpu() for part in self.windows.batch(pairs[:, 0], pairs[:, 1])))

    @property
    def parameters(self) -> int:
        return sum(weight.numel() for weight in self.model.parameters())
