"""The fallback ladder: what is said of an entity whose data is stale, and of one that nobody ever heard of.

    model        the model, on data of which the newest is no older than `predictor.FRESH_STEPS`
    last_good    the last forecast that the model made of the entity, for the steps that it still reaches
    seasonal     quantiles of what was observed at this hour of the day, in the ring
    training     quantiles of the data that the bundle was trained on, as shares of the limit
    safe_bound   anything from nothing to the limit, and no headroom

Intervals never narrow on the way down. Each level keeps at least the distance from the median that it had at its widest
on the rungs above; what would lie below what is physically possible is added above instead.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.bundle.session import Outputs
from forecast.bundle.usual import Usual
from forecast.contracts.signals import SIGNALS, TARGETS
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.exceedance import exceedance
from forecast.features.gridded import Floats
from serve.engine.issued import RUNGS, Rungs

Mask = NDArray[np.bool_]
Steps = NDArray[np.int64]

MODEL, LAST_GOOD, SEASONAL, TRAINING, SAFE_BOUND = range(len(RUNGS))

#: An hour of the day has quantiles when it was seen so often: a minimum, a median and a maximum, at least.
_LEAST_SEEN = 3

_HOUR_S = 3600
_NEVER = np.iinfo(np.int64).min // 2


class LastGood:
    """The last forecast that the model made of each entity and target on fresh data.

    Attributes:
        quantiles: `[N, T, Q, H]`.
        origin: `[N, T]`, the step that it begins with; `_NEVER` where there is none.
        made_by: `[N]`, the bundle that made the newest.
    """

    def __init__(self, entities: int, spec: ForecastSpec) -> None:
        targets = len(spec.targets)
        self.quantiles = np.full((entities, targets, len(spec.quantile_levels), spec.horizon_steps), np.nan, np.float32)
        self.origin = np.full((entities, targets), _NEVER, np.int64)
        self.made_by = np.full(entities, "", np.str_)

    def remember(self, quantiles: Floats, origin: int, good: Mask, made_by: str) -> None:
        """Keep the forecasts `[N, T, Q, H]` from step `origin` of those that are good, `[N, T]`."""
        if good.all():
            self.quantiles = quantiles
        else:
            self.quantiles = np.where(good[..., None, None], quantiles, self.quantiles)
        self.origin = np.where(good, origin, self.origin)
        self.made_by = np.where(good.any(axis=1), made_by, self.made_by)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was remembered yet."""
        return bool((self.origin == _NEVER).all())

    def shifted(self, origin: int, rows: NDArray[np.intp]) -> Floats:
        """What they say of the steps from `origin` on, `[n, T, Q, H]`; NaN beyond their horizon.

        A forecast that grows old knows no less of a later step than of an earlier one: distances from the median do not
        shrink along it.
        """
        quantiles = _spread(self.quantiles[rows], np.maximum.accumulate(_apart(self.quantiles[rows]), axis=-1))
        steps = quantiles.shape[-1]
        lead = (origin - self.origin[rows])[..., None] + np.arange(steps)
        reached = (lead >= 0) & (lead < steps)
        taken = np.take_along_axis(quantiles, np.clip(lead, 0, steps - 1)[:, :, None, :], axis=-1)
        return np.where(reached[:, :, None, :], taken, np.float32(np.nan))

    def widest(self, rows: NDArray[np.intp]) -> Floats:
        """How far each level stands from the median at most, `[n, T, Q]`; 0 where there is no forecast."""
        return _widest(self.quantiles[rows])


class Fallen(NamedTuple):
    """What the ladder made of a forecast: its outputs, and the rung of each row `[N, H]`."""

    outputs: Outputs
    rung: Rungs


class Ladder:
    """The rungs below the model, for one bundle.

    Args:
        spec, topology: of the forecast.
        bundle_id: what is remembered is said to be made by.
        usual: quantiles of the training data, see `forecast.bundle.usual`; None for none.
    """

    def __init__(self, spec: ForecastSpec, topology: Topology, bundle_id: str, usual: Usual | None = None) -> None:
        self.spec, self._bundle_id = spec, bundle_id
        self.good = LastGood(len(topology.entities), spec)
        columns = [TARGETS[name].limit for name in spec.targets]
        self._limits = (
            topology.table.select(columns).cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float32)
        )
        self._usual = _usual(usual or {}, spec, topology) * self._limits[..., None]
        self._floor = np.array([SIGNALS[name].low for name in spec.targets], np.float32)

    def descend(self, outputs: Outputs | None, good: Mask, origin: int, seen: Callable[[], Floats]) -> Fallen:
        """Say something of everyone.

        Args:
            outputs: what the model says; None where it was not asked.
            good: `[N, T]`, where that stands on fresh data; it is remembered.
            origin: step that the forecast begins with.
            seen: gives `[T, N, steps]`, what was observed from a midnight on; called where it is needed.
        """
        steps = self.spec.horizon_steps
        if outputs is not None:
            self.good.remember(outputs.quantiles, origin, good, self._bundle_id)
        rows = np.flatnonzero(~good.all(axis=1))
        rung = np.zeros((len(good), steps), np.uint8)
        if not rows.size and outputs is not None:
            return Fallen(outputs, rung)
        widest = self.good.widest(rows)
        if outputs is not None:  # on stale data it is no basis, yet it tells how much is open
            widest = np.fmax(widest, _widest(outputs.quantiles[rows]))
        quantiles, on = self._below(rows, origin, seen, widest)
        limit = self._limits[rows]
        headroom = limit[..., None, None] - quantiles[:, :, ::-1]
        safe = (on == SAFE_BOUND)[:, :, None, :]
        headroom = np.where(safe, (limit - limit)[..., None, None], headroom)
        odds = exceedance(quantiles, self.spec.quantile_levels, limit[..., None])
        fallen = Outputs(quantiles, headroom, np.where(safe[:, :, 0], np.float32(np.nan), odds))
        keep = good[rows]
        rung[rows] = np.where(keep[..., None], MODEL, on).max(axis=1)
        return Fallen(_put(outputs, fallen, rows, keep), rung)

    def _below(
        self, rows: NDArray[np.intp], origin: int, seen: Callable[[], Floats], widest: Floats
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Quantiles `[n, T, Q, H]` of the highest rung below the model that there is, and which one, `[n, T, H]`."""
        quantiles = self.good.shifted(origin, rows)
        on = np.where(np.isnan(quantiles[:, :, 0]), SAFE_BOUND, LAST_GOOD)
        for rung, make in (
            (SEASONAL, lambda: self._seasonal(seen()[:, rows], origin)),
            (TRAINING, lambda: np.repeat(self._usual[rows][..., None], self.spec.horizon_steps, -1)),
        ):
            if (on != SAFE_BOUND).all():
                break
            offered = self._no_narrower(make(), widest)
            widest = np.fmax(widest, _widest(offered))
            taken = (on == SAFE_BOUND) & ~np.isnan(offered[:, :, 0])
            quantiles = np.where(taken[:, :, None, :], offered, quantiles)
            on = np.where(taken, rung, on)
        bound = np.where(_sides(self.spec) < 0, self._floor[:, None], self._limits[rows][..., None])
        bound = np.where(np.isnan(self._limits[rows])[..., None], np.float32(np.nan), bound)
        return np.where((on == SAFE_BOUND)[:, :, None, :], bound[..., None], quantiles).astype(np.float32), on

    def _seasonal(self, seen: Floats, origin: int) -> Floats:
        """Quantiles of each hour of the day, of values `[T, n, steps]` from a midnight on, as `[n, T, Q, H]`."""
        day, levels = self.spec.day_steps, np.array(self.spec.quantile_levels)
        width = max(w for w in range(1, max(_HOUR_S // self.spec.step_s, 1) + 1) if day % w == 0)
        days = seen.shape[-1] // day
        hours = seen[..., : days * day].reshape(*seen.shape[:-1], days, day // width, width)
        pooled = np.sort(hours.swapaxes(-3, -2).reshape(*seen.shape[:-1], day // width, days * width), axis=-1)
        count = np.count_nonzero(~np.isnan(pooled), axis=-1)
        place = levels * np.maximum(count - 1, 0)[..., None]
        low = np.floor(place).astype(np.int64)
        below = np.take_along_axis(pooled, low, axis=-1)
        above = np.take_along_axis(pooled, np.minimum(low + 1, np.maximum(count - 1, 0)[..., None]), axis=-1)
        told = np.where((count >= _LEAST_SEEN)[..., None], below + (above - below) * (place - low), np.nan)
        hour = (origin + np.arange(self.spec.horizon_steps)) % day // width
        quantiles: Floats = told[:, :, hour].transpose(1, 0, 3, 2).astype(np.float32)
        return quantiles

    def _no_narrower(self, quantiles: Floats, widest: Floats) -> Floats:
        """The same with each level at least `widest [n, T, Q]` from the median, and none below what is possible."""
        wide = _spread(quantiles, np.maximum(_apart(quantiles), widest[..., None]))
        lacking = np.maximum(self._floor[:, None, None] - wide, 0.0)
        return np.maximum.accumulate(wide + lacking + lacking[:, :, ::-1] * (_sides(self.spec) > 0)[:, None], axis=2)


def _apart(quantiles: Floats) -> Floats:
    """The distance of each level from the median, along the axis before the last."""
    middle = quantiles.shape[-2] // 2
    apart: Floats = np.abs(quantiles - quantiles[..., middle : middle + 1, :])
    return apart


def _widest(quantiles: Floats) -> Floats:
    """How far each level stands from the median at most, of `[..., Q, H]` as `[..., Q]`; 0 where nothing is told."""
    widest: Floats = np.nan_to_num(_apart(quantiles), nan=0.0).max(axis=-1)
    return widest


def _spread(quantiles: Floats, apart: Floats) -> Floats:
    """The same medians with levels at these distances."""
    middle = quantiles.shape[-2] // 2
    side = np.sign(np.arange(quantiles.shape[-2]) - middle).astype(np.float32)
    spread: Floats = quantiles[..., middle : middle + 1, :] + side[:, None] * apart
    return spread


def _sides(spec: ForecastSpec) -> NDArray[np.float32]:
    """-1 for levels below the median, 0 for it, 1 for those above, `[Q]`."""
    sides: Floats = np.sign(np.array(spec.quantile_levels, np.float32) - np.float32(0.5))
    return sides


def _usual(kept: Usual, spec: ForecastSpec, topology: Topology) -> Floats:
    """The quantiles of an entity's kind in the training data, `[N, T, Q]`, as shares of its limit; NaN where none."""
    shares = np.full((len(topology.entities), len(spec.targets), len(spec.quantile_levels)), np.nan, np.float32)
    for at, (level, sku) in enumerate(topology.table.select("level", "sku").iter_rows()):
        for target, name in enumerate(spec.targets):
            known = kept.get(name, {})
            told = known.get(f"{level}/{sku}", known.get(level))
            if told is not None:
                shares[at, target] = told
    return shares


def _put(outputs: Outputs | None, fallen: Outputs, rows: NDArray[np.intp], keep: Mask) -> Outputs:
    """The model's outputs with those of some rows replaced, but for the targets `[n, T]` to keep."""
    if outputs is None:
        return fallen
    arrays = []
    for mine, other in zip(outputs, fallen, strict=True):
        array = mine.copy()
        array[rows] = np.where(keep.reshape(*keep.shape, *[1] * (mine.ndim - 2)), mine[rows], other)
        arrays.append(array)
    return Outputs(*arrays)
