"""What a person sets of training, apart from what trains: Lightning takes seconds to import."""

import math
from dataclasses import dataclass, field

import torch

from forecast.contracts.errors import ConfigError
from forecast.training.gaps import GapsConfig

#: What `training.start_from` says for the version in service.
CHAMPION = "champion"

#: Lightning knows more; these are tried.
_ACCELERATORS = ("cpu", "cuda")
_PRECISIONS = ("32-true", "bf16-mixed")


@dataclass
class TrainerConfig:
    """Where training runs.

    Attributes:
        accelerator: Lightning's name of the hardware: cpu or cuda.
        precision: Lightning's name of the arithmetic: 32-true, or bf16-mixed on a GPU.
    """

    accelerator: str = "cpu"
    precision: str = "32-true"

    def __post_init__(self) -> None:
        for name, known in (("accelerator", _ACCELERATORS), ("precision", _PRECISIONS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"trainer.{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}.")

    def device(self) -> torch.device:
        """Where tensors live.

        Raises:
            ConfigError: a GPU is asked for and none is there.
        """
        if self.accelerator == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                "trainer=gpu, but PyTorch sees no CUDA GPU; use trainer=cpu, or install a CUDA build of torch."
            )
        return torch.device(self.accelerator)


@dataclass
class TrainingConfig:
    """How long and how fast to train.

    Attributes:
        steps: optimiser steps at most; 0 takes the weights of `start_from` as they are.
        patience: training ends when so many steps in turn brought nothing better.
        batch: windows per step.
        learning_rate: peak of AdamW's.
        weight_decay: of AdamW.
        validate_every: steps between validations; the best weights, or a mean of some, are kept.
        validation_windows: at most so many windows, evenly spread, judge a validation.
        last_share: so many steps more, of those to the best weights, where machines validated that training never saw:
            of those too, once they have judged and calibrated. 0 keeps them apart.
        by_spread: errors count in nameplates and tens of degrees, as to an operator, over this power of the spread of
            their context: at 1 what calm series teach is not drowned by restless ones.
        gaps: what is hidden of the contexts.
        start_from: weights to begin with: `champion` for those of the version in service; where it is not alike, for
            those that ship, if they are of this model and the site's windows and know all that it is told, else anew,
            as where the run publishes nothing; `pretrained` for those that ship with the package, or a .safetensors
            file of `make pretrain` or of a bundle, which brings its model, whatever `model` says. None begins anew.
    """

    steps: int = 900
    patience: int = 300
    batch: int = 256
    learning_rate: float = 5e-3
    weight_decay: float = 0.1
    validate_every: int = 25
    validation_windows: int = 2048
    last_share: float = 0.5
    by_spread: float = 0.0
    gaps: GapsConfig = field(default_factory=GapsConfig)
    start_from: str | None = None

    @property
    def named_weights(self) -> str | None:
        """The weights that `start_from` names, which must be there; None where it wants the champion's, or none."""
        return None if self.start_from == CHAMPION else self.start_from

    def __post_init__(self) -> None:
        zero = {"weight_decay", "last_share", "by_spread"}
        if self.named_weights is not None:
            zero.add("steps")
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not (0 < value < math.inf or (name in zero and value == 0)):
                also = ", or 0 with training.start_from" if name == "steps" else ", or 0" if name in zero else ""
                raise ConfigError(f"training.{name} is {value}; it must be a number above 0{also}.")
