"""Damage to what was published: any bit of any file, links, journals."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hand_made import make_bundle
from hypothesis import given
from hypothesis import strategies as st

from forecast.bundle.load import load
from forecast.bundle.manifest import NAME, digest_of
from forecast.registry.publish import publish_bundle
from forecast.registry.store import Registry
from forecast.registry.verify import registry_problems, version_problems

FILES = ("model.onnx", "golden.npz", "report.html", "gate.json", NAME)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that every test leaves as it was."""
    folder = tmp_path_factory.mktemp("verify")
    registry = Registry(folder / "registry", "day-ahead")
    with registry.lock():
        return publish_bundle(registry, load(make_bundle(folder / "made")), {"passed": True, "reason": "better"})


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Two versions of a file each: nothing here is loaded."""
    registry = Registry(tmp_path / "registry", "day-ahead")
    for key in ("k1", "k2"):
        with registry.lock():
            staged = registry.staging()
            (staged / NAME).write_text(key)
            registry.publish(staged, key)
    return registry


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """A bit of a file, turned for a while; in place, as a disk would."""
    byte = path.read_bytes()[bit // 8]
    with path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), bytes([byte ^ 1 << bit % 8]), bit // 8)
        yield
        os.pwrite(file.fileno(), bytes([byte]), bit // 8)


def problems_with(path: Path, content: bytes) -> list[str]:
    """What is wrong with the version while one of its files has `content`."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        return list(version_problems(path.parent))
    finally:
        path.write_bytes(before)


def test_what_was_published_is_sound(published: Path) -> None:
    assert list(version_problems(published)) == []


@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True))
def test_any_flipped_bit_is_found(published: Path, name: str, place: float) -> None:
    with flipped(published / name, int(place * (published / name).stat().st_size * 8)):
        (problem,) = version_problems(published)
    assert name in problem
    assert "\n" not in problem


@pytest.mark.parametrize("name", ["report.html", "gate.json", NAME])
def test_a_flipped_bit_in_any_byte_is_found(published: Path, name: str) -> None:
    unnoticed = []
    for byte in range((published / name).stat().st_size):
        with flipped(published / name, 8 * byte + byte % 8):
            if not any(version_problems(published)):
                unnoticed.append(byte)
    assert unnoticed == []


def test_a_flip_that_leaves_the_data_as_it_was_is_found(published: Path) -> None:
    text = (published / NAME).read_text()
    assert "1.5e-07" in text
    changed = text.replace("1.5e-07", "1.5E-07")
    assert json.loads(changed) == json.loads(text)
    assert "not the text that was written" in problems_with(published / NAME, changed.encode())[0]


def test_every_damaged_file_has_its_line(published: Path) -> None:
    before = {name: (published / name).read_bytes() for name in FILES[:-1]}
    for name, content in before.items():
        (published / name).write_bytes(content + b" ")
    (published / "extra").write_text("")
    problems = list(version_problems(published))
    for name, content in before.items():
        (published / name).write_bytes(content)
    (published / "extra").unlink()
    assert sorted(Path(problem.split(":")[0]).name for problem in problems) == sorted([*before, "extra"])


def test_a_manifest_of_another_version_is_found(published: Path) -> None:
    data = json.loads((published / NAME).read_text()) | {"bundle_id": "k9"}
    changed = json.dumps({**data, "digest": digest_of(data)}, indent=1)
    assert problems_with(published / NAME, changed.encode()) == [f"{published}: the manifest is of version k9."]


def test_golden_vectors_are_run(tmp_path: Path) -> None:
    """Every hash is right, and the graph still not what was judged."""
    version = make_bundle(tmp_path / "k1", limit_w=float("inf"))
    assert [problem.split(":")[1] for problem in version_problems(version)] == [
        " headroom of the golden inputs is not finite where there is a limit."
    ]


def test_links_and_journal_of_two_publishes_are_sound(registry: Registry) -> None:
    assert list(registry_problems(registry)) == []


def relink(registry: Registry, name: str, target: str) -> None:
    (registry.folder / name).unlink()
    (registry.folder / name).symlink_to(target)


@pytest.mark.parametrize(
    ("name", "target", "problem"),
    [
        ("current", "versions/gone", "points at versions/gone, which is not there"),
        ("previous", "versions/gone", "points at versions/gone, which is not there"),
        ("current", "/etc", "points at /etc, which is not a version of this registry"),
        ("current", "versions/../versions/k2", "which is not a version of this registry"),
        ("current", "versions/k1", "k1 is in service, and by the journal k2 should be"),
        ("previous", "versions/k2", "previous is current"),
    ],
)
def test_a_link_that_is_wrong_is_found(registry: Registry, name: str, target: str, problem: str) -> None:
    relink(registry, name, target)
    assert any(problem in line for line in registry_problems(registry))


def test_a_link_that_is_none_is_found(registry: Registry) -> None:
    (registry.folder / "current").unlink()
    assert any("no version is in service" in line for line in registry_problems(registry))
    (registry.folder / "current").mkdir()
    assert any("current: not a link" in line for line in registry_problems(registry))


@pytest.mark.parametrize("line", [0, 1])
def test_a_journal_line_that_is_gone_is_found(registry: Registry, line: int) -> None:
    journal = registry.folder / "journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:line], lines[line][:20], *lines[line + 1 :]]) + "\n")
    assert any(f"k{line + 1}: the journal does not know it" in problem for problem in registry_problems(registry))
