"""A linear forecaster: the fast floor and the fallback."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forecast.contracts.specs import ForecastSpec
from forecast.models.ahead import AheadScaler, Drivers, has_drivers
from forecast.models.base import ModelConfig, QuantileModel
from forecast.models.knots import hats, knots
from forecast.models.quantiles import normal_steps, spread_out
from forecast.models.scaling import Scaled, Scaler
from forecast.models.skip import LinearSkip
from forecast.models.summary import Summary


@dataclass
class LinearConfig(ModelConfig):
    """Settings of `LinearModel`: none."""

    def build(self, spec: ForecastSpec, skus: int) -> "LinearModel":
        return LinearModel(spec, skus)


class LinearModel(QuantileModel):
    """The linear skip as the median, and what drives it if known ahead; quantile distances linear in the summary."""

    def __init__(self, spec: ForecastSpec, skus: int) -> None:
        super().__init__()
        self.levels = spec.quantile_levels
        self.scaler = Scaler(spec)
        self.skip = LinearSkip(spec)
        self.ahead = AheadScaler(spec)
        self.drivers = Drivers(spec) if has_drivers(spec) else None
        self.summary = Summary(spec, skus, self.ahead.size)
        self.shape = (len(spec.targets), len(self.levels) - 1, knots(spec.horizon_steps))
        self.hats: Tensor
        self.register_buffer("hats", hats(spec.horizon_steps))
        self.steps = nn.Linear(self.summary.size, self.shape[0] * self.shape[1] * self.shape[2])
        nn.init.zeros_(self.steps.weight)
        with torch.no_grad():
            self.steps.bias.copy_(normal_steps(self.levels, 0.5)[None, :, None].expand(self.shape).reshape(-1))

    def paths(self, scaled: Scaled, ahead: Tensor, summary: Tensor) -> tuple[Tensor, Tensor]:
        """The normalised median `[B, T, H]` and the steps between quantiles `[B, T, Q - 1, H]`."""
        median = self.skip(scaled.z)
        if self.drivers is not None:
            median = median + self.drivers(ahead, scaled)
        return median, torch.matmul(self.steps(summary).unflatten(1, self.shape), self.hats)

    def forward(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        scaled = self.scaler(past, static)
        ahead = self.ahead(future, scaled)
        centre, steps = self.paths(scaled, ahead, self.summary(scaled, ahead, static))
        return self.scaler.restore(spread_out(centre, steps, self.levels), scaled)
