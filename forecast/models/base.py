"""What every model is: settings that build a module, and the shapes that module maps between."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from forecast.contracts.errors import ConfigError
from forecast.contracts.specs import ForecastSpec
from forecast.models.cdf import Cdf


@dataclass
class ModelConfig:
    """Settings of a model; a subclass per model adds its own. The class is found by its file, no registry to edit.

    Attributes:
        LEAST: what numbers among the settings may be at least.
        dropout: a share, where a model has it.
    """

    LEAST: ClassVar[Mapping[str, int]] = {}

    def __post_init__(self) -> None:
        for name, least in self.LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"model.{name} is {value}; it must be {least} or more.")
        dropout = getattr(self, "dropout", 0.0)
        if not 0 <= dropout < 1:
            raise ConfigError(f"model.dropout is {dropout}; it is a share, from 0 to below 1.")

    def build(self, spec: ForecastSpec, skus: int) -> "QuantileModel":
        """A module with fresh weights for `spec` and a vocabulary of `skus` SKUs.

        Raises:
            ConfigError: the sizes do not fit each other.
        """
        raise NotImplementedError


class Curved(NamedTuple):
    """Quantiles as sums of curves that never change: told `[B, T, Q, K]`, times those `[K, H]`, and a course.

    Attributes:
        told: `[B, T, Q, K]`, how much of each curve, in the targets' units.
        course: `[B, T, H]`, added to every quantile; None adds nothing.
    """

    told: Tensor
    course: Tensor | None


class QuantileModel(nn.Module):
    """Maps `past [B, C, L]`, `future [B, F, H]`, `static [B, S]` (physical units, NaN = unknown) to quantiles.

    `forward` gives `[B, T, Q, H]` in the targets' units, never crossing along Q.
    """

    def forward(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        raise NotImplementedError

    def curves(self) -> Tensor | None:
        """The curves `[K, H]` that quantiles are sums of, where `curved` tells them so."""
        return None

    def curved(self, past: Tensor, future: Tensor, static: Tensor) -> Curved:
        """What `forward` makes its quantiles of, where there are `curves`: fewer numbers than they are."""
        raise NotImplementedError

    def __call__(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        """Typed, which `nn.Module` is not."""
        quantiles: Tensor = super().__call__(past, future, static)
        return quantiles


class Scored(NamedTuple):
    """What training scores of a `CdfModel`.

    Attributes:
        cdf: the distribution at its `steps`.
        beside: `[B, T, Q, H]`, quantiles that a member beside it tells; None without one.
    """

    cdf: Cdf
    beside: Tensor | None


class CdfModel(QuantileModel):
    """A model with a CDF of its own; training scores that CDF as a whole, not its quantiles.

    Attributes:
        steps: of the horizon, at which the CDF is told (P of them).
    """

    steps: list[int]

    def scored(self, past: Tensor, future: Tensor, static: Tensor) -> Scored:
        """What `forward` makes its quantiles of, from the same inputs."""
        raise NotImplementedError
