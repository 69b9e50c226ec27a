"""The registry's bad days: held locks, killed publishers, full disks."""

import errno
import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dying_publisher
import pytest
from dying_publisher import FILES, KEEP, interrupt, publish, rollback

from forecast.contracts.errors import ExitCode, RegistryLockedError
from forecast.registry.store import Registry
from forecast.registry.verify import registry_problems

Dying = Callable[[Path, int, str], int]

HOLD = """
import sys
from pathlib import Path
from forecast.registry.store import Registry
with getattr(Registry(Path(sys.argv[1]), "day-ahead"), sys.argv[2])():
    print("held", flush=True)
    sys.stdin.read()
"""


def fill_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def dying() -> Iterator[Dying]:
    """`dying_publisher.dying`, in a process of few threads that forks."""
    run = [sys.executable, dying_publisher.__file__]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, said = process.stdin, process.stdout

        def die(root: Path, at: int, action: str) -> int:
            asked.write(f"{root} {at} {action}\n")
            return int(said.readline())

        yield die
        asked.close()


def content(version: Path) -> dict[str, str]:
    return {str(path.relative_to(version)): path.read_text() for path in version.rglob("*") if path.is_file()}


def check_in_service(root: Path, earlier: list[str]) -> None:
    current = Registry(root, "day-ahead").current()
    if current is None:
        assert not earlier
    else:
        assert current.name in {*earlier[-1:], "k3"}
        assert content(current) == FILES


def check_converges(root: Path, earlier: list[str]) -> None:
    publish(root, "k3")
    registry = Registry(root, "day-ahead")
    previous = registry.previous()
    assert registry.current() == registry.folder / "versions" / "k3"
    assert [previous.name if previous else None] == (earlier[-1:] or [None])
    assert [version.name for version in registry.versions()] == ["k3", *reversed(earlier)][:KEEP]
    assert all(content(version) == FILES for version in registry.versions())
    assert registry.served() == [*earlier, "k3"]
    assert not list(registry.folder.glob(".staging-*"))


@pytest.mark.parametrize("earlier", [[], ["k1", "k2"]], ids=["first", "third"])
def test_a_kill_at_any_step_leaves_a_complete_current(tmp_path: Path, dying: Dying, earlier: list[str]) -> None:
    for at in range(1, 200):
        root = tmp_path / str(at)
        for key in earlier:
            publish(root, key)
        code = dying(root, at, "publish")
        check_in_service(root, earlier)
        check_converges(root, earlier)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert code == 0
    assert at > 10, "hardly a step was interrupted"


def test_a_rollback_killed_at_any_step_is_done_by_the_next(tmp_path: Path, dying: Dying) -> None:
    for at in range(1, 200):
        root = tmp_path / str(at)
        for key in ("k1", "k2"):
            publish(root, key)
        code = dying(root, at, "rollback")
        registry = Registry(root, "day-ahead")
        current = registry.current()
        assert current is not None
        assert current.name in {"k1", "k2"}
        assert content(current) == FILES
        rollback(root)
        assert (registry.current(), registry.previous()) == tuple(
            registry.folder / "versions" / key for key in ("k1", "k2")
        )
        assert list(registry_problems(registry)) == []
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert code == 0
    assert at > 10, "hardly a step was interrupted"


def test_the_next_writer_mends_what_a_crash_left(tmp_path: Path) -> None:
    """Of a publish that died after its `current`, and of a rollback that died after its `previous`."""
    registry = Registry(tmp_path, "day-ahead")
    for key in ("k1", "k2", "k3"):
        publish(tmp_path, key)
    journal = registry.folder / "journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:-2]) + '\n{"time": "2026-0')
    (registry.folder / "previous").unlink()
    (registry.folder / "previous").symlink_to("versions/k3")
    assert len(list(registry_problems(registry))) == 3
    with registry.lock():
        pass
    assert list(registry_problems(registry)) == []
    assert registry.served() == ["k1", "k2", "k3"]
    assert registry.previous() == registry.folder / "versions" / "k2"


@pytest.mark.parametrize("tail", [b'{"time": "2026-', b"\0" * 64, b"\xff\xfe", b"[" * 100_000, b"{}", b'{"key": 1}\n'])
def test_whatever_a_power_cut_leaves_at_the_journals_end_is_overlooked(tmp_path: Path, tail: bytes) -> None:
    publish(tmp_path, "k1")
    registry = Registry(tmp_path, "day-ahead")
    with (registry.folder / "journal.jsonl").open("ab") as file:
        file.write(tail)
    assert registry.served() == ["k1"]
    publish(tmp_path, "k2")
    assert registry.served() == ["k1", "k2"]
    assert list(registry_problems(registry)) == []


def test_a_full_disk_at_any_step_leaves_a_complete_current(tmp_path: Path) -> None:
    failures = 0
    for at in range(1, 200):
        root = tmp_path / str(at)
        publish(root, "k1")
        publish(root, "k2")
        with pytest.MonkeyPatch.context() as patch:
            taken = interrupt(at, fill_disk, patch.setattr)
            try:
                publish(root, "k3")
            except OSError:
                failures += 1
        check_in_service(root, ["k1", "k2"])
        check_converges(root, ["k1", "k2"])
        if len(taken) < at:
            break
    assert len(taken) < at
    assert failures > 10, "hardly a step failed"


@contextmanager
def held(root: Path, lock: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds `lock` of the forecast until it is killed or told to go on."""
    command = [sys.executable, "-c", HOLD, str(root), lock]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder


@pytest.mark.parametrize("lock", ["lock", "run_lock"])
def test_a_lock_held_elsewhere_is_refused_until_its_holder_dies(tmp_path: Path, lock: str) -> None:
    registry = Registry(tmp_path, "day-ahead")
    with held(tmp_path, lock) as holder:
        with pytest.raises(RegistryLockedError, match="locked by another run") as refusal, getattr(registry, lock)():
            pass
        holder.kill()
    assert refusal.value.exit_code == ExitCode.LOCKED
    assert "\n" not in str(refusal.value)
    with getattr(registry, lock)():
        pass


def test_a_run_at_work_keeps_nobody_from_rolling_back_nor_other_forecasts_from_running(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "day-ahead")
    publish(tmp_path, "k1")
    publish(tmp_path, "k2")
    with held(tmp_path, "run_lock") as holder:
        with registry.lock():
            assert registry.rollback().name == "k1"
        with Registry(tmp_path, "hour-ahead").run_lock():
            pass
        holder.kill()


def test_a_child_that_outlives_its_run_does_not_hold_its_lock(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "day-ahead")
    forks = multiprocessing.get_context("fork")
    ended = forks.Event()
    with registry.run_lock():
        child = forks.Process(target=ended.wait, daemon=True)
        child.start()
    with registry.run_lock():
        assert child.is_alive()
        ended.set()
    child.join()


def test_who_is_patient_gets_the_lock_of_somebody_who_writes(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "day-ahead")
    with held(tmp_path, "lock") as holder:
        with pytest.raises(RegistryLockedError), registry.lock(patience_s=0.3):
            pass
        assert holder.stdin is not None
        holder.stdin.close()
        with registry.lock(patience_s=60):
            registry.staging()


def test_staging_is_swept_when_stale_and_never_when_live(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "day-ahead")
    with registry.lock():
        staged = registry.staging()
        with pytest.raises(RegistryLockedError), Registry(tmp_path, "day-ahead").lock():
            pass
        assert staged.is_dir()
    with registry.lock():
        assert not staged.exists()
