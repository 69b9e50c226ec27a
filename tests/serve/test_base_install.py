"""The serving machine: an environment with the base install only."""

import json
import subprocess
from pathlib import Path

import polars as pl
import pytest
from fleets import NOW, fleet, publish, telemetry, write_bundle
from loopback import wait_until
from running import Process, ask
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


def test_it_serves(tmp_path: Path) -> None:
    publish(tmp_path / "registry", write_bundle(tmp_path / "made", "made", fleet()), "k1")
    telemetry(fleet()).write_parquet(tmp_path / "telemetry.parquet")
    record = ("--telemetry", str(tmp_path / "telemetry.parquet"), "--as-of", NOW.isoformat(), "--speed", "0")
    server = Process(tmp_path / "registry", *record, python=PYTHON)
    try:
        wait_until(lambda: ask(server.address, "GET", "/v2/health/ready").status == 200, "it is ready")
        assert ask(server.address, "GET", "/v2/models/day-ahead").json["versions"] == ["k1"]
        told = b'fleetcast_cycle_seconds_count{forecast="day-ahead"} 1.0'
        wait_until(lambda: told in ask(server.address, "GET", "/metrics").body, "it forecasts")
        server.process.terminate()
        assert server.ended() == 0
    finally:
        server.process.kill()


def test_grpc_is_an_extra_and_says_so(tmp_path: Path) -> None:
    command = [PYTHON, "-m", "serve", "run", "--registry", str(tmp_path), "--port", "0", "--grpc-port", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'fleetcast[grpc]'" in done.stderr.splitlines()[-1]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, serve.__main__ as m; m._parser().format_help();"
        "print({'numba', 'numpy', 'onnxruntime', 'fastapi', 'uvicorn', 'prometheus_client'} & set(sys.modules))"
    )
    done = subprocess.run([PYTHON, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
