"""The IPMI of 1,691 hosts on their power-down day, through its YAML, checked against plain loops over the rows."""

import math
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl
import pytest
from smoke_run import source_of

from forecast.traces.long import LongSource
from forecast.traces.metrics import blanks
from forecast.traces.trace import Trace

FULL_SCALES = (25450.0, 25550.0)


@pytest.fixture(scope="module")
def path(shared_data: Path) -> Path:
    return shared_data / "ipmi" / "harvard_ipmi_2025-06-03.parquet"


@pytest.fixture(scope="module")
def ipmi(path: Path) -> LongSource:
    source = source_of("harvard_ipmi", path)
    assert isinstance(source, LongSource)
    return source


@pytest.fixture(scope="module")
def trace(ipmi: LongSource) -> Trace:
    return ipmi.read()


@pytest.fixture(scope="module")
def telemetry(trace: Trace) -> pl.DataFrame:
    return trace.telemetry.collect()


def readings(path: Path, *hosts: str) -> dict[datetime, dict[tuple[str, str], float]]:
    """Time to {(host, sensor): value}, as the file has them."""
    found: dict[datetime, dict[tuple[str, str], float]] = defaultdict(dict)
    rows = pl.scan_parquet(path).filter(pl.col("entity").is_in(hosts)).collect()
    for time, host, sensor, _, value in rows.iter_rows():
        assert (host, sensor) not in found[time], "no reading repeats"
        found[time.replace(tzinfo=UTC)][host, sensor] = value
    return found


def rows_of(telemetry: pl.DataFrame, entity: str) -> dict[datetime, dict[str, float | None]]:
    mine = telemetry.filter(pl.col("entity_id") == entity)
    rows = {row["time"]: {name: row[name] for name in mine.columns[2:]} for row in mine.iter_rows(named=True)}
    assert len(rows) == len(mine)
    return rows


def test_every_host_has_a_place(trace: Trace, caplog: pytest.LogCaptureFixture) -> None:
    tree = trace.topology.table
    assert Counter(tree["level"]) == {"server": 1691, "rack": 191, "row": 3, "site": 1}
    parent = dict(tree.select("entity_id", "parent_id").iter_rows())
    assert [parent[host] for host in ("holy8a14101", "holygpu8a16102", "holygpu2c0923", "holy2c112501")] == [
        "holy8a141",
        "holy8a161",
        "holy2c09",
        "holy2c11",
    ]
    assert parent["holy8a141"] == "holy8a"
    assert parent["lichtmandce03"] == parent["holy8a"] == "holyoke"
    assert Counter(tree["sku"])["holygpu"] == 327


def test_a_chassis_has_twelve_places_for_nodes(trace: Trace) -> None:
    nodes = trace.topology.table.filter(pl.col("level") == "server", pl.col("parent_id").str.contains(r"^holy8a\d{3}$"))
    sizes = nodes.group_by("parent_id").len()["len"]
    assert sizes.max() == 12
    assert nodes.height == 521 + 292, "holy8a and holygpu8a"


@pytest.mark.parametrize(
    ("host", "inlet", "heat"),
    [
        ("holy8a14101", ["Inlet Water Temp"], []),
        ("holy7c18203", ["Ambient Temp"], ["CPU 1 Temp", "CPU 2 Temp"]),
        ("lichtmandce03", ["Ambient Temp"], [f"CPU {at} Temp" for at in (1, 2, 3, 4)]),
        ("holy7c20412", ["Ambient Temp"], []),
    ],
)
def test_a_host_reads_as_its_rows_say(
    path: Path, telemetry: pl.DataFrame, host: str, inlet: list[str], heat: list[str]
) -> None:
    expected = {}
    for time, values in readings(path, host).items():
        own: dict[str, float] = {sensor: value for (_, sensor), value in values.items()}
        hot = [own[name] for name in heat if name in own] or [own[name] for name in ("Rear Board Temp",) if name in own]
        expected[time] = {
            "power_w": own.get("Sys Power"),
            "inlet_c": next((own[name] for name in inlet if name in own), None),
            "temperature_c": max(hot) if hot else None,
        }
    expected = {time: row for time, row in expected.items() if any(value is not None for value in row.values())}
    assert len(expected) > 200 or host == "holy8a14101"
    assert rows_of(telemetry, host) == expected


def test_the_power_of_a_chassis_is_told_once_not_once_per_node(path: Path, telemetry: pl.DataFrame) -> None:
    """Chassis 3 of rack 26: ten and eleven nodes a minute, two of them a full scale at 01:46:06."""
    nodes = [f"holy8a263{node:02d}" for node in range(1, 13)]
    found = rows_of(telemetry, "holy8a263")
    blank = 0
    for time, values in readings(path, *nodes).items():
        watts = [value for (_, sensor), value in values.items() if sensor == "Chassis Power"]
        if not watts:
            continue
        power = found[time]["power_w"]
        assert power is not None
        if any(value in FULL_SCALES for value in watts):
            blank += 1
            assert math.isnan(power)
        else:
            assert power == pytest.approx(fmean(watts))
    assert blank == 2
    assert {row["inlet_c"] for row in found.values()} == {None}


def test_glitches_come_out_as_no_number_and_are_counted(
    path: Path, ipmi: LongSource, trace: Trace, telemetry: pl.DataFrame
) -> None:
    raw = pl.read_parquet(path).filter(pl.col("unit").is_in(["Watts", "degrees C"]))
    truth: Counter[str] = Counter()
    seconds = set()
    for time, host, sensor, _, value in raw.iter_rows():
        if (sensor in {"Sys Power", "Pwr Consumption", "Rear Board Temp"} and value == 0) or (
            sensor == "Chassis Power" and value in FULL_SCALES
        ):
            truth[sensor] += 1
            if sensor == "Chassis Power":
                seconds.add((time, host.replace("gpu", "")[:-2]))
    assert truth == {"Chassis Power": 32, "Sys Power": 438, "Pwr Consumption": 556, "Rear Board Temp": 158}
    counted = blanks(ipmi.samples(trace.topology), ipmi.metrics).group_by("metric").agg(pl.col("count").sum())
    assert dict(counted.iter_rows()) == truth
    blank = telemetry.select(pl.col("power_w", "inlet_c", "temperature_c").is_nan().sum()).row(0)
    assert blank == (438 + 556 + len(seconds), 0, 158)
    dead = telemetry.filter(pl.col("power_w").is_nan(), ~pl.col("entity_id").str.contains(r"^holy8a\d{3}$"))
    hosts: dict[str, Any] = Counter(dead["entity_id"])
    assert hosts == {"holy7c22508": 280, "holy7c12202": 158, "holygpu2c0923": 278, "holygpu2c1121": 278}


def test_nothing_seems_late_that_is_not(telemetry: pl.DataFrame) -> None:
    """The file goes through the day host by host; a chassis hears of it from each of its nodes."""
    late = telemetry.select((pl.col("time") < pl.col("time").cum_max().shift(1)).over("entity_id").sum())
    assert late.item() == 0


def test_what_is_left_is_possible(telemetry: pl.DataFrame) -> None:
    ranges = telemetry.fill_nan(None)
    assert (ranges["power_w"].min(), ranges["inlet_c"].min(), ranges["temperature_c"].min()) == (10.0, 19.0, 22.0)
    assert (ranges["power_w"].max(), ranges["inlet_c"].max(), ranges["temperature_c"].max()) == (2350.0, 29.0, 39.0)


def test_the_day_goes_dark(trace: Trace, telemetry: pl.DataFrame) -> None:
    servers = trace.topology.table.filter(pl.col("level") == "server")["entity_id"]
    last = (
        telemetry.filter(pl.col("entity_id").is_in(servers.implode())).group_by("entity_id").agg(pl.col("time").max())
    )
    evening = datetime(2025, 6, 3, 21, tzinfo=UTC)
    assert Counter(time > evening for time in last["time"]) == {True: 803, False: 888}
    dark = telemetry.filter(pl.col("time").dt.hour().is_between(3, 20))
    assert set(dark["entity_id"]) == {"lichtmandce03", "lichtmandce04"}


def test_a_raw_export_gives_the_server_of_the_cleaned_file(shared_data: Path) -> None:
    """Byte-order mark, newest row first, a count and a time of completion after the rows."""
    raw = source_of("biohpc_raw", shared_data / "biohpc_cbsugpu08_raw.tsv").read()
    cleaned = source_of("biohpc", shared_data / "biohpc_gpu_servers.parquet").read()
    mine = raw.telemetry.drop_nulls("time").sort("time").collect()
    theirs = cleaned.telemetry.filter(pl.col("entity_id") == "cbsugpu08").sort("time").collect()
    both = mine.join(theirs, on=["time", "entity_id"], suffix="_cleaned")
    assert len(mine) == len(theirs) == len(both) == 15_277
    for name in ("power_w", "temperature_c", "utilization_ratio"):
        pair = both.select(name, f"{name}_cleaned")
        assert pair.null_count().row(0) == (0, 0)
        assert (pair[name] - pair[f"{name}_cleaned"]).abs().max() < 1e-9
    lost = raw.telemetry.filter(pl.col("time").is_null()).collect()
    assert len(lost) == 5, "the lines after the rows, blank or not, have no time and stay to be counted"
    assert raw.topology.entities == ("cbsugpu08",)
