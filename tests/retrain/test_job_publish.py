"""The job's last step with a bundle that must not be served: it says so in one line, and goes on to its end."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hand_made import LEVELS, forever, make_bundle
from smoke_run import settings

from forecast.bundle.load import Bundle
from forecast.bundle.manifest import Manifest
from forecast.bundle.session import Session
from forecast.bundle.trial import trial
from forecast.contracts.errors import ExitCode, TransientError
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


def published(
    config: JobConfig, folder: Path, champion: str | None = None, said: Mapping[str, Any] = PASSED, **made: object
) -> tuple[ExitCode, Stage]:
    """What the job does with a bundle that passed the gate, judged against `champion`."""
    make_bundle(folder, folder.parent.name, **made)  # type: ignore[arg-type]
    bundle = Bundle(folder, Manifest.read(folder), Session((folder / "model.onnx").read_bytes()))
    stage = Stage("publish", None)
    registry = Registry(Path(config.registry.root), config.name)
    before = registry.folder / "versions" / champion if champion else None
    return _publish(config, registry, bundle, said, before, stage), stage


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
    code, stage = published(config, tmp_path / "k2" / "bundle", "k1", levels=LEVELS[::-1])
    assert code == ExitCode.REJECTED
    assert stage.result == "rejected: the bundle: quantiles of the golden inputs cross."
    monkeypatch.setattr(publish, "trial", partial(trial, timeout_s=2.0))
    code, stage = published(config, tmp_path / "k3" / "bundle", "k1", detour=forever())
    assert code == ExitCode.REJECTED
    assert stage.result == "rejected: the bundle: opening it did not end within 2 s."
    registry = Registry(Path(config.registry.root), "day-ahead")
    assert registry.served() == ["k1"]
    assert [version.name for version in registry.versions()] == ["k1"]
    assert registry.rejection("k3", "k1") is None, "it may have been the machine's fault"


def test_what_the_gate_rejects_is_noted_with_the_champion_it_was_judged_against(
    config: JobConfig, tmp_path: Path
) -> None:
    published(config, tmp_path / "k1" / "bundle")
    code, stage = published(config, tmp_path / "k2" / "bundle", "k1", {"passed": False, "reason": "3.0 % worse"})
    assert (code, stage.result) == (ExitCode.REJECTED, "rejected: 3.0 % worse")
    registry = Registry(Path(config.registry.root), "day-ahead")
    assert registry.rejection("k2", "k1") == "3.0 % worse"
    assert registry.served() == ["k1"]


@pytest.mark.parametrize("judged_against", [None, "k1"])
def test_what_was_judged_against_another_champion_is_not_published_over_this_one(
    config: JobConfig, tmp_path: Path, judged_against: str | None
) -> None:
    published(config, tmp_path / "k1" / "bundle")
    published(config, tmp_path / "k2" / "bundle", "k1")
    with pytest.raises(TransientError, match="k2 came into service") as refusal:
        published(config, tmp_path / "k3" / "bundle", judged_against)
    assert refusal.value.exit_code == ExitCode.TRANSIENT
    assert Registry(Path(config.registry.root), "day-ahead").served() == ["k1", "k2"]
