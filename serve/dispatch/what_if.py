"""What if this load ran here? The newest forecast under plans, by the bundle's graph where that knows plans.

A plan that takes the place of a load is told to the graph as it is: its answer is the forecast under it. What is added
to a load moves the load by exactly that, with all the doubt there is about the rest; temperature moves by what the
graph answers to the forecast's median with the addition, less what it answers to that median alone. Those above an
entity carry what it draws more. Where no graph answers, temperature is not known from the first change on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.bundle.session import Outputs, Runs
from forecast.contracts.signals import SIGNALS
from forecast.exceedance import exceedance
from forecast.features.gridded import Floats
from forecast.windows.arrays import Inputs
from serve.dispatch.plans import POWER, Plan
from serve.dispatch.room import SAFE_BOUND, limits
from serve.dispatch.tree import Tree
from serve.engine.issued import Issued, Places
from serve.refusals import BadRequestError

PLAN = "planned_power_w"
TEMPERATURE = "temperature_c"


@dataclass(frozen=True, eq=False)
class Answer:
    """A forecast under plans.

    Attributes:
        issued: of those with a plan and all above them.
        plan: `[n]`, "followed", "added", or "below" for who carries the plans of others.
        answered_by: `[n]`, "graph", or "shift" where the load alone could be moved.
    """

    issued: Issued
    plan: list[str]
    answered_by: list[str]

    def labels(self, count: int) -> dict[str, pl.Series]:
        """The two as columns of a table with `count` rows per entity."""
        return {
            name: pl.Series(np.repeat(np.array(values), count), dtype=pl.String)
            for name, values in (("plan", self.plan), ("answered_by", self.answered_by))
        }


class Asked(NamedTuple):
    """What is asked about plans, and of which graph."""

    graph: Runs
    inputs: Inputs


class Question:
    """Plans that hold together.

    Args:
        issued: the newest forecast; it must forecast power.
        plans: apart from each other.

    Raises:
        BadRequestError: power is not forecast.

    Attributes:
        asked: what to ask the graph; None where that needs no asking, or would know no answer.
    """

    def __init__(self, issued: Issued, plans: Sequence[Plan]) -> None:
        self.issued, self.plans = issued, plans
        self.power = power_of(issued)
        self.asks = [knows(issued, plan.place) for plan in plans]
        rows = [row for plan, asked in zip(plans, self.asks, strict=True) if asked for row in self._rows(plan)]
        self.asked = told(issued, [place for place, _ in rows], np.array([row for _, row in rows])) if rows else None

    def answer(self, outputs: Outputs | None, tree: Tree) -> Answer:
        """The forecast under the plans.

        Args:
            outputs: what the graph makes of `asked`.
            tree: of the forecast.
        """
        below = self._below(tree)
        places = np.array(sorted({plan.place for plan in self.plans} | below.keys()), np.intp)
        kept = self.issued.of(places)
        arrays = kept.forecast.outputs
        labels = dict.fromkeys(below, ("below", "shift"))
        for at, place in enumerate(places.tolist()):
            if place in below:
                self._shift(arrays, at, place, below[place])
                _forget(arrays, at, self.issued, below[place] != 0)
        row = 0
        for plan, asked in zip(self.plans, self.asks, strict=True):
            at = int(np.searchsorted(places, plan.place))
            labels[plan.place] = ("added" if plan.added else "followed", "graph" if asked else "shift")
            mine = None
            if asked and outputs is not None:
                count = 1 + plan.added
                mine = Outputs(*(array[row : row + count] for array in outputs))
                row += count
            self._put(arrays, at, plan, mine)
        plan_of, by = zip(*(labels[place] for place in places.tolist()), strict=True)
        return Answer(kept, list(plan_of), list(by))

    def _rows(self, plan: Plan) -> list[tuple[int, Floats]]:
        """What the graph is told of a plan: itself; or the median with what is added, and the median alone."""
        if not plan.added:
            return [(plan.place, plan.power_w)]
        median = medians(self.issued, np.array([plan.place]))[0]
        return [(plan.place, median + np.nan_to_num(plan.power_w)), (plan.place, median)]

    def _below(self, tree: Tree) -> dict[int, Floats]:
        """What each entity above a plan carries more, W `[H]`."""
        carried: dict[int, Floats] = {}
        for plan in self.plans:
            more = np.nan_to_num(plan.power_w if plan.added else plan.power_w - self._usual(plan.place))
            for above in tree.above(plan.place):
                carried[above] = carried.get(above, np.float32(0)) + more
        return carried

    def _usual(self, place: int) -> Floats:
        """What an entity draws without its plan, W `[H]`: its median; nothing where that is not known."""
        known: Floats = np.where(
            self.issued.rung[place] == SAFE_BOUND, np.float32(0), medians(self.issued, np.array([place]))[0]
        )
        return known

    def _put(self, arrays: Outputs, at: int, plan: Plan, mine: Outputs | None) -> None:
        """Put an entity under its plan."""
        if plan.added:
            self._shift(arrays, at, plan.place, np.nan_to_num(plan.power_w))
            if mine is not None and (hot := _temperature(self.issued)) is not None:
                by = warmer(mine.quantiles[:1, hot], mine.quantiles[1:, hot])
                _move(arrays, at, hot, by[0], self.issued, plan.place)
        elif mine is not None:
            for array, answered in zip(arrays, mine, strict=True):
                array[at] = answered[0]
        else:
            self._follow(arrays, at, plan)
        if mine is None:
            _forget(arrays, at, self.issued, ~np.isnan(plan.power_w) & (not plan.added or plan.power_w != 0))

    def _shift(self, arrays: Outputs, at: int, place: int, more_w: Floats) -> None:
        _move(arrays, at, self.power, more_w, self.issued, place)

    def _follow(self, arrays: Outputs, at: int, plan: Plan) -> None:
        """The load is what is planned, exactly."""
        limit = limits(self.issued, POWER)[plan.place]
        planned = ~np.isnan(plan.power_w)
        power = plan.power_w[planned]
        arrays.quantiles[at, self.power][:, planned] = power
        arrays.headroom[at, self.power][:, planned] = limit - power
        over = np.where(np.isnan(limit), np.float32(np.nan), (power > limit).astype(np.float32))
        arrays.exceedance[at, self.power][planned] = over


def power_of(issued: Issued) -> int:
    """The place of power among the targets.

    Raises:
        BadRequestError: it is not forecast.
    """
    targets = issued.forecast.spec.targets
    if POWER not in targets:
        raise BadRequestError(f"plans: {issued.name} forecasts {', '.join(targets)} and no {POWER}; ask another one.")
    return targets.index(POWER)


def knows(issued: Issued, place: int) -> bool:
    """Whether the graph can answer to a plan of an entity: it takes plans, and speaks for this one on fresh data."""
    given = issued.given
    return given is not None and PLAN in issued.forecast.spec.future and not issued.rung[place].any()


def told(issued: Issued, places: Sequence[int], power_w: Floats) -> Asked:
    """What the graph was given of some entities, with plans `[n, H]`; NaN leaves what was told before."""
    given, spec = issued.given, issued.forecast.spec
    assert given is not None  # noqa: S101 - as `knows` says
    inputs = given.inputs
    at, rows = spec.future.index(PLAN), list(places)
    future = inputs.future[rows]
    future[:, at] = np.where(np.isnan(power_w), future[:, at], power_w)
    return Asked(given.asked(rows), Inputs(inputs.past[rows], future, inputs.static[rows]))


def medians(issued: Issued, places: Places) -> Floats:
    """The median load of some entities, W `[n, H]`."""
    spec = issued.forecast.spec
    median: Floats = issued.forecast.outputs.quantiles[
        places, spec.targets.index(POWER), spec.quantile_levels.index(0.5)
    ]
    return median


def warmer(planned: Floats, alone: Floats) -> Floats:
    """How far an answer `[n, Q, H]` lies above another, `[n, H]`: the most of all levels, as a bound may hold some."""
    apart = planned - alone
    largest = np.abs(apart).argmax(axis=-2)
    by: Floats = np.take_along_axis(apart, largest[..., None, :], axis=-2)[..., 0, :]
    return by


def moved_odds(quantiles: Floats, odds: Floats, levels: Sequence[float], limit: Floats, by: Floats) -> Floats:
    """The probability `[..., H]` of passing a limit when quantiles `[..., Q, H]` move by so much, `[..., H]`.

    The graph's own word `odds` knows more than its quantiles, which a governor's bound may hold: what is added never
    makes it less, what is taken away never more.
    """
    told = exceedance(quantiles, levels, limit - by)
    moved = np.where(by > 0, np.maximum(odds, told), np.where(by < 0, np.minimum(odds, told), odds))
    kept: Floats = np.where(np.isnan(odds), odds, moved).astype(np.float32)
    return kept


def _temperature(issued: Issued) -> int | None:
    targets = issued.forecast.spec.targets
    return targets.index(TEMPERATURE) if TEMPERATURE in targets else None


def _move(arrays: Outputs, at: int, target: int, by: Floats, issued: Issued, place: int) -> None:
    """Move a target of the entity in row `at` by so much, `[H]`; never below what is possible."""
    spec = issued.forecast.spec
    name = spec.targets[target]
    low, limit = np.float32(SIGNALS[name].low), limits(issued, name)[place]
    arrays.exceedance[at, target] = moved_odds(
        arrays.quantiles[at, target], arrays.exceedance[at, target], spec.quantile_levels, np.full_like(by, limit), by
    )
    arrays.quantiles[at, target] = np.maximum(arrays.quantiles[at, target] + by, low)
    arrays.headroom[at, target] = np.minimum(arrays.headroom[at, target] - by, limit - low)


def _forget(arrays: Outputs, at: int, issued: Issued, changed: NDArray[np.bool_]) -> None:
    """Temperature is not known from the first change on: heat lasts."""
    if (hot := _temperature(issued)) is not None and changed.any():
        first = int(np.argmax(changed))
        for array in arrays:
            array[at, hot, ..., first:] = np.nan
