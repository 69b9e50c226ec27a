"""Samples on the regular grid, dense: what repair and roll-up work on."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from forecast.features.marks import Marks

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Gridded:
    """The measured entities over a stretch of time.

    Attributes:
        start: start of the first step, UTC.
        step_s: grid step, seconds.
        signals, entities: the names along the first two axes.
        values: `[signal, entity, step]`, the mean over each step; NaN where nothing was observed.
        marks: `[signal, entity, step]`, bits of `Mark`.
        offset_s: `[entity, step]`, seconds from the step's start to its first sample; NaN where there is none, empty
            where nobody asked.
        unknown_rows: rows of entities that the fleet does not have.
    """

    start: datetime
    step_s: int
    signals: tuple[str, ...]
    entities: tuple[str, ...]
    values: Floats
    marks: Marks
    offset_s: Floats
    unknown_rows: int = 0

    @property
    def seconds(self) -> int:
        """Length of the stretch."""
        return self.step_s * int(self.values.shape[2])
