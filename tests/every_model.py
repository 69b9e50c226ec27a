"""Every model that a person can choose, and batches to feed it: a new file in `configs/model` is tested at once."""

from functools import cache

import torch
from smoke_run import ROOT, settings
from torch import Tensor

from forecast.contracts.specs import FUTURE, ForecastSpec
from forecast.models.base import ModelConfig, QuantileModel

MODELS = sorted(path.stem for path in (ROOT / "configs" / "model").glob("*.yaml"))

SKUS = 3


@cache
def _config(name: str) -> ModelConfig:
    return settings(f"model={name}").model


def build(name: str, spec: ForecastSpec, seed: int = 0, noise: float = 0.0) -> QuantileModel:
    """The model with its shipped settings and fresh weights, to each of which `noise` times a normal draw is added."""
    torch.manual_seed(seed)
    model = _config(name).build(spec, SKUS).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(noise * torch.randn_like(weight))
    return model


def random_inputs(spec: ForecastSpec, rows: int, seed: int = 0, missing: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    """Plausible `past`, `future` and `static`: nameplates from 100 W to 1 MW, a share of the past unknown.

    So is, of what is told ahead, a share of what can be.
    """
    random = torch.Generator().manual_seed(seed)
    limit = 10 ** (2 + 4 * torch.rand(rows, generator=random))
    scales = {
        "power_w": limit[:, None],
        "temperature_c": 60.0,
        "inlet_c": 25.0,
        "utilization_ratio": 1.0,
        "fan_speed_rpm": 6000.0,
    }
    channels = [
        torch.rand(rows, spec.context_steps, generator=random) * scales.get(name, limit[:, None]) for name in spec.past
    ]
    past = torch.stack(channels, dim=1)
    past[torch.rand(past.shape, generator=random) < missing] = torch.nan
    future = 2 * torch.rand(rows, len(spec.future), spec.horizon_steps, generator=random) - 1
    for channel, name in enumerate(spec.future):
        told = FUTURE[name]
        scale = limit[:, None] if told.typical_scale is None else told.typical_scale
        if told.optional:
            future[:, channel] = told.centre + scale * future[:, channel]
            future[:, channel][torch.rand(rows, spec.horizon_steps, generator=random) < missing] = torch.nan
    level = torch.randint(0, 8, (rows,), generator=random)
    sku = torch.randint(0, SKUS + 1, (rows,), generator=random)
    static = torch.stack([limit, torch.full((rows,), 88.0), level.float(), sku.float()], dim=1)
    shifts = torch.randn((rows, len(spec.static) - static.shape[1]), generator=random) / 3
    shifts[::2] = torch.nan  # half of the windows are not adapted
    return past, future, torch.cat([static, shifts], dim=1)
