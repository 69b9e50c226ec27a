"""The course of a fit: its best weights so far, how far it is, and going on where it was stopped."""

import copy
import math
from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch import Tensor

from forecast.contracts.errors import StoppedError
from forecast.training.checkpoints import Checkpoints
from forecast.training.module import Fitting

#: Told the share done, 0 to 1, and what there is to say; may raise `StoppedError`.
Progress = Callable[[float, str], None]

#: Later weights whose loss lies within this share of the best are as good: a few days of a few machines cannot tell
#: more, and what those have learnt since is as likely to hold. Their mean errs least (Wortsman et al., 2022).
_AS_GOOD = 0.02


class Course(lightning.Callback):
    """Keeps the best validated weights in memory, and the whole state of the fit in a checkpoint.

    A checkpoint is written between two steps, when everything random is known: after each validation, when `progress`
    raises `StoppedError`, and at the end. Which windows a step sees follows from its number (`LevelSampler`).

    Args:
        module: what is fitted.
        progress: told of each step.
        checkpoints: None keeps nothing.
        key: of this fit among the checkpoints.
        patience: it ends when so many steps in turn brought nothing better.

    Attributes:
        begun: the step it goes on from.
        loss, step: of the best validation.
        best: weights of that validation, and of those after it that were as good.
        over: nothing is left to do: a validation found so, or all steps are done.
    """

    def __init__(
        self, module: Fitting, progress: Progress, checkpoints: Checkpoints | None, key: str, patience: int
    ) -> None:
        self.loss, self.step = float("inf"), 0
        self.best: list[dict[str, Tensor]] = []
        self._module, self._progress = module, progress
        self._checkpoints, self._key, self._patience = checkpoints, key, patience
        self._kept = checkpoints.read(key) if checkpoints else None
        self._validated = False
        self.begun, self.over = 0, False
        if self._kept:
            self.begun, self.over = self._kept["done"], self._kept["over"]
            self.loss, self.step, self.best = (self._kept[name] for name in ("loss", "step", "best"))

    @property
    def mean(self) -> dict[str, Tensor]:
        """The mean of the best weights and those after them that were as good; of one alone, bit for bit itself."""
        return {name: _mean([state[name] for state in self.best]) for name in (self.best[0] if self.best else {})}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._kept is None:
            return
        self._module.model.load_state_dict(self._kept["model"])
        trainer.optimizers[0].load_state_dict(self._kept["optimiser"])
        trainer.lr_scheduler_configs[0].scheduler.load_state_dict(self._kept["schedule"])
        # Lightning counts batches, for when to validate, and steps, for when to end.
        loop = trainer.fit_loop.epoch_loop
        loop.batch_progress.increment_by(self.begun)
        loop.automatic_optimization.optim_progress.optimizer.step.increment_by(self.begun)

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        if self._kept is not None:
            self._restore_random(self._kept["random"])
            self._kept = None
        try:
            done, steps = trainer.global_step, self._module.steps
            self._progress(done / steps, f"step {done} of {steps}")
        except StoppedError:
            self._keep(trainer)
            raise
        if self._validated:
            self._keep(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._validated = True
        loss = float(trainer.callback_metrics["validation_loss"])
        if loss < self.loss:
            self.loss, self.step = loss, trainer.global_step
            self.best = []
        if self.as_good(loss):
            self.best.append(copy.deepcopy(self._module.model.state_dict()))
        self.over = self.ended(trainer.global_step)
        trainer.should_stop |= self.over

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.over = True
        self._keep(trainer)

    def ended(self, step: int) -> bool:
        """Whether there is nothing left to do after so many steps, the last of which was validated."""
        return step >= min(self._module.steps, self.step + self._patience)

    def as_good(self, loss: float) -> bool:
        """Whether weights of this loss are as good as the best."""
        return math.isfinite(loss) and loss <= (1 + _AS_GOOD) * self.loss

    def _keep(self, trainer: lightning.Trainer) -> None:
        self._validated = False
        if self._checkpoints is None:
            return
        state = {
            "done": trainer.global_step,
            "loss": self.loss,
            "step": self.step,
            "over": self.over,
            "best": self.best,
            "model": self._module.model.state_dict(),
            "optimiser": trainer.optimizers[0].state_dict(),
            "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "random": self._random(),
        }
        self._checkpoints.write(self._key, state)

    def _random(self) -> dict[str, Tensor]:
        """What dropout and gaps are drawn from."""
        device = self._module.device
        on_device = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
        return {"cpu": torch.get_rng_state(), "gaps": self._module.gaps.random.get_state(), **on_device}

    def _restore_random(self, state: dict[str, Tensor]) -> None:
        torch.set_rng_state(state["cpu"])
        self._module.gaps.random.set_state(state["gaps"])
        if "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self._module.device)


def _mean(values: list[Tensor]) -> Tensor:
    """Of one weight in several states; what counts something is as it was last."""
    return torch.stack(values).mean(0) if values[0].is_floating_point() else values[-1]
