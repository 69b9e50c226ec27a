"""What training begins with: nothing, weights learnt elsewhere, or those of the version in service."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from forecast.bundle.load import Bundle
from forecast.contracts.errors import ConfigError
from forecast.retrain.config import JobConfig
from forecast.retrain.prepare import Prepared
from forecast.retrain.pretrained import Pretrained
from forecast.training.config import CHAMPION

#: What a bundle keeps for the next run to start from, beside a .json of the same name; whoever serves reads neither.
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, eq=False)
class Start:
    """Weights to begin with.

    Attributes:
        weights: None begins anew.
        champion: the version in service that they are of; None for weights learnt elsewhere.
        said: where a champion was asked for, in a few words.
    """

    weights: Pretrained | None = None
    champion: str | None = None
    said: str = ""

    @classmethod
    def of(cls, config: JobConfig, prepared: Prepared, champion: Bundle | None) -> "Start":
        """What `training.start_from` asks for.

        Where that is a champion that cannot be started from, it is the weights that ship; anew where none are of the
        windows and the model, or do not know all that is told, and where a run publishes nothing.

        Raises:
            ConfigError: there are no such weights, or they do not fit.
        """
        asked = config.training.start_from
        if asked is None:
            return cls()
        if asked != CHAMPION:
            return cls(Pretrained.find(asked, prepared.spec.unplanned))
        found = _weights(champion, config, prepared)
        if isinstance(found, Pretrained) and champion is not None:
            key = champion.manifest.bundle_id
            return cls(found, key, f"started from {key}")
        if config.registry.publish and (shipped := Pretrained.shipped(prepared.spec, config.model)):
            return cls(shipped, said=f"started from the weights that ship, for {found}")
        return cls(said=f"started anew, for {found}")


def _weights(champion: Bundle | None, config: JobConfig, prepared: Prepared) -> Pretrained | str:
    """The weights of the version in service, or why they cannot be started from."""
    if not config.registry.publish:
        return "a run that does not publish is compared with others"
    if champion is None:
        return "nothing that can be opened is in service"
    if (reason := next(_differences(champion, config, prepared), None)) is not None:
        return reason
    try:
        found = Pretrained.read(champion.folder / WEIGHTS)
    except ConfigError as error:
        return str(error)
    return found if found.config == config.model else "the model of the version in service has other settings"


def _differences(champion: Bundle, config: JobConfig, prepared: Prepared) -> Iterator[str]:
    if WEIGHTS not in champion.manifest.files:
        yield "the version in service brings no weights"
    if champion.manifest.spec != prepared.spec:
        yield "the interface of the version in service is another"
    if _knows_more(champion, config, prepared):
        yield "the version in service learnt from what this run is validated on"


def _knows_more(champion: Bundle, config: JobConfig, prepared: Prepared) -> bool:
    """Whether a champion may have learnt from times that this run keeps for validation or test."""
    if config.evaluation.origins is not None:  # the ranges are each entity's own, and not kept in a bundle
        return True
    ranges = {"train_until": prepared.split.validation, "calibrated_until": prepared.split.test}
    return any(
        datetime.fromisoformat(champion.manifest.training[until]) > prepared.panel.time(int(np.min(begin)))
        for until, begin in ranges.items()
    )
