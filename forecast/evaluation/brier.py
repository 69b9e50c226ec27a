"""How good probabilities of an event are: Brier score beside climatology, and reliability."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

#: Bins of forecast probability; finer ones hold too little to tell chance from error.
BINS = 10


@dataclass(frozen=True, eq=False)
class Brier:
    """Scores of probabilities of one event.

    Attributes:
        score: mean squared distance of the probability from what came, 0 or 1 (Brier, 1950).
        climatology: the score of who always forecasts the share of the training range.
        skill: 1 - score / climatology; above 0 the forecast knows more than the climate. NaN where nothing happened.
        rate: share of steps at which the event came.
        reliability: columns `forecast` (mean probability of a bin), `observed` (share at which it came), `count`.
    """

    score: float
    climatology: float
    skill: float
    rate: float
    reliability: pl.DataFrame

    @property
    def miscalibration(self) -> float:
        """Mean distance of `observed` from `forecast` over all forecasts: 0 when every probability is kept."""
        told, came, count = (self.reliability[name].to_numpy() for name in ("forecast", "observed", "count"))
        return float((np.abs(came - told) * count).sum() / max(count.sum(), 1))


class BrierTally:
    """Running sums of the probabilities of one event, so that they are scored without being kept."""

    def __init__(self) -> None:
        self._count = np.zeros(BINS, np.int64)
        self._told, self._came = np.zeros(BINS), np.zeros(BINS)
        self._squares = np.zeros(2)

    def add(self, probability: NDArray[np.floating], came: NDArray[np.floating], usual: NDArray[np.floating]) -> None:
        """Add forecasts.

        Args:
            probability: of the event, any shape; NaN where unknown.
            came: 1 where it came, 0 where not, NaN where unknown; of the same shape.
            usual: what climatology says, broadcast to that shape.
        """
        known = ~np.isnan(came) & ~np.isnan(probability)
        told, truth = probability[known].astype(np.float64), came[known].astype(np.float64)
        climate = np.broadcast_to(usual, came.shape)[known].astype(np.float64)
        place = np.minimum((told * BINS).astype(np.int64), BINS - 1)
        self._count += np.bincount(place, minlength=BINS)
        self._told += np.bincount(place, told, BINS)
        self._came += np.bincount(place, truth, BINS)
        self._squares += [((told - truth) ** 2).sum(), ((climate - truth) ** 2).sum()]

    def result(self) -> Brier:
        """The scores of what was added; NaN where nothing was."""
        count = self._count.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            score, climatology = (self._squares / count).tolist()
            rate = float(self._came.sum() / count)
            skill = float(1 - self._squares[0] / self._squares[1]) if self._squares[1] > 0 else float("nan")
        seen = self._count > 0
        columns = {"forecast": self._told[seen] / self._count[seen], "observed": self._came[seen] / self._count[seen]}
        return Brier(score, climatology, skill, rate, pl.DataFrame({**columns, "count": self._count[seen]}))


def brier(probability: NDArray[np.floating], came: NDArray[np.floating], usual: NDArray[np.floating]) -> Brier:
    """Scores of probabilities that are all there; see `BrierTally.add`."""
    tally = BrierTally()
    tally.add(probability, came, usual)
    return tally.result()
