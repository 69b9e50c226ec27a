"""How temperature answers to a plan is learnt after the forecast without plans, which stays as it was."""

from dataclasses import replace

from torch import Tensor

from forecast.models.what_if import Answering
from forecast.training.checkpoints import Checkpoints
from forecast.training.config import TrainerConfig, TrainingConfig
from forecast.training.course import Progress
from forecast.training.fit import Fit, fit
from forecast.training.gaps import NOTHING
from forecast.windows.hindsight import Hindsight

#: A response has few weights, is soon computed and soon learnt: twice the steps, no more than so many. Its rate is its
#: own, for those of its weights that hold logarithms move ten times as fast (`forecast.models.thermal`).
_STEPS, _MOST, _RATE = 2, 600, 4e-3


def fit_response(
    answering: Answering,
    windows: Hindsight,
    train: Tensor,
    validation: Tensor,
    config: TrainingConfig,
    trainer: TrainerConfig,
    seed: int,
    progress: Progress,
    checkpoints: Checkpoints | None = None,
) -> Fit:
    """Fit the answer in place; `config` is that of the model before it.

    Nothing is hidden from it: what power did before is most of what it answers.

    Raises:
        as `fit`.
    """
    longer = replace(
        config,
        steps=min(_STEPS * config.steps, _MOST),
        patience=_STEPS * config.patience,
        learning_rate=_RATE,
        validate_every=_STEPS * config.validate_every,
        gaps=NOTHING,
    )
    return fit(answering, windows, train, validation, longer, trainer, seed, progress, checkpoints)
