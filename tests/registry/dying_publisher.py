"""Publishes a small bundle, or rolls back, and dies on the way: run by itself it does so for each line of its input."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from forecast.registry.store import Registry

FILES = {"manifest.json": "{}", "graph/model.onnx": "weights"}
KEEP = 2
#: The calls that change the disk; the order among them is what a crash puts to the test.
STEPS = ("fsync", "rename", "replace", "symlink", "mkdir", "rmdir", "unlink")


def publish(root: Path, key: str) -> None:
    registry = Registry(root, "day-ahead", keep=KEEP)
    with registry.lock():
        staged = registry.staging()
        for file, content in FILES.items():
            (staged / file).parent.mkdir(exist_ok=True)
            (staged / file).write_text(content)
        registry.publish(staged, key)


def rollback(root: Path) -> None:
    registry = Registry(root, "day-ahead", keep=KEEP)
    with registry.lock():
        registry.rollback("k1")


def interrupt(at: int, act: Callable[[], None], patch: Callable[[object, str, object], None] = setattr) -> list[str]:
    """Have `act` called before the `at`-th of the STEPS from here on; return the list that fills with steps taken."""
    taken: list[str] = []

    def wrap(name: str, step: Callable[..., object]) -> Callable[..., object]:
        def stepping(*args: object, **kwargs: object) -> object:
            taken.append(name)
            if len(taken) == at:
                act()
            return step(*args, **kwargs)

        return stepping

    for name in STEPS:
        patch(os, name, wrap(name, getattr(os, name)))
    return taken


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(root: Path, at: int, action: str) -> int:
    """Do it in a process that dies before the `at`-th of the STEPS; return its exit code."""
    child = os.fork()
    if child == 0:
        interrupt(at, die)
        publish(root, "k3") if action == "publish" else rollback(root)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    for line in sys.stdin:
        root, at, action = line.split()
        print(dying(Path(root), int(at), action), flush=True)
