"""Faults that befall a run of the job at one place, what they leave, and whether the next run puts it right."""

import errno
import hashlib
import re
import shutil
import signal
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from damage import Harm
from jobs import Jobs
from power_cuts import Disk, Recording
from scene import ARGUMENTS, REGISTRY, STAGING, Expected, Place, convergence_problems, service_problems
from system_calls import Operation

from forecast.bundle.load import load
from forecast.bundle.manifest import NAME as MANIFEST
from forecast.contracts.errors import BundleError, ExitCode


class Fault(StrEnum):
    """What happens before an operation."""

    KILLED = "SIGKILL"
    FULL = "ENOSPC from here on"
    BROKEN = "EIO once"
    STOPPED = "SIGTERM"
    CUT = "power cut"
    OVERLAPPED = "another run"
    OVERTAKEN = "killed as another run starts"
    DAMAGED = "damage"


#: Of a line of the journal.
_TIME = re.compile(r'"time": "[^"]*"')

#: Operations that need room on a disk.
NEEDS_ROOM = frozenset({"create", "write", "truncate", "mkdir", "symlink", "link", "sync"})

#: How a run may end. One that could do without what failed ends as if nothing had happened.
_WELL = frozenset({ExitCode.PUBLISHED, ExitCode.NOTHING_NEW})
_ENDS = {
    Fault.KILLED: frozenset({-signal.SIGKILL}),
    Fault.FULL: _WELL | {ExitCode.DISK},
    Fault.BROKEN: _WELL | {ExitCode.DISK},
    Fault.STOPPED: _WELL | {ExitCode.RESUMABLE},
}


class Struck(NamedTuple):
    """What came of a fault.

    Attributes:
        place: where it struck.
        detail: which power cut, which corruption.
        code: what the run exited with.
        problems: every broken promise; empty where all held.
    """

    fault: Fault
    place: Place
    detail: str
    code: int | None
    problems: tuple[str, ...]


@dataclass
class Scene:
    """A folder laid out, what a run does to it that nothing befalls, and what that publishes.

    Attributes:
        folder: as it is before; never worked in.
        after: as it is afterwards; never worked in.
    """

    folder: Path
    after: Path
    recording: Recording
    operations: list[Operation]
    expected: Expected

    def places(self) -> dict[Place, int]:
        """Every place, with how often the run passes it, in the order of the run."""
        counts: dict[Place, int] = {}
        for operation in self.operations:
            place = Place.of(operation)
            counts[place] = counts.get(place, 0) + 1
        return counts


class Cut(NamedTuple):
    """A power cut after the run has passed `place`, and what it left."""

    place: Place
    detail: str
    disk: Disk


def cuts(scene: Scene) -> Iterator[Cut]:
    """Every power cut that leaves another state of the disk than those before it, the folder of the run aside."""
    recording, known = scene.recording, set[str]()
    for after in range(1, len(recording.changes) + 1):
        place = Place.of(scene.operations[recording.places[after - 1]])
        for detail, disk in recording.cuts(after):
            state = _state(disk)
            if state not in known:
                known.add(state)
                yield Cut(place, detail, disk)


class Survey:
    """Lets faults strike, each in a copy of a scene of its own.

    Args:
        jobs: runs the job.
        scratch: a folder for the copies.
        known: what the next run made of each state of the disk, shared by surveys that run side by side. States that
            differ only in the folders of earlier runs, which no run reads, are one.
    """

    def __init__(self, jobs: Jobs, scratch: Path, known: dict[str, tuple[str, ...]] | None = None) -> None:
        self._jobs = jobs
        self._scratch = scratch
        self._known = {} if known is None else known
        self._begun = 0
        scratch.mkdir(parents=True, exist_ok=True)

    def rehearse(self, folder: Path) -> Scene:
        """Take down what a run does to the disk that nothing befalls.

        Before each operation on the registry, what is in service is opened as a server does. At the end what was taken
        down is compared with what is there, so that no way of writing goes unseen.
        """
        work = self._copied(folder)
        recording, operations = Recording(Disk.of(folder)), []
        job = self._jobs.begin(work, ARGUMENTS)
        for operation in job:
            if operation.path.startswith(REGISTRY):
                assert not list(service_problems(work)), operation
            recording.note(operation)
            operations.append(operation)
        assert job.ended() == ExitCode.PUBLISHED, job.said.read_text()
        assert not list(service_problems(work))
        assert _contents(recording.end) == _contents(Disk.of(work))
        return Scene(folder, work, recording, operations, Expected.of(work))

    def strike(self, scene: Scene, fault: Fault, place: Place, nth: int = 1) -> Struck:
        """Let `fault` strike before the run is at `place` for the `nth` time."""
        work = self._copied(scene.folder)
        job = self._jobs.begin(work, ARGUMENTS)
        passed, problems = 0, []
        for operation in job:
            passed += Place.of(operation) == place
            here = passed == nth and Place.of(operation) == place
            if fault is Fault.KILLED and here:
                job.signal(signal.SIGKILL)
                break
            if fault is Fault.STOPPED and here:
                job.signal(signal.SIGTERM)
                passed += 1
            elif fault is Fault.BROKEN and here:
                job.refuse(errno.EIO)
            elif fault is Fault.FULL and passed >= nth and operation.name in NEEDS_ROOM:
                job.refuse(errno.ENOSPC)
            elif passed >= nth and operation.path.startswith(REGISTRY):
                problems += service_problems(work, scene.expected)
        code = job.ended()
        if not passed:
            problems.append("the run never came here")
        if code not in _ENDS[fault]:
            problems.append(f"exit code {code}")
        if "Traceback" in (said := job.said.read_text()):
            problems.append(f"not one line: {said.strip().splitlines()[-1]}")
        problems += service_problems(work, scene.expected)
        return Struck(fault, place, "", code, (*problems, *self._next_run(work, scene.expected)))

    def cut(self, scene: Scene, cut: "Cut") -> Struck:
        """Let power fail."""
        work = self._folder()
        cut.disk.write(work)
        problems = service_problems(work, scene.expected)
        return Struck(Fault.CUT, cut.place, cut.detail, None, (*problems, *self._next_run(work, scene.expected)))

    def overlap(self, scene: Scene, places: Collection[Place]) -> list[Struck]:
        """Start another run at each of some places of one, which goes on to its end."""
        work = self._copied(scene.folder)
        job, struck, seen = self._jobs.begin(work, ARGUMENTS), [], set()
        for operation in job:
            place = Place.of(operation)
            if place in seen or place not in places:
                continue
            seen.add(place)
            staged = set(work.glob(STAGING))
            code = self._jobs.begin(work, ARGUMENTS).finish()
            problems = list(service_problems(work, scene.expected))
            if code not in {ExitCode.LOCKED, *_WELL}:
                problems.append(f"exit code {code}")
            if gone := staged - set(work.glob(STAGING)):
                problems.append(f"live staging was swept: {len(gone)}")
            struck.append(Struck(Fault.OVERLAPPED, place, "", code, tuple(problems)))
        code = job.ended()
        problems = [] if code in _WELL else [f"the first run: exit code {code}"]
        problems += service_problems(work, scene.expected)
        problems += self._next_run(work, scene.expected)
        return [*struck, Struck(Fault.OVERLAPPED, Place("", "its end"), "", code, tuple(problems))]

    def overtake(self, scene: Scene, place: Place) -> Struck:
        """Kill a run at `place` while another is on its way; that one, or the next, must finish."""
        work = self._copied(scene.folder)
        first = self._jobs.begin(work, ARGUMENTS)
        for operation in first:
            if Place.of(operation) == place:
                break
        second = self._jobs.begin(work, ARGUMENTS)
        next(second)
        first.signal(signal.SIGKILL)
        first.ended()
        code = second.finish()
        problems = list(service_problems(work, scene.expected))
        if code not in _WELL:
            problems.append(f"exit code {code}")
        return Struck(Fault.OVERTAKEN, place, "", code, (*problems, *self._next_run(work, scene.expected)))

    def damage(self, scene: Scene, harm: Harm) -> Struck:
        """Damage what a run has published; a server must open what is whole, or refuse it and keep what it has."""
        work = self._copied(scene.after)
        harm.do(work)
        problems = []
        try:
            load(work / REGISTRY / "current")
        except BundleError:
            pass
        except Exception as error:  # what a server would not expect
            problems.append(f"a server fails with {type(error).__name__}: {error}")
        return Struck(
            Fault.DAMAGED,
            Place("damage", harm.what),
            harm.how,
            None,
            (*problems, *self._run_again(work, scene.expected)),
        )

    def _next_run(self, work: Path, expected: Expected) -> tuple[str, ...]:
        """What the next run leaves to be desired; its folder is gone afterwards."""
        state = _state(Disk.of(work))
        if state not in self._known:
            self._known[state] = self._run_again(work, expected)
        shutil.rmtree(work, ignore_errors=True)
        return self._known[state]

    def _run_again(self, work: Path, expected: Expected) -> tuple[str, ...]:
        job = self._jobs.begin(work, ARGUMENTS)
        code = job.finish()
        problems = list(convergence_problems(work, expected))
        if code not in _WELL:
            problems.append(f"exit code {code} of the next run: {job.said.read_text().strip().splitlines()[-1]}")
        shutil.rmtree(work)
        return tuple(problems)

    def _copied(self, folder: Path) -> Path:
        """A copy to work in; times are kept."""
        work = self._folder()
        shutil.copytree(folder, work, symlinks=True)
        return work

    def _folder(self) -> Path:
        self._begun += 1
        return self._scratch / str(self._begun)


def _contents(disk: Disk) -> dict[str, str]:
    """Hash of each file, text of each link."""
    return {
        path: "" if node.kind == "folder" else node.text or hashlib.sha256(disk.content(node)).hexdigest()
        for path, node in disk.files()
    }


def _state(disk: Disk) -> str:
    """What the next run finds, in a word; but for what it does not read, and for times."""
    lines = []
    for path, node in disk.files():
        if path.startswith(("runs/", "metrics/")):
            continue
        told = node.text or (_told(path, disk.content(node)) if node.kind == "file" else "")
        lines.append(f"{Place('', path).role} {told}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _told(path: str, content: bytes) -> str:
    """What a file tells the next run. Staging is swept unread; a verdict holds timings, and a manifest its hash."""
    if "/.staging-" in path:
        return ""
    if path.endswith("journal.jsonl"):
        return _TIME.sub("", content.decode(errors="replace"))
    if path.endswith(("/gate.json", f"/{MANIFEST}")) and content.endswith(b"}"):
        return "whole"
    return hashlib.sha256(content).hexdigest()
