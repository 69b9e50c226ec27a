"""The panel on disk after a kill, a disk that fails, two runs at once: the next run ends where it should have."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dying_updater
import pytest
from dying_updater import after, before, update, watch
from small_lake import by_day, check_folder, files_in, same

from forecast.windows.panel import Panel


def check_converges(folder: Path, expected: Panel) -> None:
    """The manifest can be read, and the next update ends where it should have."""
    if (folder / "manifest.json").exists():
        assert json.loads((folder / "manifest.json").read_text())
    updated = update(folder, after())
    check_folder(folder, updated)
    same(updated.panel, expected)


@pytest.fixture
def expected(tmp_path: Path) -> Panel:
    return update(tmp_path / "expected", after()).panel


@pytest.mark.parametrize("earlier", [False, True], ids=["first", "next"])
def test_what_a_kill_leaves_at_any_step_is_taken_up(tmp_path: Path, expected: Panel, earlier: bool) -> None:
    """A killed process leaves the folder as it is at that moment, without what was not flushed."""
    folder = tmp_path / "panel"
    if earlier:
        update(folder, before())
    with pytest.MonkeyPatch.context() as patch:
        taken = watch(lambda step: shutil.copytree(folder, tmp_path / f"at-{step}"), patch.setattr)
        update(folder, after())
    assert set(taken) == {"fsync", "replace"} | ({"unlink"} if earlier else set())
    assert len(taken) > 15, "hardly a step was looked at"
    for step in range(1, len(taken) + 1):
        check_converges(tmp_path / f"at-{step}", expected)


@pytest.mark.parametrize("step", [4, 13])
def test_a_killed_process_does_not_hold_its_lock(tmp_path: Path, expected: Panel, step: int) -> None:
    update(tmp_path / "panel", before())
    assert run_updater(tmp_path / "panel", step).wait() == -signal.SIGKILL
    assert any(name.endswith(".part") for name in files_in(tmp_path / "panel")), "it died while it wrote"
    check_converges(tmp_path / "panel", expected)


def test_a_disk_that_fails_at_any_step_leaves_what_the_next_run_takes_up(tmp_path: Path, expected: Panel) -> None:
    failures = 0
    for at in range(1, 100):
        folder = tmp_path / str(at)
        update(folder, before())

        def fail(step: int, at: int = at) -> None:
            if step == at:
                code = errno.EIO if at % 2 else errno.ENOSPC
                raise OSError(code, os.strerror(code))

        with pytest.MonkeyPatch.context() as patch:
            taken = watch(fail, patch.setattr)
            try:
                update(folder, after())
            except OSError:
                failures += 1
        check_converges(folder, expected)
        if len(taken) < at:
            break
    assert len(taken) < at
    assert failures > 15, "hardly a step failed"


def test_a_write_that_breaks_off_is_no_day(tmp_path: Path, expected: Panel) -> None:
    """A limit on the size of files stands for the full disk: part of the day is there, the rest is refused."""
    folder = tmp_path / "panel"
    update(folder, before())
    manifest = (folder / "manifest.json").read_text()
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, usual[1]))
    try:
        with pytest.raises(OSError, match=r"File too large|requested and"):
            update(folder, after())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert (folder / "manifest.json").read_text() == manifest
    check_converges(folder, expected)


@pytest.mark.parametrize("length", [0, 50, 500])
def test_a_day_whose_file_was_cut_short_is_built_again(tmp_path: Path, length: int) -> None:
    files = by_day(3)
    whole = update(tmp_path / "whole", files)
    update(tmp_path / "cut", files)
    (day, *_) = sorted((tmp_path / "cut").glob("*.npy"))
    os.truncate(day, length)
    again = update(tmp_path / "cut", files)
    assert again.built == 1
    same(again.panel, whole.panel)


def test_two_processes_at_once_end_alike(tmp_path: Path, expected: Panel) -> None:
    update(tmp_path / "panel", before())
    assert [each.wait() for each in [run_updater(tmp_path / "panel", 0) for _ in range(2)]] == [0, 0]
    updated = update(tmp_path / "panel", after())
    assert updated.built == 0
    check_folder(tmp_path / "panel", updated)
    same(updated.panel, expected)


def run_updater(folder: Path, step: int) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(str(Path(dying_updater.__file__).parents[up]) for up in range(3))
    command = [sys.executable, dying_updater.__file__, folder, str(step)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})
