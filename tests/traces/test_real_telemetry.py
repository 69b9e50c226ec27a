"""Published data sets through the YAML that describes them, checked against a second reading of the same files."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal
from smoke_run import source_of

from forecast.traces.files import FileSource

EST = timezone(timedelta(hours=-5))


def test_google_pdus_become_millionths_of_their_capacity(shared_data: Path, tmp_path: Path) -> None:
    trace = source_of("google_pdu", shared_data / "google_pdu_power_2019.parquet").read()
    assert trace.topology.entities == ("cella_pdu10", "cella_pdu6", "cella_pdu7")
    assert trace.topology.levels == ("row",)
    telemetry = trace.telemetry.collect().sort("entity_id", "time")
    assert telemetry.height == 3 * 8928
    assert telemetry.null_count().sum_horizontal().item() == 0
    first = telemetry.row(0, named=True)
    assert first == {"time": datetime(2019, 5, 1, 7, tzinfo=UTC), "entity_id": "cella_pdu10", "power_w": 699_000.0}
    assert 600_000 < telemetry["power_w"].min() < telemetry["power_w"].max() < 800_000


def test_biohpc_servers_speak_of_eastern_standard_time_all_year(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "biohpc_gpu_servers.parquet"
    telemetry = source_of("biohpc", path).read().telemetry.collect()
    raw = pl.read_parquet(path).filter(pl.col("entity") == "cbsugpu07").sort("timestamp")
    mine = telemetry.filter(pl.col("entity_id") == "cbsugpu07").sort("time")
    assert mine["time"].to_list() == [time.replace(tzinfo=EST) for time in raw["timestamp"]]
    assert mine["power_w"].to_list() == raw["power_avg_w"].to_list()
    assert mine["temperature_c"].to_list() == raw["temp_avg_c"].to_list()
    share = raw.select(pl.col("util_avg_pct") / 100).to_series()
    assert (mine["utilization_ratio"] - share).abs().max() < 1e-12
    assert telemetry["utilization_ratio"].max() <= 1.0


def test_biohpc_servers_in_commissioning_are_left_out(shared_data: Path, tmp_path: Path) -> None:
    telemetry = source_of("biohpc", shared_data / "biohpc_gpu_servers.parquet").read().telemetry
    first = dict(telemetry.group_by("entity_id").agg(pl.col("time").min()).collect().iter_rows())
    opening = datetime(2023, 2, 28, 10, tzinfo=EST)
    assert opening <= first["cbsugpu05"] < opening + timedelta(days=1)
    assert opening <= first["cbsugpu06"] < opening + timedelta(days=1)


def test_a_raw_export_reads_like_the_cleaned_file(shared_data: Path, tmp_path: Path) -> None:
    """The export has a byte-order mark, its newest row first, and a count and a time of completion after the rows."""
    cleaned = source_of("biohpc", shared_data / "biohpc_gpu_servers.parquet")
    mapping = cleaned.mapping() | {
        "columns": {
            "time": "timestamp",
            "entity_id": "name",
            "power_w": "powerave",
            "temperature_c": "tempave",
            "utilization_ratio": "utilave",
        }
    }
    raw = FileSource.from_mapping(mapping, str(shared_data / "biohpc_cbsugpu08_raw.tsv"))
    telemetry = raw.read().telemetry.collect()
    exported = telemetry.drop_nulls("time").sort("time")
    expected = cleaned.read().telemetry.filter(pl.col("entity_id") == "cbsugpu08").collect().sort("time")
    assert exported.height == 15_277
    assert telemetry.height - exported.height == 5, "lines of the trailer are no rows, but counted"
    assert_frame_equal(exported, expected, check_column_order=False, rel_tol=1e-12)
