"""What the jobs may come to, as a mixture of few outcomes: a job stays, another joins, the machine idles.

The cells of the grid say where the load was and are told of the jobs by bumps; they cannot say that it will be idle by
a chance of three in ten. The mixture says so: its chances begin as those that the outlook tells. How far it is
believed, in place of the cells, is learnt with it, by a network of its own.
"""

import torch
from torch import Tensor, nn

from forecast.models.known import JobOutlook, Looked, of_power
from forecast.models.scaling import Scaled

#: Widths of the outcomes at first, in nameplates: it stays, another joins, it idles, and three that many add up to.
_WIDTHS = (0.03, 0.12, 0.03, 0.1, 0.1, 0.1)

#: Features of each step of the network, and the share of them that is dropped in training.
_HIDDEN, _DROPOUT = 128, 0.2

#: The network moves an outcome by this much where it says one, in nameplates.
_MOVES = 0.3

#: Log widths are not told beyond these, in nameplates: a meter reads no finer, and no load is wider.
_NARROWEST, _WIDEST = -6.5, 0.5

#: Every so many of the grid's values are told to the network.
_EVERY = 7

#: What is told is not told further than this, in nameplates.
_FARTHEST = 2.0

#: Chances below this make no difference to their logarithm; each cell is at least so likely.
_RARE, _LEAST = 0.01, 1e-6

#: The logistic distribution is about normal where its scale is that of the normal one by this.
_LOGISTIC = 1.7


class Outcomes(nn.Module):
    """Masses of the cells by what the jobs may come to, and how far to believe them.

    Args:
        jobs: what is known of the jobs.
        state: size of the summary.
        values: of the grid.
    """

    #: Numbers about each step that the network is told beside the features of `JobOutlook`.
    beside = 11

    def __init__(self, jobs: JobOutlook, state: int, values: int) -> None:
        super().__init__()
        self.power, self.targets = jobs.power, jobs.targets
        self.window = nn.Linear(state + len(range(0, values, _EVERY)), _HIDDEN)
        self.step = nn.Linear(JobOutlook.features + self.beside, _HIDDEN, bias=False)
        self.network = nn.Sequential(
            nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Dropout(_DROPOUT)
        )
        self.say = nn.Linear(_HIDDEN, 3 * len(_WIDTHS) + 1)
        nn.init.zeros_(self.say.weight)
        nn.init.zeros_(self.say.bias)
        self.trust = nn.Parameter(torch.ones(3))
        self.width = nn.Parameter(torch.tensor(_WIDTHS).log())
        self.lead_day: Tensor
        self.register_buffer("lead_day", jobs.lead_h / 24, persistent=False)

    def forward(
        self, values: Tensor, scaled: Scaled, looked: Looked, summary: Tensor, median: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Masses of power's cells, and their share in what is told: `[B, T, P, K - 1]` and `[B, T, P, 1]`.

        Args:
            values: `[B, T, K]`, normalised, as `median [B, T, P]` is.
            summary: `[B, state]`.

        The share is 0 for targets other than power, and where no job is known of.
        """
        loc, spread = scaled.loc[:, self.power], scaled.spread[:, self.power]
        edges = values[:, self.power] * spread + loc
        places = JobOutlook.EXPECTED, JobOutlook.AGREEMENT, JobOutlook.BUSY, JobOutlook.STAYING
        expected, agreement, busy, staying = (looked.features[..., at] for at in places)
        unusual, rest = (looked.features[..., at] for at in (JobOutlook.UNUSUAL, JobOutlook.REST))
        lasting = expected + agreement * looked.lasting
        follows = looked.drawn + unusual + looked.off * looked.lasting
        window = torch.cat([summary, edges[:, ::_EVERY].clamp(-_FARTHEST, _FARTHEST)], dim=1)
        step = self._told(looked, [lasting, follows, median[:, self.power] * spread + loc])
        hidden = self.network(self.window(window)[:, None] + self.step(step))
        chance, moves, width, share = self.say(hidden).split([len(_WIDTHS)] * 3 + [1], dim=2)
        centre = [looked.newest.expand_as(rest), looked.centres[:, JobOutlook.JOINING], looked.idle.expand_as(rest)]
        centres = torch.stack([*centre, rest, lasting, follows], dim=2) + _MOVES * moves
        known = torch.stack([staying, (busy - staying).clamp(min=0.0), 1 - busy], dim=2)
        chance = chance + nn.functional.pad((known + _RARE).log() * self.trust, (0, len(_WIDTHS) - 3))
        scale = (width + self.width).clamp(_NARROWEST, _WIDEST).exp() / _LOGISTIC
        below = torch.sigmoid((edges[:, None, None] - centres[..., None]) / scale[..., None])
        masses = (below * torch.softmax(chance, dim=2)[..., None]).sum(2).diff(dim=2) + _LEAST
        masses = masses / masses.sum(2, keepdim=True)
        believed = torch.sigmoid(share) * looked.features[..., JobOutlook.KNOWN, None]
        return of_power(masses, self.power, self.targets), of_power(believed, self.power, self.targets)

    def _told(self, looked: Looked, more: list[Tensor]) -> Tensor:
        """What the network is told of each step, `[B, P, told]`."""
        known = looked.features[..., JobOutlook.KNOWN]
        window = (looked.off, looked.newest, looked.hour, self.lead_day, self.lead_day.sqrt())
        steps = [looked.drawn, looked.lasting, looked.declared, *more, *(each.expand_as(known) for each in window)]
        return torch.cat([looked.features, torch.stack(steps, dim=2).clamp(-_FARTHEST, _FARTHEST)], dim=2)
