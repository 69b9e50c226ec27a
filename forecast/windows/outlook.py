"""The outlook at one forecast time; `forecast.windows.outlook_on_device` gives the same, to the bit, on a device.

Both count in whole seconds, milliwatts and parts of `ONE`. What decides a chance is computed by one function for both.
"""

from typing import Any

import numpy as np

from forecast.contracts.specs import ForecastSpec
from forecast.features.gridded import Floats
from forecast.features.outlook import DAY_S, ONE, OUTLOOK_NAMES, PIECES, Outlook
from forecast.features.schedule import MILLI, Ints
from forecast.windows.overlap import overlap

#: Days whose jobs are the usual ones.
USUAL_DAYS = 7


def outlook_at(known: Outlook, origin_s: int, spec: ForecastSpec) -> Floats:
    """Means over each step as known at `origin_s`, `[OUTLOOK_NAMES, N, H]`."""
    shape = (len(known.leaves), spec.horizon_steps)
    values = np.full((len(OUTLOOK_NAMES), *shape), np.nan)
    if origin_s < known.since_s:
        return values.astype(np.float32)
    held = (known.known_from_s <= origin_s) & (known.known_until_s > origin_s) & (known.end_s > origin_s)
    waits = held & (known.ahead_kind >= 0)
    curve = known.curve[min(max(origin_s // DAY_S - known.first_day, 0), len(known.curve) - 1)]
    piece = np.arange(PIECES + 1)
    own = stretches(known.start_s[held], known.end_s[held], curve[known.kind[held]], origin_s, piece)
    before = known.ahead_start_s[waits], known.ahead_end_s[waits], curve[known.ahead_kind[waits]]
    early = stretches(*before, origin_s, piece)
    places = np.concatenate([known.entity[rows].repeat(PIECES) for rows in (held, waits)])
    most_s = spec.horizon_steps * spec.step_s
    edges = [(_joined(*pair) - origin_s).clip(0, most_s) for pair in zip(own[:2], early[:2], strict=True)]

    def total(amount: Ints, part: int) -> Ints:
        weights = amount[held][:, None] * own[2], amount[waits][:, None] * (ONE - early[2])
        return overlap(places, edges, _joined(*weights) // part, spec, shape[0])

    for row, counted in enumerate((np.ones_like(known.running), known.running)):
        power, busy, unknown = (
            total(amount * counted, part) for amount, part in ((known.power, ONE), (known.busy, 1), (known.unknown, 1))
        )
        values[2 * row] = np.where(unknown == 0, power / (MILLI * spec.step_s), np.nan)
        values[2 * row + 1] = np.minimum(busy / (known.leaves[:, None] * (ONE * spec.step_s)), 1.0)
    values[4:] = _usual(known, origin_s, spec)
    return values.astype(np.float32)


def _joined(first: Ints, second: Ints) -> Ints:
    return np.concatenate([first.ravel(), second.ravel()])


def stretches(start_s: Any, end_s: Any, curve: Any, origin_s: Any, piece: Any) -> tuple[Any, Any, Any]:
    """Pieces of limits: their starts and ends `[R, PIECES]`, and the chance in `ONE` to survive to each.

    Given that a job runs at `origin_s`, or has not begun, its chance is relative to that of the piece it is in. Arrays
    of NumPy or tensors of PyTorch alike.

    Args:
        start_s, end_s: `[R]`.
        curve: `[R, PIECES]`.
        origin_s: a number, or `[R]`.
        piece: 0 to PIECES.
    """
    length = end_s - start_s
    now = ((origin_s - start_s) * PIECES // length).clip(0, PIECES - 1)
    base = (curve * (piece[None, :-1] == now[:, None])).sum(1)
    edge = start_s[:, None] + length[:, None] * piece // PIECES
    return edge[:, :-1], edge[:, 1:], (curve * ONE // base[:, None]).clip(0, ONE)


def _usual(known: Outlook, origin_s: int, spec: ForecastSpec) -> np.ndarray:
    """What ran at the same time of the days before, `[2, N, H]`."""
    cycle = min(spec.horizon_steps, spec.day_steps)
    place, starts, ends, power = known.ran
    totals = np.zeros((2, len(known.leaves), spec.horizon_steps), np.int64)
    lags = usual_lags(origin_s, known.since_s)
    for begin_s in lags:
        inside = (ends > begin_s) & (starts < begin_s + cycle * spec.step_s)
        edges = [(edge[inside] - begin_s).clip(0, spec.horizon_steps * spec.step_s) for edge in (starts, ends)]
        for row, amount in enumerate((power, known.ran_busy)):
            totals[row] += overlap(place[inside], edges, amount[inside], spec, len(known.leaves))
    if not lags:
        return np.full(totals.shape, np.nan)
    totals = totals[:, :, np.arange(spec.horizon_steps) % cycle]
    busy = totals[1] / (known.leaves[:, None] * (spec.step_s * len(lags)))
    return np.stack([totals[0] / (MILLI * spec.step_s * len(lags)), np.minimum(busy, 1.0)])


def usual_lags(origin_s: int, since_s: int) -> list[int]:
    """The same time of the days before, as far as jobs were known then."""
    return [begin for lag in range(1, USUAL_DAYS + 1) if (begin := origin_s - lag * DAY_S) >= since_s]
