"""One named forecast in service: its bundle, its ring of telemetry, its ladder, and the newest forecast."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from forecast.adaptation import Adaptation
from forecast.bundle.load import Bundle
from forecast.bundle.usual import Usual, read_usual
from forecast.contracts.errors import FleetcastError
from forecast.contracts.topology import Topology
from forecast.predictor import FRESH_STEPS, Forecast, Predictor
from forecast.windows.panel import Panel
from serve.engine.issued import RUNGS, Given, Issued
from serve.engine.ladder import Ladder, Mask
from serve.engine.ring import Ring, Taken

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cycle:
    """What a forecast took, in seconds.

    Attributes:
        telemetry_s: to take in what came since the forecast before.
        model_s: of the graph, with what it is given and what is learnt from outcomes.
        ladder_s: of the rungs below it, and of all else.
    """

    telemetry_s: float
    model_s: float
    ladder_s: float

    @property
    def total_s(self) -> float:
        return self.telemetry_s + self.model_s + self.ladder_s


class Live:
    """What the engine's thread keeps of a named forecast; other threads read `issued` and `bundle`.

    Args:
        name: of the forecast.
        bundle: verified and warm.
        late_s: of the ring.
        state: file of what is learnt from outcomes; None learns nothing.
        topology: the fleet of today; None is the bundle's own.

    Attributes:
        issued: the newest forecast; None before the first.
        cycle: what that took.
        wants_history: whether the ring lacks what the source may still have.
    """

    def __init__(
        self, name: str, bundle: Bundle, late_s: float, state: Path | None = None, topology: Topology | None = None
    ) -> None:
        self.name = name
        self.issued: Issued | None = None
        self.cycle: Cycle | None = None
        self._telemetry_s = 0.0
        self._late_s, self._state = late_s, state
        self._told: tuple[pl.LazyFrame | None, pl.LazyFrame | None] = (None, None)
        self._made_from: tuple[int, int, int, int] | None = None
        self._born = time.monotonic()
        self._usual: tuple[Bundle, Usual] | None = None
        self.predictor, self.ladder = self._settled(bundle, topology)
        self.ring = Ring(self.predictor.topology, self.predictor.spec, late_s)
        self.wants_history = True

    @property
    def bundle(self) -> Bundle:
        return self.predictor.bundle

    @property
    def topology(self) -> Topology:
        return self.predictor.topology

    @property
    def age_s(self) -> float:
        """Seconds that it is in service."""
        return time.monotonic() - self._born

    def swap(self, bundle: Bundle, now: datetime, topology: Topology | None = None) -> None:
        """Put another bundle, or fleet, into service; what was heard and last said stays, as far as it still fits."""
        before, ring, ladder = self.predictor, self.ring, self.ladder
        self.predictor, self.ladder = self._settled(bundle, topology)
        same_fleet = self.topology.entities == before.topology.entities
        if not same_fleet or _grid(self.predictor) != _grid(before):
            self.ring = Ring(self.topology, self.predictor.spec, self._late_s)
            self.ring.adopt(ring, now)
            self.wants_history = True
        if same_fleet and _said(self.predictor) == _said(before):
            self.ladder.good = ladder.good

    def tell(self, jobs: pl.LazyFrame | None, weather: pl.LazyFrame | None) -> None:
        """Tell what is known ahead (contracts JOB_SCHEDULE and WEATHER), instead of what was told before.

        Raises:
            DataError: a column that is missing or of another type.
        """
        self.predictor = self.predictor.told(jobs, weather)
        self._told = jobs, weather

    def take(self, rows: pl.DataFrame, now: datetime) -> Taken:
        """Put telemetry into the ring; see `Ring.take`."""
        begin = time.perf_counter()
        try:
            return self.ring.take(rows, now)
        finally:
            self._telemetry_s += time.perf_counter() - begin

    def has_history(self) -> None:
        """Note that the source has told all that it had."""
        self.wants_history = False

    def is_due(self, now: datetime) -> bool:
        """Whether a forecast would begin with another step than the newest does."""
        self.ring.move(now)
        return self._made_from is None or self._origin(now) != self._made_from[:2]

    def issue(self, now: datetime, *, anew: bool = False) -> Issued:
        """Forecast everyone as of `now`, and keep it as `issued`; the newest again where nothing is new, unless `anew`.

        The forecast begins after the newest complete step while that is fresh, then after the newest at all, then now.
        """
        self.ring.move(now)
        origin, lag = self._origin(now)
        made_from = (origin, lag, self.ring.revision, id(self.predictor))
        if self.issued is not None and made_from == self._made_from and not anew:
            return self.issued
        begin = time.perf_counter()
        panel = self.ring.panel()
        at = origin - self.ring.step(self.ring.first_time)
        context = self.predictor.spec.context_steps
        age = _age(self.ring.targets()[:, :, at - context : at])
        good = (age.min(axis=1) + lag <= FRESH_STEPS)[:, None] & (age <= context)
        model = self.predictor.at(panel, at) if good.any() else None
        modelled = time.perf_counter()
        if model is None and self.ladder.good.is_empty:
            self._recall(panel)
        self.issued = self._issued(model, age, good, origin, now)
        self._made_from = made_from
        self.cycle = Cycle(self._telemetry_s, modelled - begin, time.perf_counter() - modelled)
        self._telemetry_s = 0.0
        return self.issued

    def _recall(self, panel: Panel) -> None:
        """Remember what the model would have said when data was last fresh: a start in an outage falls back on it."""
        complete = self.ring.complete()
        if complete is None:
            return
        spec, origin = self.predictor.spec, complete + 1
        at = origin - self.ring.step(self.ring.first_time)
        age = _age(self.ring.targets()[:, :, max(at - spec.context_steps, 0) : at])
        good = (age.min(axis=1) <= FRESH_STEPS)[:, None] & (age <= min(at, spec.context_steps))
        outputs = self.predictor.at(panel, at).outputs
        self.ladder.good.remember(outputs.quantiles, origin, good, self.bundle.manifest.bundle_id)

    def save(self) -> None:
        """Keep what was learnt for the next start."""
        if self._state is None or self.predictor.adaptation is None:
            return
        try:
            self._state.parent.mkdir(parents=True, exist_ok=True)
            self.predictor.adaptation.save(self._state)
        except OSError as error:
            log.error("state not saved", extra={"file": str(self._state), "problem": str(error)})

    def _settled(self, bundle: Bundle, topology: Topology | None) -> tuple[Predictor, Ladder]:
        manifest = bundle.manifest
        fleet = topology or manifest.topology
        predictor = Predictor(bundle, adaptation=self._adaptation(bundle, fleet), topology=fleet).told(*self._told)
        if self._usual is None or self._usual[0] is not bundle:
            self._usual = bundle, read_usual(bundle)
        return predictor, Ladder(manifest.spec, predictor.topology, manifest.bundle_id, self._usual[1])

    def _adaptation(self, bundle: Bundle, fleet: Topology) -> Adaptation | None:
        if self._state is None:
            return None
        manifest = bundle.manifest
        try:
            return Adaptation.load(self._state, manifest.spec, fleet, manifest.bundle_id)
        except FleetcastError as error:
            log.error("state not read, begun anew", extra={"file": str(self._state), "problem": str(error)})
            return Adaptation(manifest.spec, fleet, manifest.bundle_id)

    def _origin(self, now: datetime) -> tuple[int, int]:
        """The step to begin with, and how many steps it lies before that of `now`."""
        present = self.ring.step(now)
        complete, newest = self.ring.complete(), self.ring.newest
        for known in (complete, newest):
            if known is not None and present - (known + 1) <= FRESH_STEPS:
                origin = min(known + 1, present)
                return origin, present - origin
        return present, 0

    def _issued(self, model: Forecast | None, age: np.ndarray, good: Mask, origin: int, now: datetime) -> Issued:
        spec, topology = self.predictor.spec, self.topology
        fallen = self.ladder.descend(None if model is None else model.outputs, good, origin, self.ring.targets)
        newest = age.min(axis=1)
        start, step = datetime.fromtimestamp(origin * spec.step_s, UTC), timedelta(seconds=spec.step_s)
        forecast = Forecast(
            time=start,
            outputs=fallen.outputs,
            source=[RUNGS[rung] for rung in fallen.rung.max(axis=1).tolist()],
            status=_status(newest, spec.context_steps) if model is None else model.status,
            data_time=[start - step * steps if steps <= spec.context_steps else None for steps in newest.tolist()],
            bundle_id=self.bundle.manifest.bundle_id,
            spec=spec,
            topology=topology,
        )
        given = None
        if model is not None and model.inputs is not None and spec.planned:
            given = Given.of(self.bundle, model.inputs, model.marginal)
        return Issued(self.name, forecast, fallen.rung, now, self.ladder.good.made_by, given)


def _age(targets: np.ndarray) -> np.ndarray:
    """Steps since the newest observation in `[T, N, L]`, `[N, T]`: 0 if in the last, L + 1 where there is none."""
    known = ~np.isnan(targets)
    age: np.ndarray = np.where(known.any(axis=-1), known[..., ::-1].argmax(axis=-1), known.shape[-1] + 1)
    return age.T


def _status(newest: np.ndarray, context_steps: int) -> list[str]:
    return ["no_data" if steps > context_steps else "stale" for steps in newest.tolist()]


def _grid(predictor: Predictor) -> Mapping[str, object]:
    """What a ring depends on, beside the fleet."""
    spec = predictor.spec
    return {"step_s": spec.step_s, "context_steps": spec.context_steps, "past": spec.past}


def _said(predictor: Predictor) -> Mapping[str, object]:
    """What a forecast that was made stays comparable by."""
    spec = predictor.spec
    return {"step_s": spec.step_s, "steps": spec.horizon_steps, "targets": spec.targets, "at": spec.quantile_levels}
