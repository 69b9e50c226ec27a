"""Every fault at every place of a run: `make survival` prints what came of them and writes it down."""

import argparse
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from damage import harms
from faults import NEEDS_ROOM, Cut, Fault, Scene, Struck, Survey, cuts
from jobs import started
from scene import REGISTRY, Place, furnish

from benchmarks.machine import record

#: Faults that strike before an operation.
_AT_PLACES = (Fault.KILLED, Fault.FULL, Fault.BROKEN, Fault.STOPPED)

#: Where a run opens the file that it locks next.
_RUN_LOCK = Place("create", f"{REGISTRY}.run")

_TELL_EVERY = 100

#: Places at least.
GOAL = 100

Task = Callable[[Survey], Sequence[Struck]]


def scenes(survey: Survey, folder: Path) -> tuple[Scene, Scene]:
    """A site whose first run this is but for its registry, and one whose telemetry and panel are there."""
    furnish(folder / "first")
    first = survey.rehearse(folder / "first")
    shutil.copytree(first.folder, folder / "next", symlinks=True)
    for part in ("fleet", "cache"):
        shutil.copytree(first.after / part, folder / "next" / part)
    return first, survey.rehearse(folder / "next")


def tasks(first: Scene, later: Scene) -> Iterator[Task]:
    """What there is to try: every damage, other runs at every place, every power cut, every fault at every place."""
    for harm in harms():
        yield lambda survey, harm=harm: [survey.damage(later, harm)]
    places = list(first.places())
    locked = places.index(_RUN_LOCK) + 1
    for some in (places[:1], places[locked:]):  # whoever comes before the lock may go first, and leaves nothing to do
        yield lambda survey, some=some: survey.overlap(first, some)
    for place in later.places():
        if place.role.startswith(REGISTRY):
            yield lambda survey, place=place: [survey.overtake(later, place)]
    for scene, some in ((later, cuts(later)), (first, _one_of_each(cuts(first), set(later.places())))):
        for cut in some:
            yield lambda survey, scene=scene, cut=cut: [survey.cut(scene, cut)]
    for place in places:
        scene = later if place in later.places() else first
        for fault, nth in _strikes(place, scene.places()[place]):
            yield lambda survey, scene=scene, at=(fault, place, nth): [survey.strike(scene, *at)]


def _strikes(place: Place, last: int) -> Iterator[tuple[Fault, int]]:
    """The faults at a place that is passed `last` times: where it is passed first, a kill where it is last, too."""
    for nth in sorted({1, last}):
        yield Fault.KILLED, nth
    if place.name in NEEDS_ROOM:  # else the next that does is where a full disk shows
        yield Fault.FULL, 1
    yield Fault.BROKEN, 1
    if not place.role.startswith("runs/"):  # which no run reads again
        yield Fault.STOPPED, 1


def _one_of_each(cuts: Iterator[Cut], known: set[Place]) -> Iterator[Cut]:
    """Of power cuts at places not `known`, one of each kind at each: a record of many days has many alike."""
    seen = set()
    for cut in cuts:
        if cut.place not in known and (cut.place, cut.detail) not in seen:
            seen.add((cut.place, cut.detail))
            yield cut


def surveyed(workers: int, folder: Path) -> list[Struck]:
    """Let every fault strike; say as it goes how far it is and what was broken."""
    with ExitStack() as stack:
        known: dict[str, tuple[str, ...]] = {}
        free: SimpleQueue[Survey] = SimpleQueue()
        for number in range(workers):
            jobs = stack.enter_context(started(folder / "jobs", str(number)))
            free.put(Survey(jobs, folder / f"work-{number}", known))

        def run(task: Task) -> Sequence[Struck]:
            survey = free.get()
            try:
                return task(survey)
            finally:
                free.put(survey)

        survey = free.get()
        to_do = list(tasks(*scenes(survey, folder)))
        free.put(survey)
        found: list[Struck] = []
        with ThreadPoolExecutor(workers) as pool:
            for done, struck in enumerate(pool.map(run, to_do), start=1):
                found += struck
                if done % _TELL_EVERY == 0:
                    print(f"{done} of {len(to_do)}", flush=True)
                for one in struck:
                    for problem in one.problems:
                        print(f"{one.fault} at {one.place.name} {one.place.role} {one.detail}: {problem}", flush=True)
    return found


def main(workers: int) -> int:
    """Run the survey; return 1 where a promise was broken."""
    with tempfile.TemporaryDirectory() as scratch:
        found = surveyed(workers, Path(scratch))
    _tell(found)
    _record(found, workers)
    return int(any(one.problems for one in found))


def _tell(found: list[Struck]) -> None:
    """Print a line for each place, and what befell the whole."""
    places = dict.fromkeys(one.place for one in found if one.fault in _AT_PLACES)
    for place in places:
        print(f"{place.name:<9}{place.role}\n         {_line([one for one in found if one.place == place])}")
    for fault in (Fault.CUT, Fault.DAMAGED):
        mine = [one for one in found if one.fault is fault]
        ways = Counter(one.detail if fault is Fault.CUT else one.place.role for one in mine)
        print(f"{fault}: " + ", ".join(f"{way} {count}" for way, count in ways.items()))
    print(" · ".join(f"{name.replace('_', ' ')} {figure['value']}" for name, figure in _figures(found).items()))


def _figures(found: list[Struck]) -> dict[str, dict[str, Any]]:
    counts = {
        "fault_points": (len({one.place for one in found if one.fault in _AT_PLACES}), GOAL, "higher"),
        "faults_at_points": (len({(one.place, one.fault, one.detail) for one in found}), None, "higher"),
        "trials": (len(found), None, "higher"),
        "violations": (sum(bool(one.problems) for one in found), 0, "lower"),
    }
    return {name: dict(zip(("value", "goal", "better"), told, strict=True)) for name, told in counts.items()}


def _record(found: list[Struck], workers: int) -> None:
    by_fault = {fault.value: [one for one in found if one.fault is fault] for fault in Fault}
    record(
        "survival",
        workers,
        _figures(found),
        trials={name: len(mine) for name, mine in by_fault.items()},
        exit_codes={
            name: dict(sorted(Counter(str(one.code) for one in mine).items())) for name, mine in by_fault.items()
        },
    )


def _line(here: list[Struck]) -> str:
    """What came of each fault at a place: exit codes, and what was broken."""
    cells = []
    for fault in Fault:
        if mine := [one for one in here if one.fault is fault]:
            codes = "/".join(dict.fromkeys(str(one.code) for one in mine if one.code is not None))
            broken = sum(bool(one.problems) for one in mine)
            cells.append(f"{fault} {codes or len(mine)}{f' {broken} BROKEN' if broken else ''}")
    return ", ".join(cells)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="runs at a time")
    raise SystemExit(main(parser.parse_args().workers))
