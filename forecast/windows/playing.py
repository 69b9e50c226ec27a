"""Queues played forward: when each job begins and ends in each of many futures, and who gets those that come.

In each future every job uses a share of its limit, and one that waits begins when all before it on its entities have
ended. Jobs that nobody has submitted yet come as those of one of the days before came, and wait behind. Everything is
counted in whole seconds and milliwatts.

All of it is in one file, for compiled code is kept until the file of the function that is called changes: of a change
in another file numba would know nothing.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from forecast.features.outlook import DAY_S, PIECES
from forecast.features.schedule import ONE, Ints

#: Each job ends in one of these futures first, in another second, and so on: an even sample of when it could.
FUTURES = 128

#: Sums over the futures, in this order: mJ, leaf-seconds and seconds of unknown power of jobs that wait, and of those
#: that run; mJ and leaf-seconds of newcomers.
SUMS = 8
_RUNNING, _NEWCOMERS = 3, 6

#: Days that come again, and how much more often those of the same weekday do: people work by the week.
_DAYS, _SAME_WEEKDAY = 28, 3

#: A pool is played with so many places at most, each of leaves that are promised free at much the same time, and with
#: so many jobs a day: of more places and jobs each stands for several.
_PLACES, _JOBS = 48, 256

#: A scheduler tells the start of a queued job in whole minutes (Slurm's `bf_resolution` is 60 s).
_MINUTE_S = 60

#: What mixes the order of the futures from job to job, so that one that ends early tells nothing of the next.
_MANY, _MIX = 65_537, 40_503

_NEVER = -1


class Known(NamedTuple):
    """Jobs that were submitted: of `Outlook` what the names say, and of each group of entities with one queue `[G]`.

    Attributes:
        first: `[G + 1]`, where the plans of each group begin.
        lanes: `[G]`, entities of each.
        lane: `[R]`, of the rows of plans, which entity of its group.
    """

    first: Ints
    lanes: Ints
    lane: Ints
    plan_first: Ints
    plan_start_s: Ints
    plan_end_s: Ints
    plan_from_s: Ints
    plan_until_s: Ints
    plan_kind: Ints
    plan_running: Ints
    power: Ints
    busy: Ints
    unknown: Ints
    survival: Ints
    first_day: int
    since_s: int
    whole_s: int


class Coming(NamedTuple):
    """What was submitted and may come again: `Submissions` by pool `[P]`, and the leaves that take them.

    Attributes:
        pools: `[G + 1]`, where those of each group begin in `pool`; all equal where nobody asks for newcomers.
        pool: index into `first`.
        leaf_first: `[pools + 1]`, where the leaves of each begin in `leaf`.
        leaf: which entity of its group.
        since_s: when each leaf first got one of the jobs.
    """

    pools: Ints
    pool: Ints
    first: Ints
    at_s: Ints
    wanted: Ints
    limit_s: Ints
    kind: Ints
    power: Ints
    leaf_first: Ints
    leaf: Ints
    since_s: Ints


class Asked(NamedTuple):
    """Groups at origins, `[T]`, and who asks for what of them, `[A]`.

    Attributes:
        first: `[T + 1]`, where those who ask begin.
        row: which row of the sums is told.
        begin, end: of the entities of the group that lie below, in `below`.
    """

    group: Ints
    origin_s: Ints
    first: Ints
    row: Ints
    begin: Ints
    end: Ints
    below: Ints


@njit(cache=True, nogil=True)
def play(known: Known, coming: Coming, asked: Asked, step_s: int, sums: Ints) -> None:
    """Add to `sums [B, SUMS, H + 2]` what the futures tell, as changes of slope; see `forecast.windows.overlap`."""
    for task, group in enumerate(asked.group):
        who = np.arange(asked.first[task], asked.first[task + 1])
        origin_s = asked.origin_s[task]
        plans = _held(known, group, origin_s)
        begin, end = _spells(known, plans, known.lanes[group], origin_s)
        _sum_known(known, plans, begin - origin_s, end - origin_s, asked, who, known.lanes[group], step_s, sums)
        for index in range(coming.pools[group], coming.pools[group + 1]):
            _sum_coming(known, coming, index, plans, begin, end, asked, who, task, step_s, sums)


@njit(cache=True, nogil=True)
def _held(known: Known, group: int, origin_s: int) -> Ints:
    """The plans that are believed and not over, by start."""
    held = np.empty(known.first[group + 1] - known.first[group], np.int64)
    count = 0
    for plan in range(known.first[group], known.first[group + 1]):
        if known.plan_from_s[plan] <= origin_s < min(known.plan_until_s[plan], known.plan_end_s[plan]):
            held[count] = plan
            count += 1
    return held[:count]


@njit(cache=True, nogil=True)
def _spells(known: Known, plans: Ints, lanes: int, origin_s: int) -> tuple[Ints, Ints]:
    """When each plan begins and ends in each future, `[P, FUTURES]` both."""
    first, before, gap = _before(known, plans, lanes)
    day = _day(known, origin_s)
    begin, end = np.empty((len(plans), FUTURES), np.int64), np.empty((len(plans), FUTURES), np.int64)
    for at, plan in enumerate(plans):
        start_s = known.plan_start_s[plan]
        limit_s, survival = known.plan_end_s[plan] - start_s, known.survival[day, known.plan_kind[plan]]
        passed_s = min(max(origin_s - start_s, 0), limit_s)
        alive = _alive(survival, passed_s, limit_s)
        for future in range(FUTURES):
            begin_s = start_s
            if gap[at] >= 0:
                begin_s = origin_s
                for other in before[first[at] : first[at + 1]]:
                    begin_s = max(begin_s, end[other, future] + gap[at])
            lasts_s = _lasts(survival, alive * (2 * _rank_of(future, start_s, limit_s) + 1), limit_s)
            begin[at, future] = begin_s
            end[at, future] = begin_s + max(lasts_s, passed_s)
    return begin, end


@njit(cache=True, nogil=True)
def _day(known: Known, origin_s: int) -> int:
    """The row of `survival` that holds what was known at a time."""
    return min(max(origin_s // DAY_S - known.first_day, 0), len(known.survival) - 1)


@njit(cache=True, nogil=True)
def _alive(survival: Ints, passed_s: int, limit_s: int) -> int:
    """The chance, in `ONE`, of a job to run on for so much of its limit."""
    piece = min(passed_s * PIECES // limit_s, PIECES - 1)
    fallen = survival[piece] - survival[piece + 1]
    return int(survival[piece] - fallen * (passed_s * PIECES - piece * limit_s) // limit_s)


@njit(cache=True, nogil=True)
def _lasts(survival: Ints, chance: int, limit_s: int) -> int:
    """How long a job runs that so many survive; `chance` in `2 * FUTURES * ONE`. Who survives the last uses it all."""
    for piece in range(PIECES):
        left = chance - 2 * FUTURES * survival[piece + 1]
        if left > 0:
            fallen = 2 * FUTURES * (survival[piece] - survival[piece + 1])
            return int((piece + 1) * limit_s // PIECES - left * (limit_s // PIECES) // fallen)
    return limit_s


@njit(cache=True, nogil=True)
def _rank_of(future: int, start_s: int, limit_s: int) -> int:
    """Which of `FUTURES` even chances to end a job has in a future: each of them in one."""
    mixed = (start_s + 7 * limit_s) % _MANY * _MIX // FUTURES
    return (future * (2 * mixed + 1) + mixed // FUTURES) % FUTURES


@njit(cache=True, nogil=True)
def _before(known: Known, plans: Ints, lanes: int) -> tuple[Ints, Ints, Ints]:
    """Whom each plan waits for: those that end by its start on any of its entities, but for whom these wait for.

    Returns:
        Where those of each plan begin, `[P + 1]`; which of `plans` they are; and how long after the last of them each
        plan starts, -1 where it waits for its time, not for them.
    """
    rows = 0
    for plan in plans:
        rows += known.plan_first[plan + 1] - known.plan_first[plan]
    # Of each row: which plan, the row before it on its entity, and the last end there up to it.
    of, older, latest = np.empty(rows, np.int64), np.empty(rows, np.int64), np.empty(rows, np.int64)
    newest, listed = np.full(lanes, _NEVER), np.full(len(plans), _NEVER)
    first, gap = np.zeros(len(plans) + 1, np.int64), np.full(len(plans), _NEVER)
    before = np.empty(rows + 1, np.int64)
    row, count = 0, 0
    for at, plan in enumerate(plans):
        start_s, last_s = known.plan_start_s[plan], _NEVER
        for told in range(known.plan_first[plan], known.plan_first[plan + 1]):
            found = newest[known.lane[told]]
            while found >= 0 and not known.plan_running[plan]:
                other = plans[of[found]]
                if known.plan_end_s[other] <= start_s:
                    if listed[of[found]] != at:
                        if count == len(before):
                            before = np.append(before, np.empty(count, np.int64))
                        before[count] = of[found]
                        listed[of[found]] = at
                        last_s = max(last_s, known.plan_end_s[other])
                        count += 1
                    if older[found] < 0 or latest[older[found]] <= known.plan_start_s[other]:
                        break
                found = older[found]
        for told in range(known.plan_first[plan], known.plan_first[plan + 1]):
            lane = known.lane[told]
            of[row], older[row], latest[row] = at, newest[lane], known.plan_end_s[plan]
            if newest[lane] >= 0:
                latest[row] = max(latest[row], latest[newest[lane]])
            newest[lane] = row
            row += 1
        first[at + 1] = count
        if last_s >= 0 and start_s // _MINUTE_S - last_s // _MINUTE_S <= 1:
            gap[at] = start_s - last_s
    return first, before[:count], gap


@njit(cache=True, nogil=True)
def _sum_known(
    known: Known, plans: Ints, begin_s: Ints, end_s: Ints, asked: Asked, who: Ints, lanes: int, step_s: int, sums: Ints
) -> None:
    """What each asker's part of every plan draws in all futures, `begin_s` and `end_s` into the horizon."""
    first, asker = _above(asked, who, lanes)
    part, touched = np.zeros((len(who), 3), np.int64), np.empty(len(who), np.int64)
    for at, plan in enumerate(plans):
        count = 0
        for row in range(known.plan_first[plan], known.plan_first[plan + 1]):
            lane = known.lane[row]
            for one in asker[first[lane] : first[lane + 1]]:
                if not part[one, 1]:
                    touched[count] = one
                    count += 1
                part[one, 0] += known.power[row]
                part[one, 1] += known.busy[row]
                part[one, 2] += known.unknown[row]
        for one in touched[:count]:
            for what in range(3):
                if part[one, what]:
                    slope = sums[asked.row[who[one]], _RUNNING * known.plan_running[plan] + what]
                    for future in range(FUTURES):
                        _turn(slope, begin_s[at, future], part[one, what], step_s)
                        _turn(slope, end_s[at, future], -part[one, what], step_s)
            part[one] = 0


@njit(cache=True, nogil=True)
def _above(asked: Asked, who: Ints, lanes: int) -> tuple[Ints, Ints]:
    """Where those who ask for each entity of the group begin, `[lanes + 1]`, and which of `who` they are."""
    first = np.zeros(lanes + 1, np.int64)
    for one in who:
        for lane in asked.below[asked.begin[one] : asked.end[one]]:
            first[lane + 1] += 1
    first = first.cumsum()
    asker, filled = np.empty(first[-1], np.int64), first.copy()
    for at, one in enumerate(who):
        for lane in asked.below[asked.begin[one] : asked.end[one]]:
            asker[filled[lane]] = at
            filled[lane] += 1
    return first, asker


@njit(cache=True, nogil=True)
def _turn(slope: Ints, into_s: int, weight: int, step_s: int) -> None:
    """A stretch of such weight begins so far into the horizon; one of a negative weight ends there."""
    into_s = min(max(into_s, 0), (len(slope) - 2) * step_s)
    step, into = into_s // step_s, into_s % step_s
    slope[step] += weight * (step_s - into)
    slope[step + 1] += weight * into


@njit(cache=True, nogil=True)
def _sum_coming(
    known: Known, coming: Coming, index: int, plans: Ints, begin: Ints, end: Ints, asked: Asked, who: Ints, task: int,
    step_s: int, sums: Ints,
) -> None:  # fmt: skip
    """What newcomers to one pool draw in all futures."""
    origin_s = asked.origin_s[task]
    place, places, many = _places(known, coming, index, plans, known.lanes[asked.group[task]])
    takes = _takes(known, coming, index, plans, place, places, origin_s)
    drawn = np.zeros((places, 2, sums.shape[2]), np.int64)
    _newcomers(known, coming, coming.pool[index], plans, begin, end, place, takes, many, origin_s, step_s, drawn)
    for one in who:
        for lane in asked.below[asked.begin[one] : asked.end[one]]:
            if place[lane] >= 0:
                sums[asked.row[one], _NEWCOMERS:] += drawn[place[lane] // many]


@njit(cache=True, nogil=True)
def _places(known: Known, coming: Coming, index: int, plans: Ints, lanes: int) -> tuple[Ints, int, int]:
    """The rank of each leaf of a pool among the places, -1 of others `[lanes]`; how many places, and leaves of each.

    The first leaf of a place, whose rank they divide, tells of all.
    """
    leaf = coming.leaf[coming.leaf_first[index] : coming.leaf_first[index + 1]]
    many = -(-len(leaf) // _PLACES)
    order = np.arange(len(leaf))
    if many > 1:
        latest = np.full(lanes, _NEVER)
        for plan in plans:
            for row in range(known.plan_first[plan], known.plan_first[plan + 1]):
                latest[known.lane[row]] = max(latest[known.lane[row]], known.plan_end_s[plan])
        order = latest[leaf].argsort(kind="mergesort")
    rank = np.full(lanes, _NEVER)
    rank[leaf[order]] = np.arange(len(leaf))
    return rank, -(-len(leaf) // many), many


@njit(cache=True, nogil=True)
def _takes(
    known: Known, coming: Coming, index: int, plans: Ints, place: Ints, places: int, origin_s: int
) -> np.ndarray:
    """Whether a place takes newcomers: it is free, or once got one of the jobs. A service stays on the others."""
    first, last = coming.leaf_first[index], coming.leaf_first[index + 1]
    many = -(-(last - first) // places)
    got = np.zeros(len(place), np.bool_)
    for at in range(first, last):
        got[coming.leaf[at]] = coming.since_s[at] <= origin_s
    takes = np.ones(places, np.bool_)
    for plan in plans:
        for row in range(known.plan_first[plan], known.plan_first[plan + 1]):
            lane = known.lane[row]
            if place[lane] >= 0 and place[lane] % many == 0 and not got[lane]:
                takes[place[lane] // many] = False
    return takes


@njit(cache=True, nogil=True)
def _newcomers(
    known: Known, coming: Coming, pool: int, plans: Ints, begin: Ints, end: Ints, place: Ints, takes: np.ndarray,
    many: int, origin_s: int, step_s: int, drawn: Ints,
) -> None:  # fmt: skip
    """One job after the other in every future, on the places that are promised to be free first."""
    at_s = coming.at_s[coming.first[pool] : coming.first[pool + 1]]
    span_s = (drawn.shape[2] - 2) * step_s
    days = _days(known.whole_s if origin_s >= known.whole_s else known.since_s, origin_s, span_s)
    if len(days) == 0:
        return
    week = np.searchsorted(at_s, origin_s, "right") - np.searchsorted(at_s, origin_s - 7 * DAY_S, "right")
    longer = max(int(-(-week // (7 * many * _JOBS))), 1)
    free_s, promised_s = np.empty(len(takes), np.int64), np.empty(len(takes), np.int64)
    survival = known.survival[_day(known, origin_s)]
    for future in range(FUTURES):
        _done(known, plans, begin[:, future], end[:, future], place, many, free_s, promised_s)
        lag_s = int(days[future]) * DAY_S
        first = np.searchsorted(at_s, origin_s - lag_s, "right")
        last = np.searchsorted(at_s, origin_s - lag_s + span_s, "right")
        for step in range(first, last, many * longer):
            job, now = coming.first[pool] + step, at_s[step] + lag_s
            chosen = _first(free_s, promised_s, takes, now, coming.wanted[job])
            limit_s = coming.limit_s[job]
            chance = ONE * (2 * _rank_of(future, at_s[step], limit_s) + 1)
            limit_s *= longer
            starts_s = now
            for one in chosen:
                starts_s = max(starts_s, free_s[one])
            ends_s = starts_s + _lasts(survival[coming.kind[job]], chance, limit_s)
            for one in chosen:
                free_s[one], promised_s[one] = ends_s, starts_s + limit_s
                for what, weight in enumerate((coming.power[job], 1)):
                    _turn(drawn[one, what], starts_s - origin_s, weight, step_s)
                    _turn(drawn[one, what], ends_s - origin_s, -weight, step_s)


@njit(cache=True, nogil=True)
def _days(since_s: int, origin_s: int, span_s: int) -> Ints:
    """How many days ago what comes again came in each future; none where no whole horizon was told of before."""
    least, most = -(-span_s // DAY_S), min((origin_s - since_s) // DAY_S, _DAYS)
    lags = np.empty(FUTURES if most >= least else 0, np.int64)
    stays_out = np.full(max(most - least + 1, 1), _SAME_WEEKDAY)
    stays_out[-least % 7 :: 7] = 1
    turn = stays_out.copy()
    for future in range(len(lags)):
        day = int(turn.argmin())
        turn[day] += 2 * stays_out[day]
        lags[future] = least + day
    return lags


@njit(cache=True, nogil=True)
def _done(
    known: Known, plans: Ints, begin: Ints, end: Ints, place: Ints, many: int, free_s: Ints, promised_s: Ints
) -> None:
    """When each place is done with the jobs that are known in one future, and is promised to be."""
    free_s[:], promised_s[:] = _NEVER, _NEVER
    for at, plan in enumerate(plans):
        promise_s = begin[at] + known.plan_end_s[plan] - known.plan_start_s[plan]
        for row in range(known.plan_first[plan], known.plan_first[plan + 1]):
            rank = place[known.lane[row]]
            if rank >= 0 and rank % many == 0:
                free_s[rank // many] = max(free_s[rank // many], end[at])
                promised_s[rank // many] = max(promised_s[rank // many], promise_s)


@njit(cache=True, nogil=True)
def _first(free_s: Ints, promised_s: Ints, takes: np.ndarray, now: int, wanted: int) -> Ints:
    """The places that are promised to be free first, so many as are wanted or there; of equal ones the first."""
    chosen = np.empty(min(wanted, takes.sum()), np.int64)
    left = takes.copy()
    for at in range(len(chosen)):
        best, best_s = _NEVER, 0
        for one in range(len(takes)):
            turn_s = 0 if free_s[one] <= now else promised_s[one]
            if left[one] and (best < 0 or turn_s < best_s):
                best, best_s = one, turn_s
        chosen[at] = best
        left[best] = False
    return chosen
