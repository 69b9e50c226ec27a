"""Levels above the measured ones: what a rack, row, hall or site draws and how near its tightest point is."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from forecast.contracts.topology import Topology
from forecast.features.gridded import Floats, Gridded

Flags = NDArray[np.bool_]
Doubles = NDArray[np.float64]

#: Below this share of the expected nameplate observed, a level is unobserved: a missing server is not a falling load.
MIN_COVERAGE = 0.5


def roll_up(values: Floats, measured: Gridded, topology: Topology) -> None:
    """Fill what is not measured above the leaves, in place.

    Args:
        values: `[signal, entity, step]` in topology order, NaN = not observed: the last steps of `measured`, repaired.
        measured: what came at all, usable or not; it begins with a day.

    A leaf is expected until it was silent for a day: a server that left, or has not arrived yet, is no missing server.
    After a day of which nothing came, as before the first, everyone is expected throughout the next.

    Power is the observed sum scaled by the expected nameplate that did not report. Temperature is the reading of the
    point with the least headroom, expressed against the entity's own limit, so that headroom at any level is the least
    below it; among equal limits that is the maximum. Other signals are means weighted by nameplate.
    """
    weights, at = _weights(topology), {entity: index for index, entity in enumerate(topology.entities)}
    day_steps = 86_400 // measured.step_s
    places = [
        (at[str(ancestor)], np.array([at[leaf] for leaf in leaves["leaf_id"]]))
        for (ancestor,), leaves in topology.ancestors().group_by("ancestor_id", maintain_order=True)
    ]

    def fill(signal: int, came: Flags, afresh: Flags, above: int, below: NDArray[np.int64]) -> None:
        seen = values[signal], came, afresh, weights
        if measured.signals[signal] == "temperature_c":
            rolled = _tightest(*seen, *_limits(topology, above), below, day_steps)
        else:
            rolled = _summed(*seen, below, day_steps, measured.signals[signal] == "power_w")
        own = values[signal, above]
        np.copyto(own, rolled, where=np.isnan(own))

    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        for signal in range(len(values)):
            came = measured.came_of(signal)
            afresh = _afresh(came, day_steps)
            list(pool.map(lambda place, of=(signal, came, afresh): fill(*of, *place), places))


def _afresh(came: Flags, day_steps: int) -> Flags:
    """Whether nobody was heard on the day before each day, `[day]`."""
    heard = np.asarray(came.any(axis=0))
    days = [not heard[first : first + day_steps].any() for first in range(0, len(heard), day_steps)]
    return np.array([True, *days[:-1]])


def _weights(topology: Topology) -> Doubles:
    """Nameplate of every entity; where unknown, that of the mean entity."""
    nameplate = pl.col("power_limit_w")
    return topology.table.select(nameplate.fill_null(nameplate.mean()).fill_null(1.0)).to_series().to_numpy()


def _limits(topology: Topology, above: int) -> tuple[Doubles, float]:
    """Temperature limits of all, and of the entity above: zeros unless all are known, as then the hottest rules."""
    limits = topology.table["temperature_limit_c"]
    if limits.null_count():
        return np.zeros(len(limits)), 0.0
    return limits.to_numpy(), float(limits[above])


@njit(cache=True, nogil=True)
def _covered(observed, expected):  # type: ignore[no-untyped-def]
    return expected > 0.0 and observed >= MIN_COVERAGE * expected


@njit(cache=True, nogil=True)
def _summed(values, came, afresh, weights, leaves, day_steps, power):  # type: ignore[no-untyped-def]
    """Power scaled to the expected nameplate, or the weighted mean, `[T]`, summed in the order of the leaves."""
    steps = values.shape[1]
    lead = came.shape[1] - steps
    total, observed, expected = np.zeros(steps), np.zeros(steps), np.zeros(steps)
    for leaf in leaves:
        weight, last = weights[leaf], -1
        for at in range(lead + steps):
            if came[leaf, at]:
                last = at
            step = at - lead
            if step < 0:
                continue
            if afresh[at // day_steps] or (last >= 0 and at - last < day_steps):
                expected[step] += weight
            value = values[leaf, step]
            if not np.isnan(value):
                observed[step] += weight
                total[step] += value if power else value * weight
    rolled = np.full(steps, np.nan, np.float32)
    for step in range(steps):
        if _covered(observed[step], expected[step]):
            rolled[step] = total[step] / (observed[step] / expected[step] if power else observed[step])
    return rolled


@njit(cache=True, nogil=True)
def _tightest(values, came, afresh, weights, limits, limit, leaves, day_steps):  # type: ignore[no-untyped-def]
    """The own limit less the least headroom below, `[T]`."""
    steps = values.shape[1]
    lead = came.shape[1] - steps
    least, observed, expected = np.full(steps, np.inf), np.zeros(steps), np.zeros(steps)
    for leaf in leaves:
        weight, last = weights[leaf], -1
        for at in range(lead + steps):
            if came[leaf, at]:
                last = at
            step = at - lead
            if step < 0:
                continue
            if afresh[at // day_steps] or (last >= 0 and at - last < day_steps):
                expected[step] += weight
            value = values[leaf, step]
            if not np.isnan(value):
                observed[step] += weight
                least[step] = min(least[step], limits[leaf] - value)
    rolled = np.full(steps, np.nan, np.float32)
    for step in range(steps):
        if _covered(observed[step], expected[step]):
            rolled[step] = limit - least[step]
    return rolled
