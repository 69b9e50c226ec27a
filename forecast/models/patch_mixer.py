"""A linear forecast, and what a joint-channel patch mixer adds to it.

Shaped for export: all channels of a patch form one token, so that every product is a large matrix product; ReLU; a
quantile-major head over few knots.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from forecast.contracts.errors import ConfigError
from forecast.contracts.specs import ForecastSpec
from forecast.models.base import ModelConfig, QuantileModel
from forecast.models.knots import hats, knots
from forecast.models.linear import LinearModel
from forecast.models.quantiles import spread_out

#: Features of each patch that reach the head, and steps of the horizon at which known-ahead covariates are looked at.
_SQUEEZED = 16
_FUTURE_PATCHES = 8


@dataclass
class PatchMixerConfig(ModelConfig):
    """Settings of `PatchMixer`.

    Attributes:
        patches: equal pieces the context is cut into; must divide `context_steps`.
        width: features per token.
        blocks: mixer blocks.
        hidden: features of the head.
        dropout: share of features dropped in training.
    """

    LEAST: ClassVar = {"patches": 1, "width": 1, "blocks": 1, "hidden": 1}

    patches: int = 24
    width: int = 128
    blocks: int = 3
    hidden: int = 256
    dropout: float = 0.3

    def build(self, spec: ForecastSpec, skus: int) -> "PatchMixer":
        if spec.context_steps % self.patches:
            raise ConfigError(
                f"model.patches={self.patches} does not divide window.context_steps={spec.context_steps}; "
                f"choose a divisor."
            )
        return PatchMixer(self, spec, skus)


class PatchMixer(QuantileModel):
    """Patches of all channels mixed across time and features; a head corrects the linear forecast."""

    def __init__(self, config: PatchMixerConfig, spec: ForecastSpec, skus: int) -> None:
        super().__init__()
        self.levels = spec.quantile_levels
        self.patches = config.patches
        self.linear = LinearModel(spec, skus)
        channels, length = len(spec.past), spec.context_steps // config.patches
        self.embed = nn.Linear(channels * (length + 1), config.width)
        self.position = nn.Parameter(torch.randn(config.patches, config.width) * 0.02)
        self.context = nn.Linear(self.linear.summary.size + self.linear.ahead.size * _FUTURE_PATCHES, config.width)
        self.mixer = nn.Sequential(*(MixerBlock(config) for _ in range(config.blocks)))
        self.squeeze = nn.Linear(config.width, _SQUEEZED)
        self.head = Head(config, spec, config.patches * _SQUEEZED + config.width)

    def forward(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        scaled = self.linear.scaler(past, static)
        ahead = self.linear.ahead(future, scaled)
        summary = self.linear.summary(scaled, ahead, static)
        context = torch.relu(self.context(torch.cat([summary, _pooled(ahead)], dim=1)))
        tokens = self.embed(self._tokens(scaled.z, scaled.seen)) + self.position + context[:, None]
        mixed = torch.relu(self.squeeze(self.mixer(tokens)).flatten(1))
        added = self.head(torch.cat([mixed, context], dim=1))
        centre, steps = self.linear.paths(scaled, ahead, summary)
        quantiles = spread_out(centre + added[:, :, 0], steps + added[:, :, 1:], self.levels)
        return self.linear.scaler.restore(quantiles, scaled)

    def _tokens(self, z: Tensor, seen: Tensor) -> Tensor:
        """`[B, C, L]` to `[B, patches, C · (length + 1)]`: the values of each patch and the share observed."""
        values = z.unflatten(2, (self.patches, -1))
        share = seen.unflatten(2, (self.patches, -1)).mean(-1, keepdim=True)
        return torch.cat([values, share], dim=3).transpose(1, 2).flatten(2)


def _pooled(ahead: Tensor) -> Tensor:
    """Known-ahead channels `[B, F, H]` at evenly spaced steps of the horizon, `[B, F · _FUTURE_PATCHES]`."""
    steps = torch.linspace(0, ahead.shape[2] - 1, _FUTURE_PATCHES).long().tolist()
    return torch.cat([ahead[:, :, step] for step in steps], dim=1)


class MixerBlock(nn.Module):
    """One exchange across patches, then one across features; each adds to what came in, `[B, patches, width]`."""

    def __init__(self, config: PatchMixerConfig) -> None:
        super().__init__()
        self.across_time = _perceptron(config.patches, 2 * config.patches, config.dropout)
        self.across_features = _perceptron(config.width, 2 * config.width, config.dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(2))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.across_time(self.norms[0](tokens).transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = tokens + self.across_features(self.norms[1](tokens))
        return mixed


def _perceptron(width: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width))


class Head(nn.Module):
    """Hidden features to corrections of the median and of the quantile steps at the knots, `[B, T, Q, H]`."""

    def __init__(self, config: PatchMixerConfig, spec: ForecastSpec, inputs: int) -> None:
        super().__init__()
        self.shape = (len(spec.targets), len(spec.quantile_levels), knots(spec.horizon_steps))
        self.hidden = nn.Sequential(nn.Linear(inputs, config.hidden), nn.ReLU(), nn.Dropout(config.dropout))
        self.points = nn.Linear(config.hidden, self.shape[0] * self.shape[1] * self.shape[2])
        self.hats: Tensor
        self.register_buffer("hats", hats(spec.horizon_steps))
        nn.init.normal_(self.points.weight, std=0.01)
        nn.init.zeros_(self.points.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.matmul(self.points(self.hidden(hidden)).unflatten(1, self.shape), self.hats)
