"""What several tests need: a tiny bundle, trained once per run of pytest, and the real telemetry beside the project."""

import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores; before torch is imported

import hypothesis
import pytest
import torch
from exported_once import remembering
from filelock import FileLock
from smoke_run import SHARED, Smoke, settings

from forecast.contracts.errors import ExitCode
from forecast.contracts.specs import ForecastSpec
from forecast.retrain.job import run

# A busy machine is no failure: property tests have no deadline.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    """Train and publish the smoke experiment once, whatever the number of workers; its files must not be changed."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    folder = shared / "smoke"
    config = settings(
        "experiment=smoke",
        "registry.publish=false",
        f"cache={folder / 'cache'}",
        f"source.path={folder / 'fleet'}",
        f"registry.root={folder / 'registry'}",
    )
    published = replace(config.registry, publish=True, root=str(folder / "published"))
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(torch.onnx, "export", remembering(torch.onnx.export, folder / "exports"))
                code = run(replace(config, registry=published), folder / "run")
            (folder / "done").write_text(str(int(code)))
        code = ExitCode(int((folder / "done").read_text()))
    return Smoke(config, folder / "run", folder / "fleet", published, code)


@pytest.fixture
def exported_once(smoke: Smoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that the shared run exported are not exported again: for tests that fit them anew and look elsewhere."""
    monkeypatch.setattr(torch.onnx, "export", remembering(torch.onnx.export, smoke.exports))


@pytest.fixture
def spec() -> ForecastSpec:
    """A small interface with both targets, a third channel, and five levels."""
    return ForecastSpec(
        step_s=3600,
        context_steps=48,
        horizon_steps=12,
        targets=("power_w", "temperature_c"),
        past=("power_w", "temperature_c", "utilization_ratio"),
        quantile_levels=(0.05, 0.1, 0.5, 0.9, 0.95),
    )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real telemetry that is not committed; see the README for where it is published."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"real telemetry is absent; put it in {SHARED / 'data'} (the README says where it is published)")
    return SHARED / "data"
