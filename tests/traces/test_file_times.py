"""Times of a file to UTC: zones, changes of clocks, and what is refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.contracts.errors import ConfigError, DataError
from forecast.traces.files import EntitySpec, FileSource
from forecast.traces.times import utc


def times_of(path: Path, times: pl.Series, time_zone: str | None) -> list[str | None]:
    """What is read of `times`, as UTC in ISO, in the order of the file; None where it is no time."""
    frame = pl.DataFrame({"time": times, "entity_id": "a", "power_w": 1.0})
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    source = FileSource(path=str(path), entities={"a": EntitySpec()}, time_zone=time_zone)
    read = source.read().telemetry.collect()["time"]
    return [time and time.strftime("%Y-%m-%dT%H:%M:%S.%f")[:23] for time in read]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00.000"),
        ("2026-07-01T12:00:00+05:30", "2026-07-01T06:30:00.000"),
        ("2026-07-01 12:00:00.250-0400", "2026-07-01T16:00:00.250"),
        ("2026-07-01T12:00+02", "2026-07-01T10:00:00.000"),
        ("2026-07-01T12:00:00", "2026-07-01T16:00:00.000"),
        ("2026-07-01 12:00:00.000", "2026-07-01T16:00:00.000"),
        (" 2026-07-01 12:00 ", "2026-07-01T16:00:00.000"),
        ("2026-07-01", "2026-07-01T04:00:00.000"),
        ("2026-12-01T12:00:00", "2026-12-01T17:00:00.000"),
    ],
)
def test_iso_text_keeps_its_zone_or_takes_the_declared_one(tmp_path: Path, text: str, expected: str) -> None:
    assert times_of(tmp_path / "x.csv", pl.Series([text]), "America/New_York") == [expected]


def test_one_file_may_write_its_times_in_several_ways(tmp_path: Path) -> None:
    texts = pl.Series(["2026-07-01T00:00:00Z", "2026-07-01 01:00", "2026-07-01T02:00:00.500", "(3 rows affected)"])
    assert times_of(tmp_path / "x.csv", texts, "UTC") == [
        "2026-07-01T00:00:00.000", "2026-07-01T01:00:00.000", "2026-07-01T02:00:00.500", None,
    ], "a line that is no time is kept, to be counted"  # fmt: skip


@pytest.mark.parametrize("text", ["01/02/2026 13:00", "13.02.2026 13:00", "1767225600", "20260201", "noon"])
def test_text_that_is_not_iso_is_refused_not_guessed(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=rf"x.csv: the time column time holds '{text}', expected ISO text"):
        times_of(tmp_path / "x.csv", pl.Series([text, text]), "UTC")


@pytest.mark.parametrize("times", [["2026-07-01T00:00"], ["2026-07-01T00:00Z", "2026-07-01T01:00"]])
def test_text_without_a_zone_is_refused_unless_the_source_declares_one(tmp_path: Path, times: list[str]) -> None:
    with pytest.raises(
        DataError, match=r"x.csv: times carry no zone; write them with one .*, or set the source's `time_zone`"
    ):
        times_of(tmp_path / "x.csv", pl.Series(times), None)


def test_timestamps_without_a_zone_are_refused_unless_the_source_declares_one(tmp_path: Path) -> None:
    times = pl.Series([datetime(2026, 7, 1)])
    with pytest.raises(DataError, match=r"x.parquet: times carry no zone"):
        times_of(tmp_path / "x.parquet", times, None)
    assert times_of(tmp_path / "x.parquet", times, "Etc/GMT+5") == ["2026-07-01T05:00:00.000"]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_timestamps_with_a_zone_need_no_other(tmp_path: Path, unit: str, zone: str) -> None:
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    times = pl.Series([moment], dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone(zone).dt.cast_time_unit(unit)
    assert times_of(tmp_path / "x.parquet", times, None) == ["2026-07-01T12:00:00.000"]
    assert times_of(tmp_path / "x.parquet", times, "America/New_York") == ["2026-07-01T12:00:00.000"]


@pytest.mark.parametrize("times", [[1_767_225_600], [datetime(2026, 1, 1).date()], [12.5]])
def test_a_column_that_is_no_time_is_refused_by_name(tmp_path: Path, times: list[object]) -> None:
    with pytest.raises(DataError, match=r"x.parquet: the time column time is \w+, expected a timestamp or ISO text"):
        times_of(tmp_path / "x.parquet", pl.Series(times), "UTC")


def test_a_zone_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x.csv: time_zone='Mars/Base' is not an IANA time zone"):
        times_of(tmp_path / "x.csv", pl.Series(["2026-07-01"]), "Mars/Base")


def test_an_hour_that_spring_skips_is_no_time_and_one_that_autumn_repeats_is_the_earlier(tmp_path: Path) -> None:
    spring = pl.Series(["2026-03-08T01:30", "2026-03-08T02:30", "2026-03-08T03:30"])
    assert times_of(tmp_path / "x.csv", spring, "America/New_York") == [
        "2026-03-08T06:30:00.000", None, "2026-03-08T07:30:00.000",
    ]  # fmt: skip
    autumn = pl.Series(["2026-11-01T00:30", "2026-11-01T01:30", "2026-11-01T01:30", "2026-11-01T02:30"])
    assert times_of(tmp_path / "x.csv", autumn, "America/New_York") == [
        "2026-11-01T04:30:00.000", "2026-11-01T05:30:00.000", "2026-11-01T05:30:00.000", "2026-11-01T07:30:00.000",
    ]  # fmt: skip


def test_a_clock_without_daylight_saving_has_neither(tmp_path: Path) -> None:
    texts = pl.Series(["2026-03-08T02:30", "2026-11-01T01:30"])
    assert times_of(tmp_path / "x.csv", texts, "Etc/GMT+5") == ["2026-03-08T07:30:00.000", "2026-11-01T06:30:00.000"]


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)),
    st.sampled_from(["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "Etc/GMT+5", "UTC"]),
)
def test_local_times_agree_with_the_standard_library(local: datetime, zone: str) -> None:
    aware = local.replace(tzinfo=ZoneInfo(zone), fold=0)
    exists = aware.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local
    expected = aware.astimezone(UTC) if exists else None
    for column in (pl.Series([local]), pl.Series([local.isoformat()])):
        frame = pl.LazyFrame({"clock": column})
        assert frame.select(utc(frame, "clock", zone, "here")).collect().item() == expected


@given(st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_text_with_an_offset_is_the_instant_it_names(local: datetime, offset_min: int) -> None:
    hours, minutes = divmod(abs(offset_min), 60)
    text = f"{local.isoformat()}{'-' if offset_min < 0 else '+'}{hours:02}:{minutes:02}"
    frame = pl.LazyFrame({"clock": [text]})
    instant = frame.select(utc(frame, "clock", None, "here")).collect().item()
    assert instant == local.replace(tzinfo=UTC) - timedelta(minutes=offset_min)
