"""Load of GPU servers that few people share: idle for days or weeks, then busy for as long, at a few levels.

A user has campaigns. Within one, jobs follow each other after a while that is that user's own, take 1, 2, 4 or all GPUs
and draw what that user's jobs draw, so that the mean over a server's GPUs lies on a lattice. Jobs wait for free GPUs.
Ranges are common knowledge of the trade [K], as those of `prior`.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from forecast.retrain.draws import Ends, between, wandering
from forecast.simulator.arrays import Floats

_GPUS, _USERS = (1, 2, 4, 8), 4

#: Days of a campaign and between two, on average.
_CAMPAIGN_D, _AWAY_D = (0.3, 15.0), (0.5, 40.0)

#: Hours from one job to the next and of a job, and the spread of the logs of those of one user.
_GAP_H, _LASTS_H, _UNLIKE = (0.05, 24.0), (0.3, 100.0), 1.2

#: GPUs that a user asks for; what a job draws of what they may, and what their counters say; and how far those of one
#: user differ. More often than not a user looks at one result before the next job.
_ASKS, _DRAWS, _COUNTED, _DIFFER, _ONE_BY_ONE = (1, 1, 2, 4, 8), (0.1, 1.2), (0.2, 1.0), 0.3, 0.7

#: Nobody waits longer.
_PATIENCE_D = 3.0

#: What runs breathes: up to such a share, over so many steps.
_BREATHES, _BREATHES_OVER = 0.3, (1.0, 300.0)

#: What an idle server draws, of what its GPUs can.
_IDLE = (0.05, 0.3)


@dataclass(frozen=True)
class _Job:
    comes: float
    lasts: float
    gpus: int
    draws: float
    counted: float


def campaigns(random: np.random.Generator, entities: int, steps: int, step_s: int) -> tuple[Floats, Floats]:
    """Shares of what the GPUs of each server can draw, and of what their counters can say; both `[N, T]`."""
    busy = np.stack([_server(random, steps, step_s) for _ in range(entities)])
    over = between(random, _BREATHES_OVER, entities)
    breath = np.abs(wandering(random, over, steps)).clip(0, 2) / 2
    load, counted = (busy * (1 - random.uniform(0, _BREATHES, (entities, 1)) * breath)[:, None]).transpose(1, 0, 2)
    idle = random.uniform(*_IDLE, (entities, 1))
    return idle + (1 - idle) * load, counted


def _server(random: np.random.Generator, steps: int, step_s: int) -> Floats:
    """What jobs draw and what counters say of it, `[2, T]`, of one server."""
    gpus = int(random.choice(_GPUS))
    users = range(int(random.integers(1, _USERS + 1)))
    jobs = [job for _ in users for job in _jobs(random, gpus, steps, step_s)]
    changes = np.zeros((2, steps + 1))
    free = [0.0] * gpus
    for job in sorted(jobs, key=lambda job: job.comes):
        begin = max(job.comes, heapq.nsmallest(job.gpus, free)[-1])
        if begin >= steps or begin - job.comes > _PATIENCE_D * 86_400 / step_s:
            continue
        for _ in range(job.gpus):
            heapq.heapreplace(free, begin + job.lasts)
        end = min(max(int(begin + job.lasts), int(begin) + 1), steps)
        share = job.gpus / gpus * np.array([job.draws, job.counted])
        changes[:, int(begin)] += share
        changes[:, end] -= share
    return np.asarray(changes.cumsum(1)[:, :steps].clip(0, 1))


def _jobs(random: np.random.Generator, gpus: int, steps: int, step_s: int) -> list[_Job]:
    """All that one user runs; times in steps."""
    day, hour = 86_400 / step_s, 3600 / step_s
    working, away = _one(random, _CAMPAIGN_D) * day, _one(random, _AWAY_D) * day
    gap, lasts = _one(random, _GAP_H) * hour, _one(random, _LASTS_H) * hour
    asks, unlike = min(gpus, int(random.choice(_ASKS))), random.uniform(0, _UNLIKE)
    draws, counted, differ = random.uniform(*_DRAWS), random.uniform(*_COUNTED), random.uniform(0, _DIFFER)
    jobs = []
    now = random.exponential(away) if random.random() < away / (working + away) else 0.0
    while now < steps:
        until = min(now + random.exponential(working), float(steps))
        while now < until:
            now += random.exponential(gap)
            long = lasts * float(np.exp(unlike * random.standard_normal()))
            other = differ * random.standard_normal(2) * (1.0, 0.5)
            jobs.append(_Job(now, long, asks, *np.clip([draws + other[0], counted + other[1]], 0.02, 1.0)))
            now += long if asks == gpus or random.random() < _ONE_BY_ONE else 0.0
        now = max(now, until) + random.exponential(away)
    return jobs


def _one(random: np.random.Generator, ends: Ends) -> float:
    return float(between(random, ends))
