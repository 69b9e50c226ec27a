"""The flagship: a joint-channel patch mixer over a linear skip.

Shaped for export: all channels of a patch form one token, so that every product is a large matrix product; ReLU; a
low-rank, quantile-major head.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forecast.contracts.errors import ConfigError
from forecast.contracts.specs import ForecastSpec
from forecast.models.base import ModelConfig, QuantileModel
from forecast.models.quantiles import normal_steps, spread_out
from forecast.models.scaling import Scaler
from forecast.models.skip import LinearSkip
from forecast.models.summary import Summary


@dataclass
class PatchMixerConfig(ModelConfig):
    """Settings of `PatchMixer`.

    Attributes:
        patches: equal pieces the context is cut into; must divide `context_steps`.
        width: features per token.
        blocks: mixer blocks.
        hidden: features of the head.
        rank: horizon shapes that every quantile's path is a sum of.
        dropout: share of features dropped in training.
    """

    patches: int = 24
    width: int = 128
    blocks: int = 3
    hidden: int = 256
    rank: int = 24
    dropout: float = 0.1

    def build(self, spec: ForecastSpec, skus: int) -> "PatchMixer":
        if spec.context_steps % self.patches:
            raise ConfigError(
                f"model.patches={self.patches} does not divide window.context_steps={spec.context_steps}; "
                f"choose a divisor."
            )
        return PatchMixer(self, spec, skus)


class PatchMixer(QuantileModel):
    """Patches of all channels mixed across time and features; a low-rank head adds to the linear skip."""

    def __init__(self, config: PatchMixerConfig, spec: ForecastSpec, skus: int) -> None:
        super().__init__()
        self.levels = spec.quantile_levels
        self.patches = config.patches
        self.scaler = Scaler(spec)
        self.skip = LinearSkip(spec)
        self.summary = Summary(spec, skus)
        channels, length = len(spec.past), spec.context_steps // config.patches
        self.embed = nn.Linear(channels * (length + 1), config.width)
        self.position = nn.Parameter(torch.randn(config.patches, config.width) * 0.02)
        self.context = nn.Linear(self.summary.size + len(spec.future) * _FUTURE_PATCHES, config.width)
        self.mixer = nn.Sequential(*(MixerBlock(config) for _ in range(config.blocks)))
        self.squeeze = nn.Linear(config.width, _SQUEEZED)
        self.head = LowRankHead(config, spec, config.patches * _SQUEEZED + config.width)

    def forward(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        scaled = self.scaler(past, static)
        context = torch.cat([self.summary(scaled, future, static), _pooled(future)], dim=1)
        context = torch.relu(self.context(context))
        tokens = self.embed(self._tokens(scaled.z, scaled.seen)) + self.position + context[:, None]
        mixed = self.squeeze(self.mixer(tokens)).flatten(1)
        path = self.head(torch.cat([torch.relu(mixed), context], dim=1))
        centre = self.skip(scaled.z) + path[:, :, 0]
        return self.scaler.restore(spread_out(centre, path[:, :, 1:], self.levels), scaled)

    def _tokens(self, z: Tensor, seen: Tensor) -> Tensor:
        """`[B, C, L]` to `[B, patches, C · (length + 1)]`: the values of each patch and the share observed."""
        values = z.unflatten(2, (self.patches, -1))
        share = seen.unflatten(2, (self.patches, -1)).mean(-1, keepdim=True)
        return torch.cat([values, share], dim=3).transpose(1, 2).flatten(2)


_SQUEEZED = 16
_FUTURE_PATCHES = 8


def _pooled(future: Tensor) -> Tensor:
    """Known-ahead covariates `[B, F, H]` at evenly spaced steps of the horizon, `[B, F · _FUTURE_PATCHES]`."""
    steps = torch.linspace(0, future.shape[2] - 1, _FUTURE_PATCHES).long().tolist()
    return torch.cat([future[:, :, step] for step in steps], dim=1)


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


class LowRankHead(nn.Module):
    """Hidden features to a median correction and quantile steps, `[B, T, Q, H]`, as sums of few horizon shapes."""

    def __init__(self, config: PatchMixerConfig, spec: ForecastSpec, inputs: int) -> None:
        super().__init__()
        self.shape = (len(spec.targets), len(spec.quantile_levels), config.rank)
        self.hidden = nn.Sequential(nn.Linear(inputs, config.hidden), nn.ReLU(), nn.Dropout(config.dropout))
        self.coefficients = nn.Linear(config.hidden, self.shape[0] * self.shape[1] * self.shape[2])
        self.shapes = nn.Parameter(torch.randn(config.rank, spec.horizon_steps) / config.rank**0.5)
        steps = torch.cat([torch.zeros(1), normal_steps(spec.quantile_levels, 0.5)])
        self.bias = nn.Parameter(steps[:, None].repeat(1, spec.horizon_steps).expand(*self.shape[:2], -1).clone())
        nn.init.normal_(self.coefficients.weight, std=0.01)
        nn.init.zeros_(self.coefficients.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        coefficients = self.coefficients(self.hidden(hidden)).unflatten(1, self.shape)
        return torch.matmul(coefficients, self.shapes) + self.bias
