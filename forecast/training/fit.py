"""The training loop: steps until none brings more, and the mean of the weights that were best on validation."""

import hashlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from forecast.contracts.errors import DataError, FleetcastError
from forecast.contracts.version import key_of
from forecast.models.base import QuantileModel
from forecast.training.checkpoints import Checkpoints
from forecast.training.config import TrainerConfig, TrainingConfig
from forecast.training.course import Course, Progress
from forecast.training.gaps import Gaps
from forecast.training.module import Fitting
from forecast.training.sampling import LevelSampler
from forecast.windows.gather import Gatherer


@dataclass(frozen=True)
class Fit:
    """How a fit went.

    Attributes:
        step: of the best weights.
        validation_loss: of what was kept: those, or their mean with later ones that were as good.
        begun: the step it went on from; 0 where no checkpoint was.
        ended: its last step: sooner than all where nothing better came.
    """

    step: int
    validation_loss: float
    begun: int = 0
    ended: int = 0


def fit(
    model: QuantileModel,
    windows: Gatherer,
    train: Tensor,
    validation: Tensor,
    config: TrainingConfig,
    trainer: TrainerConfig,
    seed: int,
    progress: Progress,
    checkpoints: Checkpoints | None = None,
    learnt_before: bool = False,
) -> Fit:
    """Fit `model` in place and leave it with the mean of the weights that validated best.

    Args:
        windows: gathers batches on the training device.
        train, validation: `[M, 2]` pairs of (entity, origin).
        seed: of the order of windows and of dropout.
        progress: told of each step.
        checkpoints: where it is kept how far the fit is: the same call goes on from there.
        learnt_before: `model` comes with weights that were, here or elsewhere.

    Raises:
        StoppedError: `progress` did.
        DataError: no window to train or validate on.
        FleetcastError: no validation loss was ever a number.
    """
    if not config.steps and not len(validation):
        model.eval()
        return Fit(0, float("nan"))
    for name, pairs in (("training", train), ("validation", validation)):
        if not len(pairs) and (config.steps or name == "validation"):
            raise DataError(
                f"no {name} window: the {name} range is shorter than horizon_steps, or too little was observed "
                f"(has each step of window.step_s a sample?); shorten window.context_steps or evaluation's ranges, "
                f"or bring more data."
            )
    lightning.seed_everything(seed, verbose=False)
    judged = spread(validation, config.validation_windows).split(2 * config.batch)
    gaps = Gaps(config.gaps, windows.spec, seed, train.device, learnt_before)
    module = Fitting(model, windows, gaps, config.steps, config.learning_rate, config.weight_decay, config.by_spread)
    course = Course(module, progress, checkpoints, _key(model, config, trainer, seed), config.patience)
    sampler = LevelSampler(train, windows.group[train[:, 0]], config.batch, seed, course.begun)
    with _quiet(), _interruptible():
        loop = _loop(config, trainer, course)
        if not course.begun:  # what it began with is kept where training does harm
            loop.validate(module, DataLoader(judged, batch_size=None), verbose=False)
        if not course.over:
            loop.fit(module, DataLoader(sampler, batch_size=None), DataLoader(judged, batch_size=None))
    if not course.best:
        raise FleetcastError("training diverged: no validation loss was a number; lower training.learning_rate.")
    loss = _settle(module.to(train.device), course, judged)  # Lightning leaves it on the CPU
    ended = max(course.begun, loop.global_step)
    progress(1.0, f"step {ended} of {config.steps}")
    return Fit(course.step, loss, course.begun, ended)


def _settle(module: Fitting, course: Course, judged: Sequence[Tensor]) -> float:
    """Leave the model with the mean of the best weights and those after them that were as good, and say its loss.

    Where that mean is not as good, for between far weights it need not be, with the best alone.
    """
    module.model.load_state_dict(course.mean)
    module.model.eval()
    loss = course.loss if len(course.best) == 1 else module.loss(judged)
    if course.as_good(loss):
        return loss
    module.model.load_state_dict(course.best[0])
    return course.loss


def spread(pairs: Tensor, most: int) -> Tensor:
    """At most `most` of the pairs, evenly spaced."""
    if len(pairs) <= most:
        return pairs
    return pairs[torch.linspace(0, len(pairs) - 1, most, device=pairs.device).long()]


def _key(model: QuantileModel, config: TrainingConfig, trainer: TrainerConfig, seed: int) -> str:
    """Of a fit among the checkpoints of a run: its settings and the weights it begins with; a run has the same data."""
    began = hashlib.sha256()
    for weight in model.state_dict().values():
        began.update(weight.cpu().numpy().tobytes())
    return key_of(began.hexdigest(), asdict(config), asdict(trainer), seed, torch.__version__)


def _loop(config: TrainingConfig, trainer: TrainerConfig, course: Course) -> lightning.Trainer:
    loop = lightning.Trainer(
        accelerator=trainer.accelerator,
        devices=1,
        precision=trainer.precision,  # type: ignore[arg-type]
        max_steps=config.steps,
        val_check_interval=min(config.validate_every, config.steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        callbacks=[course],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # It would answer SIGTERM, and on Slurm SIGUSR1, in ways of its own; whoever called decides what they mean.
    loop._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return loop


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into an exit of its own; whoever called decides what an interrupt means."""
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None


class _quiet(warnings.catch_warnings):  # noqa: N801 - reads as a statement
    """Lightning's tips are for its own users: warnings and banners of a healthy run stay out of ours."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module="lightning")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
