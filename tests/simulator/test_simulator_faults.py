"""A broken day is compared with the same day unbroken: they differ exactly in the cells that the truth names."""

from dataclasses import replace
from datetime import time, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecast.contracts.errors import ConfigError
from forecast.contracts.signals import SIGNALS
from forecast.simulator.config import RowConfig, SimulatorConfig
from forecast.simulator.faults import BLANK, FAULTS, RENAMED
from forecast.simulator.fleet import Fleet
from forecast.simulator.injector import FaultInjector
from forecast.simulator.sensors import Day, measure
from forecast.simulator.simulate import simulate
from forecast.simulator.units import draw_units

ROWS = [RowConfig("hall-a", "cpu-2s", 2, 5), RowConfig("hall-b", "cpu-2s", 1, 5)]
KEY = ["time", "entity_id"]
DAYS = 3


def measured(config: SimulatorConfig, day: int) -> Day:
    """Return a day on which every sensor moves, so that a stuck one shows."""
    fleet = Fleet.of(config)
    ramp = np.linspace(0, 1, 288)[:, None] + np.zeros(15)
    halls = np.ones((288, 2))
    truth = {
        "power_w": 300 + 500 * ramp,
        "temperature_c": 40 + 40 * ramp,
        "inlet_c": 24 + 3 * ramp,
        "utilization_ratio": ramp,
        "supply_c": 22 * halls,
        "cooling_power_w": 1e5 * halls,
    }
    return measure(fleet, draw_units(fleet), day, truth)


def broken(name: str, rate: float = 0.4) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return telemetry as measured, telemetry as it arrived, and the truth about the difference."""
    config = SimulatorConfig(days=DAYS, rows=ROWS, faults={name: rate})
    fleet = Fleet.of(config)
    injector = FaultInjector(fleet)
    clean, arrived = [], []
    for day in range(DAYS):
        samples = measured(config, day)
        clean.append(samples.table(fleet.entity_ids))
        injector.inject(samples, day)
        arrived.append(samples.table(fleet.entity_ids))
    truth = injector.truth()
    assert set(truth["fault"]) == {name}
    return pl.concat(clean), pl.concat(arrived), truth


def named(clean: pl.DataFrame, truth: pl.DataFrame, signal: str = "") -> pl.DataFrame:
    """Return the keys of the cells that `truth` names for `signal`."""
    episodes = truth.filter(pl.col("signal") == signal)
    pairs = clean.select(KEY).join(episodes, on="entity_id")
    inside = pl.col("time").is_between("start_time", "end_time", closed="left")
    return pairs.filter(inside).select(KEY).unique().sort(KEY)


def differing(clean: pl.DataFrame, arrived: pl.DataFrame, signal: str) -> pl.DataFrame:
    both = clean.join(arrived, on=KEY, suffix="_arrived")
    return both.filter(pl.col(signal).ne_missing(pl.col(f"{signal}_arrived"))).select(KEY).sort(KEY)


@pytest.mark.parametrize(
    ("name", "signals"),
    [
        ("spike", {"temperature_c"}),
        ("sentinel", {"temperature_c"}),
        ("kilowatt", {"power_w"}),
        ("fahrenheit", {"temperature_c", "inlet_c"}),
    ],
)
def test_altered_values_are_exactly_those_named(name: str, signals: set[str]) -> None:
    clean, arrived, truth = broken(name)
    assert_frame_equal(clean.select(KEY), arrived.select(KEY))
    for signal in SIGNALS:
        expected = named(clean, truth, signal)
        assert_frame_equal(differing(clean, arrived, signal), expected)
        assert expected.is_empty() == (signal not in signals)


def test_values_mean_what_the_fault_says() -> None:
    clean, arrived, _ = broken("kilowatt")
    ratio = (clean["power_w"] / arrived["power_w"]).drop_nulls().round(1).unique().sort().to_list()
    assert ratio == [1.0, 1000.0]
    clean, arrived, truth = broken("fahrenheit")
    converted = arrived.join(named(clean, truth, "inlet_c"), on=KEY)["inlet_c"]
    assert converted.min() > 73.4  # 23 °C
    clean, arrived, truth = broken("sentinel")
    assert (arrived.join(named(clean, truth, "temperature_c"), on=KEY)["temperature_c"] == np.float32(BLANK)).all()
    clean, arrived, _ = broken("spike")
    jump = (arrived["temperature_c"] - clean["temperature_c"]).filter(
        arrived["temperature_c"] != clean["temperature_c"]
    )
    assert jump.is_between(35, 60).all()


def test_a_stuck_sensor_holds_the_first_value_of_its_episode() -> None:
    clean, arrived, truth = broken("stuck_sensor")
    for entity, signal, start, end in truth.select("entity_id", "signal", "start_time", "end_time").iter_rows():
        inside = pl.col("time").is_between(start, end, closed="left") & (pl.col("entity_id") == entity)
        held = arrived.filter(inside)[signal]
        assert held.n_unique() == 1
        assert held[0] == clean.filter(inside)[signal][0]
        assert clean.filter(inside)[signal].n_unique() > 1
    outside = clean.join(named(clean, truth, "power_w"), on=KEY, how="anti")
    assert_frame_equal(outside, arrived.join(named(clean, truth, "power_w"), on=KEY, how="anti"))


@pytest.mark.parametrize("name", ["gap", "late", "new_entity", "removed_entity"])
def test_missing_rows_are_exactly_those_named(name: str) -> None:
    clean, arrived, truth = broken(name)
    assert_frame_equal(clean.join(arrived, on=KEY, how="anti").select(KEY).sort(KEY), named(clean, truth))
    assert_frame_equal(clean.join(arrived, on=KEY, how="semi"), arrived)


def test_lasting_faults_last() -> None:
    clean, arrived, truth = broken("removed_entity")
    assert truth["end_time"].unique().to_list() == [clean["time"].max() + timedelta(minutes=5)]
    last = arrived.group_by("entity_id").agg(pl.col("time").max())
    assert_frame_equal(
        last.filter(pl.col("time") < clean["time"].max()).select("entity_id").sort("entity_id"),
        truth.select("entity_id").sort("entity_id"),
    )


def test_a_storm_loses_a_third_to_four_fifths_of_the_rows_of_a_hall() -> None:
    clean, arrived, truth = broken("storm", 1.0)
    lost = clean.join(arrived, on=KEY, how="anti").select(KEY)
    inside = named(clean, truth)
    assert lost.join(inside, on=KEY, how="anti").is_empty()
    assert 0.33 < lost.height / inside.height < 0.8
    assert truth.filter(pl.col("entity_id").str.contains("hall-a"))["entity_id"].n_unique() == 10


def test_duplicates_are_identical_and_conflicts_are_not() -> None:
    for name, copies in (("duplicate", 1), ("conflicting_duplicate", 2)):
        clean, arrived, truth = broken(name)
        twice = (
            arrived.group_by(KEY).agg(pl.len(), pl.col("power_w").n_unique().alias("values")).filter(pl.col("len") > 1)
        )
        assert_frame_equal(twice.select(KEY).sort(KEY), named(clean, truth))
        assert twice["len"].unique().to_list() == [2]
        assert twice["values"].unique().to_list() == [copies]
        assert_frame_equal(arrived.unique(KEY, keep="first", maintain_order=True), clean)


def test_rows_out_of_order_stand_behind_their_day() -> None:
    clean, arrived, truth = broken("out_of_order")
    assert_frame_equal(arrived.sort(KEY), clean)
    for _, day in arrived.group_by(pl.col("time").dt.date()):
        newest = day["time"].cum_max().shift(1)
        behind = day.filter(day["time"] < newest.fill_null(day["time"].min()))
        inside = named(clean, truth).join(day, on=KEY, how="semi")
        # The last row of the day may itself be held back, and then is in order.
        assert behind.join(inside, on=KEY, how="anti").is_empty()
        assert inside.height - behind.height <= 15


def test_a_skewed_clock_runs_ahead_by_less_than_half_a_step() -> None:
    clean, arrived, truth = broken("skewed_clock")
    moved = arrived.join(clean, on=KEY, how="anti")
    ahead_s = (moved["time"] - moved["time"].dt.truncate("5m")).dt.total_seconds()
    assert ahead_s.is_between(30, 150).all()
    true_keys = moved.with_columns(pl.col("time").dt.truncate("5m")).select(KEY).sort(KEY)
    assert_frame_equal(true_keys, named(clean, truth))


def test_future_rows_are_stamped_a_day_ahead() -> None:
    clean, arrived, truth = broken("future")
    assert_frame_equal(arrived.drop("time"), clean.drop("time"))
    ahead = arrived["time"] - clean["time"]
    assert set(ahead) == {timedelta(), timedelta(days=1)}
    assert_frame_equal(clean.filter(ahead > timedelta()).select(KEY).sort(KEY), named(clean, truth))


def test_late_rows_come_in_a_file_of_the_next_day(tmp_path: Path) -> None:
    config = SimulatorConfig(days=DAYS, rows=ROWS)
    simulate(config, tmp_path / "clean")
    simulate(replace(config, faults={"late": 0.6}), tmp_path / "late")
    days = sorted((tmp_path / "late" / "telemetry").iterdir())
    truth = pl.read_parquet(tmp_path / "late" / "truth" / "faults.parquet")
    assert set(truth["end_time"].dt.time()) == {time(0)}, "an outage lasts to midnight"
    for yesterday, today in pairwise(days):
        clean, arrived = (
            pl.read_parquet(tmp_path / of / "telemetry" / yesterday.name / "part-0.parquet") for of in ("clean", "late")
        )
        missing = clean.join(arrived, on=KEY, how="anti")
        assert_frame_equal(missing.select(KEY).sort(KEY), named(clean, truth))
        if not missing.is_empty():
            assert_frame_equal(pl.read_parquet(today / "late-0.parquet"), missing)
    assert sum((day / "late-0.parquet").exists() for day in days) >= 1


def test_an_upgrade_renames_a_column_from_a_day_on(tmp_path: Path) -> None:
    simulate(SimulatorConfig(days=DAYS, rows=ROWS, faults={"schema_drift": 1.0}), tmp_path / "drift")
    simulate(SimulatorConfig(days=DAYS, rows=ROWS), tmp_path / "clean")
    truth = pl.read_parquet(tmp_path / "drift" / "truth" / "faults.parquet")
    (start,) = truth["start_time"]
    assert truth.row(0)[:3] == ("schema_drift", "site-1", "temperature_c")
    for day in sorted((tmp_path / "drift" / "telemetry").iterdir()):
        drifted = pl.read_parquet(day / "part-0.parquet", hive_partitioning=False)
        clean = pl.read_parquet(tmp_path / "clean" / "telemetry" / day.name / "part-0.parquet", hive_partitioning=False)
        late = day.name >= f"day={start.date().isoformat()}"
        assert_frame_equal(drifted, clean.rename(RENAMED) if late else clean)


@pytest.mark.parametrize("name", FAULTS)
def test_a_rate_of_zero_breaks_nothing(name: str) -> None:
    config = SimulatorConfig(days=1, rows=ROWS, faults={name: 0.0})
    fleet, samples = Fleet.of(config), measured(config, 0)
    injector = FaultInjector(fleet)
    before = samples.table(fleet.entity_ids)
    injector.inject(samples, 0)
    assert_frame_equal(samples.table(fleet.entity_ids), before)
    assert injector.truth().is_empty()


def test_one_fault_does_not_move_another() -> None:
    alone = broken("gap")[2]
    config = SimulatorConfig(days=DAYS, rows=ROWS, faults={"gap": 0.4, "spike": 0.5, "storm": 0.5})
    injector = FaultInjector(Fleet.of(config))
    for day in range(DAYS):
        injector.inject(measured(config, day), day)
    assert_frame_equal(injector.truth().filter(fault="gap"), alone)


def test_what_cannot_be_injected_is_refused_by_name() -> None:
    config = SimulatorConfig(days=1, rows=ROWS)
    with pytest.raises(ConfigError, match=r"source\.fleet\.faults: unknown fault 'gremlin'; known are duplicate"):
        FaultInjector(Fleet.of(replace(config, faults={"gremlin": 0.1})))
    with pytest.raises(ConfigError, match=r"source\.fleet\.faults\.\w+ is .* from 0 to 1"):
        FaultInjector(Fleet.of(replace(config, faults={"gap": 1.5})))
