"""The job's last step with a bundle that must not be served: it says so in one line, and goes on to its end."""

from functools import partial
from pathlib import Path

import pytest
from hand_made import LEVELS, forever, make_bundle
from smoke_run import settings

from forecast.bundle.load import Bundle
from forecast.bundle.manifest import Manifest
from forecast.bundle.session import Session
from forecast.bundle.trial import trial
from forecast.contracts.errors import ExitCode
from forecast.registry import publish
from forecast.registry.contents import verdict
from forecast.registry.store import Registry
from forecast.retrain.config import JobConfig
from forecast.retrain.job import _publish
from forecast.retrain.stages import Stage

PASSED = {"passed": True, "reason": "better"}


@pytest.fixture
def config(tmp_path: Path) -> JobConfig:
    return settings("experiment=smoke", "name=day-ahead", f"registry.root={tmp_path / 'registry'}")


def published(config: JobConfig, folder: Path, **made: object) -> tuple[ExitCode, Stage]:
    """What the job does with a bundle that passed the gate."""
    make_bundle(folder, folder.parent.name, **made)  # type: ignore[arg-type]
    bundle = Bundle(folder, Manifest.read(folder), Session((folder / "model.onnx").read_bytes()))
    stage = Stage("publish", None)
    return _publish(config, Registry(Path(config.registry.root), config.name), bundle, PASSED, stage), stage


def test_a_bundle_that_passes_its_gate_and_its_trial_serves_with_its_verdict(config: JobConfig, tmp_path: Path) -> None:
    code, _ = published(config, tmp_path / "k1" / "bundle")
    current = Registry(Path(config.registry.root), "day-ahead").current()
    assert code == ExitCode.PUBLISHED
    assert current is not None
    assert verdict(current) == PASSED


def test_a_bundle_that_fails_its_trial_is_rejected_and_the_champion_stays(
    config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(config, tmp_path / "k1" / "bundle")
    code, stage = published(config, tmp_path / "k2" / "bundle", levels=LEVELS[::-1])
    assert code == ExitCode.REJECTED
    assert stage.result == "rejected: the bundle: quantiles of the golden inputs cross."
    monkeypatch.setattr(publish, "trial", partial(trial, timeout_s=2.0))
    code, stage = published(config, tmp_path / "k3" / "bundle", detour=forever())
    assert code == ExitCode.REJECTED
    assert stage.result == "rejected: the bundle: opening it did not end within 2 s."
    registry = Registry(Path(config.registry.root), "day-ahead")
    assert registry.served() == ["k1"]
    assert [version.name for version in registry.versions()] == ["k1"]
