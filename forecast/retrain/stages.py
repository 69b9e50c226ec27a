"""Progress: one line per stage, alive on a terminal, plain in a log, and as data for who keeps a record."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, process_time
from typing import Any

from rich.console import Console
from rich.status import Status

from forecast.contracts.errors import StoppedError, ending
from forecast.retrain.signals import caught
from forecast.tables import console

#: Stages that a bundle goes through while it is made.
MAKING = 5

#: Characters of a progress bar.
_BAR = 24

#: Told of a step that ended: what every step tells, and what this one found out.
Told = Callable[[dict[str, Any], dict[str, Any]], None]


@dataclass
class Stage:
    """One stage while it runs.

    Attributes:
        result: what its line says in the end.
        facts: the same as data.
    """

    name: str
    status: Status | None
    result: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def progress(self, share: float, note: str = "") -> None:
        """Show how far it is.

        Raises:
            StoppedError: a signal asked for it.
        """
        _stop_if_asked()
        if self.status is not None:
            filled = round(share * _BAR)
            self.status.update(f"{self.name}  {'━' * filled}{'╌' * (_BAR - filled)} {share:4.0%}  {note}")


@dataclass
class Stages:
    """Numbers the stages of a run and prints a line for each, with its seconds.

    Args:
        total: how many there will be.
        told: told of each when it ends, also of one that fails.
    """

    total: int
    console: Console = field(default_factory=console)
    told: Told | None = None
    _done: int = 0

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line, markup=False, soft_wrap=True)

    @property
    def done(self) -> int:
        """How many stages were begun."""
        return self._done

    def back_to(self, done: int) -> None:
        """Count on from `done`: what follows is done once more."""
        self._done = done

    @contextmanager
    def __call__(self, name: str) -> Iterator[Stage]:
        """The next stage, unless a signal asked to stop."""
        _stop_if_asked()
        self._done += 1
        label = f"[{self._done}/{self.total}] {name:<10}"
        begin = (monotonic(), process_time())
        stage = Stage(label, None)
        try:
            if self.console.is_terminal:
                with self.console.status(label) as stage.status:
                    yield stage
            else:
                yield stage
        except BaseException as error:
            self._tell(name, stage, begin, "failed", ending(error, "the telemetry")[0])
            raise
        self._tell(name, stage, begin, "done", stage.result)
        self.say(f"{label} {monotonic() - begin[0]:6.1f} s  {stage.result}")

    def _tell(self, name: str, stage: Stage, begin: tuple[float, float], outcome: str, said: str) -> None:
        """Tell how a stage ended that began at a time of the clock and of the processor."""
        if self.told is not None:
            seconds, processor_s = (
                round(now - then, 3) for now, then in zip((monotonic(), process_time()), begin, strict=True)
            )
            told = {
                "step": name,
                "number": self._done,
                "of": self.total,
                "seconds": seconds,
                "processor_s": processor_s,
            }
            self.told(told | {"outcome": outcome, "said": said}, stage.facts)


def _stop_if_asked() -> None:
    if name := caught():
        raise StoppedError(f"stopped by {name}; the same command goes on from here.")
