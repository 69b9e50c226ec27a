"""Champion and challenger on the same windows, tallied side by side by day: what tells a better one from luck."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forecast.bundle.session import Outputs
from forecast.contracts.signals import TARGETS
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.evaluation.metrics import WQL_LEVELS

Array = NDArray[np.float64]

#: The axis of the two.
CHAMPION, CHALLENGER = 0, 1

#: The interval whose coverage is compared: the lower and the upper of its quantiles.
INTERVAL = (0.05, 0.95)


class Paired:
    """Sums of two forecasts by day of `valid_time`, entity and target.

    An outcome belongs to one day, whenever it was forecast; by day of `forecast_time`, neighbours would share half of
    their outcomes. Days begin with the test range.

    Args:
        spec: of both.
        topology: of the panel.
        origins: first forecast step of every window.

    Attributes:
        loss: `[2, D, N, T]`, twice the pinball loss, mean over `WQL_LEVELS`: over `magnitude` it is the WQL.
        magnitude, count: `[D, N, T]`, of what came: sum of |y|, and steps.
        inside: `[2, D, N, T]`, steps inside `INTERVAL`; NaN where a quantile of it is not forecast.
        squares: `[2, D, N, T]`, squared error of the probability that the limit is passed, summed.
        limited: `[D, N, T]`, steps that have such a probability.
    """

    def __init__(self, spec: ForecastSpec, topology: Topology, origins: Sequence[int]) -> None:
        self.spec, self.topology = spec, topology
        self._first = min(origins)
        days = (max(origins) + spec.horizon_steps - 1 - self._first) // spec.day_steps + 1
        shape = (days, len(topology.entities), len(spec.targets))
        self.magnitude, self.count, self.limited = (np.zeros(shape) for _ in range(3))
        self.loss, self.inside, self.squares = (np.zeros((2, *shape)) for _ in range(3))
        limits = [topology.table[TARGETS[name].limit].to_numpy().astype(np.float64) for name in spec.targets]
        self._limits = np.stack(limits, axis=1)[..., None]

    def add(
        self, origin: int, tested: NDArray[np.int64], actual: NDArray[np.floating], forecasts: Sequence[Outputs]
    ) -> None:
        """Add the two forecasts of the entities `tested [M]` from `origin`; `actual [M, T, H]` is NaN where unknown."""
        day = (origin - self._first + np.arange(self.spec.horizon_steps)) // self.spec.day_steps
        starts = np.flatnonzero(np.diff(day, prepend=-1))
        into = np.ix_(day[starts], tested)

        def summed(values: NDArray[np.generic]) -> Array:
            return np.moveaxis(np.add.reduceat(values.astype(np.float64), starts, axis=-1), -1, 0)

        known = ~np.isnan(actual)
        limits = self._limits[tested]
        limited = known & ~np.isnan(limits) & ~np.isnan(sum(each.exceedance[tested] for each in forecasts))
        self.magnitude[into] += summed(np.where(known, np.abs(actual), 0.0))
        self.count[into] += summed(known)
        self.limited[into] += summed(limited)
        for which, each in enumerate(forecasts):
            quantiles = each.quantiles[tested]
            missed = np.where(limited, each.exceedance[tested] - (actual > limits), 0.0)
            self.loss[which][into] += summed(np.where(known, self._loss(actual, quantiles), 0.0))
            self.inside[which][into] += summed(np.where(known, self._inside(actual, quantiles), 0.0))
            self.squares[which][into] += summed(missed**2)

    @property
    def days(self) -> NDArray[np.int64]:
        """The days on which something came."""
        return np.flatnonzero(self.count.any(axis=(1, 2)))

    def _loss(self, actual: NDArray[np.floating], quantiles: NDArray[np.floating]) -> Array:
        chosen = [level for level in WQL_LEVELS if level in self.spec.quantile_levels]
        level = np.array(chosen)[:, None]
        error = actual[:, :, None] - quantiles[:, :, [self.spec.quantile_levels.index(each) for each in chosen]]
        loss: Array = 2 * np.maximum(level * error, (level - 1) * error).mean(axis=2)
        return loss

    def _inside(self, actual: NDArray[np.floating], quantiles: NDArray[np.floating]) -> Array:
        levels = self.spec.quantile_levels
        if not set(INTERVAL) <= set(levels):
            return np.full(actual.shape, np.nan)
        low, high = (quantiles[:, :, levels.index(level)] for level in INTERVAL)
        return ((actual > low) & (actual <= high)).astype(np.float64)
