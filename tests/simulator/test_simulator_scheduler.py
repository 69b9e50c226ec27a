from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.simulator.config import DAY_S, SimulatorConfig, WorkConfig
from forecast.simulator.jobs import BATCH, SPIN_UP_S, TRAINING, Job, Shape, arrivals
from forecast.simulator.scheduler import REPORT_DELAY_S, Pool

HOUR = 3600.0


def job(name: str, submit_s: float, work_s: float, limit_s: float, slots: int = 1) -> Job:
    return Job(name, "training", submit_s, slots, work_s, limit_s, 0.8, 0.8, 1800.0)


def run(jobs: list[Job], slots: int, failures_per_gpu_h: float = 0.0, start_delay_s: float = 0.0) -> Pool:
    servers = [np.array([2 * slot, 2 * slot + 1]) for slot in range(slots)]
    pool = Pool(servers, 16, failures_per_gpu_h, 0, start_delay_s)
    pool.run(jobs, 60.0 * DAY_S)
    return pool


@st.composite
def workloads(draw: st.DrawFn) -> tuple[list[Job], int, float]:
    slots = draw(st.integers(1, 4))
    times = st.tuples(st.integers(0, 20_000), st.integers(60, 30_000), st.floats(0.5, 3.0), st.integers(1, slots))
    jobs, now = [], 0
    for number, (gap_s, work_s, asked, wanted) in enumerate(draw(st.lists(times, min_size=1, max_size=25))):
        now += gap_s
        jobs.append(job(f"j{number}", now, work_s, np.ceil(work_s * asked), wanted))
    return jobs, slots, draw(st.sampled_from([0.0, 0.01]))


@settings(deadline=None)
@given(workloads())
def test_no_server_works_for_two_jobs_at_once(work: tuple[list[Job], int, float]) -> None:
    by_server = defaultdict(list)
    for segment in run(*work).segments:
        for server in segment.servers:
            by_server[server].append((segment.start_s, segment.end_s))
    for spans in by_server.values():
        spans.sort()
        assert all(end_s <= start_s for (_, end_s), (start_s, _) in pairwise(spans))


@settings(deadline=None)
@given(workloads())
def test_every_job_runs_on_what_it_asked_for_within_its_limit(work: tuple[list[Job], int, float]) -> None:
    jobs, _, failures = work
    segments = defaultdict(list)
    for segment in run(*work).segments:
        segments[segment.job.job_id].append(segment)
    for wanted in jobs:
        parts = segments[wanted.job_id]
        assert all(len(part.servers) == 2 * wanted.slots for part in parts)
        assert parts[0].start_s > wanted.submit_s
        assert parts[-1].end_s - parts[0].start_s <= wanted.limit_s
        if not failures:
            assert [part.end_s - part.start_s for part in parts] == [min(wanted.work_s, wanted.limit_s)]


@settings(deadline=None)
@given(workloads())
def test_nothing_is_told_before_it_is_known(work: tuple[list[Job], int, float]) -> None:
    """Until a job has ended, its end is start plus limit; and what counts last is the truth."""
    pool = run(*work)
    told = defaultdict(list)
    for revision in pool.revisions:
        told[revision.job.job_id].append(revision)
    for revisions in told.values():
        first_start_s = next(r.start_s for r in revisions if r.status == "running")
        for revision in revisions:
            if revision.status in ("done", "failed"):
                assert revision.available_s == revision.end_s + REPORT_DELAY_S
            elif revision.available_s <= first_start_s + REPORT_DELAY_S:
                assert revision.end_s == revision.start_s + revision.job.limit_s
            else:  # restarts keep the limit of the first start
                assert revision.end_s == first_start_s + revision.job.limit_s
            if revision.status == "running":
                assert revision.available_s == revision.start_s + REPORT_DELAY_S
        assert revisions[-1].status in ("done", "failed")
        assert revisions[-1].available_s == max(r.available_s for r in revisions)


def test_a_job_that_ends_early_lets_the_next_one_up() -> None:
    pool = run([job("long", 0, 2 * HOUR, 10 * HOUR), job("next", 60, HOUR, 2 * HOUR)], slots=1)
    told = [r for r in pool.revisions if r.job.job_id == "next"]
    assert [r.status for r in told] == ["queued", "queued", "running", "done"]
    promised, moved_up = told[0], told[1]
    assert promised.start_s > 10 * HOUR  # behind the limit of the first, not behind its true end
    assert moved_up.start_s < 3 * HOUR
    assert moved_up.available_s > 2 * HOUR


def test_a_later_small_job_does_not_delay_an_earlier_large_one() -> None:
    pool = run(
        [job("a", 0, HOUR, HOUR), job("wide", 60, HOUR, HOUR, slots=2), job("late", 120, HOUR, 9 * HOUR)], slots=2
    )
    start_s = {segment.job.job_id: segment.start_s for segment in pool.segments}
    assert start_s["a"] < start_s["wide"] < start_s["late"]


def test_failures_come_at_the_configured_rate_and_lose_work_since_the_checkpoint() -> None:
    many = [job(f"j{number}", 100 * HOUR * number, 50 * HOUR, 99 * HOUR) for number in range(10)]
    pool = run(many, slots=1, failures_per_gpu_h=0.01)  # 16 dies · 0.01/h · 50 h: about 8 failures each and more
    failed = [r for r in pool.revisions if r.status == "failed"]
    ran_h = sum(s.end_s - s.start_s for s in pool.segments) / HOUR
    assert len(failed) == pytest.approx(0.16 * ran_h, rel=0.35)
    assert ran_h > 10 * 50  # repeated work
    assert run(many, slots=1).segments[-1].end_s - run(many, slots=1).segments[-1].start_s == 50 * HOUR


def test_a_late_start_is_not_told_ahead_and_takes_nothing_from_the_limit() -> None:
    pool = run([job(f"j{number}", 100 * HOUR * number, HOUR, 2 * HOUR) for number in range(50)], 1, start_delay_s=HOUR)
    told = [r for r in pool.revisions if r.status == "queued"]
    running = [r for r in pool.revisions if r.status == "running"]
    late_s = [came.start_s - said.start_s for said, came in zip(told, running, strict=True)]
    assert np.mean(late_s) == pytest.approx(HOUR, rel=0.4)
    assert min(late_s) >= 0
    assert all(r.end_s - r.start_s == 2 * HOUR for r in running)
    assert [s.end_s - s.start_s for s in pool.segments] == [HOUR] * 50


def test_owners_who_ask_for_more_get_limits_that_are_longer_and_jobs_that_are_not() -> None:
    usual, generous = (
        list(arrivals(SimulatorConfig(days=30, work=WorkConfig(overestimate=factor)), "pool", TRAINING, 8, 0.6))
        for factor in (1.0, 4.0)
    )
    assert [j.work_s for j in usual] == [j.work_s for j in generous]
    asked = [np.median([j.limit_s / j.work_s for j in jobs]) for jobs in (usual, generous)]
    assert asked[1] == pytest.approx(4 * asked[0], rel=0.1)


@pytest.mark.parametrize(("shape", "slots"), [(TRAINING, 8), (BATCH, 40)], ids=lambda x: getattr(x, "kind", x))
def test_offered_work_matches_the_load(shape: Shape, slots: int) -> None:
    config = SimulatorConfig(days=200)
    jobs = list(arrivals(config, "pool", shape, slots, 0.6))
    offered = sum(j.slots * j.work_s for j in jobs) / slots / (config.end_s + SPIN_UP_S)
    assert offered == pytest.approx(0.6, rel=0.15)
    assert all(a.submit_s <= b.submit_s for a, b in pairwise(jobs))
    assert all(shape.low_s <= j.work_s <= shape.high_s and 0 < j.intensity <= 1 for j in jobs)


def test_no_row_of_the_schedule_shows_a_true_end_early(record: Path) -> None:
    table = pl.read_parquet(record / "jobs.parquet")
    ended = table.filter(pl.col("status").is_in(["done", "failed"]))
    assert (ended["available_at"] > ended["end_time"]).all()
    truth = ended.group_by("job_id").agg(pl.col("end_time").last().alias("true_end"), pl.col("start_time").last())
    open_rows = table.filter(pl.col("status").is_in(["queued", "running"])).join(truth, on="job_id")
    leaked = open_rows.filter(
        (pl.col("end_time") == pl.col("true_end")) & (pl.col("available_at") <= pl.col("true_end"))
    )
    # Only jobs that ran into their limit may have been promised their true end.
    limit_s = (leaked["end_time"] - leaked["start_time"]).dt.total_seconds()
    assert (limit_s % 1800 == 0).all()
    assert leaked.height < open_rows.height / 2
    assert table["kind"].unique().sort().to_list() == ["batch", "inference", "training"]
    assert table.filter(status="failed").height > 0


def test_a_service_always_has_a_lease_that_outlasts_the_next_two_days(small: SimulatorConfig, record: Path) -> None:
    leases = pl.read_parquet(record / "jobs.parquet").filter(kind="inference")
    for moment in pl.datetime_range(small.origin, small.origin.replace(day=8), "6h", eager=True):
        known = leases.filter(pl.col("available_at") <= moment).group_by("entity_id").agg(pl.col("end_time").last())
        assert known.height == 2 + 3
        assert ((known["end_time"] - moment).dt.total_hours() >= 48).all()
