"""What can go wrong, and the exit code each failure ends a command with.

The codes are those a scheduler acts on: retry, alert, or leave alone.
"""

import re
import sys
from enum import IntEnum

from polars.exceptions import PolarsError


class ExitCode(IntEnum):
    """Process exit codes shared by every command."""

    PUBLISHED = 0
    USAGE = 2
    NOTHING_NEW = 10
    REJECTED = 11
    DATA_REFUSED = 20
    LOCKED = 30
    TRANSIENT = 40
    DISK = 50
    BUG = 70
    RESUMABLE = 75
    INTERRUPTED = 130


class FleetcastError(Exception):
    """A failure that a person can act on: its message is one line and says what to do."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """`text` with what would break a line or a terminal (names and ids come from files) shown as escapes."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


class ConfigError(FleetcastError):
    """A configuration that cannot mean anything: wrong key, type or combination."""

    exit_code = ExitCode.USAGE


class DataError(FleetcastError):
    """Input data that breaks its contract, or is not there."""

    exit_code = ExitCode.DATA_REFUSED


class TransientError(DataError):
    """Something stands in the way for the moment, say a source that is away: the same command may succeed later."""

    exit_code = ExitCode.TRANSIENT


class BundleError(FleetcastError):
    """A bundle that is incomplete, altered, or does not reproduce its golden vectors."""

    exit_code = ExitCode.DATA_REFUSED


class RegistryLockedError(FleetcastError):
    """Another run is publishing to the same registry."""

    exit_code = ExitCode.LOCKED


class StoppedError(FleetcastError):
    """Asked to stop by a signal: the same command goes on where this one ended."""

    exit_code = ExitCode.RESUMABLE


#: What a command answers with one line and a code; anything else is a bug, and shows where.
FAILURES = (FleetcastError, PolarsError, OSError, MemoryError, KeyboardInterrupt)

#: What Polars says in place of an `OSError` when a disk is full (28) or fails (5).
_DISK_FAILED = re.compile(r"([^:]+) \(os error (?:28|5)\)")


def tell(error: BaseException, reading: str) -> ExitCode:
    """Say on stderr what went wrong, one of `FAILURES`; return the exit code.

    Args:
        error: what was raised.
        reading: what was being read, in case Polars could not.
    """
    line, code = ending(error, reading)
    print(f"error: {line}", file=sys.stderr)
    return code


def ending(error: BaseException, reading: str) -> tuple[str, ExitCode]:
    """What went wrong in one line, and the exit code of a command that ends so; anything unforeseen is a bug."""
    if isinstance(error, FleetcastError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        return "out of memory; free some, or give the machine more", ExitCode.TRANSIENT
    if isinstance(error, PolarsError):
        failed = _DISK_FAILED.search(str(error))
        said = f"disk: {failed[1]}" if failed else f"{reading}: cannot be read: {str(error).splitlines()[0]}"
        return one_line(said), ExitCode.DISK if failed else ExitCode.DATA_REFUSED
    if isinstance(error, OSError):
        return one_line(f"{error.filename or 'disk'}: {error.strerror or error}"), ExitCode.DISK
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", ExitCode.INTERRUPTED
    return one_line(f"{type(error).__name__}: {error}"), ExitCode.BUG
