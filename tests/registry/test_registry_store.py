"""The registry's everyday life: names, publishing, retention, rollback, and readers at work meanwhile."""

import json
import threading
from pathlib import Path

import pytest

from forecast.contracts.errors import ConfigError, FleetcastError
from forecast.registry.store import Registry


def publish(registry: Registry, *keys: str) -> None:
    for key in keys:
        with registry.lock():
            staged = registry.staging()
            (staged / "manifest.json").write_text(key)
            registry.publish(staged, key)


def names(registry: Registry) -> list[str]:
    return [version.name for version in registry.versions()]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path, "day-ahead", keep=3)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "Day", "a b", "a\n", "ü", "x" * 65])
def test_bad_names_are_refused(tmp_path: Path, registry: Registry, name: str) -> None:
    with pytest.raises(ConfigError):
        Registry(tmp_path, name)
    with registry.lock(), pytest.raises(ConfigError):
        registry.publish(registry.staging(), name)
    with pytest.raises(ConfigError):
        registry.has(name)


def test_keeping_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Registry(tmp_path, "day-ahead", keep=0)


def test_before_the_first_publish_there_is_nothing_and_no_folder(registry: Registry) -> None:
    assert registry.current() is None
    assert registry.previous() is None
    assert registry.versions() == []
    assert registry.journal() == []
    assert not registry.has("k1")
    assert not registry.folder.exists()


def test_publish_puts_the_bundle_in_service(registry: Registry) -> None:
    publish(registry, "k1", "k2")

    assert registry.current() == registry.folder / "versions" / "k2"
    assert registry.previous() == registry.folder / "versions" / "k1"
    assert (registry.folder / "current" / "manifest.json").read_text() == "k2"
    assert [(entry["action"], entry["key"]) for entry in registry.journal()] == [("publish", "k1"), ("publish", "k2")]
    assert not list(registry.folder.glob(".staging-*"))


def test_links_survive_moving_the_registry(registry: Registry, tmp_path: Path) -> None:
    publish(registry, "k1")
    moved = registry.folder.rename(tmp_path / "moved")
    assert (moved / "current" / "manifest.json").read_text() == "k1"


def test_a_bundle_can_be_read_by_another_user(registry: Registry, tmp_path: Path) -> None:
    publish(registry, "k1")
    (tmp_path / "ordinary").mkdir()
    current = registry.current()
    assert current is not None
    assert current.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_publishing_the_same_key_again_changes_nothing(registry: Registry) -> None:
    publish(registry, "k1", "k2")
    before = registry.journal()
    with registry.lock():
        staged = registry.staging()
        (staged / "manifest.json").write_text("another k2")
        registry.publish(staged, "k2")

    assert (registry.folder / "current" / "manifest.json").read_text() == "k2"
    assert names(registry) == ["k2", "k1"]
    assert registry.journal() == before
    assert not staged.exists()


def test_retention_keeps_the_newest(registry: Registry) -> None:
    publish(registry, "z", "y", "x", "w")
    assert names(registry) == ["w", "x", "y"]
    assert not registry.has("z")


def test_retention_spares_what_serves(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "day-ahead", keep=1)
    publish(registry, "k1", "k2", "k3")
    assert names(registry) == ["k3", "k2"]


def test_rollback_swaps_and_swaps_back(registry: Registry) -> None:
    publish(registry, "k1", "k2")
    for current, previous in (("k1", "k2"), ("k2", "k1")):
        with registry.lock():
            registry.rollback()
        assert registry.current() == registry.folder / "versions" / current
        assert registry.previous() == registry.folder / "versions" / previous
    assert [entry["action"] for entry in registry.journal()] == ["publish", "publish", "rollback", "rollback"]


def test_rollback_to_a_key_and_forward_again(registry: Registry) -> None:
    publish(registry, "k1", "k2", "k3")
    with registry.lock():
        assert registry.rollback("k1").name == "k1"
    publish(registry, "k3")
    assert registry.current() == registry.folder / "versions" / "k3"


def test_rollback_without_a_target_says_what_there_is(registry: Registry) -> None:
    publish(registry, "k1")
    with registry.lock():
        with pytest.raises(ConfigError, match="no previous version; name one of k1"):
            registry.rollback()
        with pytest.raises(ConfigError, match="no version k9; it has k1"):
            registry.rollback("k9")


def test_writing_needs_the_lock(registry: Registry, tmp_path: Path) -> None:
    for write in (registry.staging, registry.rollback, lambda: registry.publish(tmp_path, "k1")):
        with pytest.raises(FleetcastError, match=r"registry\.lock"):
            write()


def test_a_rejection_is_noted_and_changes_nothing_else(registry: Registry) -> None:
    publish(registry, "k1", "k2")
    before = (names(registry), registry.served(), registry.current(), registry.previous())
    with registry.lock():
        registry.reject("k2", "k1", "k2 was made anew and is worse")
        registry.reject("k3", "k2", "3.0 % worse")
    assert (names(registry), registry.served(), registry.current(), registry.previous()) == before
    assert registry.has("k2")
    assert not registry.has("k3")
    assert registry.rejection("k3", "k2") == "3.0 % worse"
    assert registry.rejection("k3", "k1") is None, "against another champion it may be better"
    assert registry.rejection("k3", None) is None
    with registry.lock():
        registry.reject("k3", None, "worse than the best baselines")
    assert registry.rejection("k3", None) == "worse than the best baselines"


@pytest.mark.parametrize("time", ["yesterday", "", "2026-03-04T01:00:00"])
def test_a_journal_line_without_a_time_is_overlooked(registry: Registry, time: str) -> None:
    """Whoever reads the journal reckons with its times."""
    publish(registry, "k1")
    since = registry.served_since()
    with (registry.folder / "journal.jsonl").open("a") as file:
        file.write(json.dumps({"time": time, "action": "rollback", "key": "k1"}) + "\n")
    assert registry.served_since() == since
    assert [entry["action"] for entry in registry.journal()] == ["publish"]


def test_a_torn_journal_line_is_overlooked(registry: Registry) -> None:
    publish(registry, "k1")
    with (registry.folder / "journal.jsonl").open("a") as file:
        file.write('{"time": "2026-0')
    publish(registry, "k2")
    assert [entry["key"] for entry in registry.journal()] == ["k1", "k2"]


def test_readers_always_find_a_complete_current(registry: Registry) -> None:
    publish(registry, "k1", "k2")
    done = threading.Event()
    seen: list[str | None] = []

    def read() -> None:
        while not done.is_set() or not seen:
            current = registry.current()
            seen.append(None if current is None else (current / "manifest.json").read_text())

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(50):
        with registry.lock():
            registry.rollback()
    done.set()
    for reader in readers:
        reader.join()
    assert set(seen) <= {"k1", "k2"}
