"""What anyone could do without us: repeat the last value, or the same hour of a day or a week ago.

Their quantiles are the quantiles of their own errors on the training range, per entity, target and part of the
horizon: an honest distribution at no cost.
"""

from collections.abc import Sequence

import numpy as np

from forecast.contracts.specs import ForecastSpec
from forecast.evaluation.splits import Split, Steps
from forecast.features.gridded import Floats
from forecast.windows.panel import Panel

#: Origins of the training range that errors are learnt from, and parts of the horizon they are kept for.
_SAMPLES = 200
_PARTS = 12


class Naive:
    """Persistence (no season) or a seasonal naive forecast, with quantiles.

    Args:
        season_steps: lag in steps; 0 repeats the last observation.
    """

    def __init__(self, spec: ForecastSpec, season_steps: int) -> None:
        self.spec = spec
        self.season = season_steps
        hours = season_steps * spec.step_s / 3600
        self.name = f"seasonal_naive_{hours:g}h" if season_steps else "persistence"

    def fit(self, panel: Panel, split: Split) -> "Naive":
        """Learn the quantiles of the errors on everything before each entity's test range."""
        reach = self.spec.context_steps + self.spec.horizon_steps
        origins = np.linspace(
            self.spec.context_steps, max(int(split.test.max()), reach) - self.spec.horizon_steps, _SAMPLES
        )
        sampled = np.unique(origins.astype(int)).tolist()
        targets, steps = len(self.spec.targets), self.spec.horizon_steps
        errors = np.empty((len(sampled), len(panel.entities), targets, steps), np.float32)
        for at, origin in enumerate(sampled):
            errors[at] = self._errors(panel, split, origin)
        widths = [part.size for part in np.array_split(np.arange(steps), min(_PARTS, steps))]
        ends = np.cumsum(widths).tolist()
        offsets = [
            _quantiles(errors[..., end - width : end], self.spec.quantile_levels)
            for end, width in zip(ends, widths, strict=True)
        ]
        self._offsets: Floats = np.repeat(np.stack(offsets, axis=-1), widths, axis=-1).astype(np.float32)
        return self

    def predict(self, panel: Panel, origin: int) -> Floats:
        """Quantiles `[N, T, Q, H]` from what was seen before `origin`."""
        quantiles: Floats = self._point(panel, origin)[:, :, None] + self._offsets
        return quantiles

    def _point(self, panel: Panel, origin: int) -> Floats:
        """`[N, T, H]`; a value missing a season ago is taken from the season before, then from the last observation."""
        past = panel.read(origin - self.spec.context_steps, origin)[: len(self.spec.targets)].transpose(1, 0, 2)
        point = np.full((*past.shape[:2], self.spec.horizon_steps), np.nan, np.float32)
        lags = range(self.season, self.spec.context_steps + 1, self.season) if self.season else ()
        for lag in lags:
            if not np.isnan(point).any():
                break
            same = past[..., self.spec.context_steps - lag + np.arange(self.spec.horizon_steps) % self.season]
            point = np.where(np.isnan(point), same, point)
        return np.where(np.isnan(point), _last(past)[..., None], point)

    def _errors(self, panel: Panel, split: Split, origin: int) -> Floats:
        end = origin + self.spec.horizon_steps
        actual = panel.read(origin, end)[: len(self.spec.targets)].transpose(1, 0, 2)
        errors: Floats = actual - self._point(panel, origin)
        errors[split.test < end] = np.nan
        return errors


def baselines(spec: ForecastSpec, seasons_h: Sequence[int]) -> list[Naive]:
    """Persistence, and a seasonal naive per season that fits the context."""
    seasons = [hours * 3600 // spec.step_s for hours in seasons_h]
    return [Naive(spec, season) for season in (0, *seasons) if season <= spec.context_steps]


def seasonal_mae(panel: Panel, spec: ForecastSpec, end: Steps) -> np.ndarray:
    """In-sample MAE of the daily difference before each entity's `end`, `[N, T]`: the denominator of MASE."""
    values = panel.read(0, panel.steps)[: len(spec.targets)].transpose(1, 0, 2)
    values[(np.arange(panel.steps) >= end[:, None])[:, None].repeat(values.shape[1], 1)] = np.nan
    change = np.abs(values[..., spec.day_steps :] - values[..., : -spec.day_steps]).astype(np.float64)
    count = (~np.isnan(change)).sum(-1)
    return np.where(count > 0, np.nansum(change, -1) / np.maximum(count, 1), np.nan)


def _last(past: Floats) -> Floats:
    """The newest observation of `[N, T, L]`, NaN where there is none."""
    last = past[..., -1].copy()
    silent = np.isnan(last)  # few, as a rule: the others need no search
    seen = ~np.isnan(past[silent])
    index = past.shape[2] - 1 - seen[:, ::-1].argmax(-1)
    last[silent] = np.take_along_axis(past[silent], index[:, None], -1)[:, 0]
    return last


def _quantiles(errors: Floats, levels: Sequence[float]) -> Floats:
    """Quantiles over origins and steps of `[O, N, T, P]`, `[N, T, Q]`; 0 where nothing was observed.

    As `np.nanquantile`, which takes one row at a time and minutes for a thousand servers.
    """
    pooled = np.sort(errors.transpose(1, 2, 0, 3).reshape(*errors.shape[1:3], -1), axis=-1)  # unknown ones come last
    newest = (~np.isnan(pooled)).sum(-1, keepdims=True) - 1
    place = np.maximum(newest, 0) * np.asarray(levels)
    below = place.astype(np.int64)
    low, high = (np.take_along_axis(pooled, np.clip(at, 0, np.maximum(newest, 0)), -1) for at in (below, below + 1))
    return np.where(newest < 0, 0.0, low + (high - low) * (place - below)).astype(np.float32)
