"""Everything the fleet is asked to do: utilisation per server for the physics, and the schedule as it was known."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from forecast.contracts.tables import JOB_SCHEDULE, UTC
from forecast.simulator.arrays import Floats, Ints
from forecast.simulator.config import DAY_S
from forecast.simulator.fleet import Fleet
from forecast.simulator.jobs import BATCH, SPIN_UP_S, TRAINING, Job, arrivals
from forecast.simulator.power import nominal_wall_w
from forecast.simulator.scheduler import Pool, Revision, Segment
from forecast.simulator.services import Services
from forecast.simulator.skus import sku
from forecast.simulator.streams import stream

LEASE_S = 7 * DAY_S
RENEWED_AHEAD_S = 3 * DAY_S  # [K] owners extend a service's lease some days before it ends

_STARTUP_S, _STARTUP_LEVEL = 420.0, 0.3  # [K] containers, data, compilation
_CHECKPOINT_S, _CHECKPOINT_LEVEL = 120.0, 0.15  # [K] "sometimes close to idle" (constants.md §4)
_JITTER = 0.015  # [K] between servers that share one job


class Workload:
    """The work of one simulation.

    Attributes:
        segments: stretches of computing, of every pool.
        revisions: what the schedulers said, of every pool.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.config = fleet.config
        self.segments: list[Segment] = []
        self.revisions: list[Revision] = []
        for name, from_day in dict.fromkeys((rack.sku_name, rack.from_day) for rack in fleet.racks):
            self._run_pool(name, from_day)
        self._serving = [rack for rack in fleet.racks if rack.inference]
        self._services = Services(self.config, len(self._serving))
        self.revisions += self._leases()
        self._by_day = _by_day(self.segments)

    def day(self, day: int) -> Floats:
        """Return utilisation over one UTC day, `[substeps, N]`; days are to be asked for in order."""
        step_s = self.config.substep_s
        start_s = day * DAY_S
        shape = (DAY_S // step_s, len(self.fleet.server_ids))
        level = np.zeros(shape)
        for segment in self._by_day.get(day, ()):
            first = max(0, int(segment.start_s - start_s) // step_s)
            last = min(shape[0], -(-int(segment.end_s - start_s) // step_s))
            time_s = start_s + step_s * np.arange(first, last)
            level[first:last, segment.servers] = computing_level(segment, time_s)[:, None]
        for rack, demand in zip(self._serving, self._services.day(day).T, strict=True):
            level[:, rack.servers] = demand[:, None]
        rng = stream(self.config.seed, "jitter", day)
        level *= 1 + _JITTER * rng.standard_normal(shape, dtype=np.float32)
        return np.clip(level, 0.0, 1.0)

    def schedule(self) -> pl.DataFrame:
        """Return what was known of each job and server, and when, contract JOB_SCHEDULE."""
        told = [r for r in self._worth_telling() if r.available_s < self.config.end_s]
        counts = np.array([len(r.servers) for r in told], dtype=np.int64)
        ids = self.fleet.server_ids
        servers = np.concatenate([r.servers for r in told]) if told else np.zeros(0, dtype=np.int64)
        intensity = np.repeat([r.job.planned_intensity for r in told], counts)

        def column(values: list[str] | list[float]) -> pl.Series:
            return pl.Series(values).gather(np.repeat(np.arange(len(told)), counts))

        def moment(seconds: list[float]) -> pl.Expr:
            micros = (column(seconds) * 1e6).cast(pl.Int64)
            return pl.lit(self.config.origin, dtype=UTC) + micros.cast(pl.Duration("us"))

        return (
            pl.DataFrame({"entity_id": pl.Series(ids).gather(servers)})
            .with_columns(
                column([r.job.job_id for r in told]).alias("job_id"),
                column([r.job.kind for r in told]).alias("kind"),
                column([r.status for r in told]).alias("status"),
                moment([r.start_s for r in told]).alias("start_time"),
                moment([r.end_s for r in told]).alias("end_time"),
                pl.Series("planned_power_w", nominal_wall_w(self.fleet, servers, intensity)).round(0),
                moment([r.available_s for r in told]).alias("available_at"),
            )
            # Two events in the same second leave two revisions; the later one stands.
            .unique(JOB_SCHEDULE.key, keep="last", maintain_order=True)
            .select(list(JOB_SCHEDULE.required))
            .sort("available_at", "job_id", "entity_id")
        )

    def _run_pool(self, name: str, from_day: int) -> None:
        """Run the jobs of one SKU; racks that come later are a partition of their own, empty when it opens."""
        of_pool = [rack for rack in self.fleet.racks if (rack.sku_name, rack.from_day) == (name, from_day)]
        racks = [rack for rack in of_pool if not rack.inference]
        kind, work = sku(name), self.config.work
        if kind.whole_rack:
            slots, shape, load = [rack.servers for rack in racks], TRAINING, work.training_load
        else:
            slots = [rack.servers[[slot]] for rack in racks for slot in range(len(rack.servers))]
            shape, load = BATCH, work.batch_load
        if not slots:
            return
        rate = work.failures_per_gpu_h if kind.whole_rack else 0.0
        pool = Pool(slots, kind.die_count * len(slots[0]), rate, self.config.seed, work.start_delay_s)
        partition, opens_s = (f"{name}-{from_day}", from_day * DAY_S) if from_day else (name, -SPIN_UP_S)
        pool.run(arrivals(self.config, partition, shape, len(slots), load, opens_s), self.config.end_s)
        self.segments += pool.segments
        self.revisions += pool.revisions

    def _leases(self) -> Iterator[Revision]:
        """Yield the lease of every service and its renewals; the first was granted before the record begins.

        A rack that comes later is leased when it comes.
        """
        for rack, mean in zip(self._serving, self._services.traffic.mean, strict=True):
            short = rack.rack_id.removeprefix(f"{self.config.site}.")
            opens_s = float(rack.from_day * DAY_S)
            start_s, told_s = (opens_s, opens_s) if rack.from_day else (-float(LEASE_S), -float(DAY_S))
            job = Job(f"service-{short}", "inference", start_s, 1, np.inf, LEASE_S, mean, mean, 0.0)
            lasts_s = stream(self.config.seed, "lease", short).integers(RENEWED_AHEAD_S, LEASE_S + RENEWED_AHEAD_S)
            end_s = opens_s + float(lasts_s)
            while told_s < self.config.end_s:
                yield Revision(job, rack.servers, "running", start_s, end_s, told_s)
                told_s, end_s = end_s - RENEWED_AHEAD_S, end_s + LEASE_S

    def _worth_telling(self) -> Iterator[Revision]:
        """Yield the revisions of jobs that were still to do when the record began."""
        over = {r.job.job_id for r in self.revisions if r.status == "done" and r.available_s < 0}
        return (r for r in self.revisions if r.job.job_id not in over)


def computing_level(segment: Segment, time_s: Ints) -> Floats:
    """Return the utilisation that one segment asks for at `time_s`: start-up, then work with checkpoint dips."""
    since_s = time_s - segment.start_s
    level = np.full(len(time_s), segment.job.intensity)
    if segment.job.checkpoint_s:
        level[since_s < _STARTUP_S] = _STARTUP_LEVEL
        level[(since_s > _STARTUP_S) & (since_s % segment.job.checkpoint_s < _CHECKPOINT_S)] = _CHECKPOINT_LEVEL
    return level


def _by_day(segments: list[Segment]) -> dict[int, list[Segment]]:
    days: dict[int, list[Segment]] = {}
    for segment in segments:
        for day in range(int(segment.start_s // DAY_S), int(segment.end_s // DAY_S) + 1):
            days.setdefault(day, []).append(segment)
    return days
