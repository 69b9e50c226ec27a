"""First come, first served, with a reservation for everybody, and a record of what was known when.

A job is placed at once on the slots that are promised to be free first, and stays in their queues. As jobs end before
their limit, those behind move up, and each change of plan is a revision. Nothing here looks at a job's true run time
before it has come true.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from forecast.simulator.arrays import Bools, Floats, Ints
from forecast.simulator.jobs import Job
from forecast.simulator.streams import stream

#: Between an event and its row in the scheduler's accounting [K].
REPORT_DELAY_S = 30.0


@dataclass(frozen=True)
class Segment:
    """A stretch of time in which a job computes on its servers; a failure ends one, the restart begins the next."""

    job: Job
    servers: Ints
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Revision:
    """What the scheduler said of a job from `available_s` on; `end_s` is the limit until the end has been seen."""

    job: Job
    servers: Ints
    status: str
    start_s: float
    end_s: float
    available_s: float


@dataclass
class _Waiting:
    job: Job
    slots: Ints
    planned_start_s: float = np.nan


@dataclass
class Pool:
    """Slots that take the same kind of job.

    Attributes:
        slots: the servers of each slot.
        gpus: governed dies over all servers of one slot, for the failure rate.
        failures_per_gpu_h: rate of unexpected failures.
        start_delay_s: mean of what a start is late beyond what is said when a job is placed.
    """

    slots: Sequence[Ints]
    gpus: int
    failures_per_gpu_h: float
    seed: int
    start_delay_s: float = 0.0
    segments: list[Segment] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._held_until_s: Floats = np.full(len(self.slots), -np.inf)
        self._busy: Bools = np.zeros(len(self.slots), dtype=bool)
        self._queue: list[_Waiting] = []
        self._ends: list[tuple[float, int, Ints]] = []
        self._order = count()

    def run(self, jobs: Iterable[Job], end_s: float) -> None:
        """Work through `jobs` in order of submission until `end_s`, filling `segments` and `revisions`."""
        for job in jobs:
            self._finish_until(job.submit_s)
            self._submit(job)
        self._finish_until(end_s)

    def _submit(self, job: Job) -> None:
        free_s = self._promised_free_s()
        slots = np.argsort(free_s, kind="stable")[: job.slots]
        self._queue.append(_Waiting(job, slots))
        self._replan(job.submit_s)

    def _finish_until(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            end_s, _, slots = heapq.heappop(self._ends)
            self._busy[slots] = False
            self._held_until_s[slots] = -np.inf
            self._replan(end_s)

    def _promised_free_s(self) -> Floats:
        free_s = self._held_until_s.copy()
        for waiting in self._queue:
            free_s[waiting.slots] = waiting.planned_start_s + waiting.job.limit_s
        return free_s

    def _replan(self, now: float) -> None:
        """Start whatever can start at `now`; tell the others when they can expect to, where that has changed."""
        free_s, taken = self._held_until_s.copy(), self._busy.copy()
        still_waiting = []
        for waiting in self._queue:
            if taken[waiting.slots].any():
                start_s = max(now, float(free_s[waiting.slots].max()))
                if start_s != waiting.planned_start_s:
                    self._say(waiting, "queued", start_s, start_s + waiting.job.limit_s, now)
                    waiting.planned_start_s = start_s
                free_s[waiting.slots] = start_s + waiting.job.limit_s
                still_waiting.append(waiting)
            else:
                self._start(waiting, now)
                free_s[waiting.slots] = self._held_until_s[waiting.slots]
            taken[waiting.slots] = True
        self._queue = still_waiting

    def _start(self, waiting: _Waiting, now: float) -> None:
        job = waiting.job
        rng = stream(self.seed, "run", job.job_id)
        start_s = now + _prolog_s(rng)
        limit_s = start_s + job.limit_s
        self._say(waiting, "queued", start_s, limit_s, now)
        if self.start_delay_s > 0:
            start_s += float(np.floor(stream(self.seed, "late", job.job_id).exponential(self.start_delay_s)))
            limit_s = start_s + job.limit_s
        end_s = self._compute(waiting, rng, start_s, limit_s)
        self._busy[waiting.slots] = True
        self._held_until_s[waiting.slots] = limit_s
        heapq.heappush(self._ends, (end_s, next(self._order), waiting.slots))

    def _compute(self, waiting: _Waiting, rng: np.random.Generator, start_s: float, limit_s: float) -> float:
        """Lay down the segments of one job, restarting after failures within its limit; return its true end."""
        job = waiting.job
        rate_per_s = self.failures_per_gpu_h * self.gpus * job.slots / 3600
        now, left_s = start_s, job.work_s
        while True:
            self._say(waiting, "running", now, limit_s, now)
            fails_after_s = rng.exponential(1 / rate_per_s) if rate_per_s > 0 else np.inf
            end_s = min(now + max(1.0, float(np.ceil(min(left_s, fails_after_s)))), limit_s)
            self.segments.append(Segment(job, self._servers(waiting), now, end_s))
            restart_s = end_s + np.floor(60 * rng.uniform(10, 60))  # [K] diagnose, swap in a spare, load a checkpoint
            failed = now + fails_after_s <= end_s and fails_after_s < left_s
            self._say(waiting, "failed" if failed else "done", now, end_s, end_s)
            if not failed or restart_s >= limit_s - 60:
                return end_s
            self._say(waiting, "queued", restart_s, limit_s, end_s + 1)
            left_s -= _kept_s(job, end_s - now)
            now = restart_s

    def _servers(self, waiting: _Waiting) -> Ints:
        return np.concatenate([self.slots[slot] for slot in waiting.slots])

    def _say(self, waiting: _Waiting, status: str, start_s: float, end_s: float, at_s: float) -> None:
        servers = self._servers(waiting)
        self.revisions.append(Revision(waiting.job, servers, status, start_s, end_s, at_s + REPORT_DELAY_S))


def _prolog_s(rng: np.random.Generator) -> float:
    """Draw the time between allocation and start: a node check, now and then a slow one [K]."""
    slow = rng.random() < 0.05
    return float(np.floor(rng.uniform(600, 2400) if slow else rng.uniform(45, 180)))


def _kept_s(job: Job, ran_s: float) -> float:
    """Return the progress that survives a failure: up to the last checkpoint."""
    return ran_s - ran_s % job.checkpoint_s if job.checkpoint_s else 0.0
