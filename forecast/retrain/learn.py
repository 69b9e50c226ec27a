"""Training and calibration: a prepared panel to the graph that will serve."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forecast.bundle.load import Bundle
from forecast.calibration.conformal import HALF_TRUSTED, fit_offsets, newest
from forecast.calibration.response import fit_response_offsets
from forecast.models.adapted import Adapted
from forecast.models.base import ModelConfig, QuantileModel
from forecast.models.graph import ForecastGraph
from forecast.models.what_if import Answering, WhatIf
from forecast.retrain.config import JobConfig
from forecast.retrain.prepare import Prepared
from forecast.retrain.pretrained import Pretrained
from forecast.retrain.start import Start
from forecast.retrain.unheeded import unheeded
from forecast.training.checkpoints import Checkpoints
from forecast.training.course import Progress
from forecast.training.fit import Fit, fit, spread
from forecast.training.response import fit_response
from forecast.windows.gather import Batch, Windows
from forecast.windows.hindsight import Hindsight
from forecast.windows.inputs import Constants

#: Calibration needs many days, not neighbouring steps of one.
_CALIBRATION_WINDOWS = 4096

#: Validation origins are this many steps apart at least: neighbours tell the same.
_VALIDATION_STRIDE = 6

#: The last steps go at this share of the rate, and so many windows see to it that they did not diverge.
_LAST_RATE, _LAST_JUDGED = 0.6, 64


@dataclass(frozen=True, eq=False)
class Learner:
    """A model and the windows it learns from, on the training device.

    Attributes:
        model: forecasts without plans.
        windows: tell no plans.
        train, validation: `[M, 2]` pairs of (entity, origin).
        answering: the model and its answer to plans, and the windows that this learns from; None where none are told.
        start: what it began with.
    """

    model: QuantileModel
    windows: Windows
    train: Tensor
    validation: Tensor
    answering: tuple[Answering, Hindsight] | None = None
    start: Start = field(default_factory=Start)

    @classmethod
    def of(cls, config: JobConfig, prepared: Prepared, champion: Bundle | None = None) -> "Learner":
        """A model as `training.start_from` begins it, and the windows that end before the test range.

        Args:
            champion: the version in service, which it may begin with.

        Raises:
            ConfigError: there are no such weights, they do not fit, or the device is not there.
        """
        torch.manual_seed(config.seed)
        device = config.trainer.device()
        skus = prepared.trace.topology.skus
        constants = Constants.of(prepared.trace.topology, skus, prepared.ahead)
        spec = prepared.spec.unplanned
        told = Windows(prepared.panel, constants, prepared.spec, device)
        windows = told.told(spec)
        first, validation, test = (
            torch.as_tensor(np.asarray(steps), device=device)
            for steps in (np.zeros_like(prepared.split.test), prepared.split.validation, prepared.split.test)
        )
        start = Start.of(config, prepared, champion)
        model = start.weights.build(spec, skus) if start.weights else config.model.build(spec, len(skus))
        model = model.to(device)
        answer = WhatIf(prepared.spec, len(skus)).to(device) if prepared.spec.planned else None
        return cls(
            model=model,
            windows=windows,
            train=windows.pairs(first, validation),
            validation=windows.pairs(validation, test, _VALIDATION_STRIDE),
            answering=(Answering(model, answer, prepared.spec), Hindsight(told)) if answer else None,
            start=start,
        )

    def train_model(self, config: JobConfig, progress: Progress, checkpoints: Checkpoints | None = None) -> Fit:
        """Fit the model, then its answer to plans; what `checkpoints` has of it is not done again."""
        fitted = fit(
            self.model,
            self.windows,
            self.train,
            self.validation,
            config.training,
            config.trainer,
            config.seed,
            progress,
            checkpoints,
            learnt_before=self.start.weights is not None,
        )
        if self.answering is not None and self.answering[0].learns and config.training.steps:
            fit_response(
                *self.answering,
                self.train,
                self.validation,
                config.training,
                config.trainer,
                config.seed,
                progress,
                checkpoints,
            )
        return fitted

    def calibrate(self, fitted: Fit) -> ForecastGraph:
        """The deployed graph, on the CPU, with offsets fitted on the validation range.

        Weights that were learnt elsewhere bring theirs, which count as long as the site has few days of its own. The
        graph holds the model itself: what that learns afterwards (`learn_last`), the graph knows.

        Args:
            fitted: what `train_model` found. Weights that validate best as they began err on the days before the
                validation range as on those to come, so that these count when widths are told.
        """
        self.model.to(self.train.device)
        learnt = fitted.step > 0 or self.start.champion is not None
        elsewhere = self.start.weights if self.start.champion is None else None
        brought = elsewhere.offsets_for(self.windows.spec) if elsewhere else None
        offsets = self._offsets(learnt) if brought is None else self._blended(brought, learnt)
        if self.answering is None:
            return ForecastGraph(self.model, offsets, self.windows.spec).cpu().eval()
        answering, hindsight = self.answering
        answering.to(self.train.device).eval()
        fit_response_offsets(answering, hindsight, spread(self.validation, _CALIBRATION_WINDOWS))
        return ForecastGraph(self.model, offsets, hindsight.spec, answering.what_if).cpu().eval()

    def learn_last(
        self, config: JobConfig, fitted: Fit, progress: Progress, checkpoints: Checkpoints | None = None
    ) -> None:
        """Where the validation range is of machines that training never saw, some steps more on both.

        Few machines are had, and those that validated have nothing left to judge once the calibration is fitted: that
        tells how far a forecast errs on strangers, as those to come are. Where machines are known it tells how far one
        errs on days to come, and so does adaptation, from the same days: those stay apart. Nor is a model moved to
        whose forecasts an answer to plans was fitted.

        Args:
            fitted: what `train_model` found; the steps are a share of those that it took to the best weights.
        """
        steps = round(config.training.last_share * fitted.step)
        known = torch.isin(self.validation[:, 0], self.train[:, 0])
        if not steps or not len(known) or known.any() or self.answering is not None:
            return
        last = replace(
            config.training,
            steps=steps,
            learning_rate=_LAST_RATE * config.training.learning_rate,
            validate_every=steps,
            validation_windows=_LAST_JUDGED,
            start_from=None,
        )
        # With the neighbours that were left out: those before, for what comes after the last one is tested on.
        before = torch.arange(_VALIDATION_STRIDE, device=self.train.device)
        entity, origin = self.validation[:, :1].expand(-1, len(before)), self.validation[:, 1:] - before
        both = torch.cat([self.train, torch.stack([entity.flatten(), origin.flatten()], dim=1)])
        model, seed = self.model.to(self.train.device).train(), config.seed + 1
        fit(model, self.windows, both, self.validation, last, config.trainer, seed, progress, checkpoints)
        self.model.cpu()

    def _blended(self, brought: Tensor, learnt: bool) -> Tensor:
        """Offsets of the site, as far as its days of validation tell them, and those that came with the weights."""
        if not len(self.validation):
            return brought
        day = self.validation[:, 1] // self.windows.spec.day_steps
        days = len(torch.stack([self.validation[:, 0], day], 1).unique(dim=0))
        trust = days / (days + HALF_TRUSTED)
        return trust * self._offsets(learnt) + (1 - trust) * brought

    def _offsets(self, learnt: bool) -> Tensor:
        near = spread(newest(self.train, self.validation), _CALIBRATION_WINDOWS)
        return fit_offsets(self.model, self.windows, spread(self.validation, _CALIBRATION_WINDOWS), near, learnt)

    def example(self) -> Batch:
        """A few validation windows, on the CPU; of the training range where there are none."""
        pairs = spread(self.validation if len(self.validation) > 1 else self.train, 8)
        windows = self.windows if self.answering is None else self.answering[1]
        return Batch(*(part.cpu() for part in windows.batch(pairs[:, 0], pairs[:, 1])))

    def learnt(self, config: ModelConfig, graph: ForecastGraph, skus: tuple[str, ...], **facts: Any) -> Pretrained:
        """The weights and the calibration, for a later run to start from.

        Args:
            config: of the model, where it did not begin with weights that brought theirs.
            graph: calibrated.
            skus: the site's vocabulary.
            facts: what it was made from.
        """
        weights, began = self._own.state_dict(), self.start.weights
        if began is not None and isinstance(self.model, Adapted):
            own = began.spec_for(self.windows.spec)
            return Pretrained(own, began.config, skus, weights, began.offsets_for(own), facts)
        offsets = graph.calibration.by_step()
        return Pretrained(self.windows.spec, began.config if began else config, skus, weights, offsets, facts)

    @property
    def unheeded(self) -> list[str]:
        """What the model is told and misses, in a few words each."""
        spec = self.windows.spec
        return list(unheeded(self.model, self.start.weights.spec if self.start.weights else spec, spec))

    @property
    def _own(self) -> QuantileModel:
        """The model, whatever interface it stands behind."""
        return self.model.model if isinstance(self.model, Adapted) else self.model

    @property
    def name(self) -> str:
        return type(self._own).__name__

    @property
    def parameters(self) -> int:
        parts = [self.model] if self.answering is None else [self.model, self.answering[0]]
        return sum(weight.numel() for part in parts for weight in part.parameters())
