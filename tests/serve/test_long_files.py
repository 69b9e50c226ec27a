"""A bundle that was trained on long files reads the like of them, and files in the contract's form as they are."""

from pathlib import Path

import polars as pl
import pytest
from trees import at, node, tree_of, values_of

from forecast.bundle.manifest import Manifest
from forecast.contracts.specs import ForecastSpec
from forecast.traces.long import LongSource
from forecast.traces.metrics import MetricSpec
from serve.batch import read_telemetry

LONG = pl.DataFrame({"time": [at(0), at(5)], "entity_id": ["a", "a"], "sensor": ["draw", "fan"], "value": [0.25, 9e3]})
SOURCE = LongSource(columns={"metric": "sensor"}, metrics={"draw": MetricSpec(unit="kW")})


@pytest.mark.parametrize(
    "frame", [LONG, pl.DataFrame({"time": [at(0)], "entity_id": ["a"], "power_w": [250.0]})], ids=["long", "wide"]
)
def test_both_forms_are_read(tmp_path: Path, spec: ForecastSpec, frame: pl.DataFrame) -> None:
    frame.write_parquet(tmp_path / "newest.parquet")
    manifest = Manifest("id", "name", spec, tree_of(node("a")), ("box",), SOURCE.mapping(), {}, [])
    telemetry = read_telemetry(str(tmp_path / "newest.parquet"), manifest)
    assert values_of(telemetry) == {("a", 0): 250.0}
