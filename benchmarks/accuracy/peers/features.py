"""Hand-made features of a window, for trees: every one from the context, the clock and the step ahead.

Lags, means, spreads and quantiles of the target; the same time of earlier days; the newest state of the other channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.features.gridded import Floats

_LAGS = (1, 2, 3, 6, 12)
_QUANTILES = (0.1, 0.5, 0.9)

#: Time constants in steps, of what follows a told signal slowly.
_CONSTANTS = (4, 16)

#: Which features of a step the clock tells.
CLOCK = slice(1, 3)


@dataclass(frozen=True)
class Clock:
    """What a step's number says of the time of day.

    Attributes:
        step_s: grid step, seconds.
        first_h: local hours since a Monday's midnight at step 0.
    """

    step_s: int
    first_h: float

    def hour(self, step: NDArray[np.int64]) -> Floats:
        return ((self.first_h + step * (self.step_s / 3600)) % 24).astype(np.float32)

    def weekday(self, step: NDArray[np.int64]) -> Floats:
        return ((self.first_h + step * (self.step_s / 3600)) // 24 % 7).astype(np.float32)


def of_window(past: Floats, target: int, day: int) -> Floats:
    """What is the same for every step ahead, `[M, features]`.

    Args:
        past: `[M, C, L]`, NaN where not observed.
        target: the channel that is forecast.
        day: steps of a day.
    """
    own = past[:, target]
    columns = [own[:, -lag] for lag in _LAGS]
    columns += [mean(own[:, -length:]) for length in (3, 6, 12, day, 3 * day, own.shape[1])]
    columns += [_deviation(own[:, -length:]) for length in (12, day, own.shape[1])]
    columns += [np.fmin.reduce(own[:, -day:], axis=1), np.fmax.reduce(own[:, -day:], axis=1)]
    columns += _quantiles(own, _QUANTILES)
    columns.append(np.isnan(own[:, -day:]).mean(1))
    for other in range(past.shape[1]):
        if other != target:
            signal = past[:, other]
            columns += [signal[:, -1], mean(signal[:, -6:]), mean(signal[:, -day:])]
    return np.stack(columns, axis=1).astype(np.float32)


def of_steps(
    past: Floats, target: int, day: int, origin: NDArray[np.int64], ahead: NDArray[np.int64], clock: Clock
) -> Floats:
    """What differs between steps ahead, `[M, A, features]`; a context shorter than a day has no earlier days.

    Args:
        past: `[M, C, L]`.
        target: the channel that is forecast.
        day: steps of a day.
        origin: `[M]`, the first step of the forecast.
        ahead: `[M, A]`, steps from the origin, 0 the first.
        clock: of the panel.
    """
    smooth = _smoothed(past[:, target], day // 48)
    length = smooth.shape[1]
    earlier = []
    for days in range(1, length // day + 1):
        # The newest day that the context holds in full repeats where the horizon is longer than it.
        at = length - day * days + ahead % day
        earlier.append(np.take_along_axis(smooth, at, axis=1))
    valid = origin[:, None] + ahead
    columns = [ahead.astype(np.float32), clock.hour(valid), clock.weekday(valid)]
    if earlier:
        same_time = np.stack(earlier)
        columns += [same_time[min(days, len(earlier)) - 1] for days in (1, 2, 7)]
        columns.append(mean(same_time, axis=0))
    return np.stack(columns, axis=-1)


def of_told(past: Floats, told: Floats, ahead: NDArray[np.int64]) -> Floats:
    """What a signal that is told ahead says of a step, `[M, A, features]`: its value, and how far it moved.

    Since the origin moved the value itself, and what follows it as a first-order lag.

    Args:
        past: `[M, L]` of the signal, without holes.
        told: `[M, H]`, likewise.
        ahead: `[M, A]`.
    """
    path = np.concatenate([past, told], axis=1)
    at = past.shape[1] + ahead
    followed = (path, *(_lagged(path, steps) for steps in _CONSTANTS))
    moved = [np.take_along_axis(smooth, at, axis=1) - smooth[:, past.shape[1] - 1, None] for smooth in followed]
    return np.stack([np.take_along_axis(told, ahead, axis=1), *moved], axis=-1)


def mean(values: Floats, axis: int = -1) -> Floats:
    """Of what was observed; NaN where nothing was."""
    seen = ~np.isnan(values)
    count = seen.sum(axis)
    total = np.where(seen, values, 0).sum(axis, dtype=np.float64)
    mean: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    return mean


def _deviation(values: Floats) -> Floats:
    return np.sqrt(mean((values - mean(values)[:, None]) ** 2))


def _quantiles(values: Floats, levels: Sequence[float]) -> list[Floats]:
    """Per row, the observed value nearest to each level; NaN where there is none."""
    ordered = np.sort(values, axis=1)  # NaN last
    newest = np.maximum((~np.isnan(values)).sum(1) - 1, 0)
    return [ordered[np.arange(len(values)), np.round(level * newest).astype(int)] for level in levels]


def _smoothed(values: Floats, reach: int) -> Floats:
    """Means of up to `reach` steps on both sides, inside the context."""
    if reach == 0:
        return values
    padded = np.pad(values, ((0, 0), (reach, reach)), constant_values=np.nan)
    seen = ~np.isnan(padded)
    total = np.pad(np.where(seen, padded, 0).cumsum(1, dtype=np.float64), ((0, 0), (1, 0)))
    count = np.pad(seen.cumsum(1), ((0, 0), (1, 0)))
    width = 2 * reach + 1
    sums, counts = total[:, width:] - total[:, :-width], count[:, width:] - count[:, :-width]
    smooth: Floats = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)
    return smooth


def _lagged(path: Floats, steps: int) -> Floats:
    """The response of a first-order lag with this time constant, which begins at rest."""
    share = np.float32(1 - np.exp(-1 / steps))
    lagged = path.copy()
    for step in range(1, path.shape[1]):
        lagged[:, step] = lagged[:, step - 1] + share * (path[:, step] - lagged[:, step - 1])
    return lagged
