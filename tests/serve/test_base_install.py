"""The serving machine: an environment with the base install only."""

import json
import subprocess
from pathlib import Path

import polars as pl
import pytest
from smoke_run import ROOT, Smoke

from serve.__main__ import main

PYTHON = ROOT / ".venv-serve" / "bin" / "python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="no base environment; `make test` builds it (.venv-serve)")


def test_torch_lightning_and_hydra_are_not_there() -> None:
    listed = subprocess.run([PYTHON, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert "onnxruntime" in names
    assert not names & {"torch", "lightning", "pytorch-lightning", "hydra-core", "omegaconf", "onnx"}


def test_it_loads_the_bundle_and_makes_the_same_forecast(smoke: Smoke, tmp_path: Path) -> None:
    arguments = ["forecast", "--bundle", str(smoke.bundle), "--telemetry", str(smoke.fleet / "telemetry"), "--out"]
    there, here = tmp_path / "there.parquet", tmp_path / "here.parquet"
    subprocess.run([PYTHON, "-m", "serve", *arguments, str(there)], cwd=ROOT, check=True, capture_output=True)
    assert main([*arguments, str(here)]) == 0
    assert pl.read_parquet(there).equals(pl.read_parquet(here))
