"""What a peer is: it learns from a history, and answers what it is asked."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from benchmarks.accuracy.tasks import Asked, History
from forecast.features.gridded import Floats


class Peer(ABC):
    """A forecaster that people would use instead.

    Attributes:
        name: in tables.
        libraries: distributions whose versions its results depend on.
        settings: what its results depend on besides; plain data.
    """

    name: str
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {}

    @abstractmethod
    def fit(self, history: History) -> int | None:
        """Learn; return the number of parameters, None where that means nothing."""

    @abstractmethod
    def forecast(self, asked: Asked) -> Floats:
        """Quantiles `[M, T, Q, H]` at `LEVELS`, never crossing."""


def filled(past: Floats) -> Floats:
    """`[..., L]` without holes: the last observation before, then the first one after; NaN where there is none."""
    flat = past.reshape(-1, past.shape[-1])
    held = _held(flat)
    backwards = _held(held[:, ::-1])[:, ::-1]
    return backwards.reshape(past.shape)


def _held(rows: Floats) -> Floats:
    newest = np.where(np.isnan(rows), 0, np.arange(rows.shape[1]))
    held: Floats = np.take_along_axis(rows, np.maximum.accumulate(newest, axis=1), axis=1)
    return held
