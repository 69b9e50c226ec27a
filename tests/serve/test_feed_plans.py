"""Plans that the running server cannot follow: a problem of its status until they are mended or over."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fleets import NOW, SPEC, fleet, publish, telemetry, write_bundle
from loopback import wait_until
from planned import write_planned
from running import Hands, Running, running

from serve.engine.feed import Feed

GOOD = pl.DataFrame(
    {
        "job_id": "what-if",
        "entity_id": "server-1",
        "kind": "plan",
        "status": "reserved",
        "start_time": NOW + timedelta(hours=1),
        "end_time": NOW + timedelta(hours=2),
        "planned_power_w": 500.0,
        "available_at": NOW - timedelta(minutes=1),
    }
)


@pytest.fixture(scope="module")
def hands() -> Hands:
    return Hands()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs") / "jobs.parquet"
    GOOD.write_parquet(path)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, jobs: Path, hands: Hands) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("planned")
    publish(folder / "registry", write_planned(folder / "made", "made", fleet()), "k1")
    with running(folder / "registry", clock=hands, jobs=str(jobs), every_s=0.02) as server:
        feed = Feed(server.engine)
        feed.start()
        yield server
        feed.stop()


def problems(server: Running) -> dict[str, Any]:
    found: dict[str, Any] = server.ask("GET", "/v1/forecasts/day-ahead/status").json["problems"]
    return found


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"end_time": pl.lit(NOW)}, "1 end_time that is not after start_time set aside"),
        ({"planned_power_w": pl.lit(-5.0)}, "1 impossible planned_power_w set aside"),
        ({"planned_power_w": pl.lit(float("nan"))}, "1 unreadable planned_power_w set aside"),
        ({"planned_power_w": pl.lit("full")}, "whose planned_power_w is no number and is not followed, the first of "),
        (
            {"entity_id": pl.lit("server-99")},
            "has plans or caps of entities that the fleet lacks, the first 'server-99'",
        ),
        ({"planned_power_w": pl.lit(0.5)}, "next to nothing, the first of 'server-1'"),
        ({"status": pl.lit("approved")}, "has rows of status 'approved', which count for nothing; what is to come is"),
        ({"kind": pl.lit("training"), "status": pl.lit("RUNNING")}, "has rows of status 'RUNNING', which count for"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_a_problem_until_it_is_mended(
    server: Running, jobs: Path, wrong: dict[str, pl.Expr], said: str
) -> None:
    GOOD.with_columns(**wrong).write_parquet(jobs)
    wait_until(lambda: said in problems(server).get("schedule of day-ahead", ""), "it is told")
    assert problems(server)["schedule of day-ahead"].startswith(f"{jobs}: ")
    GOOD.write_parquet(jobs)
    wait_until(lambda: problems(server) == {}, "it is as it should be", told=lambda: problems(server))


def test_a_schedule_that_is_no_longer_kept_up_is_a_problem_until_it_is(server: Running, jobs: Path) -> None:
    began = pl.int_range(12) * timedelta(hours=1) + pl.lit(NOW - timedelta(days=3))
    ran = pl.select(start_time=began).with_columns(
        job_id=pl.concat_str(pl.lit("job-"), pl.col("start_time").dt.to_string()),
        entity_id=pl.lit("server-1"),
        kind=pl.lit("training"),
        status=pl.lit("done"),
        end_time=pl.col("start_time") + timedelta(minutes=30),
        planned_power_w=pl.lit(500.0),
        available_at=pl.col("start_time") + timedelta(minutes=31),
    )
    pl.concat([GOOD, ran.select(GOOD.columns)]).write_parquet(jobs)
    silent = "tells of no job that began or ended lately"
    wait_until(lambda: silent in problems(server).get("schedule of day-ahead", ""), "it is told")
    late = timedelta(days=3) - timedelta(hours=12)
    pl.concat(
        [GOOD, ran.with_columns(pl.col("start_time", "end_time", "available_at") + late).select(GOOD.columns)]
    ).write_parquet(jobs)
    wait_until(lambda: problems(server) == {}, "it is as it should be", told=lambda: problems(server))


def is_followed(server: Running) -> bool:
    """Whether the newest forecast has the plan of `GOOD`."""
    server.engine.refresh("day-ahead").result(30)
    issued = server.engine.newest("day-ahead").forecast
    medians = issued.outputs.quantiles[issued.topology.entities.index("server-1"), 0, SPEC.quantile_levels.index(0.5)]
    return bool((abs(medians[4:] - 500.0) < 1e-3).all() and (abs(medians[:4] - 500.0) > 1.0).all())


def test_half_a_schedule_is_a_problem_and_the_last_whole_one_is_followed(
    server: Running, jobs: Path, tmp_path: Path
) -> None:
    """Written over in place: also by a version that is published meanwhile, which looks at the schedule anew."""
    server.push(telemetry(fleet()))
    assert is_followed(server)
    whole = jobs.read_bytes()
    jobs.write_bytes(whole[: len(whole) // 2])
    wait_until(lambda: "known ahead" in problems(server), "it is told", told=lambda: problems(server))
    assert problems(server)["known ahead"].startswith(f"{jobs}: cannot be read as parquet: ")
    publish(server.engine.settings.registry, write_planned(tmp_path / "made", "made", fleet()), "k2")
    wait_until(lambda: server.engine.live("day-ahead").bundle.manifest.bundle_id == "k2", "it is in service")
    assert is_followed(server)
    jobs.write_bytes(whole)
    wait_until(lambda: problems(server) == {}, "it is as it should be", told=lambda: problems(server))


def test_a_plan_that_is_over_is_no_problem_any_more(server: Running, jobs: Path, hands: Hands) -> None:
    GOOD.with_columns(entity_id=pl.lit("server-99")).write_parquet(jobs)
    wait_until(lambda: set(problems(server)) == {"schedule of day-ahead"}, "it is told")
    hands.now = NOW + timedelta(hours=2)
    wait_until(lambda: problems(server) == {}, "it is over")


def test_a_plan_for_a_forecast_that_takes_none_is_noted_once_and_is_no_problem(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    GOOD.write_parquet(tmp_path / "jobs.parquet")
    publish(tmp_path / "registry", write_bundle(tmp_path / "made", "made", fleet()), "k1")
    with running(tmp_path / "registry", clock=Hands(), jobs=str(tmp_path / "jobs.parquet")) as server:
        feed = Feed(server.engine)
        for power_w in (500.0, 600.0):
            GOOD.with_columns(planned_power_w=power_w).write_parquet(tmp_path / "jobs.parquet")
            feed.tell()
        assert problems(server) == {}
    (note,) = (record.__dict__ for record in caplog.records if record.message == "note")
    assert note["forecast"] == "day-ahead"
    assert "jobs.parquet has plans, which change nothing: the bundle looks at no planned_power_w" in note["note"]
