"""Publishes a small bundle, interrupted at a chosen step. Run as `dying_publisher.py ROOT STEP` it dies there."""

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


if __name__ == "__main__":
    interrupt(int(sys.argv[2]), die)
    publish(Path(sys.argv[1]), "k3")
