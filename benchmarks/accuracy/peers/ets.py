"""Exponential smoothing, chosen per window by information criterion (statsforecast's AutoETS).

The season is a day. One longer than 24 steps is beyond ETS: there it is taken out first by STL, and put back (MSTL).
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
        seasonal: whether there is a season at all; a context of less than two days never has one.
        form: letters of the library for error and trend: Z leaves the choice to it, A is additive, N none. Errors that
            multiply and trends that go on make intervals burst, and lose on every validation range.
    """

    name = "AutoETS"
    libraries: ClassVar[tuple[str, ...]] = ("statsforecast", "numpy")

    def __init__(self, context_days: int = 14, seasonal: bool = True, form: str = "AN") -> None:
        self.context_days, self.seasonal, self.form = context_days, seasonal, form

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"context_days": self.context_days, "seasonal": self.seasonal, "form": self.form}

    def fit(self, history: History) -> None:
        self._spec = history.spec

    def forecast(self, asked: Asked) -> Floats:
        own = asked.past[:, : len(self._spec.targets), -self.context_days * self._spec.day_steps :]
        rows = filled(own).reshape(-1, own.shape[2])
        answers = np.stack([self._window(row.astype(np.float64)) for row in rows])
        return answers.reshape(*own.shape[:2], *answers.shape[1:])

    def _window(self, row: np.ndarray) -> Floats:
        """Quantiles `[Q, H]` from a context without holes."""
        if np.ptp(row) == 0:  # nothing to fit
            return np.full((len(LEVELS), self._spec.horizon_steps), row[-1], np.float32)
        found = self._model(len(row)).forecast(row, self._spec.horizon_steps, level=_INTERVALS)
        low = [found[f"lo-{share}"] for share in reversed(_INTERVALS)]
        high = [found[f"hi-{share}"] for share in _INTERVALS]
        return np.sort(np.stack([*low, found["mean"], *high]).astype(np.float32), axis=0)

    def _model(self, length: int) -> AutoETS | MSTL:
        """A fresh model for a context of so many steps."""
        day = self._spec.day_steps
        without = AutoETS(model=f"{self.form}N")
        if not self.seasonal or length < 2 * day:
            return without
        return AutoETS(day, f"{self.form}Z") if day <= _LONGEST_SEASON else MSTL(day, without)
