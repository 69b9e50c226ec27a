"""Machines that are told their jobs, for tests of what a forecast makes of them."""

import torch
from every_model import random_inputs
from torch import Tensor

from forecast.contracts.specs import CALENDAR, ForecastSpec
from forecast.features.outlook import OUTLOOK_NAMES

SPEC = ForecastSpec(
    step_s=3600,
    context_steps=48,
    horizon_steps=12,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c"),
    quantile_levels=(0.1, 0.5, 0.9),
    future=(*CALENDAR, *OUTLOOK_NAMES),
)
AT = {name: SPEC.future.index(name) for name in OUTLOOK_NAMES}
STEPS = torch.arange(12)


def inputs(power: float, busy: float, rows: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Machines of 1000 W that draw 600 W, in nameplates: what their jobs are expected to draw from step 6 on."""
    past, future, static = random_inputs(SPEC, rows, missing=0.0)
    static[:, 0] = 1000.0
    past[:, 0] = 600.0 + 10 * torch.randn(past[:, 0].shape, generator=torch.Generator().manual_seed(0))
    past[:, 0, -1] = 600.0
    for name in OUTLOOK_NAMES:
        now, then = (600.0, 1000 * power) if name.endswith("_w") else (1.0, busy)
        future[:, AT[name]] = torch.where(STEPS < 6, now, then)
    future[:, [AT["unsubmitted_power_w"], AT["unsubmitted_busy_ratio"]]] = 0.0
    return past, future, static
