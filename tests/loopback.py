"""Servers that tests start on the loopback: a free port, and waiting until they answer."""

import socket
import threading
import time
from collections.abc import Callable

Check = Callable[[], bool]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Check, what: str, most_s: float = 60.0, told: Callable[[], object] = str) -> None:
    """Ask again and again; the thread yields in between, the condition decides when it is over.

    Args:
        holds: the condition.
        what: it is, in words.
        most_s: to wait, seconds.
        told: what else to say where it was in vain.
    """
    end = time.monotonic() + most_s
    tick = threading.Event()
    while not holds():
        assert time.monotonic() < end, f"waited {most_s:g} s in vain until {what} {told()}".strip()
        tick.wait(0.05)
