"""Jobs as people submit them: training that takes whole racks for days, batch that takes one server for hours."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecast.simulator.config import DAY_S, SimulatorConfig
from forecast.simulator.streams import stream

#: Work is submitted this long before the record, so that the fleet is already busy at its first step.
SPIN_UP_S = 7 * DAY_S

_TRAINING_RACKS, _TRAINING_RACKS_SHARE = (1, 2, 4), (0.6, 0.3, 0.1)  # [K]
_NIGHT_RATE = 0.25  # [K] submissions at night and on weekends, over those of a working afternoon


@dataclass(frozen=True)
class Job:
    """One submission. What only the simulator knows is `work_s`; the scheduler sees `limit_s`.

    Attributes:
        slots: racks (training) or servers (batch) it needs at once.
        work_s: run time that finishes it if nothing fails.
        limit_s: run time asked for, after which it is killed.
        intensity: mean utilisation while it computes.
        planned_intensity: what its owner declared.
        checkpoint_s: interval between checkpoints; 0 for none.
    """

    job_id: str
    kind: str
    submit_s: float
    slots: int
    work_s: float
    limit_s: float
    intensity: float
    planned_intensity: float
    checkpoint_s: float


@dataclass(frozen=True)
class Shape:
    """How the jobs of one kind are distributed: run times are log-normal, clipped to `[low_s, high_s]`."""

    kind: str
    median_s: float
    spread: float
    low_s: float
    high_s: float


TRAINING = Shape("training", median_s=14 * 3600, spread=0.9, low_s=3600, high_s=7 * DAY_S)  # [K] hours to days
BATCH = Shape("batch", median_s=1.5 * 3600, spread=1.0, low_s=300, high_s=DAY_S)  # [K]


def arrivals(
    config: SimulatorConfig, pool: str, shape: Shape, slots: int, load: float, from_s: float = -SPIN_UP_S
) -> Iterator[Job]:
    """Yield the jobs submitted to one pool, in order, as a Poisson process that follows local working hours.

    Args:
        pool: name of the pool; part of the job ids and of the random stream.
        slots: racks or servers in the pool.
        load: offered slot-seconds over what the pool has.
        from_s: when the pool opens, in seconds from the origin.
    """
    if load == 0 or slots == 0:
        return
    rng = stream(config.seed, "arrivals", pool)
    peak_per_s = load * slots / _mean_slot_seconds(shape, slots) / _mean_rate(config)
    now, number = float(from_s), 0
    while True:
        now += rng.exponential(1 / peak_per_s)
        if now >= config.end_s:
            return
        if rng.random() < _submission_rate(config, now):
            number += 1
            yield _draw_job(rng, f"{pool}-{shape.kind}-{number:06d}", shape, now, slots, config.work.overestimate)


def _draw_job(rng: np.random.Generator, job_id: str, shape: Shape, now: float, slots: int, overestimate: float) -> Job:
    work_s = _run_times(rng, shape, 1)[0]
    # Owners ask for more than they need, in half hours; some know their limit and run into it [K].
    wanted_s = work_s * (rng.uniform(1.1, 2.5) * overestimate if rng.random() < 0.8 else 0.9)
    intensity = _training_intensity(rng) if shape is TRAINING else rng.uniform(0.35, 1.0)
    return Job(
        job_id=job_id,
        kind=shape.kind,
        submit_s=np.floor(now),
        slots=_racks_wanted(rng, slots) if shape is TRAINING else 1,
        work_s=work_s,
        limit_s=np.ceil(wanted_s / 1800) * 1800,
        intensity=intensity,
        planned_intensity=float(np.clip(intensity * np.exp(rng.normal(0.0, 0.1)), 0.0, 1.0)),
        checkpoint_s=60.0 * int(rng.integers(20, 121)) if shape is TRAINING else 0.0,
    )


def _run_times(rng: np.random.Generator, shape: Shape, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    times_s = shape.median_s * np.exp(rng.normal(0.0, shape.spread, count))
    return np.floor(np.clip(times_s, shape.low_s, shape.high_s))


def _training_intensity(rng: np.random.Generator) -> float:
    """Draw the mean over one iteration: high and low level and duty of constants.md §4, as iterations last seconds."""
    high, low, duty = rng.uniform(0.75, 1.0), rng.uniform(0.25, 0.6), rng.uniform(0.6, 0.9)
    # Well-tuned runs hide most of the low phase; squaring leans towards them [D].
    return float(high - (1 - duty) * (high - low) * rng.random() ** 2)


def _racks_wanted(rng: np.random.Generator, slots: int) -> int:
    return min(int(rng.choice(_TRAINING_RACKS, p=_TRAINING_RACKS_SHARE)), slots)


def _mean_slot_seconds(shape: Shape, slots: int) -> float:
    mean_s = float(_run_times(stream(0, "mean run time", shape.kind), shape, 20_000).mean())
    racks = sum(min(want, slots) * share for want, share in zip(_TRAINING_RACKS, _TRAINING_RACKS_SHARE, strict=True))
    return mean_s * (racks if shape is TRAINING else 1.0)


def _submission_rate(config: SimulatorConfig, now: float) -> float:
    """Return the rate of submissions at `now` over its maximum."""
    local = (config.origin + timedelta(seconds=now)).astimezone(config.zone)
    working = local.weekday() < 5 and 8 <= local.hour < 19
    return 1.0 if working else _NIGHT_RATE


def _mean_rate(config: SimulatorConfig) -> float:
    return float(np.mean([_submission_rate(config, 3600.0 * hour) for hour in range(7 * 24)]))
