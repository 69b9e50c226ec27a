"""Schedules and weather in tables: names mapped, and nothing known before it was."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from trees import node, table_of

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.tables import JOB_SCHEDULE, WEATHER
from forecast.simulator.config import RowConfig, SimulatorConfig
from forecast.traces.files import FileSource
from forecast.traces.jobs import read_jobs
from forecast.traces.read import read_trace
from forecast.traces.settings import JobsSpec, SlurmSpec, WeatherSpec
from forecast.traces.simulated import SimulatedSource
from forecast.traces.weather import read_weather, wet_bulb_c

COLUMNS = {
    "job_id": "id", "entity_id": "host", "kind": "queue", "status": "state", "start_time": "from", "end_time": "to",
    "planned_power_w": "kw", "available_at": "seen",
}  # fmt: skip
JOBS = """\
id,host,queue,state,from,to,kw,seen,comment
7,a,batch,queued,2026-03-02T10:00,2026-03-02T12:00,1.5,2026-03-02T09:00,x
7,a,batch,running,2026-03-02T10:30,2026-03-02T12:30,1.5,2026-03-02T10:31,x
8,a,batch,queued,2026-03-02T13:00,2026-03-02T14:00,,2026-03-02T11:00,x
"""


def file_of(folder: Path, text: str, name: str = "table.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_mapped_table_keeps_the_contract(tmp_path: Path) -> None:
    spec = JobsSpec(file_of(tmp_path, JOBS), COLUMNS, {"planned_power_w": "kW"}, "America/New_York")
    table = JOB_SCHEDULE.check(read_jobs(spec), "jobs").collect()
    assert table["planned_power_w"].to_list() == [1500.0, 1500.0, None]
    assert table["start_time"][0] == datetime(2026, 3, 2, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"columns": {**COLUMNS, "owner": "x"}}, ConfigError, "columns maps 'owner'"),
        ({"columns": {**COLUMNS, "kind": "nope"}}, DataError, "no column nope; found id, host"),
        ({"columns": {"job_id": "id"}}, DataError, "job schedule lacks columns entity_id, .* `jobs.columns`"),
        ({"units": {"planned_power_w": "hp"}}, ConfigError, "units.planned_power_w='hp'; known are W, mW"),
        ({"units": {"power_w": "W"}}, ConfigError, "units names 'power_w'"),
        ({"time_zone": None}, DataError, "time_zone"),
        ({"path": "nowhere.csv"}, DataError, "nowhere.csv"),
    ],
)
def test_a_mapping_that_cannot_be_is_named(
    tmp_path: Path, change: dict[str, object], error: type[Exception], message: str
) -> None:
    usual = {"path": file_of(tmp_path, JOBS), "columns": COLUMNS, "time_zone": "UTC"}
    with pytest.raises(error, match=message):
        read_jobs(JobsSpec(**{**usual, **change})).collect()


@pytest.mark.parametrize(("power", "told"), [("five", "unreadable planned_power_w"), ("n/a", None), ("", None)])
def test_a_power_that_is_no_number_is_told_and_one_that_is_unknown_is_not(
    tmp_path: Path, power: str, told: str | None
) -> None:
    path = file_of(tmp_path, JOBS.replace(",1.5,2026-03-02T09", f",{power},2026-03-02T09"))
    sifted = JOB_SCHEDULE.sift(read_jobs(JobsSpec(path, COLUMNS, {"planned_power_w": "kW"}, "UTC")), "jobs")
    assert sifted.report["reason"].to_list() == ([told] if told else [])
    assert sifted.good.collect()["planned_power_w"].to_list() == [None, 1500.0, None]


def test_a_table_that_is_no_schedule_is_told_what_it_has(tmp_path: Path) -> None:
    pl.DataFrame({"time": [1], "power_w": [2.0]}).write_parquet(tmp_path / "jobs.parquet")
    with pytest.raises(DataError, match=r"jobs.parquet: job schedule lacks columns .*; found time, power_w\. Map them"):
        read_jobs(JobsSpec(path=str(tmp_path / "jobs.parquet")))


def test_powers_with_a_decimal_comma_are_refused(tmp_path: Path) -> None:
    path = file_of(tmp_path, JOBS.replace(",", "\t").replace("1.5", "1,5"), "jobs.tsv")
    with pytest.raises(DataError, match=r"column kw holds '1,5', with a comma in the number; write it"):
        read_jobs(JobsSpec(path, COLUMNS, {"planned_power_w": "kW"}, "UTC"))


def test_a_source_brings_its_schedule_and_weather_until_a_time(tmp_path: Path) -> None:
    pl.DataFrame({"time": [datetime(2026, 3, 2, tzinfo=UTC)], "entity_id": ["a"], "power_w": [1.0]}).write_parquet(
        tmp_path / "telemetry.parquet"
    )
    table_of(node("a")).write_parquet(tmp_path / "topology.parquet")
    places = {"path": str(tmp_path / "telemetry.parquet"), "topology": str(tmp_path / "topology.parquet")}
    jobs = JobsSpec(file_of(tmp_path, JOBS), COLUMNS, {}, "UTC")
    weather = WeatherSpec(file_of(tmp_path, "valid_time,outdoor_c\n2026-03-02T08:00Z,5\n", "weather.csv"), site="here")
    bare = read_trace(FileSource(**places))
    assert (bare.jobs, bare.weather) == (None, None)
    full = read_trace(FileSource(jobs=jobs, weather=weather, **places))
    assert full.key != bare.key
    assert full.jobs is not None
    assert full.weather is not None
    assert full.jobs.collect().height == 3
    early = read_trace(FileSource(jobs=jobs, weather=weather, until="2026-03-02T10:31Z", **places))
    assert early.jobs is not None
    assert early.jobs.collect()["status"].to_list() == ["queued"]
    file_of(tmp_path, JOBS + JOBS.splitlines()[-1] + "\n")
    assert read_trace(FileSource(jobs=jobs, weather=weather, **places)).key != full.key


WEATHER_LINES = "valid_time,outdoor_c\n2026-03-02T08:00Z,5\n"
SACCT = """\
JobID|State|Start|End|Timelimit|NodeList|AllocTRES
7|RUNNING|2026-03-02T10:00:00|Unknown|02:00:00|a|gres/gpu:h100=8
"""


def as_parquet(text: str) -> bytes:
    content = io.BytesIO()
    pl.read_csv(text.encode()).write_parquet(content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("jobs.csv", JOBS.encode(), lambda path: read_jobs(JobsSpec(path, COLUMNS, {}, "UTC"))),
        ("jobs.csv", JOBS.encode("utf-16"), lambda path: read_jobs(JobsSpec(path, COLUMNS, {}, "UTC"))),
        ("jobs.parquet", as_parquet(JOBS), lambda path: read_jobs(JobsSpec(path, COLUMNS, {}, "UTC"))),
        ("sacct.txt", SACCT.encode(), lambda path: read_jobs(JobsSpec(path, time_zone="UTC", slurm=SlurmSpec()))),
        ("weather.csv", WEATHER_LINES.encode(), lambda path: read_weather(WeatherSpec(path, site="here"))),
        ("weather.parquet", as_parquet(WEATHER_LINES), lambda path: read_weather(WeatherSpec(path, site="here"))),
    ],
)
def test_what_was_read_stays_when_its_file_is_written_over(
    tmp_path: Path, name: str, content: bytes, read: Callable[[str], pl.LazyFrame]
) -> None:
    path = tmp_path / "day=2" / name
    path.parent.mkdir()
    path.write_bytes(content)
    usual = read(str(path)).collect()
    table = read(str(path))
    for torn in (b"", content[: len(content) // 2], bytes(len(content))):
        path.write_bytes(torn)  # the same file, shortened or filled anew
        assert table.collect().equals(usual)
    assert usual.height >= 1


def test_a_page_that_is_torn_is_told_by_the_name_of_its_file(tmp_path: Path) -> None:
    content = bytearray(as_parquet(JOBS))
    content[4:200] = bytes(196)  # the footer is whole
    (tmp_path / "jobs.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"^\S*/jobs\.parquet: cannot be read: "):
        read_jobs(JobsSpec(str(tmp_path / "jobs.parquet"), COLUMNS, {"planned_power_w": "kW"}, "America/New_York"))


def test_partition_keys_are_columns_of_a_schedule_too(tmp_path: Path) -> None:
    for host in ("a", "b"):
        (tmp_path / f"host={host}").mkdir()
        pl.read_csv(JOBS.encode()).drop("host").write_parquet(tmp_path / f"host={host}" / "jobs.parquet")
    table = read_jobs(JobsSpec(str(tmp_path), COLUMNS, {}, "UTC")).collect()
    assert table["entity_id"].to_list() == ["a"] * 3 + ["b"] * 3


@pytest.mark.parametrize(
    ("outdoor", "humidity", "expected"),
    [
        (20.0, 50.0, 13.7),  # Stull (2011), the example of the paper
        (20.0, 100.0, 20.0),
        (-20.1, 50.0, None),
        (50.1, 50.0, None),
        (20.0, 4.0, None),
        (None, 50.0, None),
    ],
)
def test_wet_bulb_by_stull_where_it_holds(outdoor: float | None, humidity: float, expected: float | None) -> None:
    found = wet_bulb_c(pl.Series([outdoor], dtype=pl.Float64), pl.Series([humidity])).item()
    assert found == (expected if expected is None else pytest.approx(expected, abs=0.15))


REAL = {
    "valid_time": "timestamp",
    "site": "entity",
    "outdoor_c": "outdoor_temp_c",
    "humidity_percent": "rel_humidity_pct",
}


def test_measured_weather_is_known_when_it_is_over(shared_data: Path) -> None:
    path = str(shared_data / "env_hourly.parquet")
    spec = WeatherSpec(path, REAL, time_zone="UTC", sites={"US-TEX-ERCO": "texas"})
    sifted = WEATHER.sift(read_weather(spec), path)
    table = sifted.good.collect()
    assert (table["available_at"] - table["valid_time"] == timedelta(hours=1)).all()
    assert (table["issue_time"] == table["valid_time"]).all()
    assert table["site"].unique().to_list() == ["texas"]
    assert table.height == 43_848
    assert table["outdoor_c"].null_count() < 10
    coldest = table.sort("outdoor_c", nulls_last=True).row(0, named=True)
    assert coldest["valid_time"].strftime("%Y-%m") == "2021-02"  # the Texas freeze
    known = table.drop_nulls("wet_bulb_c")
    assert known.height > 0.99 * table.height
    assert (known["wet_bulb_c"] <= known["outdoor_c"] + 1e-9).all()
    assert ((known["outdoor_c"] - known["wet_bulb_c"]).mean() or 0) == pytest.approx(5, abs=2.5)


def test_a_perfect_forecast_is_asked_for_by_name(shared_data: Path) -> None:
    path = str(shared_data / "env_hourly.parquet")
    spec = WeatherSpec(path, REAL, time_zone="UTC", sites={"SG": "here"}, perfect_forecast_h=24)
    table = WEATHER.check(read_weather(spec).drop_nulls(), path).collect()
    assert (table["valid_time"] - table["available_at"] == timedelta(hours=24)).all()


def test_forecasts_say_when_they_came(tmp_path: Path) -> None:
    text = "site,issue_time,valid_time,outdoor_c\nx,2026-03-02T00:00Z,2026-03-02T06:00Z,41\n"
    path = file_of(tmp_path, text)
    with pytest.raises(ConfigError, match="when did its forecasts arrive"):
        read_weather(WeatherSpec(path))
    table = read_weather(WeatherSpec(path, units={}, delay_s=14_400)).collect()
    assert table["available_at"].item() == datetime(2026, 3, 2, 4, tzinfo=UTC)
    assert table["wet_bulb_c"].item() is None
    fahrenheit = {name: name for name in ("site", "issue_time", "valid_time", "outdoor_c")}
    warm = read_weather(WeatherSpec(path, fahrenheit, {"outdoor_c": "degF"}, delay_s=0)).collect()
    assert warm["outdoor_c"].item() == pytest.approx(5)
    with pytest.raises(ConfigError, match="is for observations"):
        read_weather(WeatherSpec(path, delay_s=0, perfect_forecast_h=1))


def test_weather_without_a_place_is_nobodys(tmp_path: Path) -> None:
    path = file_of(tmp_path, "valid_time,outdoor_c\n2026-03-02T08:00Z,5\n")
    with pytest.raises(ConfigError, match="whose weather"):
        read_weather(WeatherSpec(path))
    with pytest.raises(DataError, match="no column for outdoor_c"):
        read_weather(WeatherSpec(path, {"valid_time": "valid_time"}, site="here"))


def test_the_simulated_fleet_brings_its_own(tmp_path: Path) -> None:
    fleet = SimulatorConfig(days=2, rows=[RowConfig("hall", "h100-air", racks=2, servers_per_rack=2)])
    trace = read_trace(SimulatedSource(until="2026-01-06T00:00Z", fleet=fleet, path=str(tmp_path / "fleet")))
    for table, contract in ((trace.jobs, JOB_SCHEDULE), (trace.weather, WEATHER)):
        assert table is not None
        known = contract.check(table, "simulated").collect()["available_at"]
        assert known.max() < datetime(2026, 1, 6, tzinfo=UTC)
        assert known.max() > datetime(2026, 1, 5, 12, tzinfo=UTC)
