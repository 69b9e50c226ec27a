"""Forecasts in files: the rows that were issued, each once, whole, found by day, and not for ever."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from issuing import NOON, SPEC, issue, later

from forecast.contracts.tables import forecast_table
from serve.sinks.address import parse_address
from serve.sinks.kinds import open_sink
from serve.sinks.sink import Sink

KEY = ["entity_id", "forecast_time", "valid_time"]


def sink_of(folder: Path, options: str = "") -> Sink:
    return open_sink(parse_address(f"parquet:{folder}{options}", {}))


def scan(folder: Path) -> pl.LazyFrame:
    """As a reader should: a folder alone would take in files that are being written."""
    return pl.scan_parquet(folder / "**/*.parquet", hive_partitioning=True)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_rows_are_those_that_were_issued(tmp_path: Path) -> None:
    issued = issue()
    sink_of(tmp_path).write(issued)
    assert files(tmp_path) == ["forecast=day-ahead/date=2026-03-04/forecast_time=20260304T120000Z.parquet"]
    read = scan(tmp_path)
    forecast_table(SPEC).check(read, "sink")
    assert read.drop("forecast", "date").collect().equals(issued.table())
    assert read.select("forecast", "date").unique().collect().row(0) == ("day-ahead", date(2026, 3, 4))


def test_the_same_cycle_again_is_the_same_file_and_one_that_knew_more_replaces_it(tmp_path: Path) -> None:
    sink, first, revised = sink_of(tmp_path), issue(), issue(shift=7.0)
    for issued in (first, first, revised):
        sink.write(issued)
    read = scan(tmp_path).collect()
    assert len(files(tmp_path)) == 1
    assert not read.select(KEY).is_duplicated().any()
    assert read.drop("forecast", "date").equals(revised.table())


def test_readers_find_a_day_and_a_forecast_among_many(tmp_path: Path) -> None:
    sink, issued = sink_of(tmp_path), issue()
    days = [later(issued, 96 * day) for day in range(3)]
    for one in (*days, replace(issued, name="hour-ahead")):
        sink.write(one)
    read = scan(tmp_path)
    found = read.filter(pl.col("date") == date(2026, 3, 5), pl.col("forecast") == "day-ahead").collect()
    assert found.drop("forecast", "date").equals(days[1].table())


def test_what_a_crash_left_is_in_nobodys_way(tmp_path: Path) -> None:
    sink, issued = sink_of(tmp_path), issue()
    sink.write(issued)
    (file,) = tmp_path.rglob("*.parquet")
    file.with_name(f".{file.name}.123.part").write_bytes(b"PAR1 cut short")
    assert len(scan(tmp_path).collect()) == len(issued.table())


def test_a_disk_that_refuses_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = sink_of(tmp_path)
    sink.write(issue())
    before = scan(tmp_path).collect()

    def full(table: pl.DataFrame, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match="No space"):
        sink.write(issue(shift=7.0))
    assert scan(tmp_path).collect().equals(before)
    assert len(files(tmp_path)) == 1


def test_only_some_levels(tmp_path: Path) -> None:
    sink_of(tmp_path, "?level=rack,site").write(issue())
    assert set(scan(tmp_path).collect()["level"]) == {"rack", "site"}


def test_old_days_go_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    sink, issued = sink_of(tmp_path, "?days=2"), issue()
    for day in range(5):
        if day == 1:
            Path(tmp_path, "forecast=day-ahead/date=2026-03-04/notes.txt").write_text("mine")
        sink.write(later(issued, 96 * day))
    kept = [f"forecast=day-ahead/date={NOON + timedelta(days=day):%Y-%m-%d}" for day in (2, 3, 4)]
    assert files(tmp_path) == [
        "forecast=day-ahead/date=2026-03-04/notes.txt",
        *(f"{folder}/forecast_time={folder[-10:].replace('-', '')}T120000Z.parquet" for folder in kept),
    ]
    assert not Path(tmp_path, "forecast=day-ahead/date=2026-03-05").exists()
