"""What the futures of the jobs tell of any entities and times; training and serving ask here alike."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from forecast.contracts.specs import ForecastSpec
from forecast.features.frozen import frozen
from forecast.features.outlook import EXPECTED, OUTLOOK_NAMES, RUNNING, UNSUBMITTED, Outlook
from forecast.features.schedule import MILLI, Ints
from forecast.windows.playing import FUTURES, SUMS, Asked, Coming, Known, play


class Queues:
    """Groups of entities whose jobs wait for each other, each played forward by itself.

    Args:
        known: jobs that were submitted, and how long they run.
    """

    def __init__(self, known: Outlook, spec: ForecastSpec) -> None:
        self._leaves, self._spec = known.leaves, spec
        group, lane, lanes = _lanes(known)
        self._known = _known(known, group, lane, lanes)
        asks = not set(OUTLOOK_NAMES[UNSUBMITTED]).isdisjoint(spec.future)
        self._coming = _coming(known, group, lane, len(lanes), asks)
        self._below = _Below(known, group, lane)

    def at(self, entity: Ints, origin_s: Ints) -> NDArray[np.float64]:
        """Means over each step for `entity [B]` as known at `origin_s [B]`, `[OUTLOOK_NAMES, B, H]`.

        NaN where it is told elsewhere, or the power of a job is unknown.
        """
        spec = self._spec
        sums = np.zeros((len(entity), SUMS, spec.horizon_steps + 2), np.int64)
        play(self._known, self._coming, self._below.asked(entity, origin_s), spec.step_s, sums)
        total = sums.cumsum(axis=2)[:, :, : spec.horizon_steps].swapaxes(0, 1)
        told = np.full((len(OUTLOOK_NAMES), len(entity), spec.horizon_steps), np.nan)
        seconds = FUTURES * spec.step_s
        for pair, (power, busy, unknown) in (
            (EXPECTED, total[:3] + total[3:6]),
            (RUNNING, total[3:6]),
            (UNSUBMITTED, [*total[6:], 0 * total[0]]),
        ):
            told[pair.start] = np.where(unknown == 0, power / (MILLI * seconds), np.nan)
            told[pair.start + 1] = np.minimum(busy / (self._leaves[entity][:, None] * seconds), 1.0)
        return told


class _Below:
    """Who lies below whom, by group."""

    def __init__(self, known: Outlook, group: Ints, lane: Ints) -> None:
        below, over = known.over
        mine = group[below] >= 0
        below, over = below[mine], over[mine]
        order = np.lexsort((lane[below], group[below], over))
        below, over = below[order], over[order]
        self._lane = lane[below]
        begin = np.flatnonzero(np.diff(over, prepend=-1) | np.diff(group[below], prepend=-1))
        #: Of each entity: groups, and where its entities there begin and end.
        self._parts: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for first, last in zip(begin.tolist(), [*begin[1:].tolist(), len(below)], strict=True):
            self._parts[int(over[first])].append((int(group[below[first]]), first, last))

    def asked(self, entity: Ints, origin_s: Ints) -> Asked:
        tasks: dict[tuple[int, int], list[tuple[int, int, int]]] = defaultdict(list)
        for row, (one, now) in enumerate(zip(entity.tolist(), origin_s.tolist(), strict=True)):
            for group, first, last in self._parts.get(one, ()):
                tasks[group, now].append((row, first, last))
        who = np.array([each for asking in tasks.values() for each in asking], np.int64).reshape(-1, 3)
        task = np.array(list(tasks), np.int64).reshape(-1, 2)
        bounds = np.cumsum([0, *map(len, tasks.values())])
        groups, origins, rows, begin, end = (np.ascontiguousarray(each) for each in (*task.T, *who.T))
        return Asked(groups, origins, bounds, rows, begin, end, self._lane)


def _lanes(known: Outlook) -> tuple[Ints, Ints, Ints]:
    """The group of each entity, -1 where it never has a job and takes none; its place there; entities of each group."""
    takes = np.zeros(len(known.leaves), bool)
    takes[known.entity] = takes[known.peers.leaf] = True
    group = np.full(len(takes), -1)
    group[takes] = np.unique(known.group[takes], return_inverse=True)[1]
    lanes = np.bincount(group[takes])
    order = np.argsort(group, kind="stable")[(~takes).sum() :]
    lane = np.full(len(takes), -1)
    lane[order] = np.arange(len(order)) - (lanes.cumsum() - lanes).repeat(lanes)
    return group, lane, lanes


def _known(known: Outlook, group: Ints, lane: Ints, lanes: Ints) -> Known:
    of_plan = group[known.entity[known.plan_first[:-1]]]
    own = {name: getattr(known, name) for name in Known._fields if hasattr(known, name)}
    own |= {name: frozen(each) for name, each in own.items() if isinstance(each, np.ndarray)}
    return Known(first=np.searchsorted(of_plan, np.arange(len(lanes) + 1)), lanes=lanes, lane=lane[known.entity], **own)


def _coming(known: Outlook, group: Ints, lane: Ints, groups: int, asks: bool) -> Coming:
    """Pools that ever got a job, by group; none where nobody asks."""
    jobs, peers = known.submissions, known.peers
    order = np.argsort(peers.pool, kind="stable")
    bounds = np.searchsorted(peers.pool[order], np.arange(len(jobs.first)))
    pool = np.flatnonzero(np.diff(jobs.first) * asks)
    of_pool = group[peers.leaf[order[bounds[pool]]]]
    pool, of_pool = (each[np.argsort(of_pool, kind="stable")] for each in (pool, of_pool))
    places = [order[bounds[each] : bounds[each + 1]] for each in pool]
    place = np.concatenate([np.zeros(0, np.int64), *places])
    made = Coming(
        pools=np.searchsorted(of_pool, np.arange(groups + 1)),
        pool=pool,
        leaf_first=np.cumsum([0, *map(len, places)]),
        leaf=lane[peers.leaf[place]],
        since_s=jobs.since_s[place],
        **{name: getattr(jobs, name) for name in ("first", "at_s", "wanted", "limit_s", "kind", "power")},
    )
    return Coming(*map(frozen, made))
