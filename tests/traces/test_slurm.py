"""Slurm's accounting and reservations as a schedule that knows no more than Slurm did."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.tables import JOB_SCHEDULE
from forecast.traces.jobs import read_jobs
from forecast.traces.settings import JobsSpec, SlurmSpec
from forecast.traces.slurm import expand_hosts, limit_s, planned_w

#: As `sacct --parsable2 --allusers --duplicates` prints it: a job with its steps, one that was killed and requeued, an
#: array task that runs still, one that never started, one without GPUs, one without a limit.
PRINTED = """\
JobID|User|State|Submit|Start|End|Timelimit|NodeList|AllocTRES|ConsumedEnergy
1001|ann|COMPLETED|2026-03-01T08:00:00|2026-03-01T09:00:00|2026-03-01T11:30:00|04:00:00|gpu[01-02]|billing=16,cpu=16,gres/gpu:h100=16,gres/gpu=16,mem=64G,node=2|123456
1001.batch||COMPLETED|2026-03-01T09:00:00|2026-03-01T09:00:00|2026-03-01T11:30:00||gpu01|cpu=8,mem=32G,node=1|
1001.0||COMPLETED|2026-03-01T09:00:00|2026-03-01T09:00:00|2026-03-01T11:30:00||gpu[01-02]|cpu=16,node=2|
1002|bob|NODE_FAIL|2026-03-01T08:00:00|2026-03-01T09:00:00|2026-03-01T10:00:00|1-00:00:00|gpu03|cpu=8,gres/gpu=4,node=1|
1002|bob|RUNNING|2026-03-01T10:05:00|2026-03-01T10:30:00|Unknown|1-00:00:00|gpu04|cpu=8,gres/gpu=4,node=1|
1003_7|ann|PENDING|2026-03-01T08:00:00|Unknown|Unknown|01:00:00|None assigned||
1004|ann|CANCELLED by 1000|2026-03-01T08:00:00|2026-03-01T09:00:00|2026-03-01T09:00:00|30:00|cpu1|cpu=64,node=1|
1005|eve|RUNNING|2026-03-01T08:00:00|2026-03-01T09:00:00|Unknown|UNLIMITED|gpu05|cpu=8,gres/gpu:b200=8,gres/gpu=8,node=1|
"""
RESERVED = """\
ReservationName=maint-1 StartTime=2026-03-05T06:00:00 EndTime=2026-03-05T12:00:00 Duration=06:00:00
   Nodes=gpu[01-02] NodeCnt=2 CoreCnt=128 Features=(null) PartitionName=(null) Flags=MAINT,IGNORE_JOBS,SPEC_NODES
   TRES=cpu=128
   Users=root Groups=(null) Accounts=(null) Licenses=(null) State=INACTIVE BurstBuffer=(null) Watts=n/a

ReservationName=course StartTime=2026-03-06T06:00:00 EndTime=2026-03-06T12:00:00 Duration=06:00:00
   Nodes=gpu03 NodeCnt=1 CoreCnt=64 Features=(null) PartitionName=(null) Flags=SPEC_NODES
"""


def slurm(**fields: object) -> SlurmSpec:
    return SlurmSpec(**{"power_per_gpu_w": {"h100": 700.0, "default": 300.0}, "delay_s": 60.0, **fields})


def read(
    tmp_path: Path, printed: str = PRINTED, spec: SlurmSpec | None = None, time_zone: str | None = "UTC"
) -> pl.DataFrame:
    path = tmp_path / "sacct.txt"
    path.write_text(printed)
    jobs = read_jobs(JobsSpec(path=str(path), time_zone=time_zone, slurm=spec or slurm()))
    sifted = JOB_SCHEDULE.sift(jobs, "sacct")
    assert sifted.report.is_empty(), sifted.report
    return sifted.good.collect().sort("job_id", "entity_id", "available_at")


def hour(time: float) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=time)


def said(jobs: pl.DataFrame, job_id: str) -> list[tuple[object, ...]]:
    columns = ("entity_id", "status", "start_time", "end_time", "available_at")
    return list(jobs.filter(pl.col("job_id") == job_id).select(columns).iter_rows())


def test_a_job_is_promised_to_its_limit_until_its_end_is_seen(tmp_path: Path) -> None:
    minute = timedelta(minutes=1)
    expected = [
        (node, *row)
        for node in ("gpu01", "gpu02")
        for row in (
            ("running", hour(9), hour(13), hour(9) + minute),
            ("completed", hour(9), hour(11.5), hour(11.5) + minute),
        )
    ]
    assert said(read(tmp_path), "1001") == expected


def test_nothing_is_known_of_an_end_before_it_came(tmp_path: Path) -> None:
    jobs = read(tmp_path)
    promised = jobs.filter(pl.col("status") == "running")
    assert (promised["available_at"] - promised["start_time"] == timedelta(minutes=1)).all()
    ended = jobs.filter(pl.col("status") != "running")
    assert (ended["available_at"] > ended["end_time"]).all()


def test_a_requeued_job_runs_twice_and_one_that_waits_is_nowhere(tmp_path: Path) -> None:
    jobs = read(tmp_path)
    assert [row[:2] for row in said(jobs, "1002")] == [
        ("gpu03", "running"),
        ("gpu03", "node_fail"),
        ("gpu04", "running"),
    ]
    assert said(jobs, "1003_7") == []
    assert [row[1] for row in said(jobs, "1004")] == ["running", "cancelled"]
    assert said(jobs, "1005")[0][3] == hour(9 + 365 * 24)


def test_power_is_that_of_the_gpus_spread_over_the_nodes(tmp_path: Path) -> None:
    watts = dict(read(tmp_path).select("job_id", "planned_power_w").iter_rows())
    assert watts == {"1001": 8 * 700.0, "1002": 4 * 300.0, "1004": 0.0, "1005": None}
    with_cpus = read(tmp_path, spec=slurm(power_per_cpu_w=3.0))
    assert dict(with_cpus.select("job_id", "planned_power_w").iter_rows())["1001"] == 8 * 700.0 + 8 * 3.0


def test_nodes_become_entities_and_local_times_utc(tmp_path: Path) -> None:
    jobs = read(tmp_path, spec=slurm(entity="site-1.{node}"), time_zone="Europe/Berlin")
    assert said(jobs, "1001")[0][:3] == ("site-1.gpu01", "running", hour(8))


def test_maintenance_is_known_since_the_reservations_were_printed(tmp_path: Path) -> None:
    path = tmp_path / "reservations.txt"
    path.write_text(RESERVED)
    spec = slurm(reservations=str(path), reservations_known_at="2026-03-01T12:00Z")
    found = read(tmp_path, spec=spec).filter(pl.col("kind") == "maintenance")
    assert found["entity_id"].to_list() == ["gpu01", "gpu02"]
    assert set(found.select("start_time", "end_time", "available_at").iter_rows()) == {(hour(102), hour(108), hour(12))}
    with pytest.raises(ConfigError, match="reservations_known_at"):
        read(tmp_path, spec=slurm(reservations=str(path)))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"printed no AllocTRES, only"):
        read(tmp_path, PRINTED.replace("|AllocTRES|", "|Other|"))
    with pytest.raises(DataError, match="set the source's `time_zone`"):
        read(tmp_path, time_zone=None)
    with pytest.raises(DataError, match=r"sacct\.txt: is not what sacct --parsable2 prints: empty CSV"):
        read(tmp_path, "")
    with pytest.raises(
        DataError, match=r"sacct\.txt: is not what sacct --parsable2 prints: its first line is JobID   "
    ):
        read(tmp_path, PRINTED.replace("|", "   "))
    with pytest.raises(ConfigError, match="does not hold"):
        read(tmp_path, spec=slurm(entity="node"))
    with pytest.raises(DataError, match="lacks a ]"):
        expand_hosts("gpu[01-02")
    for numbers in ("a-b", "1-²", "9" * 5000, ""):
        with pytest.raises(DataError, match="no range"):
            expand_hosts(f"gpu[{numbers}]")
    for many in ("gpu[1-999999999]", "r[0-9999]n[0-9999]", "a[1-99999],b[1-99999]"):
        with pytest.raises(DataError, match="more than 100,000"):
            expand_hosts(many)
    with pytest.raises(DataError, match="soon"):
        limit_s("soon")


@pytest.mark.parametrize("name", ["power_per_gpu_w.h100", "power_per_cpu_w", "delay_s"])
def test_no_gpu_gives_power_and_no_row_comes_before_its_event(name: str) -> None:
    key, _, kind = name.partition(".")
    with pytest.raises(ConfigError, match=rf"^source\.jobs\.slurm\.{name} is -1; it must not be below 0\.$"):
        slurm(**{key: {kind: -1.0} if kind else -1.0})


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("login", ["login"]),
        ("node[01-04,07]", ["node01", "node02", "node03", "node04", "node07"]),
        ("a[8-11],b", ["a8", "a9", "a10", "a11", "b"]),
        ("r[1-2]n[08-09]-ib", ["r1n08-ib", "r1n09-ib", "r2n08-ib", "r2n09-ib"]),
        ("None assigned", []),
    ],
)
def test_host_lists(text: str, hosts: list[str]) -> None:
    assert expand_hosts(text) == hosts


@given(st.integers(0, 9999), st.integers(0, 200), st.integers(1, 6))
def test_a_range_of_hosts_is_what_a_shell_would_count(low: int, more: int, width: int) -> None:
    hosts = expand_hosts(f"n[{low:0{width}}-{low + more:0{width}}]")
    assert hosts == [f"n{number:0{width}}" for number in range(low, low + more + 1)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30:00", 1800), ("04:00:00", 14_400), ("1-00:00:00", 86_400), ("2-03:04:05", 183_845), ("UNLIMITED", None)],
)
def test_time_limits(text: str, seconds: float | None) -> None:
    assert limit_s(text) == seconds


def test_gpus_of_unknown_power_make_a_job_of_unknown_power() -> None:
    assert planned_w("gres/gpu:b200=1,gres/gpu:h100=2,gres/gpu=3", slurm()) is None
    assert planned_w("gres/gpu=3", SlurmSpec()) is None
    assert planned_w("cpu=4,gres/gpu:b200=0", slurm()) == 0
