"""The retraining job killed, refused by the disk, overlapped, cut off and damaged: `OPERATIONS.md` keeps its promises.

Here each kind of fault strikes at a few of the places where it can; `make survival` lets all strike at all of them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import survey as all_of_them
from damage import harms
from faults import Fault, Scene, Survey, cuts
from jobs import UnwatchableError, started
from scene import Place, service_problems

from forecast.contracts.errors import ExitCode

STAGED = "registry/smoke/.staging-*"

#: A kill between the two links, a disk full half-way through a copy, a manifest that cannot be kept, a stop.
STRIKES = (
    (Fault.KILLED, Place("rename", f"{STAGED}/current → registry/smoke/current")),
    (Fault.FULL, Place("write", f"{STAGED}/model.onnx")),
    (Fault.BROKEN, Place("sync", f"{STAGED}/.manifest.json.PID.part")),
    (Fault.STOPPED, Place("create", "runs/RUN/bundle/model.onnx")),
)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Survey]:
    folder = tmp_path_factory.mktemp("survival")
    with started(folder / "jobs") as jobs:
        yield Survey(jobs, folder / "work")


@pytest.fixture(scope="module")
def scenes(survey: Survey, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scene]:
    """Made by runs before each of whose steps on the registry what is in service was opened."""
    try:
        return all_of_them.scenes(survey, tmp_path_factory.mktemp("scenes"))
    except UnwatchableError as error:
        pytest.skip(str(error))


def test_there_are_many_places_where_a_run_can_fail(scenes: dict[str, Scene]) -> None:
    places = scenes["first"].places()
    print(f"{len(places)} places, {sum(places.values())} operations")
    assert len(places) >= all_of_them.GOAL


@pytest.mark.parametrize(("fault", "place"), STRIKES, ids=[fault.name.lower() for fault, _ in STRIKES])
def test_a_run_that_a_fault_befell_is_made_good_by_the_next(
    survey: Survey, scenes: dict[str, Scene], fault: Fault, place: Place
) -> None:
    assert survey.strike(scenes["next"], fault, place).problems == ()


def test_no_power_cut_takes_the_version_in_service(survey: Survey, scenes: dict[str, Scene], tmp_path: Path) -> None:
    """Whatever it left: one of every ten of these states is opened as by a server, one is given to the next run."""
    scene = scenes["next"]
    some = list(cuts(scene))[::10]
    for number, cut in enumerate(some):
        cut.disk.write(tmp_path / str(number))
        assert not list(service_problems(tmp_path / str(number), scene.expected)), cut
    assert len(some) > 10
    assert survey.cut(scene, some[len(some) // 2]).problems == ()


def test_a_second_run_leaves_the_first_alone(survey: Survey, scenes: dict[str, Scene]) -> None:
    struck = survey.overlap(scenes["next"], [Place("write", f"{STAGED}/model.onnx")])
    assert [one.code for one in struck] == [ExitCode.LOCKED, ExitCode.PUBLISHED]
    assert [one.problems for one in struck] == [(), ()]


def test_what_is_damaged_is_made_anew(survey: Survey, scenes: dict[str, Scene]) -> None:
    for harm in list(harms())[::30]:
        assert survey.damage(scenes["next"], harm).problems == (), harm


@pytest.mark.slow
def test_every_fault_at_every_place() -> None:
    assert all_of_them.main(workers=2) == 0
