"""Champion and challenger on the same windows, tallied side by side by day: what tells a better one from luck."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.bundle.session import Outputs
from forecast.contracts.signals import TARGETS
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.evaluation.metrics import WQL_LEVELS, pieces

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: The axis of the two.
CHAMPION, CHALLENGER = 0, 1

#: The quantile levels that bound the interval whose coverage is compared.
INTERVAL = (0.05, 0.95)


@dataclass(frozen=True, eq=False)
class Paired:
    """Sums of two forecasts by day of `valid_time`, entity and target.

    An outcome belongs to one day, whenever it was forecast; by day of `forecast_time`, neighbours would share half of
    their outcomes. Days begin with the test range.

    Attributes:
        targets, topology: what the last two axes are.
        loss: `[2, D, N, T]`, twice the pinball loss, mean over `WQL_LEVELS`: over `magnitude` it is the WQL.
        magnitude, count: `[D, N, T]`, of what came: sum of |y|, and steps.
        inside: `[2, D, N, T]`, steps inside `INTERVAL`; NaN where its quantiles are not forecast.
        squares: `[2, D, N, T]`, squared error of the probability that the limit is passed, summed.
        limited: `[D, N, T]`, steps that have such a probability.
    """

    targets: tuple[str, ...]
    topology: Topology
    loss: Array
    magnitude: Array
    count: Array
    inside: Array
    squares: Array
    limited: Array

    @property
    def days(self) -> int:
        return len(self.count)

    def seen(self) -> "Paired":
        """Without days on which nothing came."""
        days = self.count.any(axis=(1, 2))
        both = {name: getattr(self, name)[:, days] for name in ("loss", "inside", "squares")}
        shared = {name: getattr(self, name)[days] for name in ("magnitude", "count", "limited")}
        return Paired(self.targets, self.topology, **both, **shared)


class PairedTally:
    """Running sums of the windows of a backtest.

    Args:
        spec: of both forecasts.
        topology: of the panel.
        origins: first forecast step of every window.
        forecasts: how many there are, champion and challenger.
    """

    def __init__(self, spec: ForecastSpec, topology: Topology, origins: Sequence[int], forecasts: int = 2) -> None:
        self.spec, self.topology = spec, topology
        self._first = min(origins)
        days = (max(origins) + spec.horizon_steps - 1 - self._first) // spec.day_steps + 1
        shape = (days, len(topology.entities), len(spec.targets))
        self._magnitude, self._count, self._limited = (np.zeros(shape) for _ in range(3))
        self._loss, self._inside, self._squares = (np.zeros((forecasts, *shape)) for _ in range(3))
        limits = [topology.table[TARGETS[name].limit].to_numpy().astype(np.float64) for name in spec.targets]
        self._limits = np.stack(limits, axis=1)[..., None]

    def add(
        self, origin: int, tested: NDArray[np.int64], actual: NDArray[np.floating], forecasts: Sequence[Outputs]
    ) -> None:
        """Add the forecasts from `origin`.

        Args:
            origin: first step.
            tested: `[M]`, distinct entities that are scored.
            actual: `[M, T, H]`, NaN where unknown.
            forecasts: of every entity.
        """
        day = (origin - self._first + np.arange(self.spec.horizon_steps)) // self.spec.day_steps
        starts = np.flatnonzero(np.diff(day, prepend=-1))
        for piece in pieces(len(tested), forecasts[0].quantiles[:1].size):
            some = tested[piece]
            self._add(np.ix_(day[starts], some), starts, some, actual[piece], forecasts)

    def _add(
        self,
        into: tuple[NDArray[np.int64], ...],
        starts: NDArray[np.int64],
        tested: NDArray[np.int64],
        actual: NDArray[np.floating],
        forecasts: Sequence[Outputs],
    ) -> None:
        """Add entities to the days and entities `into`; `starts` are the first steps of the days in the horizon."""

        def by_day(values: NDArray[np.generic]) -> Array:
            return np.moveaxis(np.add.reduceat(values.astype(np.float64), starts, axis=-1), -1, 0)

        known = ~np.isnan(actual)
        passed, chances = actual > self._limits[tested], [each.exceedance[tested] for each in forecasts]
        limited = known & ~np.isnan(self._limits[tested]) & ~np.isnan(sum(chances))
        self._magnitude[into] += by_day(np.where(known, np.abs(actual), 0.0))
        self._count[into] += by_day(known)
        self._limited[into] += by_day(limited)
        for which, (outputs, chance) in enumerate(zip(forecasts, chances, strict=True)):
            quantiles = outputs.quantiles[tested]
            self._loss[which][into] += by_day(np.where(known, self._losses(actual, quantiles), 0.0))
            self._inside[which][into] += by_day(np.where(known, self._held(actual, quantiles), 0.0))
            self._squares[which][into] += by_day(np.where(limited, (chance - passed) ** 2, 0.0))

    def result(self) -> Paired:
        """The sums of what was added."""
        sums = (self._loss, self._magnitude, self._count, self._inside, self._squares, self._limited)
        return Paired(self.spec.targets, self.topology, *sums)

    def _losses(self, actual: NDArray[np.floating], quantiles: NDArray[np.floating]) -> Array:
        chosen = [level for level in WQL_LEVELS if level in self.spec.quantile_levels]
        level = np.array(chosen)[:, None]
        error = actual[:, :, None] - quantiles[:, :, [self.spec.quantile_levels.index(each) for each in chosen]]
        losses: Array = 2 * np.maximum(level * error, (level - 1) * error).mean(axis=2)
        return losses

    def _held(self, actual: NDArray[np.floating], quantiles: NDArray[np.floating]) -> Array:
        levels = self.spec.quantile_levels
        if not set(INTERVAL) <= set(levels):
            return np.full(actual.shape, np.nan)
        low, high = (quantiles[:, :, levels.index(level)] for level in INTERVAL)
        return ((actual > low) & (actual <= high)).astype(np.float64)
