"""Updates a small panel; run as `dying_updater.py FOLDER STEP` it dies at that step, at step 0 never."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from small_lake import SPEC, Stretch, by_day, trace_of

from forecast.windows.store import Store, Updated

#: The calls that change the disk; the order among them is what a crash puts to the test.
STEPS = ((os, "fsync"), (Path, "replace"), (Path, "unlink"))


def before() -> dict[str, Stretch]:
    return by_day(2)


def after() -> dict[str, Stretch]:
    """Two more days, and a row for the first."""
    return {**by_day(4), "late": Stretch(5, 1, "a", 1)}


def update(folder: Path, files: dict[str, Stretch]) -> Updated:
    return Store(folder).update(trace_of(files), SPEC, "lake")


def watch(act: Callable[[int], None], patch: Callable[[object, str, object], None] = setattr) -> list[str]:
    """Have `act` called with its number before each of the STEPS from here on; return the list of those taken."""
    taken: list[str] = []

    def wrap(name: str, step: Callable[..., object]) -> Callable[..., object]:
        def stepping(*args: object, **kwargs: object) -> object:
            taken.append(name)
            act(len(taken))
            return step(*args, **kwargs)

        return stepping

    for owner, name in STEPS:
        patch(owner, name, wrap(name, getattr(owner, name)))
    return taken


def die(step: int) -> None:
    if step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    watch(die)
    update(Path(sys.argv[1]), after())
