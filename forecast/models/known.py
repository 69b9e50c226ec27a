"""What the outlook of the jobs says of each cell: where the load would lie if it were right, and how far to trust it.

A load follows its jobs from four ends: it stays where it is while they stay, it changes by what joins and leaves, it
differs from that of other days as the jobs do, and what it draws beside them is what it draws at that time of day. Each
is a centre; a cell near one gains or loses by weights that the state of the window decides, among them how well the
same rule would have told the present. Jobs that nobody has submitted yet count as those that are known do.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from forecast.contracts.specs import FUTURE, ForecastSpec
from forecast.features.outlook import EXPECTED, OUTLOOK_NAMES, PLACES, RUNNING, UNSUBMITTED, USUAL
from forecast.models.scaling import Scaled

#: Where powers lie among what the outlook tells: of all jobs that are known, of those that run, of the usual ones and
#: of newcomers; the share of the leaves that they hold follows each.
_ALL, _RUNS, _USUAL, _COMING = (pair.start for pair in (EXPECTED, RUNNING, USUAL, UNSUBMITTED))

#: Draw of an idle machine in nameplates: 0.15 to 0.35 by constants.md §2 and §3; learnt between 0 and this.
_MOST_IDLE = 0.5

#: Widths of the bumps about each centre, in nameplates: a load that is steady, and the tenth by which owners misjudge.
_WIDTHS = (0.015, 0.05, 0.15)

#: Chances below this make no difference to their logarithm.
_UNLIKELY = 0.02

#: A schedule that promises more than this many nameplates is no more believed than one of so many.
_MOST_TOLD = 2.0

#: What was drawn at a time of day is the mean over this much on either side of it, s.
_ABOUT_S = 900

#: What is off now is so again after an hour by about exp(-1 / 3), until it is learnt.
_FADES_H = 3.0

#: Distances are not told further than this, in nameplates.
_FARTHEST = 1.0


def has_outlook(spec: ForecastSpec) -> bool:
    """Whether the forecast is told all that the outlook says, and forecasts power."""
    return set(OUTLOOK_NAMES) <= set(spec.future) and "power_w" in spec.targets


class Looked(NamedTuple):
    """What the outlook says; power in nameplates, 0 where nobody told.

    Attributes:
        centres: `[B, centres, P]`.
        features: `[B, P, features]`.
        newest, hour: `[B, 1]`, the last value observed and the mean of the last hour.
        idle: `[B, 1]`, draw of an idle machine.
        drawn: `[B, P]`, on other days at that time.
        off: `[B, 1]`, by how much the present differs from them and from what the jobs explain of that.
        lasting: `[B, P]`, share of the power of the jobs that run now which still runs then.
        declared: `[B, P]`, what those that still run were said to draw, each leaf.
    """

    centres: Tensor
    features: Tensor
    newest: Tensor
    hour: Tensor
    idle: Tensor
    drawn: Tensor
    off: Tensor
    lasting: Tensor
    declared: Tensor


class JobOutlook(nn.Module):
    """Logits of cells by the jobs expected, and what a step's features should know of them.

    Args:
        steps: `[P]`, of the horizon, that are decoded.
        state: size of the summary.
        hidden: features per step.
    """

    centres = 5
    features = 19
    #: Places among the features, and one among the centres.
    KNOWN, CHANGE, UNUSUAL, AGREEMENT, EXPECTED, BUSY, STAYING, REST = 0, 1, 2, 3, 5, 6, 7, 16
    JOINING = 3

    def __init__(self, spec: ForecastSpec, steps: Tensor, state: int, hidden: int) -> None:
        super().__init__()
        self.power = spec.targets.index("power_w")
        self.targets = len(spec.targets)
        self.told = [spec.future.index(name) for name in OUTLOOK_NAMES]
        optional = [name for name in spec.future if FUTURE[name].optional]
        self.mask = len(spec.future) + optional.index(OUTLOOK_NAMES[0])
        self.mask_usual = len(spec.future) + optional.index("usual_power_w")
        self.idle = nn.Linear(state, 1)
        nn.init.zeros_(self.idle.weight)
        nn.init.zeros_(self.idle.bias)
        self.weigh = nn.Linear(hidden, self.centres * len(_WIDTHS))
        nn.init.zeros_(self.weigh.weight)
        nn.init.constant_(self.weigh.bias, 0.5)
        self.follow = nn.Linear(hidden, 3)
        self.sharpen = nn.Linear(hidden, self.targets)
        for zero in (self.follow, self.sharpen):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)
        self.fades = nn.Parameter(torch.tensor(_FADES_H).log())
        beside, self.newest_steps = _ABOUT_S // spec.step_s, max(2 * _ABOUT_S // spec.step_s, 1)
        self.hour_steps = max(3600 // spec.step_s, 1)
        day = spec.day_steps * torch.arange(1, spec.context_steps // spec.day_steps + 1)
        then = torch.cat([torch.zeros(1, dtype=torch.long), steps % spec.day_steps])
        about = spec.context_steps - day[:, None, None] + then[:, None] + torch.arange(-beside, beside + 1)
        self.days_at: Tensor
        self.lead_h: Tensor
        self.steps: Tensor
        self.width: Tensor
        self.register_buffer("days_at", about.clamp(0, spec.context_steps - 1), persistent=False)
        self.register_buffer("lead_h", steps * spec.step_s / 3600, persistent=False)
        self.register_buffer("steps", steps, persistent=False)
        self.register_buffer("width", torch.tensor(_WIDTHS), persistent=False)

    def look(self, scaled: Scaled, ahead: Tensor, summary: Tensor) -> Looked:
        """Centres, features of each step, and what else the outcomes are told."""
        known = ahead[:, self.mask, self.steps]
        usual_known = ahead[:, self.mask_usual, self.steps]
        z, seen = scaled.z[:, self.power], scaled.seen[:, self.power]
        loc, spread = scaled.loc[:, self.power], scaled.spread[:, self.power]
        newest = _newest(z, seen) * spread + loc
        idle = _MOST_IDLE * torch.sigmoid(self.idle(summary))
        told = ahead[:, self.told].clamp(0.0, _MOST_TOLD)
        coming = told[:, _COMING + 1, self.steps]
        with_coming = [told[:, _ALL] + told[:, _COMING], (told[:, _ALL + 1] + told[:, _COMING + 1]).clamp(max=1.0)]
        told = torch.cat([torch.stack(with_coming, dim=1), told[:, RUNNING.start :]], dim=1)
        net = [told[:, at] + idle * (1 - told[:, at + 1]) for at in (_ALL, _RUNS, _USUAL)]
        expected, _, usual = (each[:, self.steps] for each in net)
        first = net[0][:, :1]
        busy, staying = (told[:, at, self.steps].clamp(max=1.0) for at in (_ALL + 1, _RUNS + 1))
        power, stays = (told[:, at, self.steps] for at in (_ALL, _RUNS))
        joining = (power - stays) / (busy - staying).clamp(min=_UNLIKELY)
        change, unusual = (expected - first) * known, (expected - usual) * usual_known * known
        drawn, off = self._other_days(z * spread + loc, seen, newest)
        off = off - (first - net[2][:, :1]) * known[:, :1] * usual_known[:, :1]
        rest = drawn + unusual + off * (-self.lead_h / self.fades.exp()).exp()
        centres = torch.stack(
            [
                newest + change,
                newest.expand_as(expected),
                expected * known,
                (joining * known).clamp(0.0, 1.0),
                rest,
            ],
            dim=1,
        )
        agreement = ((newest - first) * known[:, :1]).expand_as(expected)
        features = torch.stack(
            [
                known,
                change,
                unusual,
                agreement,
                agreement.abs(),
                expected * known,
                busy * known,
                staying * known,
                *(
                    (chance.clamp(min=0.0) + _UNLIKELY).log() * known
                    for chance in (busy, 1 - busy, staying, 1 - staying, busy - staying)
                ),
                (joining * known).clamp(0.0, 1.0),
                *(told[:, at, self.steps] * known for at in range(PLACES.start, PLACES.stop)),
                rest * known,
                coming * known,
                (coming + _UNLIKELY).log() * known,
            ],
            dim=2,
        )
        lasting = (told[:, _RUNS] / told[:, _RUNS, :1].clamp(min=_UNLIKELY)).clamp(max=1.0)[:, self.steps]
        declared = (stays / told[:, _RUNS + 1, self.steps].clamp(min=_UNLIKELY)).clamp(max=1.0)
        hour = z[:, -self.hour_steps :].mean(1, keepdim=True) * spread + loc
        return Looked(centres, features, newest, hour, idle, drawn, off, lasting, declared)

    def _other_days(self, power: Tensor, seen: Tensor, newest: Tensor) -> tuple[Tensor, Tensor]:
        """Mean power at the time of each step on the days of the context `[B, P]`, and by how much it is off `[B, 1]`.

        The newest value, where no day was seen.
        """
        at, count = self.newest_steps, seen[:, -self.newest_steps :].sum(1, keepdim=True)
        now = torch.where(count > 0, (power * seen)[:, -at:].sum(1, keepdim=True) / count.clamp(min=1.0), newest)
        if not len(self.days_at):
            return newest.expand(-1, len(self.steps)), torch.zeros_like(newest)
        there = seen[:, self.days_at]
        count = there.sum((1, 3))
        mean = (power[:, self.days_at] * there).sum((1, 3)) / count.clamp(min=1.0)
        mean = torch.where(count > 0, mean, now)
        return mean[:, 1:], now - mean[:, :1]

    def forward(self, values: Tensor, scaled: Scaled, centres: Tensor, known: Tensor, step: Tensor) -> Tensor:
        """Logits `[B, T, P, K - 1]`: zero for targets other than power, and where no job is known of."""
        loc, spread = scaled.loc[:, self.power], scaled.spread[:, self.power]
        power = values[:, self.power] * spread + loc
        middle = (power[:, 1:] + power[:, :-1]) / 2
        away = (middle[:, None, None] - centres[..., None]).clamp(-_FARTHEST, _FARTHEST)
        weights = self.weigh(step).unflatten(2, (self.centres, len(_WIDTHS))).permute(0, 2, 1, 3)
        added = torch.zeros_like(away[:, 0])
        for at in range(len(_WIDTHS)):
            added = added + ((-((away / self.width[at]) ** 2)).exp() * weights[..., at, None]).sum(1)
        return of_power(added * known[..., None], self.power, self.targets)

    def shift(self, features: Tensor, scaled: Scaled, step: Tensor, median: Tensor) -> Tensor:
        """What a `median [B, T, P]` of power gains, normalised likewise."""
        loc, spread = scaled.loc[:, self.power], scaled.spread[:, self.power]
        known, change, unusual, rest = (features[..., at] for at in (self.KNOWN, self.CHANGE, self.UNUSUAL, self.REST))
        away = rest - (median[:, self.power] * spread + loc) * known
        shares = self.follow(step).unbind(-1)
        added = (change * shares[0] + unusual * shares[1] + away * shares[2]) / spread
        return of_power(added, self.power, self.targets)

    def sharper(self, features: Tensor, step: Tensor) -> Tensor:
        """What the log precision of the distribution about the median gains, `[B, T, P, 1]`."""
        gained: Tensor = self.sharpen(step).transpose(1, 2) * features[:, None, :, self.KNOWN]
        return gained[..., None]


def of_power(values: Tensor, power: int, targets: int) -> Tensor:
    """`values [B, ...]` as those of the target `power`, zero for the others: `[B, T, ...]`."""
    return torch.stack([values if target == power else torch.zeros_like(values) for target in range(targets)], dim=1)


def _newest(z: Tensor, seen: Tensor) -> Tensor:
    """The last value observed `[B, 1]`; the mean where none was."""
    order = torch.arange(z.shape[1], dtype=z.dtype, device=z.device)
    return z.gather(1, (seen * order).amax(-1, keepdim=True).long())
