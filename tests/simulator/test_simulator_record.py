import hashlib
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecast.contracts.errors import ConfigError
from forecast.contracts.tables import FAULTS, JOB_SCHEDULE, TELEMETRY, TOPOLOGY, WEATHER
from forecast.contracts.topology import Topology
from forecast.simulator.config import CapConfig, SimulatorConfig
from forecast.simulator.faults import FAULTS as FAULT_NAMES
from forecast.simulator.simulate import simulate
from forecast.simulator.skus import SKUS

FILES = {
    "jobs.parquet": JOB_SCHEDULE,
    "weather.parquet": WEATHER,
    "topology.parquet": TOPOLOGY,
    "truth/faults.parquet": FAULTS,
}


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def telemetry(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "telemetry" / "**" / "*.parquet", hive_partitioning=False)


def test_the_same_configuration_gives_the_same_bytes(small: SimulatorConfig, record: Path, tmp_path: Path) -> None:
    simulate(small, tmp_path / "again")
    assert hashes(tmp_path / "again") == hashes(record)


def test_another_seed_changes_weather_jobs_and_telemetry_but_not_the_building(
    small: SimulatorConfig, record: Path, tmp_path: Path
) -> None:
    simulate(replace(small, seed=1), tmp_path / "other")
    same, other = hashes(record), hashes(tmp_path / "other")
    assert same["topology.parquet"] == other["topology.parquet"]
    changed = {name for name in same if same[name] != other[name]}
    assert {"weather.parquet", "jobs.parquet"} < changed
    assert all(name in changed for name in same if name.startswith("telemetry"))


def test_a_longer_record_extends_a_shorter_one_that_has_faults(small: SimulatorConfig, tmp_path: Path) -> None:
    faulty = replace(small, faults=dict.fromkeys(FAULT_NAMES, 0.3) | {"late": 1.0})
    simulate(replace(faulty, days=3), tmp_path / "longer")
    simulate(replace(faulty, days=2), tmp_path / "short")
    short, longer = hashes(tmp_path / "short"), hashes(tmp_path / "longer")
    days = [name for name in short if name.startswith("telemetry")]
    assert any("late" in name for name in days)
    assert all(short[name] == longer[name] for name in days)


def test_a_longer_record_extends_a_shorter_one(small: SimulatorConfig, record: Path, tmp_path: Path) -> None:
    simulate(replace(small, days=2), tmp_path / "short")
    short, longer = hashes(tmp_path / "short"), hashes(record)
    days = [name for name in short if name.startswith("telemetry")]
    assert len(days) == 2
    assert all(short[name] == longer[name] for name in days)
    known = pl.col("available_at") < datetime(2026, 1, 7, tzinfo=UTC)
    for name in ("jobs.parquet", "weather.parquet"):
        assert_frame_equal(pl.read_parquet(tmp_path / "short" / name), pl.read_parquet(record / name).filter(known))


def test_tables_hold_their_contracts_and_keys(record: Path) -> None:
    TELEMETRY.check(telemetry(record).lazy(), "telemetry")
    assert not telemetry(record).select(TELEMETRY.key).is_duplicated().any()
    for name, table in FILES.items():
        frame = pl.read_parquet(record / name)
        table.check(frame.lazy(), name)
        assert frame.columns == list(table.required)
        assert not frame.select(table.key).is_duplicated().any()
    assert pl.read_parquet(record / "truth" / "faults.parquet").is_empty()


def test_every_measured_entity_has_every_step_sorted_by_time_and_entity(small: SimulatorConfig, record: Path) -> None:
    frame = telemetry(record)
    assert frame.height == 4 * 288 * (18 + 2)
    assert frame["time"].min() == small.origin
    assert frame["time"].max() == small.origin + timedelta(days=4, seconds=-300)
    for path in sorted((record / "telemetry").iterdir()):
        day = pl.read_parquet(path / "part-0.parquet")
        assert day["time"].dt.date().cast(pl.String).unique().to_list() == [path.name.removeprefix("day=")]
        assert_frame_equal(day, day.sort("time", "entity_id"))


def test_servers_and_halls_report_their_own_signals(record: Path) -> None:
    frame = telemetry(record)
    assert all(frame.schema[name] == pl.Float32 for name in TELEMETRY.optional)
    server = frame.filter(pl.col("entity_id").str.contains("server"))
    hall = frame.filter(~pl.col("entity_id").str.contains("server"))
    assert hall["entity_id"].unique().sort().to_list() == ["site-1.hall-a", "site-1.hall-b"]
    elsewhere = ("cooling_power_w", "fan_speed_rpm")
    assert server.null_count().row(0, named=True) == dict.fromkeys(frame.columns, 0) | dict.fromkeys(
        elsewhere, server.height
    )
    unmeasured = ("power_w", "temperature_c", "utilization_ratio", "fan_speed_rpm")
    assert hall.null_count().row(0, named=True) == dict.fromkeys(frame.columns, 0) | dict.fromkeys(
        unmeasured, hall.height
    )


def test_the_tree_is_valid_and_feeds_are_below_the_nameplates_they_carry(record: Path) -> None:
    tree = Topology.of(pl.read_parquet(record / "topology.parquet"))
    assert tree.levels == ("server", "rack", "row", "hall", "site")
    assert "site-1.hall-a.row-2.rack-02.server-03" in tree.entities
    limits = tree.table.select("entity_id", "power_limit_w", "temperature_limit_c")
    below = tree.ancestors().join(limits, left_on="leaf_id", right_on="entity_id")
    sums = below.group_by("ancestor_id").agg(pl.col("power_limit_w").sum(), pl.col("temperature_limit_c").min())
    above = sums.join(limits, left_on="ancestor_id", right_on="entity_id", suffix="_of_node")
    assert (above["power_limit_w_of_node"] < above["power_limit_w"]).all()
    assert (above["temperature_limit_c_of_node"] == above["temperature_limit_c"]).all()


def test_no_server_draws_more_than_its_nameplate(record: Path) -> None:
    server = telemetry(record).join(pl.read_parquet(record / "topology.parquet"), on="entity_id")
    server = server.filter(pl.col("level") == "server")
    assert (server["power_w"] <= server["power_limit_w"]).all()
    assert (server["power_w"] > 0).all()
    slowdown_c = server["sku"].replace_strict({name: kind.slowdown_c for name, kind in SKUS.items()})
    assert (server["temperature_c"] <= slowdown_c + 2).all()  # the sensor's noise and digit
    assert (server["temperature_c"] > server["inlet_c"]).all()


def test_the_resolved_configuration_is_written_as_plain_data(small: SimulatorConfig, record: Path) -> None:
    assert json.loads((record / "config.json").read_text()) == asdict(small)


def test_an_interrupted_run_leaves_nothing_behind(small: SimulatorConfig, tmp_path: Path) -> None:
    def interrupt(share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(small, tmp_path / "out", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_record_is_not_overwritten(small: SimulatorConfig, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        simulate(small, tmp_path / "out")


def test_progress_rises_to_one(small: SimulatorConfig, tmp_path: Path) -> None:
    told: list[float] = []
    simulate(replace(small, days=1), tmp_path / "out", told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize("step_s", [30, 900, 3600])
def test_other_sample_intervals_carry_the_same_energy(small: SimulatorConfig, step_s: int, tmp_path: Path) -> None:
    """Physics runs at its own step, so a coarser record is the mean of a finer one, up to the meters' noise."""
    mean_w = {}
    for step in (300, step_s):
        simulate(replace(small, days=1, step_s=step, seed=3), tmp_path / str(step))
        servers = telemetry(tmp_path / str(step)).drop_nulls("power_w")
        mean_w[step] = servers["power_w"].cast(pl.Float64).mean()
    assert mean_w[step_s] == pytest.approx(mean_w[300], rel=0.01)


def test_a_cap_holds_between_its_local_hours_only(small: SimulatorConfig, tmp_path: Path) -> None:
    """16 to 20 h in New York in winter is 21 to 1 h UTC."""
    simulate(replace(small, days=1), tmp_path / "free")
    simulate(replace(small, days=1, cap=CapConfig(ratio=0.35)), tmp_path / "capped")
    both = telemetry(tmp_path / "free").join(telemetry(tmp_path / "capped"), on=TELEMETRY.key, suffix="_capped")
    busy = both.filter(pl.col("utilization_ratio") > 0.5)
    ratio = (pl.col("power_w_capped") / pl.col("power_w")).alias("ratio")
    hour = pl.col("time").dt.hour()
    inside = busy.filter((hour >= 21) | (hour < 1)).select(ratio)["ratio"]
    outside = busy.filter(hour.is_between(6, 20)).select(ratio)["ratio"]
    assert inside.max() < 0.95
    assert outside.to_list() == pytest.approx([1.0] * len(outside), abs=0.02)
