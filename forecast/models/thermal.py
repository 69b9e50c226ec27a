"""How the hottest point of an entity answers to its power: first-order stages side by side, as heat leaves it.

A chain of thermal resistances and capacitances is a sum of such stages (a Foster chain; sizes in constants.md §5).
In stage k the rise at the end of a step is x(h) = a·x(h - 1) + (1 - a)·R·P(h) with a = exp(-step / τ), exact while the
power P is constant within a step. Telemetry is read at some instant of it, or is a mean: c·x(h - 1) + (1 - c)·R·P(h)
with c = exp(-s·step / τ), where the share s of the step that has passed is learnt too. R falls with the flow of air as
r₀ + r₁·flow^-0.8 (convection; constants.md §5).

Fans follow the temperature: the busier a server, the less its slow stages, through which air carries heat off, add to
each further watt. So where fans are not told ahead, P above stands for u(P), P in nameplates, bent for each stage by
itself (a Hammerstein model): the slope of u is exp(b·(½ - P)), on lines between tenths of the nameplate. b is learnt; 0
leaves P as it is. u never falls, whatever b is. Where fans are told, R says it, and b stays 0.
"""

import torch
from torch import Tensor, nn

#: Convection: R ∝ flow^-0.8 (constants.md §5).
_FLOW_EXPONENT = -0.8

#: Time constants before training, in steps of the grid.
_START_STEPS = (1.0, 4.0, 16.0)

#: Rise at nameplate power before training, °C, split evenly: GPU boards and sinks at full power (constants.md §2).
_START_RISE_C = 45.0

#: Weights that hold logarithms move this many times faster than the others: a factor of two is far for the optimiser.
_FAST = 10.0

#: Where lines begin that power is bent along, in nameplates. The last goes on, beyond the nameplate too.
_BEGIN = tuple(tenth / 10 for tenth in range(10))

#: From nothing to nameplate, bending changes no slope by more than exp of this.
_MOST_BENT = 10.0

#: Nothing moves a resistance by more than exp of this, and a kind's share in it by exp of that.
_MOST_GAIN, _MOST = 5.0, 2.0

#: An entity's own resistance counts half where the rise that it showed varies by so much, K²; and lies within such
#: factors of its kind's.
_HALF_OWN_K2, _OWN = 25.0, (0.5, 2.0)


class ThermalResponse(nn.Module):
    """Rise of temperature above what power does not explain, in °C, for power in nameplates.

    More power never lowers it at any step: every weight of the filter, resistance and slope is positive.

    Args:
        step_s: grid step.
        context_steps, horizon_steps: what is looked at before the forecast, and ahead.
        skus: size of the vocabulary; each kind of machine weighs the stages by itself.
        fans_told: whether the flow of air ahead is told, so that power need not stand for it.
    """

    stages = len(_START_STEPS)

    def __init__(self, step_s: int, context_steps: int, horizon_steps: int, skus: int, fans_told: bool) -> None:
        super().__init__()
        self.step_s = step_s
        self.log_tau = nn.Parameter(torch.zeros(self.stages))
        self.log_gain = nn.Parameter(torch.zeros(2, self.stages))
        self.bends = not fans_told
        self.bend = nn.Parameter(torch.zeros(self.stages), requires_grad=self.bends)
        self.kind = nn.Embedding(skus + 1, self.stages)
        nn.init.zeros_(self.kind.weight)
        self.log_trust = nn.Parameter(torch.zeros(()))
        self.reading = nn.Parameter(torch.zeros(()))
        lags = torch.arange(max(context_steps, horizon_steps))
        constants = {
            "begin": torch.tensor(_BEGIN),
            "length": torch.tensor([*_BEGIN[1:], torch.inf]) - torch.tensor(_BEGIN),
            "start": torch.tensor(_START_STEPS).log(),
            "behind": lags[:context_steps].flip(0),
            "lag_context": (lags[:context_steps] - lags[:context_steps, None]),
            "lag_ahead": (lags[:horizon_steps] - lags[:horizon_steps, None]),
            "lead": lags[:horizon_steps],
        }
        for name, values in constants.items():
            self.register_buffer(name, values.float(), persistent=False)

    begin: Tensor
    length: Tensor
    start: Tensor
    behind: Tensor
    lag_context: Tensor
    lag_ahead: Tensor
    lead: Tensor

    def tau_s(self) -> Tensor:
        """Time constants `[K]`, seconds."""
        return self.step_s * (self.start + _FAST * self.log_tau).exp()

    def drive(self, power: Tensor, log_flow: Tensor, sku: Tensor) -> Tensor:
        """Where each stage would end if a step lasted, °C `[B, K, S]`.

        Args:
            power: `[B, S]`, in nameplates.
            log_flow: `[B, S]`, of air; 0 is usual, and what is taken where it is unknown.
            sku: `[B]`, codes.
        """
        still, moved = _START_RISE_C / (2 * self.stages) * (_FAST * self.log_gain).clamp(-_MOST_GAIN, _MOST_GAIN).exp()
        eased = torch.exp(_FLOW_EXPONENT * log_flow)
        resistance = still[:, None] + moved[:, None] * eased[:, None]
        drive: Tensor = resistance * (_FAST * self.kind(sku)).clamp(-_MOST, _MOST).exp()[..., None] * self._bent(power)
        return drive

    def _bent(self, power: Tensor) -> Tensor:
        """What each stage makes of power, `[B, K, S]`, or alike `[B, 1, S]`."""
        if not self.bends:
            return power[:, None].clamp(min=0.0)
        along = torch.minimum((power[..., None] - self.begin).clamp(min=0.0), self.length)
        return torch.matmul(along, self._slopes()).transpose(1, 2)

    def _slopes(self) -> Tensor:
        """Of each line, `[10, K]`: 1 at half of the nameplate."""
        middle = self.begin[:, None] + 0.05
        return torch.exp((_FAST * self.bend).clamp(-_MOST_BENT, _MOST_BENT) * (0.5 - middle))

    def behind_now(self, drive: Tensor) -> tuple[Tensor, Tensor]:
        """Rise over the context `[B, L]`, and each stage's state at its end `[B, K]`, from `drive [B, K, L]` in °C.

        Each stage begins at rest at the mean of the first quarter: what was before is not known.
        """
        quarter = max(drive.shape[2] // 4, 1)
        rest = drive[:, :, :quarter].mean(2)
        moved = drive - rest[..., None]
        rise = torch.matmul(moved.flatten(1), self._kernel(self.lag_context)) + rest.sum(1, keepdim=True)
        decay, _ = self.decays()
        weights = (1 - decay)[:, None] * decay[:, None] ** self.behind
        return rise, (moved * weights).sum(2) + rest

    def ahead(self, drive: Tensor) -> Tensor:
        """Rise over the horizon `[B, H]` that `drive [B, K, H]` adds to stages at rest at zero."""
        return torch.matmul(drive.flatten(1), self._kernel(self.lag_ahead))

    def fading(self, state: Tensor) -> Tensor:
        """What is left over the horizon `[B, H]` of stages that were at `state [B, K]`."""
        decay, read = self.decays()
        return torch.matmul(state, read[:, None] * decay[:, None] ** self.lead)

    def share(self, known: Tensor) -> Tensor:
        """How much of the response `[B, H]` to power ahead follows from the steps that are `known [B, H]`."""
        weight = torch.softmax(_FAST * self.log_gain.sum(0), dim=0)
        kernel = (self._kernel(self.lag_ahead).unflatten(0, (self.stages, -1)) * weight[:, None, None]).sum(0)
        share: Tensor = (torch.matmul(known, kernel) / kernel.sum(0).clamp(min=1e-30)).clamp(0.0, 1.0)
        return share

    def own_gain(self, rise: Tensor, temperature: Tensor, seen: Tensor) -> Tensor:
        """By how much an entity's resistance differs from its kind's, `[B, 1]`: the slope of what it showed.

        The slope of the context's `temperature [B, L]` over `rise`, drawn towards 1 where the rise hardly moved.
        """
        count = seen.sum(1, keepdim=True).clamp(min=1.0)
        x, y = ((part - (part * seen).sum(1, keepdim=True) / count) * seen for part in (rise, temperature))
        trust = _HALF_OWN_K2 * (_FAST * self.log_trust).clamp(-_MOST, 2 * _MOST).exp()
        slope = ((x * y).sum(1, keepdim=True) / count + trust) / ((x * x).sum(1, keepdim=True) / count + trust)
        return slope.clamp(*_OWN)

    def _kernel(self, lag: Tensor) -> Tensor:
        """Weights `[K · n, n]` from drives at every stage and step to the rise at every step.

        `lag [n, n]` is negative from a step to those before it.
        """
        decay, read = (part[:, None, None] for part in self.decays())
        later = read * (1 - decay) * decay ** (lag - 1).clamp(min=0.0)
        return torch.where(lag == 0, 1 - read, later * (lag > 0)).flatten(0, 1)

    def decays(self) -> tuple[Tensor, Tensor]:
        """How much of a stage's state is left at the end of a step, and when it is read; `[K]` both."""
        steps = self.step_s / self.tau_s()
        return torch.exp(-steps), torch.exp(-steps * torch.sigmoid(_FAST * self.reading))
