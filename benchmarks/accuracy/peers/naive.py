"""Persistence and the seasonal naive forecast (`forecast.evaluation.baselines`), with quantiles of their own errors."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.accuracy.peers.peer import Peer
from benchmarks.accuracy.tasks import LEVELS, Asked, History
from forecast.evaluation import baselines
from forecast.evaluation.splits import Split
from forecast.features.gridded import Floats
from forecast.windows.panel import Panel


class Naive(Peer):
    """Repeats the last value (`season_h` 0) or the same time of a season ago."""

    def __init__(self, season_h: int) -> None:
        self.season_h = season_h
        self.name = f"seasonal naive, {season_h} h" if season_h else "persistence"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"season_h": self.season_h}

    def fit(self, history: History) -> None:
        spec = replace(history.spec, quantile_levels=LEVELS)
        self._panel = Panel(history.start, spec.step_s, spec.past, history.entities, (history.values,))
        everything = Split(history.end, history.end, self._panel.steps, {})
        self._naive = baselines.Naive(spec, self.season_h * 3600 // spec.step_s).fit(self._panel, everything)

    def forecast(self, asked: Asked) -> Floats:
        answers = np.empty((len(asked.entity), *self._answer_shape), np.float32)
        for origin in np.unique(asked.origin):
            rows = np.flatnonzero(asked.origin == origin)
            answers[rows] = self._at(asked.entity[rows], asked.past[rows])
        return answers

    def _at(self, entity: np.ndarray, past: Floats) -> Floats:
        """Quantiles `[M, T, Q, H]` of the windows of one origin: entities `[M]`, contexts `[M, C, L]`."""
        values = np.full((past.shape[1], len(self._panel.entities), past.shape[2]), np.nan, np.float32)
        values[:, entity] = past.transpose(1, 0, 2)
        quantiles: Floats = self._naive.predict(replace(self._panel, chunks=(values,)), past.shape[2])[entity]
        return quantiles

    @property
    def _answer_shape(self) -> tuple[int, int, int]:
        spec = self._naive.spec
        return len(spec.targets), len(LEVELS), spec.horizon_steps
