"""What a table must look like, told from its schema alone."""

from datetime import datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import samples

from forecast.contracts.errors import DataError, ExitCode
from forecast.contracts.tables import TELEMETRY, UTC, microseconds, times


def test_telemetry_of_the_contract_passes_untouched() -> None:
    frame = samples(("a", 0, 1.0))
    assert TELEMETRY.check_schema(frame, "here") is frame


def test_a_missing_column_is_named_with_what_was_found_and_where() -> None:
    with pytest.raises(DataError, match=r"^day.csv: telemetry lacks column time; found entity_id, power_w") as refusal:
        TELEMETRY.check_schema(samples(("a", 0, 1.0)).drop("time"), "day.csv")
    assert refusal.value.exit_code == ExitCode.DATA_REFUSED


def test_two_missing_columns_are_both_named() -> None:
    with pytest.raises(DataError, match="lacks columns time, entity_id"):
        TELEMETRY.check_schema(pl.LazyFrame({"power_w": [1.0]}), "day.csv")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pl.col("time").dt.replace_time_zone(None), "column time of telemetry is Datetime.*expected Datetime"),
        (pl.col("time").cast(pl.Datetime("ms", "UTC")), "column time of telemetry"),
        (pl.col("time").dt.convert_time_zone("Europe/Berlin"), "column time of telemetry"),
        (pl.col("entity_id").cast(pl.Categorical), "column entity_id of telemetry is Categorical"),
        (pl.col("power_w").cast(pl.String), "column power_w of telemetry is String, expected Float64"),
        ((pl.col("power_w") > 0).alias("inlet_c"), "column inlet_c of telemetry is Boolean"),
    ],
)
def test_a_retyped_column_is_named(column: pl.Expr, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TELEMETRY.check_schema(samples(("a", 0, 1.0)).with_columns(column), "day.csv")


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Int64, pl.UInt8, pl.Null])
def test_any_number_serves_as_a_measurement_and_so_does_a_column_of_nothing(dtype: type[pl.DataType]) -> None:
    frame = samples(("a", 0, None)).with_columns(pl.col("power_w").cast(dtype))
    assert TELEMETRY.check_schema(frame, "day.csv").collect_schema()["power_w"] == dtype


@given(st.lists(st.none() | st.datetimes(datetime(1900, 1, 1), timezones=st.just(ZoneInfo("UTC")))))
def test_times_are_those_that_polars_makes_of_them(values: list[datetime | None]) -> None:
    micros = [None if value is None else microseconds(value) for value in values]
    assert times("time", micros).equals(pl.Series("time", values, UTC), check_dtypes=True, check_names=True)
