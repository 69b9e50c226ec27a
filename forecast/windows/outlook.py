"""The outlook at one forecast time; `forecast.windows.outlook_on_device` gives the same, to the bit, for a batch."""

import numpy as np

from forecast.contracts.specs import ForecastSpec
from forecast.features.gridded import Floats
from forecast.features.outlook import DAY_S, OUTLOOK_NAMES, PLACES, USUAL, Outlook
from forecast.features.schedule import MILLI
from forecast.windows.overlap import overlap
from forecast.windows.queues import Queues

#: Days whose jobs are the usual ones.
USUAL_DAYS = 7


def outlook_at(known: Outlook, origin_s: int, spec: ForecastSpec) -> Floats:
    """Means over each step as known at `origin_s`, `[OUTLOOK_NAMES, N, H]`."""
    shape = (len(known.leaves), spec.horizon_steps)
    values = np.full((len(OUTLOOK_NAMES), *shape), np.nan)
    if origin_s < known.since_s:
        return values.astype(np.float32)
    everyone = np.arange(shape[0])
    values = Queues(known, spec).at(everyone, np.full(shape[0], origin_s))
    values[USUAL] = _usual(known, origin_s, spec)
    held = (known.plan_from_s <= origin_s) & (known.plan_until_s > origin_s)
    free_s = np.full(shape[0], origin_s)
    np.maximum.at(free_s, known.entity, np.where(held, known.plan_end_s, origin_s).repeat(np.diff(known.plan_first)))
    values[PLACES] = known.peers.places(free_s[known.peers.leaf], np.array(origin_s))[..., None]
    return values.astype(np.float32)


def _usual(known: Outlook, origin_s: int, spec: ForecastSpec) -> np.ndarray:
    """What ran at the same time of the days before, `[2, N, H]`."""
    cycle = min(spec.horizon_steps, spec.day_steps)
    place, starts, ends, power = known.ran
    totals = np.zeros((2, len(known.leaves), spec.horizon_steps), np.int64)
    lags = usual_lags(origin_s, int(known.told_since(np.array(origin_s))))
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
