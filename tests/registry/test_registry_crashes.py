"""The registry's bad days: held locks, killed publishers, full disks."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import dying_publisher
import pytest
from dying_publisher import FILES, KEEP, interrupt, publish

from forecast.contracts.errors import ExitCode, RegistryLockedError
from forecast.registry.store import Registry

HOLD = """
import sys
from pathlib import Path
from forecast.registry.store import Registry
with Registry(Path(sys.argv[1]), "day-ahead").lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def fill_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


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
def test_a_kill_at_any_step_leaves_a_complete_current(tmp_path: Path, earlier: list[str]) -> None:
    for at in range(1, 200):
        root = tmp_path / str(at)
        for key in earlier:
            publish(root, key)
        child = subprocess.run([sys.executable, dying_publisher.__file__, root, str(at)], check=False)
        check_in_service(root, earlier)
        check_converges(root, earlier)
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL
    assert child.returncode == 0
    assert at > 10, "hardly a step was interrupted"


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


def test_a_lock_held_elsewhere_is_refused_until_its_holder_dies(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "day-ahead")
    command = [sys.executable, "-c", HOLD, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RegistryLockedError, match="locked by another run") as refusal, registry.lock():
            pass
        holder.kill()
    assert refusal.value.exit_code == ExitCode.LOCKED
    assert "\n" not in str(refusal.value)
    with registry.lock():
        pass


def test_staging_is_swept_when_stale_and_never_when_live(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "day-ahead")
    with registry.lock():
        staged = registry.staging()
        with pytest.raises(RegistryLockedError), Registry(tmp_path, "day-ahead").lock():
            pass
        assert staged.is_dir()
    with registry.lock():
        assert not staged.exists()
