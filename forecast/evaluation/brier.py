"""How good probabilities of an event are: Brier score beside climatology, and reliability."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

#: Bins of forecast probability; finer ones hold too little to tell chance from error.
BINS = 10

Array = NDArray[np.float64]


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
        table = self.reliability
        away = (table["observed"] - table["forecast"]).abs() * table["count"]
        return float(away.sum() / max(table["count"].sum(), 1))


def brier(probability: NDArray[np.floating], came: NDArray[np.floating], usual: NDArray[np.floating]) -> Brier:
    """Score probabilities.

    Args:
        probability: of the event, any shape.
        came: 1 where it came, 0 where not, NaN where unknown; of the same shape.
        usual: what climatology says, broadcast to that shape.
    """
    known = ~np.isnan(came) & ~np.isnan(probability)
    told, truth = probability[known].astype(np.float64), came[known].astype(np.float64)
    climate = np.broadcast_to(usual, came.shape)[known].astype(np.float64)
    if not truth.size:
        unknown = float("nan")
        return Brier(unknown, unknown, unknown, unknown, _reliability(told, truth))
    score, reference = float(np.mean((told - truth) ** 2)), float(np.mean((climate - truth) ** 2))
    skill = 1 - score / reference if reference > 0 else float("nan")
    return Brier(score, reference, skill, float(truth.mean()), _reliability(told, truth))


def _reliability(told: Array, truth: Array) -> pl.DataFrame:
    place = np.minimum((told * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, values, BINS) for values in (told, truth)]
    seen = count > 0
    forecast, observed = (total[seen] / count[seen] for total in sums)
    return pl.DataFrame({"forecast": forecast, "observed": observed, "count": count[seen]})
