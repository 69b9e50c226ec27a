"""Schedule and weather on the training device: what `forecast.windows.ahead` computes, per row of a batch."""

from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.features.schedule import MILLI, SCHEDULE_NAMES, Ints, Promises
from forecast.features.weather import HOUR_S, WEATHER_NAMES, Versions

#: Stretches are found by the quarter of a day in which they were believed: few to look through, few listed twice.
_BUCKET_S = 6 * HOUR_S


class WeatherOnDevice:
    """Versions of each hour, looked up in the batch.

    Args:
        known: by site.
        site: `[N]`, index of each entity's site.
    """

    def __init__(self, known: Versions, site: np.ndarray, spec: ForecastSpec, device: torch.device) -> None:
        self.first_hour = known.first_hour
        self.known_from = torch.from_numpy(known.known_from).to(device)
        self.values = torch.from_numpy(known.values).to(device)
        self.site = torch.from_numpy(site).to(device)
        steps = torch.arange(spec.horizon_steps, device=device)
        self._twice_in = spec.step_s * (2 * steps + 1)
        self._hours = torch.arange(spec.horizon_steps * spec.step_s // HOUR_S + 3, device=device)

    def at(self, entity: Tensor, origin_s: Tensor) -> Tensor:
        """Covariates `[B, WEATHER_NAMES, H]` of `entity [B]` as known at `origin_s [B]` (seconds since 1970)."""
        twice = 2 * origin_s[:, None] + self._twice_in
        hour, share = twice // (2 * HOUR_S), (twice % (2 * HOUR_S)).double() / (2 * HOUR_S)
        first = origin_s[:, None] // HOUR_S
        known = self._hours_at(self.site[entity][:, None], first + self._hours, origin_s)
        row = torch.arange(len(entity), device=entity.device)[:, None]
        before, after = (known[row, hour - first + offset] for offset in (0, 1))
        rise = (after - before) * share[..., None]
        return (before + rise).float().transpose(1, 2)

    def _hours_at(self, site: Tensor, hour: Tensor, origin_s: Tensor) -> Tensor:
        """What each origin knew of its hours, `[B, H, 2]`."""
        hours = self.known_from.shape[1]
        at = hour - self.first_hour
        inside = (at >= 0) & (at < hours)
        if not hours:
            return torch.full((*hour.shape, len(WEATHER_NAMES)), torch.nan, device=hour.device, dtype=torch.double)
        at = at.clamp(0, hours - 1)
        newest = (self.known_from[site, at] <= origin_s[:, None, None]).sum(2) - 1
        values = self.values[site, at, newest.clamp(min=0)]
        return torch.where(((newest >= 0) & inside)[..., None], values, torch.nan)


class Lists:
    """Rows by place and by the part of a day in which they count.

    Args:
        counts_s: `[R]` each, from when and until when a row counts, seconds since 1970.
        place: `[R]`, where it counts, below `places`.
        span_s: times asked for lie between them, inclusive.
    """

    def __init__(
        self, counts_s: tuple[Ints, Ints], place: Ints, places: int, span_s: tuple[int, int], device: torch.device
    ) -> None:
        self.first = span_s[0] // _BUCKET_S
        self.buckets = span_s[1] // _BUCKET_S - self.first + 1
        first = (counts_s[0] // _BUCKET_S - self.first).clip(0, None)
        last = ((counts_s[1] - 1) // _BUCKET_S - self.first).clip(None, self.buckets - 1)
        repeats = (last - first + 1).clip(0, None)
        row = np.repeat(np.arange(len(first)), repeats)
        bucket = np.arange(len(row)) - np.repeat(repeats.cumsum() - repeats, repeats) + first[row]
        listed = place[row] * self.buckets + bucket
        offset = np.concatenate([[0], np.bincount(listed, minlength=places * self.buckets).cumsum()])
        self._row = torch.from_numpy(row[np.argsort(listed, kind="stable")]).to(device)
        self._offset = torch.from_numpy(offset).to(device)

    def at(self, place: Tensor, time_s: Tensor) -> tuple[Tensor, Tensor]:
        """Rows that may count at `time_s [B]` in `place [B]`: which of B, and the row; `[K]` both."""
        listed = place * self.buckets + time_s // _BUCKET_S - self.first
        begin, length = self._offset[listed], self._offset[listed + 1] - self._offset[listed]
        slot = torch.repeat_interleave(length)
        return slot, self._row[torch.arange(len(slot), device=slot.device) + (begin - length.cumsum(0) + length)[slot]]


class ScheduleOnDevice:
    """Stretches listed by covariate, entity and the part of a day in which they were believed.

    Args:
        known: rolled up to every entity.
        first_s, last_s: origins lie between them, inclusive, seconds since 1970.
    """

    def __init__(self, known: Promises, first_s: int, last_s: int, spec: ForecastSpec, device: torch.device) -> None:
        self.step_s, self.steps = spec.step_s, spec.horizon_steps
        self.entities, self.since_s = len(known.leaves), known.since_s
        place, lists = known.covariate * self.entities + known.entity, len(SCHEDULE_NAMES) * self.entities
        self._lists = Lists(
            (known.known_from_s, np.minimum(known.known_until_s, known.end_s)), place, lists, (first_s, last_s), device
        )
        self._known = {
            part.name: torch.from_numpy(getattr(known, part.name)).to(device)
            for part in fields(known)
            if part.name not in {"covariate", "entity", "since_s"}
        }

    def at(self, entity: Tensor, origin_s: Tensor) -> Tensor:
        """Covariates `[B, SCHEDULE_NAMES, H]` of `entity [B]` as known at `origin_s [B]` (seconds since 1970)."""
        kinds = len(SCHEDULE_NAMES)
        covariate = torch.arange(kinds, device=entity.device)
        place = (covariate * self.entities + entity[:, None]).flatten()
        slot, row = self._lists.at(place, origin_s.repeat_interleave(kinds))
        now = origin_s.repeat_interleave(kinds)[slot]
        held = (self._known["known_from_s"][row] <= now) & (self._known["known_until_s"][row] > now)
        slot, row, now = slot[held], row[held], now[held]
        edges = [(self._known[name][row] - now).clamp(0, self.steps * self.step_s) for name in ("start_s", "end_s")]
        amount, count = (
            overlap(slot, edges, self._known[name][row], len(place), self.steps, self.step_s).view(
                -1, kinds, self.steps
            )
            for name in ("amount", "count")
        )
        return self._values(amount, count, self._known["leaves"][entity], origin_s).float()

    def _values(self, amount: Tensor, count: Tensor, leaves: Tensor, origin_s: Tensor) -> Tensor:
        known = (origin_s >= self.since_s)[:, None]
        scheduled = torch.where(known & (count[:, 0] == 0), amount[:, 0].double() / (MILLI * self.step_s), torch.nan)
        struck = (amount[:, 1].double() / (leaves[:, None] * self.step_s).double()).clamp(max=1.0)
        imposed = torch.where(count[:, 2:] > 0, amount[:, 2:].double() / (MILLI * count[:, 2:]).double(), torch.nan)
        window = torch.where(known, struck, torch.nan)
        return torch.cat([scheduled[:, None], window[:, None], imposed], dim=1)


def overlap(slot: Tensor, edges: list[Tensor], weight: Tensor, slots: int, steps: int, step_s: int) -> Tensor:
    """Sum of weight times seconds of overlap, per slot and step `[slots, H]`; see `forecast.windows.overlap`."""
    width = steps + 2
    change = torch.zeros(slots * width, dtype=torch.long, device=slot.device)
    for edge, sign in zip(edges, (1, -1), strict=True):
        step, into = edge // step_s, edge % step_s
        at = slot * width + step
        change.scatter_add_(0, at, sign * weight * (step_s - into))
        change.scatter_add_(0, at + 1, sign * weight * into)
    return change.view(slots, width).cumsum(1)[:, :steps]
