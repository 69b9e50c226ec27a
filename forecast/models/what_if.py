"""What if this load ran here? The load follows a plan, and temperature answers to it as physics has it.

Stands behind a forecast that never saw the plan. Raising planned power at any step lowers no quantile of load or
temperature at any step: planned power enters through the thermal response alone, all of whose weights are positive, and
what is added to it (the residual, its quantiles, their calibration) does not depend on planned power.
"""

from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor, nn

from forecast.contracts.specs import FUTURE, PLANS, ForecastSpec
from forecast.models.base import QuantileModel
from forecast.models.knots import hats, knots
from forecast.models.quantiles import beside, normal_steps, outwards
from forecast.models.scaling import Scaler, observed
from forecast.models.thermal import ThermalResponse

#: Steps of the context that the response looks at: longer than the memory of anything but a hall (constants.md §5).
_RECENT = 72

#: A meter reads a load that is held within so much of it, one standard deviation: class 1 of IEC 62053-21.
_METER = 0.01

#: Fans that stand still leave so much of the usual flow: natural convection [K].
_STILL = 0.1

#: Residuals of this size are as large as features get, °C; and no feature is larger than so many of them.
_TYPICAL_C, _FARTHEST = 3.0, 5.0

#: And the log of a flow of air counts so many times.
_TYPICAL_LOG = 2.0

_HIDDEN, _DROPOUT = 48, 0.3

#: Calibration can widen an interval that has no width: a quantile could move by so much of the median at least.
_NARROWEST = 0.01

#: The rate at which older errors are forgotten moves this many times faster than other weights.
_FAST = 10.0


class WhatIf(nn.Module):
    """A forecast without plans `[B, T, Q, H]` to one with the plans in `future`; the same where there are none.

    Args:
        spec: with the plans among `future`.
        skus: size of the vocabulary.
    """

    def __init__(self, spec: ForecastSpec, skus: int) -> None:
        super().__init__()
        self.targets = spec.targets
        self.power_plan = spec.future.index("planned_power_w") if "planned_power_w" in spec.future else None
        self.median = spec.quantile_levels.index(0.5)
        self.temperature = TemperatureAnswer(spec, skus) if _answers(spec) else None
        #: Steps of the context that it looks at; of those before, at the highest alone.
        self.recent = 0 if self.temperature is None else self.temperature.recent
        normal = [1 + _METER * NormalDist().inv_cdf(level) for level in spec.quantile_levels]
        self.read: Tensor
        self.register_buffer("read", torch.tensor(normal)[:, None], persistent=False)

    def forward(self, marginal: Tensor, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        answers = list(marginal.unbind(1))
        if self.temperature is not None:
            hot = self.targets.index("temperature_c")
            load = answers[self.targets.index("power_w")][:, self.median] if "power_w" in self.targets else None
            answers[hot] = self.temperature(answers[hot], load, past, future, static)
        if self.power_plan is not None and "power_w" in self.targets:
            at = self.targets.index("power_w")
            plan = future[:, self.power_plan, None]
            answers[at] = torch.where(torch.isnan(plan), answers[at], plan.clamp(min=0.0) * self.read)
        return torch.stack(answers, dim=1)


class Answering(QuantileModel):
    """A fitted model followed by what is being learnt, the only part with weights to learn.

    Args:
        model: forecasts without plans.
        what_if: its answer to plans.
        spec: with the plans.
    """

    def __init__(self, model: QuantileModel, what_if: WhatIf, spec: ForecastSpec) -> None:
        super().__init__()
        self.what_if = what_if
        self._fitted = (model.eval(),)  # not a part of this module: neither stepped nor switched to training
        self._told = [spec.future.index(name) for name in spec.unplanned.future]

    def forward(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        quantiles: Tensor = self.what_if(self.marginal(past, future, static), past, future, static)
        return quantiles

    @property
    def learns(self) -> bool:
        """Whether there is anything to learn: a load that follows its plan has no weights."""
        return self.what_if.temperature is not None

    @torch.no_grad()
    def marginal(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        """Quantiles without plans, `[B, T, Q, H]`."""
        return self._fitted[0](past, future[:, self._told], static)


def _answers(spec: ForecastSpec) -> bool:
    """Whether temperature is forecast and can be seen to follow power."""
    return {"power_w", "temperature_c"} <= set(spec.past) and "temperature_c" in spec.targets


class TemperatureAnswer(nn.Module):
    """Temperature as it would be under the plan: thermal response to power and fans, and a learnt residual."""

    def __init__(self, spec: ForecastSpec, skus: int) -> None:
        super().__init__()
        self.recent = min(_RECENT, spec.context_steps)
        self.levels = spec.quantile_levels
        self.scaler = Scaler(spec)
        self.sku = spec.static.index("sku_code")
        self.channels = {name: index for index, name in enumerate(spec.past)}
        self.plans = {PLANS[name]: index for index, name in enumerate(spec.future) if name in PLANS}
        fans_told = "fan_speed_rpm" in self.plans
        self.response = ThermalResponse(spec.step_s, self.recent, spec.horizon_steps, skus, fans_told)
        self.residual = Residual(spec, self.recent)
        self.usual_rpm = FUTURE["planned_fan_speed_rpm"].typical_scale
        #: Added to the residual's quantiles `[Q, H]`, in units of their reach; fitted after training.
        self.offsets: Tensor
        self.register_buffer("offsets", torch.zeros(len(spec.quantile_levels), spec.horizon_steps))

    def forward(self, marginal: Tensor, load: Tensor | None, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        """Quantiles `[B, Q, H]` under the plan.

        Args:
            marginal: `[B, Q, H]`, those without it.
            load: `[B, H]`, the median load without a plan; None where it is not forecast, and the last is held.
        """
        return self.answered(marginal, load, past, future, static)[0]

    def answered(
        self, marginal: Tensor, load: Tensor | None, past: Tensor, future: Tensor, static: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Quantiles under the plan, which may cross, reach of the residual's, both `[B, Q, H]`; and its share `[B, H]`.

        The reach is how far each quantile could move, in units of which calibration shifts it: from neighbour to
        neighbour, and a little of the median's mean. The share is how much of the answer the plan says.
        """
        nameplate = self.scaler.nameplate(observed(past).values, static)[:, 0]
        sku = static[:, self.sku].long()
        behind, known = held(past[:, :, -self.recent :])
        power, temperature = (behind[:, self.channels[name]] for name in ("power_w", "temperature_c"))
        seen = known[:, self.channels["temperature_c"]]
        own = power[:, -1:].expand(-1, future.shape[2]) if load is None else load
        planned = self._planned(future, "power_w", own)
        log_flow = self._log_flow(behind, known, future)

        loads = torch.cat([power, own, planned], dim=1) / nameplate
        drives = self.response.drive(loads, log_flow, sku)
        drive, kept, imposed = drives.split([self.recent, own.shape[1], own.shape[1]], dim=2)
        rise, state = self.response.behind_now(drive)
        gain = self.response.own_gain(rise, temperature, seen)
        usual = gain * (self.response.fading(state) + self.response.ahead(kept))
        change = gain * self.response.ahead(imposed - kept)

        flow, flow_planned = log_flow[:, : self.recent], log_flow[:, -future.shape[2] :]
        views = View(temperature, seen, gain * rise, gain * drive.sum(1), flow, flow_planned, self._inlet(behind))
        centre, wide = self.residual(views, marginal[:, self.residual.median] - usual)
        least = _NARROWEST * centre.abs().mean(1, keepdim=True)
        apart = self.residual.told(wide, least, self.offsets)
        reach = self.residual.reach(wide) + least[:, None]
        share = self.response.share(self._known(future))
        # What all quantiles have in common is added to them at once, and last: nothing else hangs on planned power.
        lifted = share * (centre + usual) + change
        answer = marginal + share[:, None] * (apart - marginal) + lifted[:, None]
        return answer, reach, share

    def _inlet(self, behind: Tensor) -> Tensor:
        """Over the context, °C `[B, L]`; 0 where it is not measured, for the residual looks at its changes alone."""
        return behind[:, self.channels["inlet_c"]] if "inlet_c" in self.channels else torch.zeros_like(behind[:, 0])

    def _known(self, future: Tensor) -> Tensor:
        """1 where planned power is known, `[B, H]`."""
        plan = self.plans.get("power_w")
        return torch.zeros_like(future[:, 0]) if plan is None else (~torch.isnan(future[:, plan])).to(future.dtype)

    def _planned(self, future: Tensor, signal: str, otherwise: Tensor) -> Tensor:
        """What is planned of a signal, in its unit `[B, H]`; where nothing is, `otherwise [B, H]`."""
        plan = self.plans.get(signal)
        if plan is None:
            return otherwise
        return torch.where(torch.isnan(future[:, plan]), otherwise, future[:, plan].clamp(min=0.0))

    def _log_flow(self, behind: Tensor, known: Tensor, future: Tensor) -> Tensor:
        """Log of the flow of air over the context, over the horizon if fans stay as they are, and as planned.

        0 where it is unknown; `[B, L + 2 · H]`.
        """
        if "fan_speed_rpm" not in self.channels:
            return torch.cat([torch.zeros_like(part[:, 0]) for part in (behind, future, future)], dim=1)
        rpm, seen = (part[:, self.channels["fan_speed_rpm"]] for part in (behind, known))
        rpm = rpm.masked_fill(seen.amax(1, keepdim=True) == 0, self.usual_rpm or 1.0)
        last = rpm[:, -1:].expand(-1, future.shape[2])
        planned = self._planned(future, "fan_speed_rpm", last)
        return (torch.cat([rpm, last, planned], dim=1) / (self.usual_rpm or 1.0) + _STILL).log()


class View(NamedTuple):
    """What the residual may look at: nothing here depends on planned power.

    Attributes:
        temperature: `[B, L]`, held where unknown.
        seen: `[B, L]`, 1 where it was observed.
        rise: `[B, L]`, of the thermal response, °C.
        settling: `[B, L]`, where the rise would end if the power of a step lasted, °C.
        flow: `[B, L]`, of air, its log.
        flow_planned: `[B, H]`, likewise.
        inlet: `[B, L]`, °C.
    """

    temperature: Tensor
    seen: Tensor
    rise: Tensor
    settling: Tensor
    flow: Tensor
    flow_planned: Tensor
    inlet: Tensor


class Residual(nn.Module):
    """What the thermal response leaves: surroundings, and all that moves them.

    Its quantiles `[B, Q, H]` lie about a median `[B, H]`, and are as far apart as is usual at that step times a width
    `[B, Q - 1]` of the window: a product of few widths and what is the same for every window.
    """

    def __init__(self, spec: ForecastSpec, recent: int) -> None:
        super().__init__()
        self.levels = spec.quantile_levels
        self.median = self.levels.index(0.5)
        points = knots(spec.horizon_steps)
        self.recency = nn.Parameter(torch.zeros(()))
        features = 5 * recent + 2 * points
        self.body = nn.Sequential(
            nn.Linear(features, _HIDDEN), nn.ReLU(), nn.Dropout(_DROPOUT),
            nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Dropout(_DROPOUT),
        )  # fmt: skip
        self.centre = nn.Linear(_HIDDEN, points)
        self.spread = nn.Linear(_HIDDEN, len(self.levels) - 1)
        for layer in (self.centre, self.spread):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.growth = nn.Parameter(torch.zeros(len(self.levels) - 1, points))
        horizon = torch.arange(1, spec.horizon_steps + 1) / spec.horizon_steps
        at = torch.linspace(0, spec.horizon_steps - 1, points).round()
        constants = {
            "hats": hats(spec.horizon_steps),
            # 1 where a step is one of the points, `[H, points]`: the runtime takes longer to gather them.
            "at": (torch.arange(spec.horizon_steps)[:, None] == at).float(),
            "age": torch.arange(recent).flip(0).float(),
            "typical": torch.tensor([1 / _TYPICAL_C, _TYPICAL_LOG, 1 / _TYPICAL_C]).repeat_interleave(
                torch.tensor([4 * recent, recent + points, points])
            ),
            "start": normal_steps(self.levels, 1.0)[:, None] * horizon.sqrt(),
            "outwards": outwards(self.levels),
            "beside": beside(self.levels),
        }
        for name, values in constants.items():
            self.register_buffer(name, values, persistent=False)

    hats: Tensor
    at: Tensor
    age: Tensor
    typical: Tensor
    start: Tensor
    outwards: Tensor
    beside: Tensor

    def forward(self, view: View, expected: Tensor) -> tuple[Tensor, Tensor]:
        """Median, °C, and widths; `expected [B, H]` is what the forecast without plans leaves to it."""
        error = view.temperature - view.rise
        weights = view.seen * torch.exp(-self.age * (_FAST * self.recency).clamp(-3.0, 3.0).exp())
        total = weights.sum(1, keepdim=True)
        bias = torch.where(total > 0, (error * weights).sum(1, keepdim=True) / total.clamp(min=1e-30), expected[:, :1])
        flow, inlet = view.flow, view.inlet
        parts = [
            *(part - part[:, -1:] for part in (view.temperature, view.settling, inlet)),
            error - bias,
            flow - flow[:, -1:],
            torch.matmul(view.flow_planned, self.at) - flow[:, -1:],
            torch.matmul(expected, self.at) - bias,
        ]
        hidden = self.body((torch.cat(parts, dim=1) * self.typical).clamp(-_FARTHEST, _FARTHEST))
        centre = bias + _TYPICAL_C * torch.matmul(self.centre(hidden), self.hats)
        return centre, self.spread(hidden).clamp(-_FARTHEST, _FARTHEST).exp()

    def told(self, wide: Tensor, least: Tensor, offsets: Tensor) -> Tensor:
        """How far the quantiles lie from the median `[B, Q, H]`, moved by `offsets [Q, H]` in units of their reach.

        That is no less than `least [B, 1]`.
        """
        steps = self._steps(self.outwards[..., None] + offsets[:, None] * self.beside[..., None])
        return _product(torch.cat([wide, least], dim=1), torch.cat([steps, offsets[None]]))

    def reach(self, wide: Tensor) -> Tensor:
        """From the quantile below each to the one above it, `[B, Q, H]`; of the outermost, from it to the next."""
        return _product(wide, self._steps(self.beside[..., None]))

    def _steps(self, shares: Tensor) -> Tensor:
        """What `shares [Q, Q - 1, H]` of the usual steps between levels are, `[Q - 1, Q, H]`."""
        growth = torch.matmul(self.growth, self.hats).clamp(-_FARTHEST, _FARTHEST)
        steps: Tensor = (shares * (self.start * growth.exp())).transpose(0, 1)
        return steps


def _product(each: Tensor, curves: Tensor) -> Tensor:
    """Sums `[B, Q, H]` of `curves [N, Q, H]`, so much of each `[B, N]`."""
    sums: Tensor = torch.matmul(each, curves.flatten(1)).unflatten(1, curves.shape[1:])
    return sums


def held(values: Tensor) -> tuple[Tensor, Tensor]:
    """`[B, C, L]` with the last observation held (their mean before any, 0 without), and 1 where it was observed."""
    found = observed(values)
    newest, back = found.seen * torch.arange(1, values.shape[2] + 1, device=values.device), 1
    while back < values.shape[2]:  # ONNX has no running maximum: of two steps, of four, of eight …
        newest, back = torch.maximum(newest, nn.functional.pad(newest, (back, -back))), 2 * back
    last = found.values.gather(2, (newest - 1).clamp(min=0).long())
    return torch.where(newest > 0, last, found.mean), found.seen
