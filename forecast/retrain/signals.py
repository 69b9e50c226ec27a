"""SIGTERM and SIGUSR1 ask a run to stop: it ends after its current step, and the same command goes on from there.

Nothing is imported that takes long, so that they can be heeded from the first moment of a process.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

_caught: list[str] = []


def heed() -> None:
    """From here on note these signals, instead of ending at once."""
    for number in SIGNALS:
        signal.signal(number, lambda caught, _: _caught.append(signal.Signals(caught).name))
        signal.siginterrupt(number, False)  # what a library reads or writes goes on


def caught() -> str | None:
    """The name of the first signal that asked to stop."""
    return _caught[0] if _caught else None


@contextmanager
def held() -> Iterator[None]:
    """For what must become whole: processes that are started meanwhile get none of these signals."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
