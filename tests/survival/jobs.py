"""Runs of the retraining job that stop before every change of the disk, and end as a test likes."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from smoke_run import ROOT
from system_calls import Operation, Watched


class UnwatchableError(Exception):
    """This machine does not let a process watch another: an old kernel, or a container that forbids it."""


class Jobs:
    """Starts runs of the job, in processes forked from one that has imported everything.

    Args:
        scratch: a folder for what they print and for exported graphs, shared with others of another `name`.
    """

    def __init__(self, scratch: Path, name: str = "") -> None:
        self._scratch, self._name = scratch, name
        scratch.mkdir(parents=True, exist_ok=True)
        self._asked, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("forking_job.py"), str(theirs.fileno()), str(scratch)],
                pass_fds=[theirs.fileno()],
                env=os.environ
                | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
            )
        self._begun = 0

    def begin(self, folder: Path, arguments: Sequence[str]) -> "Job":
        """Start `python train.py *arguments` in `folder`.

        Raises:
            UnwatchableError: it could not be watched.
        """
        self._begun += 1
        said = self._scratch / f"{self._name}-{self._begun}.txt"
        request = {"folder": str(folder), "said": str(said), "arguments": list(arguments)}
        self._asked.sendall(json.dumps(request).encode() + b"\n")
        told, listeners, _, _ = socket.recv_fds(self._asked, 256, 1)
        if not listeners:
            raise UnwatchableError(told.decode())
        return Job(self, int(told), Watched(listeners[0], folder), said)

    def wait(self, process: int) -> int:
        self._asked.sendall(json.dumps({"wait": process}).encode() + b"\n")
        return int(self._asked.recv(64))

    def close(self) -> None:
        self._asked.close()
        self._server.wait()


class Job:
    """One run, which waits before each change of the disk until the next is asked for.

    Attributes:
        said: the file with what it printed.
    """

    def __init__(self, jobs: Jobs, process: int, watched: Watched, said: Path) -> None:
        self._jobs, self._process, self._watched = jobs, process, watched
        self._operations = iter(watched)
        self.said = said

    def __iter__(self) -> Iterator[Operation]:
        return self

    def __next__(self) -> Operation:
        return next(self._operations)

    def refuse(self, error: int) -> None:
        """Let the change that it waits for fail."""
        self._watched.refuse(error)

    def signal(self, number: int) -> None:
        os.kill(self._process, number)

    def finish(self) -> int:
        """Let it run to its end; return its exit code."""
        for _ in self:
            pass
        return self.ended()

    def ended(self) -> int:
        """Its exit code, once there is nothing left that it waits for."""
        code = self._jobs.wait(self._process)
        self._watched.close()
        return code


@contextlib.contextmanager
def started(scratch: Path, name: str = "") -> Iterator[Jobs]:
    jobs = Jobs(scratch, name)
    try:
        yield jobs
    finally:
        jobs.close()
