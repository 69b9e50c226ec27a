"""From a judged bundle to the one in service: in which order it reaches the disk, and what is turned away."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hand_made import LEVELS, make_bundle

from forecast.bundle.load import Bundle, load
from forecast.bundle.manifest import Manifest
from forecast.bundle.session import Session
from forecast.contracts.errors import BundleError
from forecast.registry.publish import publish_bundle
from forecast.registry.store import Registry
from forecast.registry.verify import registry_problems, version_problems

VERDICT = {"passed": True, "reason": "it is better"}


def opened(folder: Path) -> Bundle:
    """A bundle as the job holds it, whether or not it would `load`."""
    return Bundle(folder, Manifest.read(folder), Session((folder / "model.onnx").read_bytes()))


def publish(registry: Registry, bundle: Bundle) -> Path:
    with registry.lock():
        return publish_bundle(registry, bundle, VERDICT)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", "day-ahead")


def test_what_is_published_is_the_bundle_with_the_verdict(registry: Registry, tmp_path: Path) -> None:
    made = make_bundle(tmp_path / "made")
    version = publish(registry, opened(made))
    assert registry.current() == version
    assert load(version).manifest.files.keys() == {"model.onnx", "golden.npz", "report.html", "gate.json"}
    assert json.loads((version / "gate.json").read_text()) == VERDICT
    assert all((version / name).read_bytes() == (made / name).read_bytes() for name in Manifest.read(made).files)
    assert [*version_problems(version), *registry_problems(registry)] == []


def test_each_step_is_on_the_disk_before_the_next(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = opened(make_bundle(tmp_path / "second", "k2"))
    publish(registry, opened(make_bundle(tmp_path / "first", "k1")))
    steps: list[str] = []

    def place(path: Path) -> str:
        parts = path.relative_to(registry.folder).parts
        return "/".join("staging" if part.startswith(".staging-") else part for part in parts) or "."

    def watch(name: str, say: Callable[..., str]) -> None:
        step = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *arguments: (steps.append(say(*arguments)), step(*arguments)))

    watch("fsync", lambda descriptor: f"sync {place(Path(f'/proc/self/fd/{descriptor}').readlink())}")
    for name in ("rename", "replace"):
        watch(name, lambda _, new: f"name {place(Path(new))}")
    publish(registry, bundle)

    # The first time each happened; the manifest is named inside the staging folder, and everything in it synced again.
    first = list(dict.fromkeys(steps))
    order = [
        "sync staging/model.onnx",
        "name staging/manifest.json",
        "name versions/k2",
        "sync versions",
        "name previous",
        "name current",
        "sync journal.jsonl",
    ]
    assert [step for step in first if step in order] == order
    manifest = first.index("name staging/manifest.json")
    for name in ("model.onnx", "golden.npz", "report.html", "gate.json"):
        assert first.index(f"sync staging/{name}") < manifest
    named = steps.index("name versions/k2")
    assert manifest < max(at for at, step in enumerate(steps) if step == "sync staging/manifest.json") < named
    assert steps[steps.index("name previous") + 1] == steps[steps.index("name current") + 1] == "sync ."


def test_the_folders_of_a_first_publish_are_on_the_disk(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(Path(f"/proc/self/fd/{fd}").readlink()), fsync(fd)))
    with registry.lock():
        pass
    assert synced == [tmp_path, tmp_path / "registry", registry.folder]


def test_a_bundle_that_fails_its_trial_is_not_published(registry: Registry, tmp_path: Path) -> None:
    kept = publish(registry, opened(make_bundle(tmp_path / "sound", "k1")))
    with pytest.raises(BundleError) as caught:
        publish(registry, opened(make_bundle(tmp_path / "crossing", "k2", LEVELS[::-1])))
    assert str(caught.value) == "the bundle: quantiles of the golden inputs cross."
    assert registry.current() == kept
    assert registry.versions() == [kept]
    assert not list(registry.folder.glob(".staging-*"))
    assert list(registry_problems(registry)) == []


def test_a_file_that_changed_since_the_backtest_is_not_published(registry: Registry, tmp_path: Path) -> None:
    bundle = opened(make_bundle(tmp_path / "made"))
    (bundle.folder / "report.html").write_text("another")
    with pytest.raises(BundleError, match="a file changed while it was published"):
        publish(registry, bundle)
    assert registry.current() is None


def test_a_published_version_that_was_damaged_is_made_anew(registry: Registry, tmp_path: Path) -> None:
    bundle = opened(make_bundle(tmp_path / "made"))
    version = publish(registry, bundle)
    (version / "golden.npz").write_bytes(b"")
    assert publish(registry, bundle) == version
    assert registry.current() == version
    assert load(version)
    assert list(registry_problems(registry)) == []


def test_a_sound_version_is_left_as_it_is(registry: Registry, tmp_path: Path) -> None:
    bundle = opened(make_bundle(tmp_path / "made"))
    before = publish(registry, bundle).stat()
    again = publish(registry, bundle).stat()
    assert (again.st_ino, again.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert registry.served() == ["k1"]
