"""Physical units to numbers of order one and back, inside the graph, with unknown values masked."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from forecast.contracts.signals import SIGNALS
from forecast.contracts.specs import ForecastSpec

#: Changes under 2 % of the typical scale are sensor noise (quantised to 1 °C, say); smaller spreads are not stretched.
FLOOR = 0.02

#: A normalised value further out than this is as far as can be.
FARTHEST = 6.0


class Scaled(NamedTuple):
    """A normalised context.

    Attributes:
        z: `[B, C, L]`, zero mean and unit spread over what was observed; 0 where it was not.
        seen: `[B, C, L]`, 1 where observed.
        loc, spread: `[B, C, 1]`, mean and spread in units of `unit`.
        unit: `[B, C, 1]`, the typical scale of the channel: nameplate for power, a constant for the rest.
        nameplate: `[B, 1, 1]`, W; the largest power seen where the limit is unknown.
    """

    z: Tensor
    seen: Tensor
    loc: Tensor
    spread: Tensor
    unit: Tensor
    nameplate: Tensor


class Observed(NamedTuple):
    """A context with gaps, in physical units.

    Attributes:
        values: `[B, C, L]`; 0 where unknown.
        seen: `[B, C, L]`, 1 where known.
        centred: `[B, C, L]`, distance from the mean; 0 where unknown.
        mean, variance: `[B, C, 1]`, of what is known; 0 where nothing is.
    """

    values: Tensor
    seen: Tensor
    centred: Tensor
    mean: Tensor
    variance: Tensor


def observed(past: Tensor) -> Observed:
    """What is known of `past [B, C, L]`.

    Whoever asks for it in the same graph asks in the same operations: the runtime does them once.
    """
    unknown = torch.isnan(past)
    seen = (~unknown).to(past.dtype)
    values = past.masked_fill(unknown, 0.0)
    count = seen.sum(-1, keepdim=True).clamp(min=1.0)
    mean = values.sum(-1, keepdim=True) / count
    centred = (values - mean) * seen
    return Observed(values, seen, centred, mean, (centred * centred).sum(-1, keepdim=True) / count)


class Scaler(nn.Module):
    """Masked reversible instance normalisation over units that keep idle and busy apart."""

    def __init__(self, spec: ForecastSpec) -> None:
        super().__init__()
        scales = [SIGNALS[name].typical_scale for name in spec.past]
        self.constant: Tensor
        self.register_buffer("constant", torch.tensor([scale or 0.0 for scale in scales])[None, :, None])
        self.targets = len(spec.targets)
        lowest = [-torch.inf if SIGNALS[name].typical_scale else 0.0 for name in spec.targets]
        self.lowest: Tensor
        self.register_buffer("lowest", torch.tensor(lowest)[None, :, None, None], persistent=False)
        #: Whether anything is too low for a target to be possible.
        self.bounded = max(lowest) > -torch.inf
        self.limit = spec.static.index("power_limit_w")
        self.power = spec.past.index("power_w") if "power_w" in spec.past else 0

    def forward(self, past: Tensor, static: Tensor) -> Scaled:
        """Of `past [B, C, L]` and `static [B, S]`, both in physical units, NaN = unknown."""
        found = observed(past)
        nameplate = self.nameplate(found.values, static)
        unit = self.units(found.values, static)
        spread = torch.sqrt(found.variance / (unit * unit) + FLOOR**2)
        z = found.centred * (1 / (unit * spread))
        return Scaled(z, found.seen, found.mean / unit, spread, unit, nameplate)

    def units(self, filled: Tensor, static: Tensor) -> Tensor:
        """Typical scale per channel, `[B, C, 1]`."""
        return torch.where(self.constant > 0, self.constant, self.nameplate(filled, static))

    def nameplate(self, filled: Tensor, static: Tensor) -> Tensor:
        """Power limit, `[B, 1, 1]`; one that is unknown is taken to be the largest power seen."""
        limit = static[:, None, self.limit, None]
        largest = filled.amax(-1, keepdim=True)[:, self.power, None].clamp(min=1.0)
        return torch.where(torch.isnan(limit), largest, limit)

    def restore(self, z: Tensor, scaled: Scaled) -> Tensor:
        """Normalised quantiles `[B, T, Q, H]` of the targets to physical units; power never falls below zero."""
        loc, spread, unit = (part[:, : self.targets, None] for part in (scaled.loc, scaled.spread, scaled.unit))
        return self.possible((z * spread + loc) * unit)

    def possible(self, physical: Tensor) -> Tensor:
        """Quantiles `[B, T, Q, H]` of the targets; power never falls below zero."""
        return torch.maximum(physical, self.lowest)
