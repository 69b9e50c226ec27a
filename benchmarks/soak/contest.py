"""Three ways to run a forecast, asked the same at the same times and scored by what was true."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.bundle.load import Bundle
from forecast.contracts.errors import FleetcastError
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.evaluation.metrics import Tally
from forecast.features.gridded import Floats
from forecast.predictor import Forecast, Predictor
from forecast.windows.panel import Panel, panel_of

#: What runs in service; the first version for ever; the newest challenger, whatever the gate says of it.
SERVED, NEVER, UNGATED = "served", "never retrained", "ungated"
MODELS = (SERVED, NEVER, UNGATED)


class Cell(NamedTuple):
    """What counts as one: a target at a level of the fleet tree."""

    target: str
    level: str


#: Loss of a cell, and the size of what was forecast.
Sums = dict[Cell, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Truth:
    """The site as it was, measured by instruments that never fail, telemetry of contract TELEMETRY."""

    telemetry: pl.LazyFrame
    _panels: dict[tuple[str, ...], Panel] = field(default_factory=dict)

    def after(self, at: datetime, topology: Topology, spec: ForecastSpec) -> Floats:
        """What came in the horizon from `at` on, of the entities of `topology`, `[N, T, H]`."""
        if topology.entities not in self._panels:
            self._panels[topology.entities] = panel_of(self.telemetry, topology, spec, "the truth")
        panel = self._panels[topology.entities]
        begin = panel.step(at)
        return panel.read(begin, begin + spec.horizon_steps)[: len(spec.targets)].transpose(1, 0, 2)


def scored(forecasts: dict[str, list[Forecast]], truth: Truth) -> dict[str, Sums]:
    """Losses of each model over forecasts of the same times, where none of them had only a safe bound to tell."""
    told = [_told(rivals) for rivals in zip(*forecasts.values(), strict=True)]
    return {name: _sums(made, told, truth) for name, made in forecasts.items() if made}


def _told(rivals: Sequence[Forecast]) -> NDArray[np.bool_]:
    """Which entities every model has forecast, `[N]`."""
    found: NDArray[np.bool_] = np.all([[source == "model" for source in one.source] for one in rivals], axis=0)
    return found


def _sums(made: list[Forecast], told: list[NDArray[np.bool_]], truth: Truth) -> Sums:
    spec, topology = made[0].spec, made[0].topology
    whole = np.zeros(spec.horizon_steps, np.int64)
    tally = Tally(len(topology.entities), len(spec.targets), spec.quantile_levels, whole)
    for forecast, known in zip(made, told, strict=True):
        entities = np.flatnonzero(known)
        actual = truth.after(forecast.time, topology, spec)[entities]
        tally.add(entities, actual, forecast.outputs.quantiles[entities])
    level = topology.table["level"].to_numpy()
    return {
        Cell(target, name): (tally.wql(level == name, at) * size, size)
        for at, target in enumerate(spec.targets)
        for name in topology.levels
        if (size := float(tally.magnitude[level == name, at].sum())) > 0
    }


def score(days: Sequence[Sums]) -> float:
    """Geometric mean over cells of WQL over some days: load and temperature, site and server count alike.

    The ratio of two scores is the mean ratio of their cells, as the gate has it.
    """
    cells = dict.fromkeys(cell for sums in days for cell in sums)
    losses = [_pooled([sums[cell] for sums in days if cell in sums]) for cell in cells]
    return float(np.exp(np.log(losses).mean())) if losses else float("nan")


def _pooled(sums: Sequence[tuple[float, float]]) -> float:
    loss, size = np.sum(sums, axis=0)
    return float(loss / size)


def ask(bundle: Bundle, topology: Topology, telemetry: pl.LazyFrame, at: datetime) -> Forecast | None:
    """The forecast of the predictor that serves, for the fleet of today; None where it has none to give."""
    try:
        forecast = Predictor(bundle, topology=topology).forecast(telemetry, at)
    except FleetcastError:
        return None
    return None if set(forecast.status) == {"no_data"} else forecast


def times(morning: datetime, spec: ForecastSpec) -> list[datetime]:
    """When a day is forecast: as long as the horizon ends with it, every six hours."""
    horizon = timedelta(seconds=spec.step_s * spec.horizon_steps)
    hours = (morning + timedelta(hours=hour) for hour in range(0, 24, 6))
    return [at for at in hours if at + horizon <= morning + timedelta(days=1)]
