"""The outlook on the training device: what `forecast.windows.outlook` computes, per row of a batch."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.features.outlook import DAY_S, Outlook
from forecast.features.schedule import MILLI, Ints
from forecast.windows.ahead_on_device import Lists, overlap
from forecast.windows.futures import FUTURES, Chances, futures
from forecast.windows.newcomers import Newcomers, asks_for_newcomers
from forecast.windows.outlook import USUAL_DAYS

_ROWS = ("known_from_s", "known_until_s", "end_s", "power", "busy", "unknown", "running", "plan", "leaves")


class OutlookOnDevice:
    """Jobs listed by entity and the part of a day in which they were believed; what ran, by step.

    Args:
        known: rolled up to every entity.
        first_s, last_s: origins lie between them, inclusive, on the grid of steps.
    """

    def __init__(self, known: Outlook, first_s: int, last_s: int, spec: ForecastSpec, device: torch.device) -> None:
        self.step_s, self.steps, self.since_s = spec.step_s, spec.horizon_steps, known.since_s
        self.first_s, self.first_day = first_s - USUAL_DAYS * DAY_S, known.first_day
        counts_s = known.known_from_s, np.minimum(known.known_until_s, known.end_s)
        self._lists = Lists(counts_s, known.entity, len(known.leaves), (first_s, last_s), device)
        self._known = {name: torch.from_numpy(getattr(known, name)).to(device) for name in _ROWS}
        self._chances = Chances(*(torch.from_numpy(part).to(device) for part in Chances.of(known)))
        self._number = torch.arange(FUTURES, device=device)
        self._day_steps = spec.day_steps
        cycle = min(spec.horizon_steps, spec.day_steps)
        self._cycle = torch.arange(spec.horizon_steps, device=device) % cycle
        self._ran = self._by_step(known, last_s, device)
        self._begin_s = first_s
        places = self._places_by_step(known, np.arange(first_s, last_s + 1, spec.step_s))
        self._places = torch.from_numpy(places).to(device)
        self._newcomers = Newcomers(known) if asks_for_newcomers(spec) else None
        self._spec = spec

    def at(self, entity: Tensor, origin_s: Tensor) -> Tensor:
        """Covariates `[B, OUTLOOK_NAMES, H]` of `entity [B]` as known at `origin_s [B]` (seconds since 1970)."""
        told = torch.cat([self._expected(entity, origin_s), self._usual(entity, origin_s)], dim=1)
        place = self._places[:, entity, (origin_s - self._begin_s) // self.step_s].T
        told = torch.cat([told, place[..., None].expand(-1, -1, self.steps), self._coming(entity, origin_s)], dim=1)
        return torch.where((origin_s >= self.since_s)[:, None, None], told, torch.nan).float()

    def _expected(self, entity: Tensor, origin_s: Tensor) -> Tensor:
        known = self._known
        slot, row = self._lists.at(entity, origin_s)
        held = (known["known_from_s"][row] <= origin_s[slot]) & (known["known_until_s"][row] > origin_s[slot])
        held &= known["end_s"][row] > origin_s[slot]
        slot, row = slot[held], row[held]
        now = origin_s[slot][:, None]
        day = (now // DAY_S - self.first_day).clamp(0, len(self._chances.used) - 1)
        told = futures(self._chances, known["plan"][row], day, now, self._number)
        edges = [(edge - now).clamp(0, self.steps * self.step_s).flatten() for edge in told]
        slots = slot.repeat_interleave(FUTURES)

        def total(name: str, counted: Tensor) -> Tensor:
            amount = (known[name][row] * counted).repeat_interleave(FUTURES)
            return overlap(slots, edges, amount, len(entity), self.steps, self.step_s)

        whole = (known["leaves"][entity][:, None] * (FUTURES * self.step_s)).double()
        means = []
        for counted in (torch.ones_like(row), known["running"][row]):
            power, busy, unknown = (total(name, counted) for name in ("power", "busy", "unknown"))
            mean = power.double() / (MILLI * FUTURES * self.step_s)
            means.append(torch.where(unknown == 0, mean, torch.nan))
            means.append((busy.double() / whole).clamp(max=1.0))
        return torch.stack(means, dim=1)

    def _coming(self, entity: Tensor, origin_s: Tensor) -> Tensor:
        if self._newcomers is None:
            return torch.full((len(entity), 2, self.steps), torch.nan, device=entity.device, dtype=torch.double)
        told = self._newcomers.at(entity.cpu().numpy(), origin_s.cpu().numpy(), self._spec)
        return torch.from_numpy(told.swapaxes(0, 1)).to(entity.device)

    def _places_by_step(self, known: Outlook, origin_s: Ints) -> NDArray[np.float64]:
        """Places in the queue at origins a step apart, `[2, N, T]`."""
        leaf = np.full(len(known.leaves), -1)
        leaf[known.peers.leaf] = np.arange(len(known.peers.leaf))
        free_s = origin_s[:, None].repeat(len(known.peers.leaf), axis=1)
        counts_s = known.known_from_s, np.minimum(known.known_until_s, known.end_s)
        first, last = (np.searchsorted(origin_s, edge) for edge in counts_s)
        for row in np.flatnonzero((leaf[known.entity] >= 0) & (first < last)):
            held = free_s[first[row] : last[row], leaf[known.entity[row]]]
            np.maximum(held, known.end_s[row], out=held)
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
        totals = torch.zeros(2, len(entity), self.steps, dtype=torch.long, device=entity.device)
        days = torch.zeros_like(origin_s)
        for lag in range(1, USUAL_DAYS + 1):
            begin_s = origin_s - lag * DAY_S
            known = begin_s >= self.since_s
            first = (begin_s - self.first_s) // self.step_s
            totals += self._ran[:, entity[:, None], first[:, None] + self._cycle] * known[:, None]
            days += known
        whole = days[:, None] * self.step_s
        power = totals[0].double() / (MILLI * whole).double()
        busy = totals[1].double() / (self._known["leaves"][entity][:, None] * whole).double()
        return torch.stack([power, busy.clamp(max=1.0)], dim=1)
