"""`python -m serve forecast` under a plan: a table beside the telemetry, an answer in the forecast's rows."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fleets import NOW, fleet, telemetry, write_bundle
from planned import write_planned

from forecast.bundle.manifest import Manifest
from serve.__main__ import main
from serve.imposed import entangled


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planned(tmp_path_factory.mktemp("what-if"), "what-if", fleet())


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("record") / "telemetry.parquet"
    telemetry(fleet()).write_parquet(path)
    return path


def serve(bundle: Path, record: Path, folder: Path, plan: pl.DataFrame | None = None) -> pl.DataFrame:
    out, more = folder / "f.parquet", []
    if plan is not None:
        plan.write_parquet(folder / "plan.parquet")
        more = ["--jobs", str(folder / "plan.parquet")]
    places = ["--bundle", str(bundle), "--telemetry", str(record), "--out", str(out)]
    assert main(["forecast", *places, *more]) == 0
    return pl.read_parquet(out).sort("entity_id", "valid_time")


def planned(untold: pl.DataFrame, entity: str, power_w: float) -> pl.DataFrame:
    """A plan for one entity, from the third to the sixth step of the forecast."""
    now, steps = untold["forecast_time"][0], untold["valid_time"].unique(maintain_order=True)
    return pl.DataFrame(
        {
            "job_id": "what-if",
            "entity_id": entity,
            "kind": "plan",
            "status": "reserved",
            "start_time": steps[2],
            "end_time": steps[6],
            "planned_power_w": power_w,
            "available_at": now - timedelta(minutes=1),
        }
    )


def test_a_plan_is_followed_and_answered_for_its_entity_alone(bundle: Path, record: Path, tmp_path: Path) -> None:
    untold = serve(bundle, record, tmp_path)
    entity = untold.filter(level="server")["entity_id"][0]
    low, high = (serve(bundle, record, tmp_path, planned(untold, entity, power_w)) for power_w in (200.0, 800.0))
    mine, others = pl.col("entity_id") == entity, pl.col("entity_id") != entity
    for told in (low, high):
        assert told.filter(others).equals(untold.filter(others))
    np.testing.assert_allclose(high.filter(mine)["power_w_p50"][2:6], 800.0, rtol=1e-6)
    assert high.filter(mine)["power_w_p50"][6:].equals(untold.filter(mine)["power_w_p50"][6:])
    for column in ("temperature_c_p10", "temperature_c_p50", "temperature_c_p90"):
        warmer = (high.filter(mine)[column] - low.filter(mine)[column]).to_numpy()
        assert (warmer >= 0).all()
        assert (warmer[2:6] > 0).any()
        assert (warmer[:2] == 0).all()


def test_without_a_plan_it_says_what_it_does_not_know(
    bundle: Path, record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(bundle, record, tmp_path)
    assert "planned_power_w" in capsys.readouterr().err


def test_a_plan_for_a_bundle_that_takes_none_is_told(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = write_bundle(tmp_path / "plain", "plain", fleet())
    untold = serve(plain, record, tmp_path)
    plan = planned(untold, "server-1", 200.0)
    assert serve(
        plain, record, tmp_path, pl.concat([plan, plan.with_columns(kind=pl.lit("cap"), job_id=pl.lit("2"))])
    ).equals(untold)
    where = f"note: {tmp_path / 'plan.parquet'} has"
    assert capsys.readouterr().err.splitlines() == [
        f"{where} plans, which change nothing: the bundle looks at no planned_power_w or planned_fan_speed_rpm",
        f"{where} caps, which change nothing: the bundle looks at no power_cap_w",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"entity_id": pl.lit("server-99")},
            "has plans or caps of entities that the fleet lacks, the first",
        ),
        ({"end_time": pl.col("start_time")}, "end_time that is not after start_time set aside, the first"),
        ({"planned_power_w": pl.lit(-5.0)}, "planned_power_w"),
        ({"planned_power_w": pl.lit(None, pl.Float64)}, "plans or caps with neither power nor fan speed, the first of"),
        ({"kind": pl.lit("Plan")}, "has rows of kind 'Plan', which count as jobs; the word is 'plan'"),
        (
            {"status": pl.lit("planned")},
            "rows of status 'planned', which count for nothing; what is to come is running, q",
        ),
        ({"status": pl.lit("Reserved ")}, "rows of status 'Reserved ', which count for nothing"),
        ({"status": pl.lit(None, pl.String)}, "rows of status None, which count for nothing"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_told(
    bundle: Path, record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, pl.Expr], said: str
) -> None:
    untold = serve(bundle, record, tmp_path)
    plan = planned(untold, untold["entity_id"][0], 200.0)
    capsys.readouterr()
    assert serve(bundle, record, tmp_path, plan.with_columns(**wrong)).equals(untold)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: ")
    assert said in line


@pytest.mark.parametrize(("name", "unit"), [("planned_power_w", "W"), ("planned_fan_speed_rpm", "rpm")])
def test_a_plan_of_text_is_told_to_be_no_number(
    bundle: Path, record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, unit: str
) -> None:
    untold = serve(bundle, record, tmp_path)
    entity = untold["entity_id"][0]
    blank = planned(untold, entity, 200.0).with_columns(planned_power_w=pl.lit(None, pl.Float64))
    capsys.readouterr()
    assert serve(bundle, record, tmp_path, blank.with_columns(pl.lit("full").alias(name))).equals(untold)
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        f"note: {tmp_path / 'plan.parquet'} has plans or caps whose {name} is no number and is not followed, "
        f"the first of {entity!r}; write {unit} alone, like 350.5"
    )
    assert second.startswith(f"note: 1 unreadable {name} set aside")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"available_at": pl.col("start_time")}, "1 are known only after it is made at 2026-03-04 01:00 UTC"),
        (
            {name: pl.col(name) + timedelta(days=9) for name in ("start_time", "end_time")},
            "1 start when it is over at ",
        ),
        ({"start_time": NOW - timedelta(hours=3), "end_time": NOW}, None),
    ],
)
def test_plans_of_which_a_forecast_follows_none_are_told_unless_they_are_over(
    bundle: Path, record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict, said: str | None
) -> None:
    untold = serve(bundle, record, tmp_path)
    plan = planned(untold, untold["entity_id"][0], 200.0)
    capsys.readouterr()
    assert serve(bundle, record, tmp_path, plan.with_columns(**wrong)).equals(untold)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (said is not None)
    for line in lines:
        assert "has plans or caps, none of which this forecast follows: of 1, " in line
        assert str(said) in line


def test_a_plan_in_kw_is_followed_and_told(
    bundle: Path, record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untold = serve(bundle, record, tmp_path)
    capsys.readouterr()
    serve(bundle, record, tmp_path, planned(untold, "server-1", 0.5))
    line, _ = capsys.readouterr().err.splitlines()
    assert "next to nothing, the first of 'server-1': 0.5 W beside the limit of 1000 W; if it is kW, give W" in line


def test_what_was_taken_back_or_only_lacks_power_is_not_told(
    bundle: Path, record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untold = serve(bundle, record, tmp_path)
    capsys.readouterr()
    wrong = planned(untold, "server-99", 200.0).with_columns(planned_fan_speed_rpm=pl.lit(None, pl.Float64))
    newer = wrong.with_columns(status=pl.lit("cancelled"), available_at=pl.col("available_at").dt.offset_by("30s"))
    fan = wrong.with_columns(
        entity_id=pl.lit("server-1"), planned_power_w=pl.lit(None, pl.Float64), planned_fan_speed_rpm=pl.lit(4000.0)
    )
    serve(bundle, record, tmp_path, pl.concat([newer, wrong, fan]))
    assert capsys.readouterr().err == ""


def test_whom_the_fleet_lacks_is_told(
    bundle: Path, record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server got another name three hours ago: the bundle knows the old one alone."""
    renamed = pl.col("entity_id").replace("server-1", "node-1")
    late = pl.col("time") > NOW - timedelta(hours=3)
    told = pl.read_parquet(record).with_columns(entity_id=pl.when(late).then(renamed).otherwise("entity_id"))
    told.write_parquet(tmp_path / "told.parquet")
    serve(bundle, tmp_path / "told.parquet", tmp_path, planned(serve(bundle, record, tmp_path), "server-2", 200.0))
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "tells of" in line)
    assert (
        line == f"note: {tmp_path / 'told.parquet'} tells of 1 entity that the bundle's fleet lacks, the first 'node-1'"
    )


def test_plans_that_overlap_are_told_and_so_is_who_above_stays_as_it_was(
    bundle: Path, record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = Manifest.read(bundle)
    untold = serve(bundle, record, tmp_path)
    now = untold["forecast_time"][0]
    rack = manifest.topology.table.filter(entity_id="server-1")["parent_id"].item()
    plan, above = planned(untold, "server-1", 200.0), planned(untold, rack, 900.0)
    other = plan.with_columns(job_id=pl.lit("other"), start_time=pl.col("start_time").dt.offset_by("5m"))
    mean = "has plans that overlap, the first of 'server-1': their mean is followed, not their sum"
    still = f"has plans of 'server-1' and none of {rack!r} above it, which is forecast as if there were none"

    def told(*plans: pl.DataFrame, **spec: tuple[str, ...]) -> list[str]:
        return list(entangled(pl.concat(plans), manifest.topology, replace(manifest.spec, **spec), now))

    assert told(plan) == [still]
    assert told(other, plan) == [mean, still]
    over = {name: pl.col(name) - timedelta(days=1) for name in ("start_time", "end_time")}
    assert told(other.with_columns(**over), plan.with_columns(**over)) == []
    assert told(plan, future=("day_sin",)) == []
    assert still not in told(plan, above)
    capsys.readouterr()
    serve(bundle, record, tmp_path, pl.concat([other, plan]))
    where = f"note: {tmp_path / 'plan.parquet'}"
    assert capsys.readouterr().err.splitlines() == [f"{where} {mean}", f"{where} {still}"]
