"""Samples on the regular grid, dense: what repair and roll-up work on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numba import njit
from numpy.typing import NDArray

from forecast.features.marks import ROW_MARKS, Mark, Marks

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
    """

    start: datetime
    step_s: int
    signals: tuple[str, ...]
    entities: tuple[str, ...]
    values: Floats
    marks: Marks
    offset_s: Floats

    @classmethod
    def empty(
        cls,
        start: datetime,
        step_s: int,
        signals: Sequence[str],
        entities: Sequence[str],
        steps: int,
        *,
        with_offsets: bool = False,
    ) -> "Gridded":
        """Nothing observed yet; `with_offsets` where clocks are to be judged."""
        shape = (len(signals), len(entities), steps)
        offsets = np.full(shape[1:] if with_offsets else (0, 0), np.nan, np.float32)
        values, marks = np.full(shape, np.nan, np.float32), np.zeros(shape, np.uint16)
        return cls(start, step_s, tuple(signals), tuple(entities), values, marks, offsets)

    @property
    def steps(self) -> int:
        return int(self.values.shape[2])

    def time(self, step: int) -> datetime:
        """Start of a step."""
        return self.start + timedelta(seconds=self.step_s * step)

    def of(self, entities: NDArray[np.intp]) -> "Gridded":
        """A copy of the entities at these places."""
        offsets = self.offset_s[entities] if self.offset_s.size else self.offset_s
        names = tuple(self.entities[index] for index in entities)
        return Gridded(
            self.start, self.step_s, self.signals, names, self.values[:, entities], self.marks[:, entities], offsets
        )

    def between(self, first: int, end: int) -> "Gridded":
        """The steps `[first, end)`, a view."""
        values, marks, offsets = self.values[..., first:end], self.marks[..., first:end], self.offset_s[:, first:end]
        return Gridded(self.time(first), self.step_s, self.signals, self.entities, values, marks, offsets)

    def put(self, lead: "Gridded") -> None:
        """Write `lead`, of the same axes, over the first steps."""
        for mine, its in ((self.values, lead.values), (self.marks, lead.marks), (self.offset_s, lead.offset_s)):
            mine[..., : its.shape[-1]] = its

    def copy(self) -> "Gridded":
        values, marks, offsets = self.values.copy(), self.marks.copy(), self.offset_s.copy()
        return replace(self, values=values, marks=marks, offset_s=offsets)

    @property
    def came(self) -> NDArray[np.bool_]:
        """Where a sample came, `[signal, entity, step]`, usable or not."""
        return np.stack([self.came_of(signal) for signal in range(len(self.signals))])

    def came_of(self, signal: int) -> NDArray[np.bool_]:
        """The same of one signal, `[entity, step]`."""
        came = np.empty(self.values.shape[1:], np.bool_)
        _came(self.values[signal], self.marks[signal], came)
        return came

    @property
    def counts(self) -> dict[str, int]:
        """Each fault that was found to the number of cells that bear its mark."""
        counts = np.zeros(16, np.int64)
        _count(self.marks, counts)
        found = {str(mark.name).lower(): int(counts[mark.bit_length() - 1]) for mark in Mark}
        return {name: count for name, count in found.items() if count}

    @property
    def channels(self) -> list[str]:
        """The signals of which anything was observed."""
        return [name for name, values in zip(self.signals, self.values, strict=True) if not np.isnan(values).all()]


@njit(cache=True, nogil=True)
def _came(values, marks, came):  # type: ignore[no-untyped-def]
    for entity in range(values.shape[0]):
        for step in range(values.shape[1]):
            came[entity, step] = (marks[entity, step] & ROW_MARKS) > 0 or not np.isnan(values[entity, step])


@njit(cache=True, nogil=True)
def _count(marks, counts):  # type: ignore[no-untyped-def]
    for signal in range(marks.shape[0]):
        for entity in range(marks.shape[1]):
            for step in range(marks.shape[2]):
                mark, bit = marks[signal, entity, step], 0
                while mark:
                    counts[bit] += mark & 1
                    mark >>= 1
                    bit += 1
