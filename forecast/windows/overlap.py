"""Stretches of time laid on steps, in whole numbers, so that sums do not depend on their order."""

import numpy as np

from forecast.contracts.specs import ForecastSpec
from forecast.features.schedule import Ints


def overlap(slot: Ints, edges: list[Ints], weight: Ints, spec: ForecastSpec, slots: int) -> Ints:
    """Sum of weight times seconds of overlap, per slot and step `[slots, H]`.

    Each edge changes the sum's slope: in its own step for the part that is left of it, in the next for the rest; the
    running sum over steps does what is between.

    Args:
        slot: `[R]`, where each stretch belongs.
        edges: start and end of each, `[R]`, seconds into the horizon.
    """
    change = np.zeros((slots, spec.horizon_steps + 2), np.int64)
    for edge, sign in zip(edges, (1, -1), strict=True):
        step, into = np.divmod(edge, spec.step_s)
        np.add.at(change, (slot, step), sign * weight * (spec.step_s - into))
        np.add.at(change, (slot, step + 1), sign * weight * into)
    total: Ints = change.cumsum(axis=1)[:, : spec.horizon_steps]
    return total
