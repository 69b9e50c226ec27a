"""Whatever happened to the version in service, the next run finds a whole one there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hand_made import make_bundle

from forecast.bundle.load import load
from forecast.registry.publish import publish_bundle
from forecast.registry.repair import restore
from forecast.registry.store import Registry
from forecast.registry.verify import registry_problems


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions, k3 in service."""
    folder = tmp_path_factory.mktemp("repair")
    registry = Registry(folder / "registry", "day-ahead")
    for key in ("k1", "k2", "k3"):
        bundle = load(make_bundle(folder / key, key))
        with registry.lock():
            publish_bundle(registry, bundle, {"passed": True})
    return folder / "registry"


@pytest.fixture
def registry(master: Path, tmp_path: Path) -> Registry:
    """A copy that a test may damage."""
    return Registry(Path(shutil.copytree(master, tmp_path / "registry", symlinks=True)), "day-ahead")


def spoil(registry: Registry, key: str) -> None:
    with (registry.folder / "versions" / key / "model.onnx").open("ab") as file:
        file.write(b"x")


def link_to(target: str) -> Callable[[Path], None]:
    def point(current: Path) -> None:
        current.unlink()
        current.symlink_to(target)

    return point


def folder_with_notes(current: Path) -> None:
    current.unlink()
    current.mkdir()
    (current / "notes.txt").write_text("mine")


def test_what_is_whole_stays(registry: Registry) -> None:
    said: list[str] = []
    assert restore(registry, 0.0, said.append) == registry.folder / "versions" / "k3"
    assert not said
    assert registry.served() == ["k1", "k2", "k3"]


def test_versions_that_a_killed_run_did_not_come_to_delete_go(registry: Registry) -> None:
    restore(Registry(registry.folder.parent, "day-ahead", keep=2), 0.0, str)
    assert [version.name for version in registry.versions()] == ["k3", "k2"]


def test_a_damaged_version_gives_way_to_the_last_that_is_whole(registry: Registry) -> None:
    said: list[str] = []
    for key in ("k3", "k2"):
        spoil(registry, key)
    assert restore(registry, 0.0, said.append) == registry.current() == registry.folder / "versions" / "k1"
    assert len(said) == 1
    assert "SHA-256" in said[0]
    assert said[0].endswith("k1 comes back into service.")
    assert list(registry_problems(registry)) == []


def test_where_none_is_whole_none_is_moved(registry: Registry) -> None:
    for key in ("k1", "k2", "k3"):
        spoil(registry, key)
    said: list[str] = []
    assert restore(registry, 0.0, said.append) == registry.folder / "versions" / "k3"
    assert said[0].endswith("No version is whole.")


@pytest.mark.parametrize("harm", [Path.unlink, link_to("versions/nowhere"), link_to("."), folder_with_notes])
def test_a_link_gone_astray_comes_back(registry: Registry, harm: Callable[[Path], None]) -> None:
    harm(registry.folder / "current")
    said: list[str] = []
    assert restore(registry, 0.0, said.append) == registry.current() == registry.folder / "versions" / "k3"
    assert said
    assert registry.previous() == registry.folder / "versions" / "k2"
    assert list(registry_problems(registry)) == []


@pytest.mark.parametrize("target", ["versions/nowhere", ".", ".."])
def test_a_previous_gone_astray_comes_back(registry: Registry, target: str) -> None:
    link_to(target)(registry.folder / "previous")
    restore(registry, 0.0, str)
    assert registry.previous() == registry.folder / "versions" / "k2"
    assert list(registry_problems(registry)) == []


def test_a_journal_that_was_lost_begins_with_what_can_be_served(registry: Registry) -> None:
    (registry.folder / "journal.jsonl").unlink()
    restore(registry, 0.0, str)
    assert registry.served() == ["k2", "k3"]


def test_what_lay_in_the_place_of_a_link_is_kept(registry: Registry) -> None:
    folder_with_notes(registry.folder / "current")
    restore(registry, 0.0, str)
    (kept,) = registry.folder.glob("current.found-*/notes.txt")
    assert kept.read_text() == "mine"


def test_a_registry_without_versions_has_nothing_to_restore(tmp_path: Path) -> None:
    said: list[str] = []
    assert restore(Registry(tmp_path, "day-ahead"), 0.0, said.append) is None
    assert not said
