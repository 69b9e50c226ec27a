"""The file source: columns, units, entities and ranges as the YAML says, from any kind of file."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal, assert_series_equal
from trees import at, node, table_of, values_of

from forecast.contracts.errors import ConfigError, DataError
from forecast.traces.files import EntitySpec, FileSource
from forecast.traces.trace import Trace

NAN = float("nan")
ENTITIES = {"a": EntitySpec(power_limit_w=300, temperature_limit_c=90), "b": EntitySpec(power_limit_w=700)}
RAW = pl.DataFrame(
    {
        "when": ["2026-03-02T00:00:00Z", "2026-03-02T00:05:00Z", "2026-03-02T00:05:00Z", "2026-03-02T00:10:00Z"],
        "host": ["a", "a", "b", "stranger"],
        "draw": [100.5, 101.0, 200.0, 999.0],
        "heat": [40.0, None, 50.0, 99.0],
        "note": ["x", "y", "z", "w"],
    }
)
COLUMNS = {"time": "when", "entity_id": "host", "power_w": "draw", "temperature_c": "heat"}


def write(frame: pl.DataFrame, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="," if path.suffix.lower() == ".csv" else "\t")
    return path


def read(path: Path | str, **fields: Any) -> Trace:
    return FileSource(path=str(path), **{"entities": ENTITIES, **fields}).read()


def converted(path: Path, signal: str, unit: str, value: float, **fields: Any) -> float | None:
    """`value`, written to `path` and read as a `signal` in `unit` of entity `a`."""
    frame = pl.DataFrame({"time": [at(0)], "entity_id": ["a"], signal: [value]})
    trace = read(write(frame, path), units={signal: unit}, **fields)
    return trace.telemetry.collect()[signal].item()


@pytest.mark.parametrize("name", ["raw.parquet", "raw.csv", "raw.tsv", "raw.txt", "RAW.CSV"])
def test_every_kind_of_file_gives_the_same_telemetry(tmp_path: Path, name: str) -> None:
    trace = read(write(RAW, tmp_path / name), columns=COLUMNS)
    telemetry = trace.telemetry.collect()
    assert dict(telemetry.schema) == {
        "time": pl.Datetime("us", "UTC"),
        "entity_id": pl.String,
        "power_w": pl.Float64,
        "temperature_c": pl.Float64,
    }
    assert telemetry.sort("entity_id", "time").rows() == [
        (at(0), "a", 100.5, 40.0),
        (at(5), "a", 101.0, None),
        (at(5), "b", 200.0, 50.0),
        (at(10), "stranger", 999.0, 99.0),
    ], "a stranger's rows stay, to be counted"
    assert trace.topology.entities == ("a", "b")


def test_the_names_of_the_contract_need_no_mapping_and_others_are_ignored(tmp_path: Path) -> None:
    frame = RAW.rename({"when": "time", "host": "entity_id", "draw": "power_w"})
    assert read(write(frame, tmp_path / "x.csv")).telemetry.collect_schema().names() == ["time", "entity_id", "power_w"]


def test_entities_may_be_numbers_or_categories(tmp_path: Path) -> None:
    frame = pl.DataFrame({"time": [at(0), at(5)], "entity_id": [7, 8], "power_w": [1, 2]})
    numbers = read(write(frame, tmp_path / "n.parquet"), entities={"7": EntitySpec()})
    assert values_of(numbers.telemetry) == {("7", 0): 1.0, ("8", 5): 2.0}
    categories = frame.with_columns(pl.col("entity_id").cast(pl.String).cast(pl.Categorical))
    read_back = read(write(categories, tmp_path / "c.parquet"), entities={"8": EntitySpec()})
    assert values_of(read_back.telemetry) == {("7", 0): 1.0, ("8", 5): 2.0}


@pytest.mark.parametrize(
    ("signal", "unit", "raw", "si"),
    [
        ("power_w", "W", 299.5, 299.5),
        ("power_w", "kW", 1.25, 1250.0),
        ("power_w", "MW", 0.002, 2000.0),
        ("power_w", "fraction_of_limit", 0.75, 225.0),
        ("temperature_c", "degC", 61.5, 61.5),
        ("temperature_c", "degF", 212.0, 100.0),
        ("temperature_c", "degF", 32.0, 0.0),
        ("temperature_c", "degF", -40.0, -40.0),
        ("temperature_c", "K", 273.15, 0.0),
        ("temperature_c", "K", 310.15, 37.0),
        ("temperature_c", "fraction_of_limit", 0.5, 45.0),
        ("inlet_c", "degF", 77.0, 25.0),
        ("utilization_ratio", "percent", 87.5, 0.875),
        ("utilization_ratio", "ratio", 0.875, 0.875),
        ("cooling_power_w", "kW", 3.0, 3000.0),
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_units_become_si(tmp_path: Path, name: str, signal: str, unit: str, raw: float, si: float) -> None:
    assert converted(tmp_path / name, signal, unit, raw) == pytest.approx(si, abs=1e-9)


def test_a_fraction_of_an_unknown_limit_is_not_observed(tmp_path: Path) -> None:
    entities = {"a": EntitySpec()}
    assert converted(tmp_path / "x.csv", "power_w", "fraction_of_limit", 0.5, entities=entities) is None


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"power_w": "kilowatt"}, "units.power_w='kilowatt'; known are W, mW, kW, MW, fraction_of_limit"),
        ({"power_w": "degF"}, "units.power_w='degF'; known are W"),
        ({"inlet_c": "fraction_of_limit"}, "units.inlet_c='fraction_of_limit'; known are degC, degF, K"),
        ({"powr_w": "kW"}, "units names 'powr_w'; the contract has power_w"),
    ],
)
def test_a_unit_that_cannot_be_is_refused(tmp_path: Path, units: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(write(RAW, tmp_path / "x.csv"), columns=COLUMNS, units=units)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({**COLUMNS, "humidity": "note"}, ConfigError, "columns maps 'humidity'; the contract has time, entity_id"),
        ({"entity_id": "host", "power_w": "draw"}, DataError, r"x.csv: no column for time; found when, host"),
        ({"time": "when", "power_w": "draw"}, DataError, r"x.csv: no column for entity_id; found when, host"),
        ({**COLUMNS, "power_w": "watts"}, DataError, r"x.csv: no column watts; found when, host, draw"),
        ({}, DataError, r"x.csv: no column for time; found when, host"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(
    tmp_path: Path, columns: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(write(RAW, tmp_path / "x.csv"), columns=columns)


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(blank, None) for blank in (None, "", "NA", "NaN", "nan", "null", "NULL", "N/A", "n/a", "-", " - ")],
        *[(garbage, NAN) for garbage in ("ERROR", "12 W", "--", "0x10", "1.2.3", "N/A N/A")],
        *[(number, 7.0) for number in ("7", "7.0", " 7 ", "+7", "7e0", "70e-1")],
    ],
)
def test_blanks_are_not_observed_and_what_cannot_be_read_is_kept_to_be_counted(
    tmp_path: Path, name: str, text: str | None, value: float | None
) -> None:
    frame = pl.DataFrame({"time": ["2026-03-02T00:00Z"] * 2, "entity_id": ["a", "b"], "power_w": [text, "5"]})
    found = read(write(frame, tmp_path / name)).telemetry.collect()["power_w"]
    assert_series_equal(found, pl.Series("power_w", [value, 5.0], dtype=pl.Float64))


def test_a_nan_among_numbers_is_its_writers_nothing(tmp_path: Path) -> None:
    frame = pl.DataFrame({"time": [at(0)], "entity_id": ["a"], "power_w": [NAN]})
    assert values_of(read(write(frame, tmp_path / "x.parquet")).telemetry) == {("a", 0): None}


def test_until_is_exclusive_and_utc_unless_it_says_otherwise(tmp_path: Path) -> None:
    path = write(RAW, tmp_path / "x.csv")
    for until in ("2026-03-02T00:05", "2026-03-02T00:05Z", "2026-03-01T19:05-05:00"):
        assert values_of(read(path, columns=COLUMNS, until=until).telemetry) == {("a", 0): 100.5}
    with pytest.raises(ConfigError, match=r"source\.until is 'yesterday', which is no ISO time; write it like 2026"):
        read(path, columns=COLUMNS, until="yesterday")


def test_since_is_inclusive_and_each_entity_has_its_own(tmp_path: Path) -> None:
    path = write(RAW, tmp_path / "x.csv")
    entities = {"a": EntitySpec(since="2026-03-02T01:05+01:00"), "b": EntitySpec()}
    assert values_of(read(path, columns=COLUMNS, entities=entities).telemetry) == {
        ("a", 5): 101.0,
        ("b", 5): 200.0,
        ("stranger", 10): 999.0,
    }


def test_a_glob_a_folder_and_hive_folders_read_all_their_files(tmp_path: Path) -> None:
    for index, name in enumerate(["day=1/part.parquet", "day=2/part.parquet", "day=2/sub/part.parquet"]):
        frame = pl.DataFrame({"time": [at(index)], "entity_id": ["a"], "power_w": [float(index)]})
        write(frame, tmp_path / "hive" / name)
        write(frame, tmp_path / "text" / f"{index}.csv")
    expected = {("a", 0): 0.0, ("a", 1): 1.0, ("a", 2): 2.0}
    assert values_of(read(tmp_path / "hive").telemetry) == expected
    assert values_of(read(tmp_path / "hive" / "day=*" / "**" / "*.parquet").telemetry) == expected
    assert values_of(read(tmp_path / "text" / "*.csv", time_zone="UTC").telemetry) == expected
    assert values_of(read(tmp_path / "text" / "[01].csv", time_zone="UTC").telemetry) == {("a", 0): 0.0, ("a", 1): 1.0}


def test_a_relative_path_and_glob_start_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(RAW, tmp_path / "raw" / "x.csv")
    monkeypatch.chdir(tmp_path)
    assert len(read("raw/*.csv", columns=COLUMNS).telemetry.collect()) == len(RAW)
    assert len(read("raw/x.csv", columns=COLUMNS).telemetry.collect()) == len(RAW)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_may_change_places_and_new_ones_are_ignored(tmp_path: Path, ending: str) -> None:
    one = pl.DataFrame({"time": [at(0)], "entity_id": ["a"], "power_w": [200.0], "temperature_c": [50.0]})
    two = one.select("temperature_c", "power_w", "entity_id", pl.lit(at(5)).alias("time"), extra=pl.lit(1))
    write(one, tmp_path / f"1.{ending}")
    write(two, tmp_path / f"2.{ending}")
    telemetry = read(tmp_path / f"*.{ending}").telemetry
    assert values_of(telemetry) == {("a", 0): 200.0, ("a", 5): 200.0}
    assert values_of(telemetry, "temperature_c") == {("a", 0): 50.0, ("a", 5): 50.0}


@pytest.mark.parametrize("name", ["tree.csv", "tree.parquet"])
def test_a_topology_file_stands_in_for_the_list_of_entities(tmp_path: Path, name: str) -> None:
    tree = table_of(node("rack", "rack", power_limit_w=None), node("b", parent="rack", power_limit_w=250.5))
    trace = read(write(RAW, tmp_path / "x.csv"), columns=COLUMNS, topology=str(write(tree, tmp_path / name)))
    assert_frame_equal(trace.topology.table.drop("country"), tree.sort("level", descending=True))
    assert trace.topology.entities == ("b", "rack")


def test_blanks_in_a_topology_file_say_nothing_however_they_are_written(tmp_path: Path) -> None:
    """Writers that quote every field give `""`, others `NA`; a limit that is another word is refused."""
    header = "entity_id,parent_id,level,sku,power_limit_w,temperature_limit_c,site,time_zone\n"
    rows = '"a","rack","server","h100","300","","s","UTC"\n"rack","","rack","pdu","NA","-","s","UTC"\n'
    tree = tmp_path / "tree.csv"
    tree.write_text(header + rows)
    table = read(write(RAW, tmp_path / "x.csv"), columns=COLUMNS, topology=str(tree)).topology.table
    assert table["parent_id"].to_list() == ["rack", None]
    assert table["power_limit_w"].to_list() == [300.0, None]
    assert table["temperature_limit_c"].to_list() == [None, None]
    tree.write_text(header + rows.replace("300", "0.3 kW"))
    with pytest.raises(DataError, match=r"tree.csv: a limit is not a number; write W and °C without units"):
        read(tmp_path / "x.csv", columns=COLUMNS, topology=str(tree))


def test_a_source_without_topology_and_entities_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x.csv: name a `topology` file or list the `entities`"):
        read(write(RAW, tmp_path / "x.csv"), entities={})


def test_the_key_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    path = write(RAW, tmp_path / "x.csv")
    key = read(path, columns=COLUMNS).key
    assert read(path, columns=COLUMNS).key == key
    assert read(write(RAW, tmp_path / "elsewhere" / "y.csv"), columns=COLUMNS).key == key
    limits = {**ENTITIES, "a": EntitySpec(power_limit_w=301)}
    others = [
        read(write(RAW.with_columns(draw=pl.col("draw") + 1e-6), tmp_path / "z.csv"), columns=COLUMNS).key,
        read(path, columns=COLUMNS, until="2026-03-02T00:05").key,
        read(path, columns=COLUMNS, units={"power_w": "kW"}).key,
        read(path, columns=COLUMNS, entities=limits).key,
    ]
    assert len({key, *others}) == 5


def test_the_key_follows_a_limit_in_the_topology_file(tmp_path: Path) -> None:
    path = write(RAW, tmp_path / "x.csv")
    keys = set()
    for limit in (300.0, 301.0):
        tree = write(table_of(node("a", power_limit_w=limit)), tmp_path / "tree.parquet")
        keys.add(read(path, columns=COLUMNS, topology=str(tree)).key)
    assert len(keys) == 2


@given(
    limit=st.none() | st.floats(1, 1e6),
    unit=st.sampled_from(["W", "kW"]),
    zone=st.none() | st.just("Etc/GMT+5"),
    since=st.none() | st.just("2026-03-02T00:05"),
)
def test_what_a_bundle_keeps_of_a_source_reads_its_like(
    limit: float | None, unit: str, zone: str | None, since: str | None
) -> None:
    source = FileSource(
        path="old.csv",
        until="2026-03-03",
        columns=COLUMNS,
        units={"power_w": unit},
        time_zone=zone,
        entities={"a": EntitySpec(power_limit_w=limit, since=since)},
    )
    copy = FileSource.from_mapping(source.mapping(), "new.csv")
    assert copy.path == "new.csv"
    assert copy.until is None
    assert copy.mapping() == source.mapping()
