"""Recent telemetry to forecasts with their provenance: the one predictor of serving and backtest."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.adaptation import Adaptation, Observed
from forecast.bundle.load import Bundle
from forecast.bundle.session import Outputs
from forecast.contracts.errors import DataError
from forecast.contracts.rules import CLOCK_TOLERANCE
from forecast.contracts.signals import TARGETS
from forecast.contracts.specs import SIDES, ForecastSpec
from forecast.contracts.tables import microseconds, percentile, times
from forecast.contracts.topology import Topology
from forecast.features.gridded import Floats
from forecast.windows.ahead import Ahead
from forecast.windows.arrays import Inputs
from forecast.windows.inputs import Constants, inputs_at
from forecast.windows.panel import Panel, panel_of, unlike

Mask = NDArray[np.bool_]

#: Newest data older than this many steps is stale: the fallback ladder starts there.
FRESH_STEPS = 2

#: Less of the context observed than this is sparse.
_DENSE_SHARE = 0.5

#: An entity of which this much of the context's beginning tells nothing is new.
_NEW_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Forecast:
    """Forecasts of every entity at one time.

    Attributes:
        time: `forecast_time`, start of the first step that is forecast, UTC.
        outputs: quantiles, headroom and exceedance, first axis in topology order.
        source: `[N]`, `model`, or `safe_bound` where a target was never observed in the context.
        status: `[N]`, `ok`, `stale`, `new` (nothing was observed in the first quarter of the context), `sparse`,
            `partial` (a target was never observed) or `no_data`.
        data_time: `[N]`, end of the newest step observed; None where there is none.
        bundle_id, spec, topology: what made them.
        inputs: what the graph was given, to ask it again under a plan; None where that was not kept.
        marginal: `[N, T, Q, H]`, what it said without plans, where it tells so.
    """

    time: datetime
    outputs: Outputs
    source: list[str]
    status: list[str]
    data_time: list[datetime | None]
    bundle_id: str
    spec: ForecastSpec
    topology: Topology
    inputs: Inputs | None = None
    marginal: Floats | None = None

    def table(self) -> pl.DataFrame:
        """One row per entity and valid time: the forecast contract.

        Columns `forecast_time`, `valid_time`, `entity_id`, `level`; per target `<target>_p<percent>`,
        `<headroom>_p<percent>` and `<target>_exceedance`; `bundle_id`, `data_time`, `source`, `status`.
        """
        count, steps = len(self.status), self.spec.horizon_steps
        start, step_us = microseconds(self.time), self.spec.step_s * 1_000_000
        of_entity = np.repeat(np.arange(count, dtype=np.uint32), steps)
        known = [None if time is None else microseconds(time) for time in self.data_time]
        told = self.topology.table
        return pl.DataFrame(
            [
                times("forecast_time", [start]).new_from_index(0, count * steps),
                times("valid_time", np.tile(start + step_us * np.arange(steps), count)),
                told["entity_id"][of_entity],
                told["level"][of_entity],
                *(pl.Series(name, array.ravel(), nan_to_null=True) for name, array in self.columns()),
                pl.Series("bundle_id", [self.bundle_id]).new_from_index(0, count * steps),
                times("data_time", known)[of_entity],
                pl.Series("source", self.source, pl.String)[of_entity],
                pl.Series("status", self.status, pl.String)[of_entity],
            ]
        )

    @property
    def unobserved(self) -> Mask:
        """`[N, T]`, targets of which the context told nothing: their quantiles are a safe bound, or unknown."""
        outputs, shape = self.outputs, (len(self.status), len(self.spec.targets), -1)
        limited = np.isfinite(outputs.headroom.reshape(shape)).any(axis=2)
        told = np.isfinite(outputs.quantiles.reshape(shape)).any(axis=2)
        unsure = np.isnan(outputs.exceedance).all(axis=2)
        return np.asarray(unsure & (limited | ~told))

    def columns(self) -> Iterator[tuple[str, Floats]]:
        """The numbers of the contract: each column's name, and its values `[N, H]`; NaN is null."""
        for index, name in enumerate(self.spec.targets):
            for label, values in ((name, self.outputs.quantiles), (TARGETS[name].headroom, self.outputs.headroom)):
                for at, level in enumerate(self.spec.quantile_levels):
                    yield percentile(label, level), values[:, index, at]
            yield f"{name}_exceedance", self.outputs.exceedance[:, index]


class Predictor:
    """Forecasts of one bundle.

    Args:
        bundle: verified and open.
        ahead: schedule and weather for `at`; without them their covariates are unknown.
        adaptation: what is learnt from forecast to forecast; without it the same inputs always give the same forecast.
        topology: the fleet of today, where it is no longer the bundle's. An SKU that the bundle never met is told as
            an unknown one.
    """

    def __init__(
        self,
        bundle: Bundle,
        ahead: Ahead | None = None,
        adaptation: Adaptation | None = None,
        topology: Topology | None = None,
    ) -> None:
        self.bundle = bundle
        self.adaptation = adaptation
        self.spec = bundle.manifest.spec
        self.topology = topology or bundle.manifest.topology
        self._constants = Constants.of(self.topology, bundle.manifest.skus, ahead)

    @property
    def ahead(self) -> Ahead:
        """The schedule and the weather that it was told."""
        return self._constants.ahead

    def told(self, jobs: pl.LazyFrame | None = None, weather: pl.LazyFrame | None = None) -> "Predictor":
        """The same predictor, told a schedule (contract JOB_SCHEDULE) and weather (contract WEATHER)."""
        ahead = Ahead.of(self.topology, self.spec, jobs, weather)
        return Predictor(self.bundle, ahead, self.adaptation, self.topology)

    def forecast(self, telemetry: pl.LazyFrame, at: datetime | None = None, where: str = "telemetry") -> Forecast:
        """Forecast every entity from telemetry as it arrives.

        Args:
            telemetry: contract TELEMETRY; nothing from `at` on is used.
            at: forecast time; None forecasts from the newest complete step.
            where: named in errors.

        Raises:
            DataError: a column is missing, a unit cannot be right, or nothing was observed in the context.
        """
        end = datetime.now(UTC) + CLOCK_TOLERANCE if at is None else at
        earlier = telemetry.filter(pl.col("time") < end)
        known = earlier.filter(pl.col("entity_id").is_in(self.topology.entities))
        newest = known.select(pl.col("time").max()).collect().item()
        if newest is None:
            raise DataError(
                f"{where}: no rows of known entities before {end:%Y-%m-%d %H:%M} UTC"
                f"{unlike(earlier, self.topology, 'the bundle')}."
            )
        # What a step is judged by reaches back a day.
        context = timedelta(seconds=self.spec.step_s * (self.spec.context_steps + self.spec.day_steps))
        recent = known.filter(pl.col("time") > newest - context)
        panel = panel_of(recent, self.topology, self.spec, where)
        return self.at(panel, panel.watermark() + 1 if at is None else panel.step(at))

    def at(self, panel: Panel, origin: int) -> Forecast:
        """Forecast every entity of a panel (entities as the topology's, channels the bundle's or more) from a step.

        With `adaptation`, what came of earlier forecasts is learnt first and this one is remembered. A forecast for a
        time before the newest is made without: what was learnt since was not known then.
        """
        at_s = int(panel.time(origin).timestamp())
        adaptation = self.adaptation if self.adaptation and self.adaptation.follows(at_s) else None
        inputs = inputs_at(panel, self._constants, self.spec, origin)
        if adaptation is not None:
            adaptation.learn(at_s, self._observed(panel))
            inputs = self._shifted(inputs, adaptation)
        outputs, marginal = self.bundle.session.run_with_marginal(inputs)
        known = ~np.isnan(inputs.past[:, : len(self.spec.targets)])
        never: Mask = np.logical_not(np.any(known, axis=2))
        if adaptation is not None:
            adaptation.remember(at_s, np.where(never[..., None, None], np.float32(np.nan), outputs.quantiles))
        seen: Mask = np.asarray(np.any(known, axis=1))
        newest = _newest(seen)
        return Forecast(
            time=panel.time(origin),
            outputs=_bounded(outputs, never, self._limits()),
            source=["safe_bound" if missing else "model" for missing in np.any(never, axis=1).tolist()],
            status=[
                "partial" if missing else _status(row, age)
                for missing, row, age in zip(_some(never), list(seen), newest.tolist(), strict=True)
            ],
            data_time=[panel.time(origin - age) if age <= self.spec.context_steps else None for age in newest.tolist()],
            bundle_id=self.bundle.manifest.bundle_id,
            spec=self.spec,
            topology=self.topology,
            inputs=inputs,
            marginal=marginal,
        )

    def _observed(self, panel: Panel) -> Observed:
        start_s, targets = int(panel.start.timestamp()), len(self.spec.targets)

        def observed(begin_s: int) -> Floats:
            step = (begin_s - start_s) // self.spec.step_s
            return panel.read(step, step + 1)[:targets, :, 0]

        return observed

    def _shifted(self, inputs: Inputs, adaptation: Adaptation) -> Inputs:
        """The inputs with the shifts of today."""
        columns = [self.spec.static.index(f"{target}_{side}_shift") for target in self.spec.targets for side in SIDES]
        static = inputs.static.copy()
        static[:, columns] = adaptation.shifts().reshape(len(static), -1)
        return Inputs(inputs.past, inputs.future, static)

    def _limits(self) -> Floats:
        """Limit of each target, `[N, T]`."""
        columns = [self.spec.static.index(TARGETS[name].limit) for name in self.spec.targets]
        limits: Floats = self._constants.static[:, columns]
        return limits


def _some(never: Mask) -> list[bool]:
    """Whether an entity `[N, T]` lacks some targets but not all."""
    return [bool(row.any() and not row.all()) for row in never]


def _newest(seen: Mask) -> NDArray[np.int64]:
    """Steps from the newest observation of `[N, L]` to the forecast time, 0 when it is in the last step."""
    length = seen.shape[1]
    age: NDArray[np.int64] = np.where(seen.any(axis=1), seen[:, ::-1].argmax(axis=1), length + 1)
    return age


def _status(seen: Mask, age: int) -> str:
    if age > len(seen):
        return "no_data"
    if age > FRESH_STEPS:
        return "stale"
    if not seen[: math.ceil(_NEW_SHARE * len(seen))].any():
        return "new"
    return "ok" if seen.mean() >= _DENSE_SHARE else "sparse"


def _bounded(outputs: Outputs, never: Mask, limits: Floats) -> Outputs:
    """Put a target `[N, T]` that was never observed at its safe bound: its limit, no headroom, exceedance unknown."""
    if not never.any():
        return outputs
    limit = limits[..., None, None]
    return Outputs(
        np.where(never[..., None, None], limit, outputs.quantiles),
        np.where(never[..., None, None], limit - limit, outputs.headroom),
        np.where(never[..., None], np.float32(np.nan), outputs.exceedance),
    )
