"""Many places for the same work: what each would leave, one by one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.bundle.session import Outputs
from forecast.contracts.tables import UTC
from forecast.features.gridded import Floats
from serve.dispatch.plans import Plan
from serve.dispatch.quantiles import quantile
from serve.dispatch.room import Part, limits
from serve.dispatch.tree import Tree
from serve.dispatch.what_if import TEMPERATURE, Asked, knows, medians, moved_odds, power_of, told, warmer
from serve.engine.issued import Issued


@dataclass(frozen=True, eq=False)
class Left:
    """What is left of a target beside each candidate, `[n]`.

    Attributes:
        least: room below the limit, over the candidate's steps; NaN where it is not known.
        step: where that is.
        odds: the largest probability of passing the limit.
    """

    least: Floats
    step: NDArray[np.intp]
    odds: Floats


class Placements:
    """Candidates that exclude each other: additional load, each on an entity and for its own time.

    Args:
        issued: the newest forecast; it must forecast power.
        candidates: plans that add.

    Raises:
        BadRequestError: power is not forecast.

    Attributes:
        asked: what to ask the graph; None where it would know no answer.
    """

    def __init__(self, issued: Issued, candidates: Sequence[Plan]) -> None:
        self.issued = issued
        self.power = power_of(issued)
        self.places = np.array([plan.place for plan in candidates], np.intp)
        self.here = ~np.isnan(np.array([plan.power_w for plan in candidates]))
        self.added_w = np.nan_to_num(np.array([plan.power_w for plan in candidates]))
        there = np.flatnonzero(self.here.any(axis=0))
        self.steps = slice(int(there[0]), int(there[-1]) + 1)
        self.asks = np.array([knows(issued, plan.place) for plan in candidates])
        self._alone, self._at = np.unique(self.places[self.asks], return_inverse=True)
        self.asked = self._told() if self.asks.any() else None

    def table(self, outputs: Outputs | None, tree: Tree, part: Part, confidence: float) -> pl.DataFrame:
        """What each candidate would leave, in their order.

        Args:
            outputs: what the graph makes of `asked`.
            tree: of the forecast.
            part: of the forecast, for provenance: the candidates' entities.
            confidence: with which room is left at each step.

        Returns:
            Columns `candidate, entity_id, level`; `power_headroom_w, power_tightest, power_exceedance` and the same of
            temperature, over the candidate's steps; `above, above_headroom_w`, the one above it with the least room
            left; `fits` (null where not all is known); `confidence, answered_by`, and provenance.
        """
        load = self._left(self.power, self.added_w, confidence)
        warm = self._warm(outputs, confidence)
        above, above_w = self._above(tree, confidence)
        rooms = zip(load.least.tolist(), warm.least.tolist(), above_w.tolist(), strict=True)
        fits = [_fits(*room) for room in rooms]
        names = np.array(self.issued.topology.entities)
        return part.entities().select(
            pl.Series("candidate", np.arange(len(self.places)), dtype=pl.Int32),
            "entity_id",
            "level",
            *self._columns("power_headroom_w", "power", load),
            *self._columns("thermal_headroom_c", "thermal", warm),
            pl.Series("above", [names[at] if at >= 0 else None for at in above.tolist()], dtype=pl.String),
            pl.Series("above_headroom_w", above_w, dtype=pl.Float32, nan_to_null=True),
            pl.Series("fits", fits, dtype=pl.Boolean),
            pl.lit(confidence).alias("confidence"),
            pl.Series("answered_by", np.where(self.asks, "graph", "shift"), dtype=pl.String),
            *part.provenance().values(),
        )

    def _told(self) -> Asked:
        """The medians with what is added, of each candidate; then the medians alone, of each entity."""
        asked = self.places[self.asks]
        rows = np.concatenate(
            [medians(self.issued, asked) + self.added_w[self.asks], medians(self.issued, self._alone)]
        )
        return told(self.issued, [*asked.tolist(), *self._alone.tolist()], rows)

    def _warm(self, outputs: Outputs | None, confidence: float) -> Left:
        targets, count = self.issued.forecast.spec.targets, len(self.places)
        if TEMPERATURE not in targets:
            nothing = np.full(count, np.nan, np.float32)
            return Left(nothing, np.zeros(count, np.intp), nothing)
        hot = targets.index(TEMPERATURE)
        by = np.where(self.added_w.any(axis=1, keepdims=True), np.full_like(self.added_w, np.nan), np.float32(0))
        if outputs is not None:
            asked = int(self.asks.sum())
            by[self.asks] = warmer(outputs.quantiles[:asked, hot], outputs.quantiles[asked:, hot][self._at])
        return self._left(hot, by, confidence)

    def _left(self, target: int, by: Floats, confidence: float) -> Left:
        """What is left of a target that moves by so much, `[n, H]`; looked at where any candidate is."""
        spec, outputs = self.issued.forecast.spec, self.issued.forecast.outputs
        levels, limit = spec.quantile_levels, limits(self.issued, spec.targets[target])[self.places]
        here, by = self.here[:, self.steps], by[:, self.steps]
        quantiles, headroom, odds = (array[self.places, target, ..., self.steps] for array in outputs)
        room = quantile(headroom, levels, 1 - confidence) - by
        odds = moved_odds(quantiles, odds, levels, np.broadcast_to(limit[:, None], by.shape), by)
        step = np.where(here & ~np.isnan(room), room, np.inf).argmin(axis=1)
        likely = np.where(here & ~np.isnan(odds) & ~np.isnan(by), odds, -np.inf).max(axis=1)
        return Left(
            np.take_along_axis(room, step[:, None], axis=1)[:, 0],
            step + self.steps.start,
            np.where(np.isneginf(likely), np.nan, likely),
        )

    def _above(self, tree: Tree, confidence: float) -> tuple[NDArray[np.intp], Floats]:
        """The one above each candidate that would have the least room left for power (-1: none), and how much, W."""
        levels, headroom = self.issued.forecast.spec.quantile_levels, self.issued.forecast.outputs.headroom
        paths = [tree.above(place) for place in self.places.tolist()]
        above = np.full((len(paths), 1 + max(map(len, paths))), -1, np.intp)
        for row, path in zip(above, paths, strict=True):
            row[: len(path)] = path
        known, at = np.unique(above, return_inverse=True)
        room = quantile(headroom[known, self.power, :, self.steps], levels, 1 - confidence)
        left = room[at.reshape(above.shape)] - self.added_w[:, None, self.steps]
        counts = self.here[:, None, self.steps] & ~np.isnan(left) & (above >= 0)[..., None]
        each = np.where(counts, left, np.inf).min(axis=2)
        first = each.argmin(axis=1)[:, None]
        least = np.take_along_axis(each, first, axis=1)[:, 0].astype(np.float32)
        tightest = np.take_along_axis(above, first, axis=1)[:, 0]
        return np.where(np.isinf(least), -1, tightest), np.where(np.isinf(least), np.float32(np.nan), least)

    def _columns(self, headroom: str, kind: str, left: Left) -> list[pl.Series]:
        step = timedelta(seconds=self.issued.forecast.spec.step_s)
        times = [
            None if np.isnan(least) else self.issued.time + step * at
            for least, at in zip(left.least.tolist(), left.step.tolist(), strict=True)
        ]
        return [
            pl.Series(headroom, left.least, dtype=pl.Float32, nan_to_null=True),
            pl.Series(f"{kind}_tightest", times, dtype=UTC),
            pl.Series(f"{kind}_exceedance", left.odds, dtype=pl.Float32, nan_to_null=True),
        ]


def _fits(power_w: float, thermal_c: float, above_w: float) -> bool | None:
    """Whether room is left everywhere; None where that is not known, but for those above, which may have no limit."""
    if power_w < 0 or thermal_c < 0 or above_w < 0:
        return False
    return None if math.isnan(power_w) or math.isnan(thermal_c) else True
