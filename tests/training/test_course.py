"""Which weights of a fit are kept: the best, and later ones that validation cannot tell from them."""

from types import SimpleNamespace
from typing import cast

import lightning
import pytest
import torch
from torch import Tensor, nn

from forecast.training.course import Course
from forecast.training.fit import _settle
from forecast.training.module import Fitting

WRONG, ENDLESS = float("nan"), float("inf")


class Line:
    """A fit of one weight, which is the number of the validation, and counts them."""

    steps = 100

    def __init__(self, loss_of_mean: float = 0.0) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        self.model.register_buffer("validations", torch.tensor(0))
        self.loss_of_mean = loss_of_mean
        self.judged: list[float] = []

    def loss(self, judged: list[Tensor]) -> float:
        self.judged.append(self.model.weight.item())
        return self.loss_of_mean


def validated(line: Line, losses: list[float], patience: int = 100) -> Course:
    fitting = cast("Fitting", line)
    course = Course(fitting, lambda *_: None, None, "key", patience)
    for number, loss in enumerate(losses):
        nn.init.constant_(line.model.weight, number)
        line.model.get_buffer("validations").fill_(number)
        trainer = SimpleNamespace(
            callback_metrics={"validation_loss": torch.tensor(loss)}, global_step=10 * number, should_stop=False
        )
        course.on_validation_end(cast("lightning.Trainer", trainer), fitting)
        assert trainer.should_stop == course.ended(10 * number)
    return course


@pytest.mark.parametrize(
    ("losses", "ends"),
    [([1.0, 0.5, 0.6], 30), ([0.5, 0.6], 20), ([WRONG, WRONG], 20), ([1.0] + [0.5 - n / 100 for n in range(9)], 100)],
)
def test_it_ends_when_so_many_steps_brought_nothing_better(losses: list[float], ends: int) -> None:
    course = validated(Line(), losses, patience=20)
    assert next(step for step in range(120) if course.ended(step)) == ends


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ([1.0, 0.5, 0.6], [1]),
        ([1.0, 0.5, 0.509, 0.511, 0.505], [1, 2, 4]),
        ([0.505, 1.0, 0.5, 0.501], [2, 3]),  # what was as good before has learnt less
        ([0.5, 0.505, 0.495, 0.6], [2]),
        ([WRONG, 0.5, WRONG, ENDLESS], [1]),
    ],
)
def test_the_best_and_later_weights_within_two_per_cent_of_it_are_kept(losses: list[float], kept: list[int]) -> None:
    course = validated(Line(), losses)
    assert [state["weight"].item() for state in course.best] == kept
    assert (course.step, course.loss) == (10 * kept[0], pytest.approx(losses[kept[0]]))
    assert course.mean["weight"].item() == pytest.approx(sum(kept) / len(kept))
    assert course.mean["validations"].item() == kept[-1]


def test_where_no_loss_was_a_number_nothing_is_kept() -> None:
    course = validated(Line(), [WRONG, ENDLESS])
    assert not course.best
    assert not course.mean


def test_weights_that_are_alone_are_kept_bit_for_bit_and_not_judged_again() -> None:
    line = Line(loss_of_mean=9.0)
    course = validated(line, [0.5, 0.6, 0.7])
    course.best[0]["weight"].fill_(1 / 3)
    assert _settle(cast("Fitting", line), course, []) == course.loss
    assert torch.equal(line.model.weight, torch.full((1, 1), 1 / 3))
    assert not line.judged


@pytest.mark.parametrize(("loss", "kept"), [(0.45, 1.5), (0.509, 1.5), (0.52, 1.0), (WRONG, 1.0)])
def test_the_mean_is_kept_where_it_is_as_good_and_else_the_best(loss: float, kept: float) -> None:
    line = Line(loss_of_mean=loss)
    found = _settle(cast("Fitting", line), validated(line, [1.0, 0.5, 0.505]), [])
    assert found == pytest.approx(loss if kept == 1.5 else 0.5)
    assert line.judged == [1.5]
    assert line.model.weight.item() == kept
    assert not line.model.training
