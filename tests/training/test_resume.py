"""A fit that was stopped and goes on ends as one that never was, bit for bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from every_model import build
from small_fleet import daily_load, pairs_in, windows_of
from torch import Tensor

from forecast.contracts.errors import StoppedError
from forecast.contracts.specs import CALENDAR, ForecastSpec
from forecast.models.what_if import Answering, WhatIf
from forecast.training import course
from forecast.training.checkpoints import Checkpoints
from forecast.training.config import TrainerConfig, TrainingConfig
from forecast.training.course import Progress
from forecast.training.fit import Fit, fit
from forecast.training.response import fit_response
from forecast.windows.gather import Windows
from forecast.windows.hindsight import Hindsight

SPEC = ForecastSpec(
    step_s=3600,
    context_steps=48,
    horizon_steps=12,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c"),
    quantile_levels=(0.1, 0.5, 0.9),
)
CUT, END = 20 * 24, 26 * 24
#: Its last steps are not validated.
SHORT = TrainingConfig(steps=22, batch=16, validate_every=5, learning_rate=0.02)

Ended = tuple[Fit, dict[str, Tensor]]


@pytest.fixture(scope="module")
def windows() -> Windows:
    values = daily_load(SPEC, entities=3, days=26)
    values += np.random.default_rng(0).normal(0, 0.01, values.shape).astype(np.float32) * values
    return windows_of(values, SPEC, ("server", "server", "rack"))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def checkpoints(tmp_path: Path, said: list[str]) -> Checkpoints:
    return Checkpoints(tmp_path / "day-ahead" / "0123", said.append)


class Stopping:
    """Raises at some of the steps it is told of, each time once."""

    def __init__(self, *steps: int, error: type[BaseException] = StoppedError) -> None:
        self.steps, self.error = list(steps), error
        self.told: list[int] = []

    def __call__(self, share: float, note: str) -> None:
        step = int(note.split()[1])
        self.told.append(step)
        if self.steps and self.steps[0] == step:
            self.steps.pop(0)
            raise self.error("enough")


def run(
    windows: Windows,
    checkpoints: Checkpoints | None = None,
    progress: Progress = lambda *_: None,
    config: TrainingConfig = SHORT,
    model: str = "adaptive_cdf",
    seed: int = 3,
) -> Ended:
    fresh = build(model, windows.spec).train()
    torch.rand(seed)  # what ran before is another story each time
    pairs = pairs_in(windows, 0, CUT), pairs_in(windows, CUT, END, 6)
    fitted = fit(fresh, windows, *pairs, config, TrainerConfig(), seed, progress, checkpoints)
    assert not fresh.training
    return fitted, {name: weight.clone() for name, weight in fresh.state_dict().items()}


def until_it_ends(attempt: Callable[[], Ended]) -> Ended:
    for _ in range(20):
        try:
            return attempt()
        except (StoppedError, KeyboardInterrupt):
            continue
    raise AssertionError("it never ends")


def same(first: Ended, second: Ended) -> bool:
    weights = zip(first[1].items(), second[1].items(), strict=True)
    found = (replace(fitted, begun=0) for fitted, _ in (first, second))
    return next(found) == next(found) and all(a == b and torch.equal(x, y) for (a, x), (b, y) in weights)


@pytest.fixture(scope="module")
def whole(windows: Windows) -> Ended:
    return run(windows)


@pytest.mark.parametrize("steps", [(0,), (1,), (4,), (5,), (6,), (21,), (22,), (2, 5, 5, 9, 15, 16, 22)])
def test_it_ends_the_same_wherever_it_was_stopped(
    windows: Windows, whole: Ended, checkpoints: Checkpoints, steps: tuple[int, ...]
) -> None:
    stopping = Stopping(*steps)
    assert same(until_it_ends(lambda: run(windows, checkpoints, stopping)), whole)
    assert not stopping.steps
    assert len(stopping.told) == SHORT.steps + 1 + len(steps), "no step was done twice"


@pytest.mark.parametrize("model", ["linear", "patch_mixer"])
def test_dropout_and_gaps_go_on_too(windows: Windows, checkpoints: Checkpoints, model: str) -> None:
    stopping = Stopping(7)
    stopped = until_it_ends(lambda: run(windows, checkpoints, stopping, model=model))
    assert same(stopped, run(windows, model=model))


def test_one_that_was_killed_goes_on_from_its_last_validation(
    windows: Windows, whole: Ended, checkpoints: Checkpoints
) -> None:
    killed = Stopping(13, error=KeyboardInterrupt)
    assert same(until_it_ends(lambda: run(windows, checkpoints, killed)), whole)
    assert killed.told == [*range(14), *range(10, SHORT.steps + 1)]


def test_one_that_ended_is_not_trained_again(windows: Windows, whole: Ended, checkpoints: Checkpoints) -> None:
    run(windows, checkpoints)
    again = Stopping()
    assert same(run(windows, checkpoints, again), whole)
    assert again.told == [SHORT.steps]


def test_weights_it_began_with_stay_the_best_where_training_does_harm(
    windows: Windows, checkpoints: Checkpoints
) -> None:
    harm = replace(SHORT, learning_rate=5.0)
    stopping = Stopping(3, 11)
    ended = until_it_ends(lambda: run(windows, checkpoints, stopping, harm))
    assert ended[0].step == 0
    assert same(ended, run(windows, config=harm))


@pytest.mark.parametrize("steps", [(3,), (10,), (4, 9)])
def test_one_that_ended_for_nothing_better_came_is_not_trained_on(
    windows: Windows, checkpoints: Checkpoints, steps: tuple[int, ...]
) -> None:
    harm = replace(SHORT, learning_rate=5.0, patience=10)
    stopping = Stopping(*steps)
    ended = until_it_ends(lambda: run(windows, checkpoints, stopping, harm))
    assert max(stopping.told) == 10
    assert same(ended, run(windows, config=harm))
    again = Stopping()
    assert same(run(windows, checkpoints, again, harm), ended)
    assert again.told == [10]


def test_one_that_was_stopped_between_validations_has_not_ended_for_nothing_better_came(
    windows: Windows, checkpoints: Checkpoints
) -> None:
    """Neither are steps before the first validation without anything better, however patient it is."""
    config = replace(SHORT, steps=20, validate_every=20, patience=6)
    stopping = Stopping(7, 15)
    assert same(until_it_ends(lambda: run(windows, checkpoints, stopping, config)), run(windows, config=config))
    assert not stopping.steps
    assert max(stopping.told) == 20


def test_weights_that_were_as_good_as_the_best_are_remembered(
    windows: Windows, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "_AS_GOOD", 100.0)
    stopping, harm = Stopping(12, 21), replace(SHORT, learning_rate=0.5)
    ended = until_it_ends(lambda: run(windows, checkpoints, stopping, harm))
    assert ended[0].step < 12
    assert same(ended, run(windows, config=harm))


@pytest.mark.parametrize(
    "other",
    [{"config": replace(SHORT, batch=8)}, {"seed": 4}, {"model": "linear"}, {"config": replace(SHORT, steps=23)}],
)
def test_a_fit_of_other_settings_begins_anew_and_leaves_it(
    windows: Windows, whole: Ended, checkpoints: Checkpoints, other: dict
) -> None:
    with pytest.raises(StoppedError):
        run(windows, checkpoints, Stopping(12))
    anew = Stopping()
    assert same(run(windows, checkpoints, anew, **other), run(windows, **other))
    assert anew.told[0] == 0
    goes_on = Stopping()
    assert same(run(windows, checkpoints, goes_on), whole)
    assert goes_on.told[0] == 12


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "of another fit", "pickle"])
def test_a_file_that_is_not_what_was_written_is_left_alone(
    windows: Windows, whole: Ended, checkpoints: Checkpoints, said: list[str], damage: str
) -> None:
    with pytest.raises(StoppedError):
        run(windows, checkpoints, Stopping(12))
    (path,) = checkpoints.folder.iterdir()
    content = path.read_bytes()
    if damage == "of another fit":
        with pytest.raises(StoppedError):
            run(windows, checkpoints, Stopping(2), seed=4)
        (other,) = set(checkpoints.folder.iterdir()) - {path}
        content = other.read_bytes()
    middle = len(content) // 2
    damaged = {
        "cut": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "empty": b"",
        "of another fit": content,
        "pickle": b"cos\nsystem\n(S'exit 1'\ntR.",
    }
    path.write_bytes(damaged[damage])
    anew = Stopping()
    assert same(run(windows, checkpoints, anew), whole)
    assert anew.told[0] == 0
    assert said == [f"{path} is damaged or of another fit; training begins anew."]


def test_the_answer_to_plans_goes_on_too(checkpoints: Checkpoints) -> None:
    spec = replace(SPEC, future=(*CALENDAR, "planned_power_w", "planned_fan_speed_rpm"))
    windows = windows_of(daily_load(spec, entities=3, days=26), spec, ("server", "server", "rack"))
    pairs = pairs_in(windows, 0, CUT), pairs_in(windows, CUT, END, 6)

    def attempt(checkpoints: Checkpoints | None, progress: Progress) -> Ended:
        torch.manual_seed(0)
        model = build("linear", spec.unplanned)
        answering = Answering(model, WhatIf(spec, 3), spec)
        config = replace(SHORT, steps=8, validate_every=3)
        fitted = fit_response(answering, Hindsight(windows), *pairs, config, TrainerConfig(), 0, progress, checkpoints)
        return fitted, {name: weight.clone() for name, weight in answering.state_dict().items()}

    stopping = Stopping(5, 6, 14)
    ended = until_it_ends(lambda: attempt(checkpoints, stopping))
    assert not stopping.steps
    assert same(ended, attempt(None, lambda *_: None))
    assert ended[0].step


def test_those_of_other_runs_are_swept_and_ones_own_are_kept(checkpoints: Checkpoints) -> None:
    other = replace(checkpoints, folder=checkpoints.folder.with_name("4567"))
    for each in (checkpoints, other):
        each.write("fit", {"done": 1})
    checkpoints.remove_others()
    assert other.read("fit") is None
    assert checkpoints.read("fit") == {"done": 1}
    checkpoints.remove()
    assert checkpoints.read("fit") is None
    checkpoints.remove_others()
