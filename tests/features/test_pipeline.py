"""From telemetry as it arrives to the gridded table, and what cannot be built from."""

from dataclasses import replace

import polars as pl
import pytest
from trees import node, samples, tree_of, values_of

from forecast.contracts.errors import DataError
from forecast.contracts.specs import ForecastSpec
from forecast.features.pipeline import build

RACK = tree_of(node("rack", "rack"), node("a", parent="rack"), node("b", parent="rack"))


def power_only(spec: ForecastSpec) -> ForecastSpec:
    return replace(spec, targets=("power_w",), past=("power_w",))


def test_bad_samples_repeats_and_levels_come_out_as_one_grid(spec: ForecastSpec) -> None:
    telemetry = samples(
        ("a", 0, 400.0), ("a", 0, 400.0), ("a", 30, 600.0), ("a", 45, 2e10), ("b", 10, 300.0), ("b", 20, 310.0),
        ("b", 20, 320.0), ("b", 61, 300.0), ("a", 70, 100.0), ("a", 70, 200.0), ("a", 80, 500.0),
    )  # fmt: skip
    built = build(telemetry.with_columns(note=pl.lit("x")), RACK, power_only(spec))
    assert built.collect_schema().names() == ["entity_id", "time", "power_w"]
    assert values_of(built) == {
        ("a", 0): 500.0, ("b", 0): 300.0, ("rack", 0): 800.0, ("a", 60): 500.0, ("b", 60): 300.0, ("rack", 60): 800.0,
    }  # fmt: skip


def test_a_channel_that_the_forecast_needs_is_named_when_it_is_missing(spec: ForecastSpec) -> None:
    with pytest.raises(DataError, match=r"day.csv: no column temperature_c, utilization_ratio, which this forecast"):
        build(samples(("a", 0, 1.0)), RACK, spec, "day.csv")


def test_no_rows_at_all(spec: ForecastSpec) -> None:
    with pytest.raises(DataError, match=r"day.csv: no rows of known entities in the time range"):
        build(samples(), RACK, power_only(spec), "day.csv")


def test_a_target_that_was_never_observed(spec: ForecastSpec) -> None:
    telemetry = samples(("a", 0, 100.0)).with_columns(temperature_c=pl.lit(None, pl.Float64), utilization_ratio=0.5)
    with pytest.raises(DataError, match=r"day.csv: temperature_c was never observed; check its column"):
        build(telemetry, RACK, spec, "day.csv")


def test_a_channel_that_is_no_target_may_be_absent_throughout(spec: ForecastSpec) -> None:
    telemetry = samples(("a", 0, 100.0), ("b", 0, 100.0)).with_columns(
        temperature_c=pl.lit(50.0), utilization_ratio=pl.lit(None)
    )
    table = build(telemetry, RACK, spec).collect()
    assert table["utilization_ratio"].null_count() == 3
    assert table.filter(pl.col("entity_id") == "rack")["power_w"].item() == 200.0


def test_a_wrong_unit_is_refused_with_the_name_of_the_file(spec: ForecastSpec) -> None:
    with pytest.raises(DataError, match=r"day.csv: power_w is typically"):
        build(samples(("a", 0, 0.4)), RACK, power_only(spec), "day.csv")
