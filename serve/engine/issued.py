"""The newest forecast of a fleet, each row with the rung of the ladder that it stands on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.bundle.answer import After, Answer
from forecast.bundle.load import Bundle
from forecast.bundle.session import Outputs, Runs, Session
from forecast.contracts.topology import Topology
from forecast.predictor import Forecast
from forecast.windows.arrays import Floats, Inputs

#: The fallback ladder from its top: what `source` says of a row.
RUNGS = ("model", "last_good", "seasonal", "training", "safe_bound")

Value = TypeVar("Value")
Rungs = NDArray[np.uint8]
Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Given:
    """A graph that answers to plans, and what it was given of everyone: enough to ask it what if.

    Attributes:
        session: the whole graph.
        answer: the end of it; None where the bundle has it in one piece.
        inputs: what is asked looks at, of everyone.
        marginal: what the end begins with, of everyone, `[N, T, Q, H]`.
    """

    session: Session
    answer: Answer | None
    inputs: Inputs
    marginal: Floats | None

    @staticmethod
    def of(bundle: Bundle, inputs: Inputs, marginal: Floats | None) -> "Given":
        """What is kept of the inputs of a bundle's graph, and of the quantiles without plans that it told."""
        if bundle.answer is None or marginal is None:
            return Given(bundle.session, None, inputs, None)
        return Given(bundle.session, bundle.answer, bundle.answer.glance(inputs), marginal)

    def asked(self, places: Sequence[int]) -> Runs:
        """What to ask about entities at these places, one row each."""
        if self.answer is None or self.marginal is None:
            return self.session
        return After(self.answer, self.marginal[list(places)])


@dataclass(frozen=True, eq=False)
class Issued:
    """A forecast of every entity, as it is served: the same schema on every rung.

    Attributes:
        name: of the forecast, say "day-ahead".
        forecast: outputs, status and provenance, first axis in topology order; `source` is the lowest rung of each
            entity's rows.
        rung: `[N, H]`, index into `RUNGS` of each row.
        issued_at: when it was made, by the engine's clock, UTC.
        made_by: `[N]`, the bundle of each entity's last good forecast, whose rows say so.
        given: None where the graph knows no plans, or was not asked.
    """

    name: str
    forecast: Forecast
    rung: Rungs
    issued_at: datetime
    made_by: NDArray[np.str_]
    given: Given | None = None

    @property
    def time(self) -> datetime:
        """`forecast_time`, the start of the first step that is forecast, UTC."""
        return self.forecast.time

    @property
    def topology(self) -> Topology:
        return self.forecast.topology

    def falls_back(self, entities: Places | None = None) -> bool:
        """Whether anything but the model on fresh data speaks for these entities (for any, if None)."""
        return bool((self.rung if entities is None else self.rung[entities]).any())

    def table(self, entities: Places | None = None) -> pl.DataFrame:
        """One row per entity (all, if None) and valid time, in the forecast's contract (`forecast_table`)."""
        chosen = self if entities is None else self.of(entities)
        last_good = chosen.rung == RUNGS.index("last_good")
        bundle = np.where(last_good, chosen.made_by[:, None], chosen.forecast.bundle_id)
        return chosen.forecast.table().with_columns(
            pl.Series("bundle_id", bundle.ravel(), dtype=pl.String),
            pl.Series("source", np.array(RUNGS)[chosen.rung.ravel()], dtype=pl.String),
        )

    def of(self, entities: Places) -> "Issued":
        """The same of the entities at these places alone, not to be asked again."""
        return replace(
            self,
            forecast=_of(self.forecast, entities),
            rung=self.rung[entities],
            made_by=self.made_by[entities],
            given=None,
        )


def _of(forecast: Forecast, entities: Places) -> Forecast:
    """The forecast of the entities at these places."""

    def picked(values: Sequence[Value]) -> list[Value]:
        return [values[place] for place in entities.tolist()]

    return replace(
        forecast,
        outputs=Outputs(*(array[entities] for array in forecast.outputs)),
        source=picked(forecast.source),
        status=picked(forecast.status),
        data_time=picked(forecast.data_time),
        topology=Topology(forecast.topology.table[entities]),
    )
