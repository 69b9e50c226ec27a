"""What time it is: the wall's, or that of a record which is played again."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

#: Tells the time, UTC.
Clock = Callable[[], datetime]


def wall() -> datetime:
    """The machine's own clock."""
    return datetime.now(UTC)


def replay(begin: datetime, speed: float) -> Clock:
    """A clock that stands at `begin` when it is made, and runs `speed` times as fast as the wall's; 0 stands still."""
    started = time.monotonic()
    return lambda: begin + timedelta(seconds=(time.monotonic() - started) * speed)
