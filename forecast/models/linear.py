"""A linear forecaster: the fast floor and the fallback."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forecast.contracts.specs import ForecastSpec
from forecast.models.ahead import AheadScaler, Drivers, has_drivers
from forecast.models.base import ModelConfig, QuantileModel
from forecast.models.knots import hats, knots
from forecast.models.quantiles import normal_steps, spread_out, steps_between
from forecast.models.scaling import Scaled, Scaler
from forecast.models.skip import LinearSkip
from forecast.models.summary import Summary

#: The weights of `Straight` that have rows per target, step from one quantile level to the next, and knot.
PER_STEP = ("steps.weight", "steps.bias")


@dataclass
class LinearConfig(ModelConfig):
    """Settings of `LinearModel`: none."""

    def build(self, spec: ForecastSpec, skus: int) -> "LinearModel":
        return LinearModel(spec, skus)


class Straight(nn.Module):
    """The linear skip as the median; quantile distances linear in the summary, which has so many `features`."""

    def __init__(self, spec: ForecastSpec, features: int) -> None:
        super().__init__()
        levels = spec.quantile_levels
        self.skip = LinearSkip(spec)
        self.shape = (len(spec.targets), len(levels) - 1, knots(spec.horizon_steps))
        self.hats: Tensor
        self.register_buffer("hats", hats(spec.horizon_steps))
        self.steps = nn.Linear(features, self.shape[0] * self.shape[1] * self.shape[2])
        nn.init.zeros_(self.steps.weight)
        with torch.no_grad():
            self.steps.bias.copy_(normal_steps(levels, 0.5)[None, :, None].expand(self.shape).reshape(-1))

    def forward(self, scaled: Scaled, summary: Tensor) -> tuple[Tensor, Tensor]:
        """The normalised median `[B, T, H]` and the steps between quantiles `[B, T, Q - 1, H]`."""
        return self.skip(scaled.z, scaled.seen), torch.matmul(self.at_knots(summary), self.hats)

    def at_knots(self, summary: Tensor) -> Tensor:
        """The steps between quantiles at the knots that `hats` interpolates between, `[B, T, Q - 1, knots]`."""
        steps: Tensor = self.steps(summary).unflatten(1, self.shape)
        return steps

    def at_steps(self, summary: Tensor, at: Tensor) -> Tensor:
        """The same at the steps `at [P]` of the horizon, `[B, T, Q - 1, P]`: the weights are interpolated before."""
        hats = self.hats[:, at]
        weight = torch.matmul(self.steps.weight.unflatten(0, self.shape).transpose(2, 3), hats).transpose(2, 3)
        bias = torch.matmul(self.steps.bias.unflatten(0, self.shape), hats)
        told = nn.functional.linear(summary, weight.flatten(0, 2), bias.flatten())
        steps: Tensor = told.unflatten(1, (*self.shape[:2], len(at)))
        return steps


def at_levels(weight: Tensor, spec: ForecastSpec, levels: Sequence[float]) -> Tensor:
    """One of `PER_STEP`, learnt for the quantile levels of `spec`, for others; for the same ones bit for bit itself."""
    shape = (len(spec.targets), len(spec.quantile_levels) - 1, -1)
    shares = steps_between(spec.quantile_levels, levels).to(weight)
    told: Tensor = torch.tensordot(shares, weight.unflatten(0, shape), dims=([1], [1])).transpose(0, 1).flatten(0, 2)
    return told


class LinearModel(QuantileModel):
    """The linear skip as the median, and what drives it if known ahead; quantile distances linear in the summary."""

    def __init__(self, spec: ForecastSpec, skus: int) -> None:
        super().__init__()
        self.levels = spec.quantile_levels
        self.scaler = Scaler(spec)
        self.ahead = AheadScaler(spec)
        self.drivers = Drivers(spec) if has_drivers(spec) else None
        self.summary = Summary(spec, skus, self.ahead.size)
        self.straight = Straight(spec, self.summary.size)

    def paths(self, scaled: Scaled, ahead: Tensor, summary: Tensor) -> tuple[Tensor, Tensor]:
        """The normalised median `[B, T, H]` and the steps between quantiles `[B, T, Q - 1, H]`."""
        median, steps = self.straight(scaled, summary)
        return median if self.drivers is None else median + self.drivers(ahead, scaled), steps

    def forward(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        scaled = self.scaler(past, static)
        ahead = self.ahead(future, scaled)
        centre, steps = self.paths(scaled, ahead, self.summary(scaled, ahead, static))
        return self.scaler.restore(spread_out(centre, steps, self.levels), scaled)
