"""How much room is left below the limits, and how likely they are passed, of what was issued."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.signals import TARGETS
from forecast.contracts.tables import microseconds, times
from forecast.contracts.topology import Topology
from forecast.exceedance import exceedance
from forecast.features.gridded import Floats
from serve.dispatch.quantiles import quantile
from serve.dispatch.times import Span
from serve.engine.issued import RUNGS, Issued, Places, Rungs

SAFE_BOUND = RUNGS.index("safe_bound")


@dataclass(frozen=True, eq=False)
class Part:
    """Some entities of a forecast over some steps.

    Attributes:
        issued: the forecast.
        places: `[n]`, of the entities, in topology order.
        span: of time.
        now: by the engine's clock: what ages are counted to.
    """

    issued: Issued
    places: Places
    span: Span
    now: datetime

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """The part of an array `[N, ..., H]`."""
        return (array if self.is_everyone else array[self.places])[..., self.span.steps]

    @property
    def is_everyone(self) -> bool:
        return np.array_equal(self.places, np.arange(len(self.issued.rung)))

    @property
    def rung(self) -> Rungs:
        """`[n, h]`."""
        return self.of(self.issued.rung)

    def limits(self, target: str) -> Floats:
        """The limit of each entity, `[n]`; NaN where it is unknown."""
        return limits(self.issued, target)[self.places]

    def room(self, target: str, confidence: float) -> Floats:
        """The room below the limit that is kept with `confidence`, per step, `[n, h]`; NaN without a limit."""
        spec = self.issued.forecast.spec
        headroom = self.of(self.issued.forecast.outputs.headroom[:, spec.targets.index(target)])
        return quantile(headroom, spec.quantile_levels, 1 - confidence)

    def odds(self, target: str, limit: float | None = None) -> Floats:
        """The probability of passing a limit, per step, `[n, h]`; NaN where only a safe bound is known.

        Args:
            limit: in the target's unit; None for each entity's own, for which the graph itself said it.
        """
        spec, outputs = self.issued.forecast.spec, self.issued.forecast.outputs
        at = spec.targets.index(target)
        own = self.of(outputs.exceedance[:, at])
        if limit is None:
            return own
        quantiles = self.of(outputs.quantiles[:, at])
        told = exceedance(quantiles, spec.quantile_levels, np.full((1, 1), limit, np.float32))
        told = np.where(self.rung == SAFE_BOUND, np.float32(np.nan), told)
        same = self.limits(target)[:, None] == np.float32(limit)
        return np.where(same, own, told)

    def provenance(self, steps: NDArray[np.intp] | None = None) -> dict[str, pl.Series]:
        """What stands behind the rows of each entity: columns `[n]`.

        Args:
            steps: `[n]`, the step of the span that a row speaks of; None for all, of which the lowest rung counts.
        """
        rung = self.rung
        rungs = rung.max(axis=1) if steps is None else np.take_along_axis(rung, steps[:, None], axis=1)[:, 0]
        forecast, places = self.issued.forecast, self.places.tolist()
        made_by = np.where(rungs == RUNGS.index("last_good"), self.issued.made_by[self.places], forecast.bundle_id)
        heard = [None if (time := forecast.data_time[place]) is None else microseconds(time) for place in places]
        now = microseconds(self.now)
        ages = [None if then is None else (now - then) / 1e6 for then in heard]
        return {
            "forecast_time": times("forecast_time", [microseconds(self.issued.time)]).new_from_index(0, len(places)),
            "bundle_id": pl.Series("bundle_id", made_by, dtype=pl.String),
            "data_time": times("data_time", heard),
            "age_s": pl.Series("age_s", ages, dtype=pl.Float64),
            "source": pl.Series("source", np.array(RUNGS)[rungs], dtype=pl.String),
            "status": pl.Series("status", [forecast.status[place] for place in places], dtype=pl.String),
        }

    def rows(self) -> pl.DataFrame:
        """The forecast's contract (`forecast_table`), by entity and step."""
        steps, count = self.issued.forecast.spec.horizon_steps, len(self.places)
        table = self.issued.table(None if self.is_everyone else self.places)
        if self.span.end - self.span.first == steps:
            return table
        inside = np.zeros(steps, np.bool_)
        inside[self.span.steps] = True
        return table.filter(pl.Series(np.tile(inside, count)))

    def times(self, steps: NDArray[np.intp]) -> pl.Series:
        """The start of steps of the span, as `valid_time`."""
        step_us = self.issued.forecast.spec.step_s * 1_000_000
        return times("valid_time", microseconds(self.span.begin) + step_us * steps)

    def entities(self) -> pl.DataFrame:
        """`entity_id` and `level` of each."""
        table = self.issued.topology.table
        return pl.DataFrame([table["entity_id"][self.places], table["level"][self.places]])


def limits(issued: Issued, target: str) -> Floats:
    """The limit of every entity, `[N]`; NaN where it is unknown."""
    return _limits(issued.topology, target)


@lru_cache(maxsize=16)
def _limits(topology: Topology, target: str) -> Floats:
    column = topology.table[TARGETS[target].limit].cast(pl.Float64).fill_null(float("nan"))
    values: Floats = column.to_numpy().astype(np.float32)
    values.flags.writeable = False
    return values


def rooms(part: Part, targets: Sequence[str], confidence: float) -> pl.DataFrame:
    """The least room that each entity keeps with `confidence` at every single step, one row per entity and target.

    Returns:
        Columns `entity_id, level, target, unit, limit, headroom, share` (of the limit), `confidence, valid_time` (of
        the step where it is least), and those of `Part.provenance` for that step; null where no limit is known.
    """
    return pl.concat([_least(part, name, confidence) for name in targets])


def tightest(part: Part, targets: Sequence[str], confidence: float, most: int) -> pl.DataFrame:
    """The first `most` rows of `rooms` for each target, those with the least share of their limit left first."""
    tables = []
    for name in targets:
        least = np.nan_to_num(part.room(name, confidence), nan=np.inf).min(axis=1)
        share = least / part.limits(name)
        order = np.argsort(share, kind="stable")[:most]
        first = part.places[order[np.isfinite(share[order])]]
        tables.append(_least(replace(part, places=first), name, confidence))
    return pl.concat(tables)


def odds(part: Part, target: str, limit: float | None) -> pl.DataFrame:
    """How likely each entity passes a limit, one row per entity and step, in the order of both.

    Returns:
        Columns `forecast_time, valid_time, entity_id, level, target, unit, limit, exceedance`, and provenance.
    """
    told, steps = part.odds(target, limit), np.arange(part.span.end - part.span.first)
    count = len(steps)
    own = part.limits(target) if limit is None else np.full(len(part.places), limit, np.float32)
    repeated = np.repeat(np.arange(len(part.places)), count)
    rows = part.entities()[repeated].with_columns(
        target=pl.lit(target),
        unit=pl.lit(TARGETS[target].unit),
        limit=_number(own[repeated]),
        exceedance=_number(told.ravel()),
        valid_time=part.times(np.tile(steps, len(part.places))),
        **{name: column[repeated] for name, column in part.provenance().items()},
    )
    return rows.with_columns(source=pl.Series(np.array(RUNGS)[part.rung.ravel()], dtype=pl.String))


def _least(part: Part, target: str, confidence: float) -> pl.DataFrame:
    room = part.room(target, confidence)
    steps = np.argmin(np.nan_to_num(room, nan=np.inf), axis=1)
    least = np.take_along_axis(room, steps[:, None], axis=1)[:, 0]
    limit = part.limits(target)
    columns = {
        "target": _same(target, len(steps)),
        "unit": _same(TARGETS[target].unit, len(steps)),
        "limit": _number(limit),
        "headroom": _number(least),
        "share": _number(least / limit),
        "confidence": _same(confidence, len(steps)),
        "valid_time": part.times(steps),
        **part.provenance(steps),
    }
    return part.entities().hstack([column.alias(name) for name, column in columns.items()])


def _same(value: str | float, count: int) -> pl.Series:
    return pl.Series([value]).new_from_index(0, count)


def _number(values: Floats) -> pl.Series:
    return pl.Series(values, dtype=pl.Float32, nan_to_null=True)
