"""Programs in other languages make the same forecasts of the same telemetry, with an ONNX Runtime of their own."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from smoke_run import ROOT, Smoke

from forecast.bundle.load import load
from forecast.predictor import Predictor

NODE = ROOT / "examples" / "node" / "forecast.mjs"
CPP = ROOT / ".examples" / "cpp" / "forecast"


@pytest.fixture(params=["node", "cpp"])
def program(request: pytest.FixtureRequest) -> list[str]:
    """The command of one example, if it was built."""
    built = {
        "node": (NODE.parent / "node_modules").is_dir() and shutil.which("node") is not None,
        "cpp": CPP.is_file(),
    }
    if not built[request.param]:
        pytest.skip(f"examples/{request.param} is not built; run `make examples`, which says what to install")
    return {"node": ["node", str(NODE)], "cpp": [str(CPP)]}[request.param]


@pytest.fixture
def week(smoke: Smoke, tmp_path: Path) -> Path:
    """A week of raw telemetry as a CSV."""
    days = pl.scan_parquet(smoke.fleet / "telemetry" / "**" / "*.parquet").sort("time", "entity_id")
    path = tmp_path / "telemetry.csv"
    days.filter(pl.col("time") < pl.datetime(2026, 1, 19, time_zone="UTC")).collect().write_csv(path)
    return path


def printed(program: list[str], *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [*program, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_numbers_are_those_of_python(program: list[str], smoke: Smoke, week: Path) -> None:
    done = printed(program, smoke.bundle, week)
    assert done.returncode == 0, done.stderr
    theirs = pl.read_csv(done.stdout.encode(), try_parse_dates=True)
    telemetry = pl.read_csv(week, try_parse_dates=True).lazy()
    ours = Predictor(load(smoke.bundle)).forecast(telemetry).table()
    both = theirs.join(ours, on=["entity_id", "valid_time"], suffix="_ours", validate="1:1")
    assert len(both) == len(theirs) == 4 * 12, "four servers, twelve hours"
    quantiles = [name for name in theirs.columns if name not in {"entity_id", "valid_time"}]
    assert len(quantiles) == 2 * 13
    for name in quantiles:
        np.testing.assert_allclose(both[name], both[f"{name}_ours"], rtol=1e-4)


def test_telemetry_of_another_fleet_is_named_in_one_line(program: list[str], smoke: Smoke, tmp_path: Path) -> None:
    strange = tmp_path / "strange.csv"
    strange.write_text("time,entity_id,power_w\n2026-01-01T00:00:00Z,nobody,1\n")
    done = printed(program, smoke.bundle, strange)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {strange}: no row tells")
    assert done.stderr.count("\n") == 1
