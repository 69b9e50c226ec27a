"""What is known ahead, as numbers of order one, and the straight way from it to the forecast."""

import torch
from torch import Tensor, nn

from forecast.contracts.specs import FUTURE, ForecastSpec
from forecast.models.knots import hats, knots
from forecast.models.scaling import Scaled

#: A driver is not followed further than this many spreads of the context: a first job on an idle machine is about 30.
_FARTHEST = 50.0


class AheadScaler(nn.Module):
    """Known-ahead covariates `[B, F, H]` to `[B, self.size, H]`: scaled, then a mask for each that can be unknown.

    An unknown value reads 0 and its mask 0. Where only a clock tells, they pass as they are.
    """

    def __init__(self, spec: ForecastSpec) -> None:
        super().__init__()
        told = [FUTURE[name] for name in spec.future]
        self.optional = [index for index, covariate in enumerate(told) if covariate.optional]
        self.size = len(told) + len(self.optional)
        self.centre: Tensor
        self.constant: Tensor
        for name, values in (
            ("centre", [covariate.centre for covariate in told]),
            ("constant", [covariate.typical_scale or 0.0 for covariate in told]),
        ):
            self.register_buffer(name, torch.tensor(values)[None, :, None], persistent=False)

    def forward(self, future: Tensor, scaled: Scaled) -> Tensor:
        if not self.optional:
            return future
        unit = torch.where(self.constant > 0, self.constant, scaled.nameplate)
        known = ~torch.isnan(future)
        z = torch.where(known, (future - self.centre) / unit, torch.zeros_like(future))
        return torch.cat([z, known[:, self.optional].to(future.dtype)], dim=1)


class Drivers(nn.Module):
    """What weather and schedule add to the normalised median at the same step, `[B, T, H]`: linear, nothing at first.

    Powers count from the mean of the context's own, in its spread: a job that is running already is in the context.
    Weights vary over the horizon between knots.
    """

    def __init__(self, spec: ForecastSpec) -> None:
        super().__init__()
        told = [FUTURE[name] for name in spec.future]
        self.drivers = [index for index, covariate in enumerate(told) if covariate.source != "clock"]
        self.masks = [len(told) + [each.name for each in told if each.optional].index(told[index].name)
                      for index in self.drivers]  # fmt: skip
        self.power = spec.past.index("power_w") if "power_w" in spec.past else None
        self.is_power: Tensor
        powers = torch.tensor([told[index].typical_scale is None for index in self.drivers])
        self.register_buffer("is_power", powers[None, :, None], persistent=False)
        self.weight = nn.Parameter(torch.zeros(len(spec.targets), len(self.drivers), knots(spec.horizon_steps)))
        self.hats: Tensor
        self.register_buffer("hats", hats(spec.horizon_steps))

    def forward(self, ahead: Tensor, scaled: Scaled) -> Tensor:
        values, known = ahead[:, self.drivers], ahead[:, self.masks]
        if self.power is not None:
            loc, spread = (part[:, self.power, None] for part in (scaled.loc, scaled.spread))
            values = torch.where(self.is_power, ((values - loc) / spread).clamp(-_FARTHEST, _FARTHEST), values)
        added: Tensor = ((values * known)[:, None] * torch.matmul(self.weight, self.hats)).sum(2)
        return added


def has_drivers(spec: ForecastSpec) -> bool:
    """Whether anything but a clock tells what is ahead."""
    return any(FUTURE[name].source != "clock" for name in spec.future)
