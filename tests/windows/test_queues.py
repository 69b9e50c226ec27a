"""Queues played forward, beside a simulation of one future after the other that is easy to follow."""

from collections import defaultdict
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from trees import MONDAY, node, tree_of

from forecast.contracts.specs import ForecastSpec
from forecast.contracts.tables import JOB_SCHEDULE
from forecast.contracts.topology import Topology
from forecast.features.outlook import DAY_S, EXPECTED, OUTLOOK_NAMES, PIECES, RUNNING, UNSUBMITTED, Outlook, outlook
from forecast.features.schedule import ONE
from forecast.simulator.config import RowConfig, SimulatorConfig
from forecast.simulator.fleet import Fleet
from forecast.simulator.tree import topology
from forecast.simulator.workload import Workload
from forecast.windows.playing import FUTURES, _alive, _days, _lasts, _rank_of, play
from forecast.windows.queues import Queues

SPEC = ForecastSpec(3600, 8, 24, ("power_w",), ("power_w",), (0.1, 0.5, 0.9), OUTLOOK_NAMES)


class Slow:
    """One future at one time: servers are sets, and a job begins when all that it waits for have ended."""

    def __init__(self, known: Outlook, origin_s: int) -> None:
        self.known, self.now = known, origin_s
        self.day = min(max(origin_s // DAY_S - known.first_day, 0), len(known.survival) - 1)
        rows = [range(*known.plan_first[plan : plan + 2]) for plan in range(len(known.plan_start_s))]
        self.servers = [{int(known.entity[row]): row for row in each} for each in rows]
        believed = (known.plan_from_s <= origin_s) & (known.plan_until_s > origin_s) & (known.plan_end_s > origin_s)
        self.held = sorted(np.flatnonzero(believed).tolist(), key=lambda plan: known.plan_start_s[plan])
        self.waits_for = {plan: self._before(plan) for plan in self.held}

    def _before(self, plan: int) -> list[int]:
        start, end, running = self.known.plan_start_s, self.known.plan_end_s, self.known.plan_running
        before = [
            other
            for other in self.held
            if not running[plan]
            and end[other] <= start[plan]
            and self.servers[other].keys() & self.servers[plan].keys()
        ]
        latest = max((end[other] for other in before), default=-(10**9))
        return before if start[plan] // 60 - latest // 60 <= 1 else []

    def spells(self, future: int) -> dict[int, tuple[int, int]]:
        found: dict[int, tuple[int, int]] = {}
        for plan in self.held:
            start, promised = int(self.known.plan_start_s[plan]), int(self.known.plan_end_s[plan])
            kind, before = self.known.plan_kind[plan], self.waits_for[plan]
            passed = min(max(self.now - start, 0), promised - start)
            alive = _alive(self.known.survival[self.day, kind], passed, promised - start)
            lasts = max(self._lasts(kind, future, start, promised - start, alive), passed)
            if before:
                wait = start - max(self.known.plan_end_s[other] for other in before)
                start = int(max(found[other][1] for other in before) + wait)
            found[plan] = start, start + lasts
        return found

    def _lasts(self, kind: int, future: int, at_s: int, limit_s: int, alive: int) -> int:
        chance = alive * (2 * _rank_of(future, at_s, limit_s) + 1)
        return int(_lasts(self.known.survival[self.day, kind], chance, limit_s))

    def newcomers(
        self, future: int, days: np.ndarray, spells: dict[int, tuple[int, int]]
    ) -> list[tuple[int, int, int]]:
        """Leaf, begin and end of each."""
        if not len(days):
            return []
        jobs, peers, told = self.known.submissions, self.known.peers, []
        for pool in range(len(jobs.first) - 1):
            free, promised = defaultdict(int), defaultdict(int)
            for plan, (begin, end) in spells.items():
                for leaf in self.servers[plan]:
                    limit = int(self.known.plan_end_s[plan] - self.known.plan_start_s[plan])
                    free[leaf], promised[leaf] = max(free[leaf], end), max(promised[leaf], begin + limit)
            mine = [(int(peers.leaf[at]), jobs.since_s[at] <= self.now) for at in np.flatnonzero(peers.pool == pool)]
            takes = [leaf for leaf, got in mine if got or leaf not in free]
            for job in range(*jobs.first[pool : pool + 2]):
                now = int(jobs.at_s[job] + days[future] * DAY_S)
                if not self.now < now <= self.now + SPEC.horizon_steps * SPEC.step_s:
                    continue
                order = sorted(takes, key=lambda leaf: 0 if free[leaf] <= now else promised[leaf])
                chosen, limit = order[: jobs.wanted[job]], int(jobs.limit_s[job])
                begin = max([now, *(free[leaf] for leaf in chosen)])
                end = begin + self._lasts(jobs.kind[job], future, int(jobs.at_s[job]), limit, ONE)
                for leaf in chosen:
                    free[leaf], promised[leaf] = end, begin + limit
                    told.append((leaf, begin, end))
        return told

    def busy(self) -> np.ndarray:
        """Expected leaves that are busy with known jobs, running ones and newcomers, `[3, N, H]`."""
        totals = np.zeros((3, len(self.known.leaves), SPEC.horizon_steps))
        since_s = int(self.known.told_since(np.array(self.now)))
        days = _days(since_s, self.now, SPEC.horizon_steps * SPEC.step_s)
        for future in range(FUTURES):
            spells = self.spells(future)
            for plan, (begin, end) in spells.items():
                for leaf, row in self.servers[plan].items():
                    self._lay(totals[0], leaf, begin, end, self.known.busy[row])
                    if self.known.plan_running[plan]:
                        self._lay(totals[1], leaf, begin, end, self.known.busy[row])
            for leaf, begin, end in self.newcomers(future, days, spells):
                self._lay(totals[2], leaf, begin, end, 1)
        return np.minimum(totals / (FUTURES * SPEC.step_s * self.known.leaves[:, None]), 1.0)

    def _lay(self, total: np.ndarray, leaf: int, begin: int, end: int, weight: int) -> None:
        edges = self.now + SPEC.step_s * np.arange(SPEC.horizon_steps + 1)
        overlap = (np.minimum(end, edges[1:]) - np.maximum(begin, edges[:-1])).clip(0)
        for over in self.known.over[1][self.known.over[0] == leaf]:
            total[over] += weight * overlap


def agree(jobs: pl.DataFrame, tree: Topology, hours: list[int]) -> float:
    """Queues tell what one future after the other tells; how many server-hours were told of."""
    known, told = outlook(jobs.lazy(), tree), 0.0
    queues = Queues(known, SPEC)
    for hour in hours:
        now = int((MONDAY + timedelta(hours=hour)).timestamp())
        found = queues.at(np.arange(len(known.leaves)), np.full(len(known.leaves), now))
        expected = Slow(known, now).busy()
        for at, row in enumerate((EXPECTED.start, RUNNING.start, UNSUBMITTED.start)):
            assert_allclose(found[row + 1], expected[at], atol=1e-9, err_msg=f"{OUTLOOK_NAMES[row + 1]} at hour {hour}")
        told += expected.sum()
    return told


@pytest.mark.parametrize("seed", range(3))
def test_the_queues_of_a_site_are_played_as_one_future_after_the_other_tells(seed: int) -> None:
    rows = [RowConfig("hall", "h100-air", 4, 2, 0.25), RowConfig("hall", "cpu-2s", 1, 4, 0.0)]
    fleet = Fleet.of(SimulatorConfig(seed=seed, start=MONDAY.date().isoformat(), days=20, rows=rows))
    assert agree(Workload(fleet).schedule(), Topology.of(topology(fleet)), [30, 14 * 24 + 7, 19 * 24 + 16]) > 0


@given(st.lists(st.integers(1, ONE), min_size=PIECES, max_size=PIECES), st.integers(1, 10**9), st.integers(0, 99))
def test_as_many_survive_as_the_curve_says(edges: list[int], limit_s: int, part: int) -> None:
    survival = np.array([ONE, *sorted(edges, reverse=True)])
    chance = part * 2 * FUTURES * ONE // 100 + 1
    expected = np.interp(chance / (2 * FUTURES), survival[::-1], np.arange(PIECES + 1)[::-1] * limit_s / PIECES)
    assert abs(_lasts(survival, chance, limit_s) - expected) <= PIECES + 1e-6 * limit_s


TREE = tree_of(*(node(name, parent="rack") for name in "abc"), node("rack", "rack"))

#: Jobs that used from a tenth to all of their ten hours.
PAST = [
    ({"c"}, known, begin, length, f"past-{number}", status)
    for number in range(30)
    for begin in [-100 - number]
    for known, length, status in [(begin, 10, "running"), (begin + (number % 10 + 1), number % 10 + 1, "done")]
]
HOURS = st.integers(-20, 40)
ROWS = st.lists(
    st.tuples(
        st.sets(st.sampled_from(["a", "b", "c", "rack"]), min_size=1),
        HOURS,
        HOURS,
        st.sampled_from([0.5, 1, 5, 10, 20]),
        st.sampled_from("123456789"),
        st.sampled_from(["queued", "queued", "running", "running", "done"]),
    ),
    max_size=40,
)


#: Two jobs share a server; the one that begins first is promised to end last, and a third one waits for it.
SHARED = [
    ({"a"}, -3, -3, 13, "1", "running"),
    ({"a"}, -1, -1, 6, "2", "running"),
    ({"a"}, 0, 10, 10, "3", "queued"),
]


def schedule(rows: list[tuple]) -> pl.DataFrame:
    table = [
        {
            "job_id": job,
            "entity_id": entity,
            "kind": "training",
            "status": status,
            "start_time": MONDAY + timedelta(hours=start),
            "end_time": MONDAY + timedelta(hours=start + length),
            "available_at": MONDAY + timedelta(hours=known),
            "planned_power_w": 1000.0,
        }
        for entities, known, start, length, job, status in PAST + rows
        for entity in entities
    ]
    return pl.DataFrame(table, schema=dict(JOB_SCHEDULE.required))


@settings(max_examples=30, deadline=None)
@example(SHARED, 0)
@given(ROWS, st.integers(0, 40))
def test_messy_queues_are_played_as_one_future_after_the_other_tells(rows: list[tuple], hour: int) -> None:
    agree(schedule(rows), TREE, [hour])


def test_queues_without_jobs_are_played_by_what_was_compiled_for_those_with_jobs() -> None:
    """It takes seconds, in which a server would forecast nothing."""
    for table in (schedule(SHARED), schedule([]), schedule([]).clear()):
        agree(table, TREE, [0])
    assert len(play.signatures) == 1
