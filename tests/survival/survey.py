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

from damage import harms
from faults import Fault, Scene, Struck, Survey, cuts
from jobs import started
from scene import furnish

from benchmarks.machine import record

#: Faults that strike before an operation.
_AT_PLACES = (Fault.KILLED, Fault.FULL, Fault.BROKEN, Fault.STOPPED)

#: Places at least.
GOAL = 100

Task = Callable[[Survey], Sequence[Struck]]


def scenes(survey: Survey, folder: Path) -> dict[str, Scene]:
    """A site whose first run this is but for its registry, and one whose telemetry and panel are there."""
    furnish(folder / "first")
    first = survey.rehearse(folder / "first")
    shutil.copytree(first.folder, folder / "next", symlinks=True)
    for part in ("fleet", "cache"):
        shutil.copytree(first.after / part, folder / "next" / part)
    return {"first": first, "next": survey.rehearse(folder / "next")}


def tasks(first: Scene, later: Scene) -> Iterator[Task]:
    """Each fault at each place, where it is passed first and where it is passed last."""
    for place in first.places():
        scene = later if place in later.places() else first
        last = scene.places()[place]
        for fault in _AT_PLACES:
            for nth in sorted({1, last}):
                yield lambda survey, scene=scene, at=(fault, place, nth): [survey.strike(scene, *at)]
    yield lambda survey: survey.overlap(first, first.places())
    for place in later.places():
        yield lambda survey, place=place: [survey.overtake(later, place)]
    for scene in (first, later):
        for cut in cuts(scene):
            yield lambda survey, scene=scene, cut=cut: [survey.cut(scene, cut)]
    for harm in harms():
        yield lambda survey, harm=harm: [survey.damage(later, harm)]


def main(workers: int) -> int:
    """Run the survey; return 1 where a promise was broken."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder, known = Path(scratch), {}
        free: SimpleQueue[Survey] = SimpleQueue()
        for number in range(workers):
            jobs = stack.enter_context(started(folder / "jobs", str(number)))
            free.put(Survey(jobs, folder / f"work-{number}", known))
        survey = free.get()
        both = scenes(survey, folder)
        free.put(survey)

        def run(task: Task) -> Sequence[Struck]:
            survey = free.get()
            try:
                return task(survey)
            finally:
                free.put(survey)

        found: list[Struck] = []
        with ThreadPoolExecutor(workers) as pool:
            for struck in pool.map(run, tasks(both["first"], both["next"])):
                found += struck
                for one in struck:
                    for problem in one.problems:
                        print(f"{one.fault} at {one.place.name} {one.place.role} {one.detail}: {problem}", flush=True)
    return _told(found, workers)


def _told(found: list[Struck], workers: int) -> int:
    """Print the table and write the figures down."""
    places = list(dict.fromkeys(one.place for one in found if one.fault in _AT_PLACES))
    for place in places:
        here = [one for one in found if one.place == place]
        print(f"{place.name:<9}{place.role}\n         {_line(here)}")
    for fault in (Fault.CUT, Fault.DAMAGED):
        ways = Counter(
            (one.place.role if fault is Fault.DAMAGED else one.detail) for one in found if one.fault is fault
        )
        print(f"{fault}: " + ", ".join(f"{way} {count}" for way, count in ways.items()))
    violations = sum(bool(one.problems) for one in found)
    struck = len({(one.place, one.fault, one.detail) for one in found})
    print(f"{len(places)} places, {struck} faults at them, {len(found)} trials, {violations} broke a promise")
    record(
        "survival",
        workers,
        {
            "fault_points": {"value": len(places), "goal": GOAL, "better": "higher"},
            "faults_at_points": {"value": struck, "goal": None, "better": "higher"},
            "trials": {"value": len(found), "goal": None, "better": "higher"},
            "violations": {"value": violations, "goal": 0, "better": "lower"},
        },
        trials_by_fault={fault.value: sum(one.fault is fault for one in found) for fault in Fault},
        exit_codes={
            fault.value: dict(sorted(Counter(str(one.code) for one in found if one.fault is fault).items()))
            for fault in Fault
        },
    )
    return int(violations > 0)


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
