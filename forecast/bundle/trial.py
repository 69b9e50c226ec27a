"""A bundle opened in a process of its own: whatever its graph does ends that process, and not the one that asks."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from forecast.bundle.load import load
from forecast.contracts.errors import FAILURES, BundleError, ExitCode, one_line, tell

#: Of address space, of which an interpreter with its libraries takes 1 GiB; a graph is at most 0.5 GiB (`load`).
MEMORY_BYTES = 4 * 1024**3

#: Opening a bundle takes 1 to 3 s, most of it to start Python; the rest is for a machine that is busy.
TIMEOUT_S = 120.0

#: Every thread of a library reserves address space.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS"), "1")


def trial(folder: Path, memory_bytes: int = MEMORY_BYTES, timeout_s: float = TIMEOUT_S) -> None:
    """Let another process `load` the bundle in `folder`: hashes, golden vectors, finite, not crossing.

    Args:
        folder: of the bundle.
        memory_bytes: the address space that process may have.
        timeout_s: the seconds it may take.

    Raises:
        BundleError: one line that says why it must not be served.
    """
    command = [sys.executable, "-m", "forecast.bundle.trial", str(folder), str(memory_bytes), str(timeout_s)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=os.environ | _ONE_THREAD,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{folder}: opening it did not end within {timeout_s:g} s.") from error
    if done.returncode == -signal.SIGXCPU:
        raise BundleError(f"{folder}: opening it took more than {timeout_s:g} s of a processor.")
    if done.returncode:
        raise BundleError(_reason(folder, done, memory_bytes))


def _reason(folder: Path, done: "subprocess.CompletedProcess[str]", memory_bytes: int) -> str:
    said = (done.stderr.strip().splitlines() or [""])[-1]
    if done.returncode == ExitCode.DATA_REFUSED:
        return said.removeprefix("error: ")
    how = signal.Signals(-done.returncode).name if done.returncode < 0 else f"code {done.returncode}"
    return one_line(f"{folder}: opening it within {memory_bytes // 1024**2} MiB ended with {how} ({said}).")


def _limit(memory_bytes: int, timeout_s: float) -> None:
    """Bound this process: the timeout too, in case nobody is left to keep it."""
    processor_s = int(timeout_s) + 1
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, processor_s),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, hard))


def _main(folder: str, memory_bytes: str, timeout_s: str) -> int:
    _limit(int(memory_bytes), float(timeout_s))
    try:
        load(Path(folder))
    except FAILURES as error:
        return tell(error, folder)
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
