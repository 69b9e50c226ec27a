"""The retraining job killed, refused by the disk, overlapped, cut off and damaged: its promises hold all the same."""

from pathlib import Path

import pytest
from damage import harms
from faults import Fault, Survey, cuts
from jobs import UnwatchableError, started
from scene import Place, service_problems
from survey import GOAL, scenes, surveyed

from forecast.contracts.errors import ExitCode

STAGED = "registry/smoke/.staging-*"

#: A kill between the two links, and a disk full half-way through a copy.
STRIKES = (
    (Fault.KILLED, Place("rename", f"{STAGED}/current → registry/smoke/current")),
    (Fault.FULL, Place("write", f"{STAGED}/model.onnx")),
)


def test_a_few_faults_of_each_kind(tmp_path: Path) -> None:
    """One test, since what it needs takes longer than each fault."""
    with started(tmp_path / "jobs") as jobs:
        survey = Survey(jobs, tmp_path / "work")
        try:
            first, later = scenes(survey, tmp_path)
        except UnwatchableError as error:
            pytest.skip(str(error))
        print(f"{len(first.places())} places, {len(first.operations)} operations")
        assert len(first.places()) >= GOAL

        overlapped = survey.overlap(later, [Place("write", f"{STAGED}/model.onnx")])
        assert [one.code for one in overlapped] == [ExitCode.LOCKED, ExitCode.PUBLISHED]

        left = list(cuts(later))[::20]

        for number, cut in enumerate(left):
            cut.disk.write(tmp_path / f"cut-{number}")
            assert not list(service_problems(tmp_path / f"cut-{number}", later.expected)), cut

        struck = [*overlapped, survey.cut(later, left[len(left) // 2])]
        struck += [survey.strike(later, *each) for each in STRIKES]
        struck.append(survey.damage(later, next(harms())))
    assert not [one for one in struck if one.problems]


@pytest.mark.slow
def test_every_fault_at_every_place(tmp_path: Path) -> None:
    assert not [one for one in surveyed(2, tmp_path) if one.problems]
