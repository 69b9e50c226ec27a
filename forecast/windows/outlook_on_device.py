"""The outlook on the training device: what `forecast.windows.outlook` computes, per row of a batch."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.features.outlook import DAY_S, PLACES, USUAL, Outlook
from forecast.features.schedule import MILLI, Ints
from forecast.windows.ahead_on_device import overlap
from forecast.windows.outlook import USUAL_DAYS
from forecast.windows.queues import Queues


class OutlookOnDevice:
    """Jobs listed by entity and the part of a day in which they were believed; what ran, by step.

    Args:
        known: rolled up to every entity.
        first_s, last_s: origins lie between them, inclusive, on the grid of steps.
    """

    def __init__(self, known: Outlook, first_s: int, last_s: int, spec: ForecastSpec, device: torch.device) -> None:
        self.step_s, self.steps, self.since_s = spec.step_s, spec.horizon_steps, known.since_s
        self.whole_s = known.whole_s
        self.first_s = first_s - USUAL_DAYS * DAY_S
        self._leaves = torch.from_numpy(known.leaves).to(device)
        self._day_steps = spec.day_steps
        cycle = min(spec.horizon_steps, spec.day_steps)
        self._cycle = torch.arange(spec.horizon_steps, device=device) % cycle
        self._ran = self._by_step(known, last_s, device)
        self._begin_s = first_s
        places = self._places_by_step(known, np.arange(first_s, last_s + 1, spec.step_s))
        self._places = torch.from_numpy(places).to(device)
        self._queues = Queues(known, spec)

    def at(self, entity: Tensor, origin_s: Tensor) -> Tensor:
        """Covariates `[B, OUTLOOK_NAMES, H]` of `entity [B]` as known at `origin_s [B]` (seconds since 1970)."""
        told = torch.from_numpy(self._queues.at(entity.cpu().numpy(), origin_s.cpu().numpy()).swapaxes(0, 1))
        told = told.to(entity.device)
        told[:, USUAL] = self._usual(entity, origin_s)
        told[:, PLACES] = self._places[:, entity, (origin_s - self._begin_s) // self.step_s].T[..., None]
        return torch.where((origin_s >= self.since_s)[:, None, None], told, torch.nan).float()

    def _places_by_step(self, known: Outlook, origin_s: Ints) -> NDArray[np.float64]:
        """Places in the queue at origins a step apart, `[2, N, T]`."""
        leaf = np.full(len(known.leaves), -1)
        leaf[known.peers.leaf] = np.arange(len(known.peers.leaf))
        free_s = origin_s[:, None].repeat(len(known.peers.leaf), axis=1)
        plan = np.arange(len(known.plan_end_s)).repeat(np.diff(known.plan_first))
        end_s = known.plan_end_s[plan]
        counts_s = known.plan_from_s[plan], np.minimum(known.plan_until_s[plan], end_s)
        first, last = (np.searchsorted(origin_s, edge) for edge in counts_s)
        for row in np.flatnonzero((leaf[known.entity] >= 0) & (first < last)):
            held = free_s[first[row] : last[row], leaf[known.entity[row]]]
            np.maximum(held, end_s[row], out=held)
        days = (slice(at, at + self._day_steps) for at in range(0, len(origin_s), self._day_steps))
        places = [known.peers.places(free_s[day], origin_s[day, None]) for day in days]
        return np.concatenate(places, axis=1).transpose(0, 2, 1)

    def _by_step(self, known: Outlook, last_s: int, device: torch.device) -> Tensor:
        """What ran in each step from a week before the first origin on, mJ and leaf-seconds `[2, N, T]`."""
        steps = -(-(last_s - self.first_s) // self.step_s)
        place, start_s, end_s, power = torch.from_numpy(known.ran).to(device)
        edges = [(edge - self.first_s).clamp(0, steps * self.step_s) for edge in (start_s, end_s)]
        amounts = power, torch.from_numpy(known.ran_busy).to(device)
        return torch.stack([overlap(place, edges, amount, len(known.leaves), steps, self.step_s) for amount in amounts])

    def _usual(self, entity: Tensor, origin_s: Tensor) -> Tensor:
        """What ran at the same time of the days before, `[B, 2, H]`."""
        totals = torch.zeros(2, len(entity), self.steps, dtype=torch.long, device=entity.device)
        days = torch.zeros_like(origin_s)
        since_s = torch.where(origin_s >= self.whole_s, self.whole_s, self.since_s)
        for lag in range(1, USUAL_DAYS + 1):
            begin_s = origin_s - lag * DAY_S
            known = begin_s >= since_s
            first = (begin_s - self.first_s) // self.step_s
            totals += self._ran[:, entity[:, None], first[:, None] + self._cycle] * known[:, None]
            days += known
        whole = days[:, None] * self.step_s
        power = totals[0].double() / (MILLI * whole).double()
        busy = totals[1].double() / (self._leaves[entity][:, None] * whole).double()
        return torch.stack([power, busy.clamp(max=1.0)], dim=1)
