"""What is expected of jobs that nobody has submitted yet: those of each day before come again, behind the known ones.

Schedulers place a job on the leaves of its pool that are promised to be free first, where it waits for its turn. This
one function tells training and serving, so that both know the same bits.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from forecast.contracts.specs import ForecastSpec
from forecast.features.outlook import CHANCES, DAY_S, OUTLOOK_NAMES, Outlook
from forecast.features.schedule import MILLI, ONE, Ints
from forecast.windows.futures import FUTURES, Chances, futures, rank_of
from forecast.windows.overlap import overlap

#: Days that come again.
_DAYS = 7

#: So many of the futures are played: each of seven days comes again in two of them, or three.
_PLAYED = np.arange(0, FUTURES, 2)

#: A pool is played with so many places at most, each of leaves that are promised free at much the same time, and with
#: so many jobs a day: of more places and jobs each stands for several.
_PLACES, _JOBS = 48, 256

_NEVER = -1


def asks_for_newcomers(spec: ForecastSpec) -> bool:
    """Whether a forecast is told of jobs that nobody has submitted yet."""
    return not set(OUTLOOK_NAMES[-2:]).isdisjoint(spec.future)


class Newcomers:
    """What newcomers will draw, for any entities and times.

    Args:
        known: jobs that were submitted, and how long they run.
    """

    def __init__(self, known: Outlook) -> None:
        self.known, peers = known, known.peers
        self._chances = Chances.of(known)
        size = np.bincount(peers.pool)
        order = np.argsort(peers.pool, kind="stable")
        self._size, self._nth = size, np.full(len(known.leaves), _NEVER)
        self._nth[peers.leaf[order]] = np.arange(len(order)) - (size.cumsum() - size).repeat(size)
        pool = np.full(len(known.leaves), _NEVER)
        pool[peers.leaf] = peers.pool
        self._rows = [np.flatnonzero(pool[known.entity] == number) for number in range(len(size))]
        busy = set(np.flatnonzero(np.diff(known.submissions.first)).tolist())
        #: Of each entity, the leaves below it by pool, of pools that ever got a job.
        self._below: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, entity in peers.over.T.tolist():
            if peers.pool[place] in busy:
                self._below[entity][int(peers.pool[place])].append(int(self._nth[peers.leaf[place]]))

    def at(self, entity: Ints, origin_s: Ints, spec: ForecastSpec) -> NDArray[np.float64]:
        """Mean power, W, and share of the leaves, of `entity [B]` as known at `origin_s [B]`, `[2, B, H]`."""
        asked: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for row, (one, now) in enumerate(zip(entity.tolist(), origin_s.tolist(), strict=True)):
            for pool in self._below[one]:
                asked[pool][now].append(row)
        totals = np.zeros((2, len(entity), spec.horizon_steps), np.int64)
        for pool, rows in asked.items():
            place, drawn = self._drawn(pool, np.array(list(rows)), spec)
            for at, row in ((at, row) for at, asking in enumerate(rows.values()) for row in asking):
                totals[:, row] += drawn[:, at, place[at, self._below[int(entity[row])][pool]]].sum(1)
        seconds = len(_PLAYED) * spec.step_s
        busy = totals[1] / (self.known.leaves[entity][:, None] * seconds)
        return np.stack([totals[0] / (MILLI * seconds), np.minimum(busy, 1.0)])

    def _drawn(self, pool: int, origin_s: Ints, spec: ForecastSpec) -> tuple[Ints, Ints]:
        """The place of each leaf `[M, K]`, and what a leaf there draws, mJ, and is busy, s, `[2, M, places, H]`."""
        many = -(-self._size[pool] // _PLACES)
        place, free_s, promised_s = self._held(pool, origin_s, many)
        shape = (len(origin_s), free_s.shape[2], spec.horizon_steps)
        slots, told = [], []
        for each, taken in self._played(pool, origin_s, many, free_s, promised_s, spec):
            which, future, at = np.nonzero(taken)
            slots.append(which * shape[1] + at)
            told.append(each[:, which, future] - np.array([1, 1, 0])[:, None] * origin_s[which])
        if not told:
            return place, np.zeros((2, *shape), np.int64)
        slot, (begin, end, power) = np.concatenate(slots), np.concatenate(told, axis=1)
        edges = [edge.clip(0, spec.horizon_steps * spec.step_s) for edge in (begin, end)]
        drawn = [overlap(slot, edges, weight, spec, shape[0] * shape[1]) for weight in (power, np.ones_like(power))]
        return place, np.stack(drawn).reshape(2, *shape)

    def _held(self, pool: int, origin_s: Ints, many: int) -> tuple[Ints, Ints, Ints]:
        """The place of each leaf `[M, K]`, and when each is done with the jobs that are known, and is promised to be.

        Both `[M, futures, places]`; the first of the leaves of a place tells of all.
        """
        known, rows, size = self.known, self._rows[pool], self._size[pool]
        from_s, until_s = known.known_from_s[rows], np.minimum(known.known_until_s, known.end_s)[rows]
        held = [rows[(from_s <= now) & (until_s > now)] for now in origin_s]
        which, row = np.arange(len(origin_s)).repeat([len(each) for each in held]), np.concatenate(held)
        plan, leaf = known.plan[row], self._nth[known.entity[row]]
        order = np.broadcast_to(np.arange(size), (len(origin_s), size))
        if many > 1:
            told = np.full(order.shape, _NEVER)
            np.maximum.at(told, (which, leaf), known.plan_end_s[plan])
            order = told.argsort(axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.broadcast_to(np.arange(size), order.shape), 1)
        first = rank[which, leaf] % many == 0
        which, leaf, plan = which[first], leaf[first], plan[first]
        now = origin_s[which][:, None]
        begin, end = futures(self._chances, plan, self._day(now), now, _PLAYED)
        promised = begin + (known.plan_end_s - known.plan_start_s)[plan][:, None]
        latest = np.full((2, len(origin_s), -(-size // many), len(_PLAYED)), _NEVER)
        for edge, told in zip(latest, (end, promised), strict=True):
            np.maximum.at(edge, (which, rank[which, leaf] // many), told)
        return rank // many, latest[0].swapaxes(1, 2), latest[1].swapaxes(1, 2)

    def _played(
        self, pool: int, origin_s: Ints, many: int, free_s: Ints, promised_s: Ints, spec: ForecastSpec
    ) -> Iterator[tuple[Ints, NDArray[np.bool_]]]:
        """One job after the other, in every future: begin, end and power `[3, M, F]`, and its places `[M, F, K]`."""
        jobs, known = self.known.submissions, self.known
        first, last = jobs.first[pool : pool + 2]
        at_s = jobs.at_s[first:last]
        lag = self._lags(origin_s, spec)
        begin = first + np.searchsorted(at_s, origin_s[:, None] - lag, side="right")
        end = first + np.searchsorted(at_s, origin_s[:, None] - lag + spec.horizon_steps * spec.step_s, side="right")
        week = np.diff([np.searchsorted(at_s, origin_s - back, side="right") for back in (_DAYS * DAY_S, 0)], axis=0)
        longer = (-(-week[0] // (_DAYS * many * _JOBS))).clip(1, None)[:, None]
        key = np.arange(free_s.shape[2])
        for step in range(int((-((begin - end) // (many * longer))).max(initial=0))):
            at = begin + step * many * longer
            job = at.clip(None, last - 1)
            now, limit = jobs.at_s[job] + lag, jobs.limit_s[job] * longer
            chance = (2 * rank_of(_PLAYED, jobs.at_s[job], jobs.limit_s[job]) + 1) * CHANCES // (2 * FUTURES)
            lasts = known.used[self._day(origin_s)[:, None], jobs.kind[job], chance] * limit // ONE
            order = np.where(free_s <= now[..., None], 0, promised_s) * len(key) + key
            wanted = jobs.wanted[job].clip(None, len(key))
            taken = order <= np.take_along_axis(np.sort(order), wanted[..., None] - 1, 2)
            taken &= (at < end)[..., None]
            starts = np.maximum(np.where(taken, free_s, 0).max(2), now)
            free_s = np.where(taken, (starts + lasts)[..., None], free_s)
            promised_s = np.where(taken, (starts + limit)[..., None], promised_s)
            yield np.stack([starts, starts + lasts, jobs.power[job]]), taken

    def _lags(self, origin_s: Ints, spec: ForecastSpec) -> Ints:
        """How long ago what comes again came, `[M, F]`; before anything did, where no whole horizon is known of."""
        span = spec.horizon_steps * spec.step_s
        days = np.arange(-(-span // DAY_S), _DAYS + 1) * DAY_S
        known = (origin_s[:, None] - days >= self.known.since_s).sum(1)[:, None]
        lags = np.append(days, 0)[_PLAYED % known.clip(1, None)]
        return np.where(known > 0, lags, origin_s[:, None] - self.known.since_s + span + 1)

    def _day(self, origin_s: Ints) -> Ints:
        return (origin_s // DAY_S - self.known.first_day).clip(0, len(self.known.used) - 1)
