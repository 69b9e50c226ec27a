"""Progress that people read: one line per stage, alive on a terminal, plain in a log."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from rich.console import Console
from rich.status import Status

from forecast.tables import console


@dataclass
class Stage:
    """One stage while it runs.

    Attributes:
        result: what its line says in the end.
    """

    name: str
    status: Status | None
    result: str = ""

    def progress(self, share: float, note: str = "") -> None:
        if self.status is not None:
            self.status.update(f"{self.name}  {share:4.0%}  {note}")


@dataclass
class Stages:
    """Numbers the stages of a run and prints a line for each, with its seconds.

    Args:
        total: how many there will be.
    """

    total: int
    console: Console = field(default_factory=console)
    _done: int = 0

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def __call__(self, name: str) -> Iterator[Stage]:
        self._done += 1
        label = f"[{self._done}/{self.total}] {name:<10}"
        begin = monotonic()
        if self.console.is_terminal:
            with self.console.status(label) as status:
                stage = Stage(label, status)
                yield stage
        else:
            stage = Stage(label, None)
            yield stage
        self.say(f"{label} {monotonic() - begin:6.1f} s  {stage.result}")
