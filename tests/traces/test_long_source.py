"""Long files through a mapping of sensors: names, labels, ancestors that are reported for, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from trees import at, node, table_of, values_of

from forecast.contracts.errors import ConfigError, DataError
from forecast.traces.files import EntitySpec, FileSource
from forecast.traces.long import LongSource, source_of
from forecast.traces.metrics import MetricSpec
from forecast.traces.tree import TreeSpec

COLUMNS = {"time": "when", "entity_id": "host", "metric": "sensor", "value": "reading", "unit": "unit"}
METRICS = {
    "Sys Power": MetricSpec(labels={"unit": "Watts|W"}, sentinels=[0.0]),
    r"CPU ?\d Temp": MetricSpec("temperature_c", labels={"unit": ".* C"}),
    "CPU ?[0-9] Temp F": MetricSpec("temperature_c", unit="degF"),
}
ROWS = [
    (at(0), "a", "Sys Power", "Watts", "200"),
    (at(0), "a", "CPU 1 Temp", "degrees C", "61.5"),
    (at(0), "a", "CPU2 Temp", "degrees C", "63"),
    (at(0), "a", "Fan 1 Tach", "RPM", "6400"),
    (at(1), "a", "Sys Power", "Watts", "0"),
    (at(0), "b", "Sys Power", "Watts", "no reading"),
    (at(0), "b", "CPU 1 Temp F", None, "149"),
    (at(0), "b", "Sys Power", "Amps", "1"),
]


def frame_of(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["when", "host", "sensor", "unit", "reading"], orient="row")


def write(frame: pl.DataFrame, path: Path) -> str:
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.with_columns(pl.col("when").dt.to_string("iso")).write_csv(path)
    return str(path)


def source(path: str, **fields: Any) -> LongSource:
    usual = {"columns": COLUMNS, "metrics": METRICS, "entities": {"a": EntitySpec(), "b": EntitySpec()}}
    return LongSource(path=path, **{**usual, **fields})


@pytest.mark.parametrize("name", ["long.parquet", "long.csv"])
def test_sensors_become_signals(tmp_path: Path, name: str) -> None:
    telemetry = source(write(frame_of(ROWS), tmp_path / name)).read().telemetry
    rows = telemetry.sort("entity_id", "time").collect()
    assert rows.columns == ["time", "entity_id", "power_w", "temperature_c"]
    assert rows["entity_id"].to_list() == ["a", "a", "b"]
    assert rows["temperature_c"].to_list() == [63.0, None, pytest.approx(65.0)]
    power = rows["power_w"]
    assert power[0] == 200.0
    assert power.is_nan().to_list() == [False, True, True], (
        "a sentinel and a text are no numbers, and stay to be counted"
    )


def test_the_contracts_names_need_no_mapping(tmp_path: Path) -> None:
    plain = pl.DataFrame({"time": [at(0)], "entity_id": ["a"], "metric": ["power"], "value": [250]})
    plain.write_parquet(tmp_path / "plain.parquet")
    found = source(str(tmp_path / "plain.parquet"), columns={}, metrics={"power": MetricSpec()}).read()
    assert values_of(found.telemetry) == {("a", 0): 250.0}


def test_series_of_one_metric_are_told_apart_by_labels(tmp_path: Path) -> None:
    rows = [
        (at(m), "a", "energy", psu, str(j))
        for m, psu, j in ((0, "1", 0), (0, "2", 9e5), (1, "1", 6e3), (1, "2", 9.12e5))
    ]
    metrics = {"energy": MetricSpec(kind="counter", combine="sum")}
    telemetry = source(write(frame_of(rows), tmp_path / "x.parquet"), metrics=metrics).read().telemetry
    assert values_of(telemetry) == {("a", 0): 300.0, ("a", 1): None}


@pytest.fixture
def chassis(tmp_path: Path) -> LongSource:
    """Three nodes report the power of their chassis, one of them a full scale of one byte."""
    rows = [
        *((at(0), f"c1{node}", "Chassis Power", "W", "150") for node in "ab"),
        *(
            (at(1), f"c1{node}", "Chassis Power", "W", str(watts))
            for node, watts in (("a", 150), ("b", 250), ("c", 350))
        ),
        *((at(2), f"c1{node}", "Chassis Power", "W", str(watts)) for node, watts in (("a", 150), ("b", 25550))),
        (at(2), "c1a", "Sys Power", "W", "60"),
        (at(2), "other", "Chassis Power", "W", "90"),
    ]
    metrics = {**METRICS, "Chassis Power": MetricSpec(combine="mean", sentinels=[25550], rank=1)}
    tree = TreeSpec(patterns=["(?P<chassis>c[0-9])[a-z]"], parents={"rack": "{chassis}"})
    path = write(frame_of(rows), tmp_path / "chassis.parquet")
    return source(path, metrics=metrics, tree=tree, entities={}, measured_at={"Chassis Power": "rack"})


def test_what_nodes_report_of_their_chassis_is_the_chassis_own(chassis: LongSource) -> None:
    trace = chassis.read()
    assert trace.topology.levels == ("server", "rack", "site")
    telemetry = trace.telemetry.collect()
    values = values_of(telemetry.drop_nulls("entity_id").fill_nan(-1.0).lazy())
    assert values == {("c1", 0): 150.0, ("c1", 1): 250.0, ("c1", 2): -1.0, ("c1a", 2): 60.0}
    assert telemetry["entity_id"].null_count() == 1, "of a host that is in no chassis, an unknown entity"


def test_a_bundle_reads_the_like_through_its_mapping(chassis: LongSource) -> None:
    trace = chassis.read()
    again = source_of(chassis.mapping(), chassis.path)
    assert isinstance(again, LongSource)
    assert_frame_equal(again.telemetry(trace.topology).collect(), trace.telemetry.collect(), check_row_order=False)
    wide = FileSource(path="x", columns={"time": "t"})
    assert source_of(wide.mapping(), "x") == wide


def test_limits_that_sensors_report_go_into_the_tree(tmp_path: Path) -> None:
    rows = [(at(m), "a", "Power Cap", "W", str(watts)) for m, watts in ((0, 700), (1, 500))]
    topology = table_of(node("a", power_limit_w=1000.0), node("b", power_limit_w=1000.0))
    topology.write_parquet(tmp_path / "tree.parquet")
    path = write(frame_of([*ROWS, *rows]), tmp_path / "x.parquet")
    metrics = {**METRICS, "Power Cap": MetricSpec("power_limit_w")}
    read = source(path, metrics=metrics, topology=str(tmp_path / "tree.parquet")).read()
    assert read.topology.table["power_limit_w"].to_list() == [700.0, 1000.0]


def test_samples_before_an_entity_was_in_service_are_not_used(tmp_path: Path) -> None:
    entities = {"a": EntitySpec(since="2026-03-02T00:01"), "b": EntitySpec()}
    telemetry = source(write(frame_of(ROWS), tmp_path / "x.parquet"), entities=entities).read().telemetry.collect()
    assert sorted(telemetry.select("entity_id", "time").rows()) == [("a", at(1)), ("b", at(0))]


@pytest.mark.parametrize(
    ("fields", "error", "told"),
    [
        (
            {"metrics": {"Volts": MetricSpec()}},
            DataError,
            "no sensor in column sensor is in `metrics`; found CPU 1 Temp, ",
        ),
        ({"columns": {**COLUMNS, "value": "volts"}}, DataError, "no column volts; found when, host, sensor"),
        (
            {"metrics": {"Sys.*": MetricSpec(), ".* Power": MetricSpec()}},
            ConfigError,
            "both match the sensor 'Sys Power'",
        ),
        ({"metrics": {"(Sys": MetricSpec()}}, ConfigError, "metrics.(Sys: '(Sys' is no regular expression"),
        ({"metrics": {"m": MetricSpec(labels={"unit": "("})}}, ConfigError, "metrics.m.labels.unit: '(' is no regular"),
        (
            {"metrics": {"m": MetricSpec(labels={"slot": "1"})}},
            ConfigError,
            "tell sensors apart by 'slot', which `columns`",
        ),
        ({"metrics": {"m": MetricSpec(unit="volt")}}, ConfigError, "metrics.m: unit='volt'; known are"),
        (
            {"measured_at": {"Chassis Power": "rack"}},
            ConfigError,
            "measured_at names 'Chassis Power'; not in `metrics`",
        ),
        ({"measured_at": {"Sys Power": "cage"}}, ConfigError, "measured_at.Sys Power: unknown level 'cage'"),
        ({"units": {"power_w": "kW"}}, ConfigError, "units: long files have theirs in `metrics`"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(
    tmp_path: Path, fields: dict[str, Any], error: type[Exception], told: str
) -> None:
    path = write(frame_of(ROWS), tmp_path / "x.parquet")
    with pytest.raises(error) as refused:
        source(path, **fields).read()
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nobody_may_report_of_a_level_that_the_tree_lacks(chassis: LongSource) -> None:
    halls = replace(chassis, measured_at={"Chassis Power": "hall"}).read().telemetry.collect()
    assert set(halls["entity_id"]) == {"c1a", None}
