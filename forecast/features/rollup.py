"""Levels above the measured ones: what a rack, row, hall or site draws and how near its tightest point is."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from forecast.contracts.topology import Topology
from forecast.features.gridded import Floats, Gridded
from forecast.features.marks import ROW_MARKS

Flags = NDArray[np.bool_]
Places = NDArray[np.int64]
Doubles = NDArray[np.float64]

#: Below this share of the expected nameplate observed, a level is unobserved: a missing server is not a falling load.
MIN_COVERAGE = 0.5

#: Steps that a thread sums at once: few enough that the sums above one leaf stay in its cache and that no core idles.
_STEPS = 720


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
    tree, day_steps = _Tree.of(topology), 86_400 // measured.step_s
    lead = measured.steps - values.shape[2]

    def fill(signal: int, afresh: Flags, first: int) -> None:
        part = values[signal, :, first : first + _STEPS]
        came = measured.values[signal], measured.marks[signal], afresh, day_steps, lead + first
        below = tree.leaves, tree.parent, tree.place, tree.weights
        if measured.signals[signal] == "temperature_c":
            rolled = _tightest(part, *came, *below, tree.limits, tree.above)
        else:
            rolled = _summed(part, *came, *below, measured.signals[signal] == "power_w", len(tree.above))
        own = part[tree.above]
        part[tree.above] = np.where(np.isnan(own), rolled, own)

    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        fresh = [_afresh(*cells, day_steps) for cells in zip(measured.values, measured.marks, strict=True)]
        parts = [
            pool.submit(fill, signal, afresh, first)
            for signal, afresh in enumerate(fresh)
            for first in range(0, values.shape[2], _STEPS)
        ]
        for part in parts:
            part.result()


@dataclass(frozen=True, eq=False)
class _Tree:
    """The fleet as arrays over the entity axis, `[N]`.

    Attributes:
        leaves, above: who has nobody below, and all others.
        parent: -1 for a root.
        place: where each stands in `above`, -1 for a leaf.
        weights: nameplates; where unknown, that of the mean entity.
        limits: of temperature; zeros unless all are known, as then the hottest rules.
    """

    leaves: Places
    above: Places
    parent: Places
    place: Places
    weights: Doubles
    limits: Doubles

    @classmethod
    def of(cls, topology: Topology) -> "_Tree":
        table, nameplate = topology.table, pl.col("power_limit_w")
        parent = (
            table["parent_id"].cast(pl.Enum(topology.entities)).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
        )
        is_above = np.isin(np.arange(len(table)), parent)
        above, limits = np.flatnonzero(is_above), table["temperature_limit_c"]
        return cls(
            leaves=np.flatnonzero(~is_above),
            above=above,
            parent=parent,
            place=np.where(is_above, is_above.cumsum() - 1, -1),
            weights=table.select(nameplate.fill_null(nameplate.mean()).fill_null(1.0)).to_series().to_numpy(),
            limits=np.zeros(len(table)) if limits.null_count() else limits.to_numpy(),
        )


@njit(cache=True, nogil=True)
def _came(values, marks, entity, step):  # type: ignore[no-untyped-def]
    return not np.isnan(values[entity, step]) or (marks[entity, step] & ROW_MARKS) > 0


@njit(cache=True, nogil=True)
def _afresh(values, marks, day_steps):  # type: ignore[no-untyped-def]
    """Whether nobody was heard on the day before each day, `[day]`."""
    entities, steps = values.shape
    afresh = np.ones(-(-steps // day_steps), np.bool_)
    for day in range(1, len(afresh)):
        for entity in range(entities):
            for step in range((day - 1) * day_steps, day * day_steps):
                if _came(values, marks, entity, step):
                    afresh[day] = False
                    break
            if not afresh[day]:
                break
    return afresh


@njit(cache=True, nogil=True)
def _due(values, marks, afresh, day_steps, first, entity, weight, due):  # type: ignore[no-untyped-def]
    """Write the weight of one entity where it is expected, 0 elsewhere, over the steps from `first` on."""
    last = -day_steps
    for step in range(first - 1, max(first - day_steps, -1), -1):
        if _came(values, marks, entity, step):
            last = step
            break
    due[:] = weight
    if first + len(due) - last <= day_steps:  # whatever comes
        return
    for at in range(len(due)):
        step = first + at
        if _came(values, marks, entity, step):
            last = step
        if step - last >= day_steps and not afresh[step // day_steps]:
            due[at] = 0.0


@njit(cache=True, nogil=True)
def _covered(observed, expected):  # type: ignore[no-untyped-def]
    return expected > 0.0 and observed >= MIN_COVERAGE * expected


@njit(cache=True, nogil=True)
def _summed(part, values, marks, afresh, day_steps, first, leaves, parent, place, weights, power, levels):  # type: ignore[no-untyped-def]
    """Power scaled to the expected nameplate, or the weighted mean, `[above, T]`, summed in the order of the leaves."""
    steps = part.shape[1]
    total, observed, expected = np.zeros((levels, steps)), np.zeros((levels, steps)), np.zeros((levels, steps))
    due = np.empty(steps)
    for leaf in leaves:
        row, weight = part[leaf], weights[leaf]
        _due(values, marks, afresh, day_steps, first, leaf, weight, due)
        share = 1.0 if power else weight
        above = parent[leaf]
        while above >= 0:
            sums, seen, wanted = total[place[above]], observed[place[above]], expected[place[above]]
            for step in range(steps):
                absent = np.isnan(row[step])
                wanted[step] += due[step]
                seen[step] += 0.0 if absent else weight
                sums[step] += 0.0 if absent else row[step] * share
            above = parent[above]
    rolled = np.full((levels, steps), np.nan, np.float32)
    for above in range(levels):
        for step in range(steps):
            seen, wanted = observed[above, step], expected[above, step]
            if _covered(seen, wanted):
                rolled[above, step] = total[above, step] / (seen / wanted if power else seen)
    return rolled


@njit(cache=True, nogil=True)
def _tightest(part, values, marks, afresh, day_steps, first, leaves, parent, place, weights, limits, aboves):  # type: ignore[no-untyped-def]
    """The own limit less the least headroom below, `[above, T]`."""
    levels, steps = len(aboves), part.shape[1]
    least, observed, expected = np.full((levels, steps), np.inf), np.zeros((levels, steps)), np.zeros((levels, steps))
    due = np.empty(steps)
    for leaf in leaves:
        row, weight, limit = part[leaf], weights[leaf], limits[leaf]
        _due(values, marks, afresh, day_steps, first, leaf, weight, due)
        above = parent[leaf]
        while above >= 0:
            tight, seen, wanted = least[place[above]], observed[place[above]], expected[place[above]]
            for step in range(steps):
                wanted[step] += due[step]
                seen[step] += 0.0 if np.isnan(row[step]) else weight
                headroom = limit - row[step]
                tight[step] = headroom if headroom < tight[step] else tight[step]
            above = parent[above]
    rolled = np.full((levels, steps), np.nan, np.float32)
    for above in range(levels):
        for step in range(steps):
            if _covered(observed[above, step], expected[above, step]):
                rolled[above, step] = limits[aboves[above]] - least[above, step]
    return rolled
