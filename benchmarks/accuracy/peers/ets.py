"""Exponential smoothing, chosen per window by information criterion (statsforecast's AutoETS).

A season longer than 24 steps is beyond ETS: there the season is taken out first by STL, and put back (MSTL).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from statsforecast.models import MSTL, AutoETS

from benchmarks.accuracy.peers.peer import Peer, filled
from benchmarks.accuracy.tasks import LEVELS, Asked, History
from forecast.features.gridded import Floats

#: The longest season that ETS's own code takes.
_LONGEST_SEASON = 24

#: Central intervals, per cent, whose ends are `LEVELS`.
_INTERVALS = [20, 40, 60, 80, 98]


class AutoEts(Peer):
    """A model of its own for every window; nothing is learnt across them.

    Args:
        context_days: days of the context that are used.
    """

    name = "AutoETS"
    libraries: ClassVar[tuple[str, ...]] = ("statsforecast", "numpy")

    def __init__(self, context_days: int = 14) -> None:
        self.context_days = context_days

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"context_days": self.context_days}

    def fit(self, history: History) -> None:
        self._spec = history.spec

    def forecast(self, asked: Asked) -> Floats:
        own = asked.past[:, : len(self._spec.targets), -self.context_days * self._spec.day_steps :]
        rows = filled(own).reshape(-1, own.shape[2])
        answers = np.stack([self._window(row.astype(np.float64)) for row in rows])
        return answers.reshape(*own.shape[:2], *answers.shape[1:])

    def _window(self, row: np.ndarray) -> Floats:
        """Quantiles `[Q, H]` from a context without holes."""
        day = self._spec.day_steps
        if np.ptp(row) == 0:  # nothing to fit
            return np.full((len(LEVELS), self._spec.horizon_steps), row[-1], np.float32)
        seasonal = day <= _LONGEST_SEASON
        model = AutoETS(season_length=day) if seasonal else MSTL(day, trend_forecaster=AutoETS(model="ZZN"))
        found = model.forecast(row, self._spec.horizon_steps, level=_INTERVALS)
        low = [found[f"lo-{share}"] for share in reversed(_INTERVALS)]
        high = [found[f"hi-{share}"] for share in _INTERVALS]
        return np.sort(np.stack([*low, found["mean"], *high]).astype(np.float32), axis=0)
