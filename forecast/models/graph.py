"""The deployed graph: a model, its calibration, and what a dispatcher asks of the result."""

import math

import torch
from torch import Tensor, nn

from forecast.contracts.signals import RESOLUTION, SIGNALS, TARGETS
from forecast.contracts.specs import ForecastSpec
from forecast.models.base import QuantileModel
from forecast.models.quantiles import never_crossing
from forecast.models.recalibrate import Recalibration
from forecast.models.scaling import observed
from forecast.models.what_if import WhatIf


class ForecastGraph(nn.Module):
    """Physical inputs to calibrated quantiles, headroom and exceedance: exactly what `model.onnx` computes.

    Args:
        model: gives raw quantiles.
        offsets: `[G, T, Q, H]`, calibration per level of the fleet tree (row 0 for an unknown level), in normal scores;
            see `Recalibration`.
        spec: of the graph. Where it names plans, `model` knows nothing of them.
        what_if: the answer to plans, where `spec` names any.
    """

    def __init__(
        self, model: QuantileModel, offsets: Tensor, spec: ForecastSpec, what_if: WhatIf | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.what_if = what_if
        self.told: Tensor
        told = torch.tensor([spec.future.index(name) for name in spec.unplanned.future])
        self.register_buffer("told", told, persistent=False)
        self.calibration = Recalibration(offsets, spec, model.curves())
        self.levels = spec.quantile_levels
        self.limits: Tensor
        self.register_buffer(
            "limits",
            torch.tensor([spec.static.index(TARGETS[target].limit) for target in spec.targets]),
            persistent=False,
        )
        self.floor: Tensor
        self.overshoot: Tensor
        self.between: Tensor
        self.register_buffer("between", torch.tensor([self.levels]).diff(), persistent=False)
        floor = torch.tensor([SIGNALS[target].low for target in spec.targets])
        self.register_buffer("floor", floor[None, :, None, None])
        overshoot = [TARGETS[target].overshoot for target in spec.targets]
        self.register_buffer(
            "overshoot", torch.tensor([torch.inf if over is None else over for over in overshoot])[:, None]
        )

    def forward(self, past: Tensor, future: Tensor, static: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns `quantiles [B, T, Q, H]`, `headroom [B, T, Q, H]` and `exceedance [B, T, H]`.

        Headroom at level q is the limit less the quantile at 1 - q, so that it too ascends along Q. Both it and the
        exceedance are NaN where the limit is unknown.
        """
        return self.answer(self.marginal(past, future, static), past, future, static)

    def marginal(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        """Calibrated quantiles that know of no plan and no governor, `[B, T, Q, H]`; `answer` sees that none cross."""
        told = future if self.what_if is None else future.index_select(1, self.told)
        if self.model.curves() is not None:
            return self.calibration.of_curves(self.model.curved(past, told, static), past, static)
        calibrated: Tensor = self.calibration(self.model(past, told, static), past, static)
        return calibrated

    def answer(self, marginal: Tensor, past: Tensor, future: Tensor, static: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `forward` returns, from the quantiles without plans: all that hangs on planned power."""
        limit, answer = static.index_select(1, self.limits)[..., None], marginal
        if self.what_if is not None:  # behind the calibration, whose widths would otherwise hang on the plan
            answer = self.what_if(marginal, past, future, static)
        ascending = never_crossing(answer, self.floor)
        quantiles = torch.minimum(ascending, self.ceiling(past, limit)[..., None])
        return quantiles, limit[:, :, None] - quantiles.flip(2), self.exceedance(ascending, limit)

    def ceiling(self, past: Tensor, limit: Tensor) -> Tensor:
        """What a target `[B, T, 1]` cannot pass: where its governor holds it, or what was seen if that is more.

        Infinite where no limit is known or nothing governs it.
        """
        highest = observed(past).values.amax(-1, keepdim=True)[:, : len(self.limits)]
        governed = (limit + self.overshoot).masked_fill(torch.isnan(limit), torch.inf)
        return torch.maximum(governed, highest)  # what is unknown reads 0 there, and no limit lies below that

    def exceedance(self, quantiles: Tensor, limit: Tensor) -> Tensor:
        """Probability `[B, T, H]` that a target passes its limit.

        Between quantiles the distribution is linear; outside the outermost it decays exponentially at the rate that the
        outer two quantiles imply (for an exponential tail, probability falls e-fold every (x₂ - x₁) / ln(p₁ / p₂)).
        """
        low, high = quantiles[:, :, :-1], quantiles[:, :, 1:]
        widths = torch.maximum(high - low, limit[:, :, None] * RESOLUTION)
        shares = ((limit[:, :, None] - low) / widths).clamp(0.0, 1.0)
        over = torch.matmul(self.between, 1.0 - shares)[:, :, 0]
        above = self._tail(limit - quantiles[:, :, -1], widths[:, :, -1])
        below = self._tail(quantiles[:, :, 0] - limit, widths[:, :, 0])
        return (over + above + self.levels[0] - below).clamp(0.0, 1.0)

    def _tail(self, beyond: Tensor, width: Tensor) -> Tensor:
        """Probability of lying more than `beyond` outside the outermost quantile; all of its share when inside.

        `beyond` and `width`, how far apart the outer two quantiles lie, are `[B, T, H]`, in the target's unit.
        """
        outer, inner = self.levels[0], self.levels[1]
        return outer * torch.exp(-math.log(inner / outer) * beyond.clamp(min=0.0) / width)
