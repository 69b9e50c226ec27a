"""The newest forecasts as gauges, for Prometheus.

Prometheus stamps what it scrapes with the time of the scrape, and refuses samples from the future. So each horizon is a
series, whose value now is what is forecast for then.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import product
from typing import Any

import numpy as np
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from forecast.contracts.signals import LEVELS, TARGETS
from forecast.features.gridded import Floats
from serve.engine.engine import Engine
from serve.engine.issued import RUNGS, Issued, Places
from serve.engine.live import Live

#: Labels, and seconds after the forecast time; of those that a forecast reaches.
HORIZONS = {"PT15M": 900, "PT1H": 3600, "PT6H": 21_600, "PT24H": 86_400}

#: The median, and the sides of 80 and 98 %; of those that a forecast has.
QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)

_WHO = ("forecast", "entity_id", "level")

#: Prometheus' names of targets and of the room below their limits, which spell units out.
_NAMES = {
    "power_w": "fleetcast_power_forecast_watts",
    "power_headroom_w": "fleetcast_power_headroom_watts",
    "temperature_c": "fleetcast_temperature_forecast_celsius",
    "thermal_headroom_c": "fleetcast_thermal_headroom_celsius",
}

Part = tuple[Issued, Places]
Sample = tuple[Sequence[str], float]


class ForecastGauges(Collector):
    """What forecasts say: the same as long as they are the newest.

    Args:
        forecasts: one of each name.
        lowest: level of the fleet tree from which on entities have series of their own, which bounds how many there
            are. A fleet with nothing so high has those of its highest level.
    """

    def __init__(self, forecasts: Sequence[Issued], lowest: str) -> None:
        self._parts = [(issued, _places(issued, lowest)) for issued in forecasts]

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        yield from _of_provenance(self._parts)
        for target in TARGETS:
            yield from _of_target(target, [part for part in self._parts if target in part[0].forecast.spec.targets])
        told = (sample for issued, places in self._parts for sample in _exceedance(issued, places))
        yield _gauge(
            "fleetcast_exceedance_ratio",
            "Probability of passing the limit in the step, up to the horizon, where it is highest",
            (*_WHO, "target", "horizon"),
            told,
        )


class ServiceGauges(Collector):
    """What is in service now, what is wrong with it, and how old its inputs are.

    Args:
        engine: whose forecasts they are.
        lowest: as of `ForecastGauges`.
    """

    def __init__(self, engine: Engine, lowest: str) -> None:
        self._engine, self._lowest = engine, lowest

    def collect(self) -> Iterator[Metric]:
        """The gauges as of now."""
        engine = self._engine
        yield from _of_service([engine.live(name) for name in engine.names], engine.problems)
        yield _ages([(issued, _places(issued, self._lowest)) for issued in newest(engine)], engine.clock())


def newest(engine: Engine) -> tuple[Issued, ...]:
    """The newest forecast of each name that has one."""
    return tuple(issued for name in engine.names if (issued := engine.live(name).issued) is not None)


def _of_service(lives: Sequence[Live], problems: dict[str, str]) -> Iterator[Metric]:
    manifests = {live.name: live.bundle.manifest for live in lives}
    yield _gauge(
        "fleetcast_bundle_info",
        "The bundle in service",
        ("forecast", "bundle_id"),
        (((name, manifest.bundle_id), 1.0) for name, manifest in manifests.items()),
    )
    yield _gauge(
        "fleetcast_forecast_step_seconds",
        "Step of the forecast's grid",
        ("forecast",),
        (((name,), manifest.spec.step_s) for name, manifest in manifests.items()),
    )
    yield _gauge(
        "fleetcast_problem",
        "What is wrong now; the log says how",
        ("where",),
        (((where,), 1.0) for where in list(problems)),
    )


def _of_provenance(parts: Sequence[Part]) -> Iterator[Metric]:
    yield _gauge(
        "fleetcast_forecast_issue_time_seconds",
        "When the newest forecast was made, by the engine's clock",
        ("forecast",),
        (((issued.name,), issued.issued_at.timestamp()) for issued, _ in parts),
    )
    yield _gauge(
        "fleetcast_forecast_time_seconds",
        "Start of its first step",
        ("forecast",),
        (((issued.name,), issued.time.timestamp()) for issued, _ in parts),
    )
    yield _gauge(
        "fleetcast_entities",
        "Entities of every level by the lowest rung of the fallback ladder that they stand on",
        ("forecast", "source"),
        (((issued.name, rung), count) for issued, _ in parts for rung, count in _rungs(issued).items()),
    )
    yield _gauge(
        "fleetcast_fallback_level",
        "The lowest rung of an entity, 0 to 4: " + ", ".join(RUNGS),
        _WHO,
        (
            (who, float(rung))
            for issued, places in parts
            for who, rung in zip(_who(issued, places), issued.rung[places].max(axis=1), strict=True)
        ),
    )


def _ages(parts: Sequence[Part], now: datetime) -> Metric:
    return _gauge(
        "fleetcast_input_age_seconds",
        "Time since the newest step in which an entity was observed; +Inf where it was not, in the whole context",
        _WHO,
        (
            (who, _age_s(issued.forecast.data_time[place], now))
            for issued, places in parts
            for who, place in zip(_who(issued, places), places.tolist(), strict=True)
        ),
    )


def _of_target(target: str, parts: Sequence[Part]) -> Iterator[Metric]:
    """The quantiles of a target, and of the room below its limit."""
    headroom = TARGETS[target].headroom
    labels = (*_WHO, "horizon", "quantile")
    told = {
        target: "Forecast for the step in which the horizon ends",
        headroom: "Limit less forecast, for the step in which the horizon ends",
    }
    for name, about in told.items():
        yield _gauge(
            _NAMES[name],
            about,
            labels,
            (sample for issued, places in parts for sample in _quantiles(issued, places, target, name == headroom)),
        )


def _quantiles(issued: Issued, places: Places, target: str, is_headroom: bool) -> Iterator[Sample]:
    spec, outputs = issued.forecast.spec, issued.forecast.outputs
    levels = {level: spec.quantile_levels.index(level) for level in QUANTILES if level in spec.quantile_levels}
    steps = _steps(issued)
    array = (outputs.headroom if is_headroom else outputs.quantiles)[:, spec.targets.index(target)]
    values: Floats = array[np.ix_(places, _at(levels), _at(steps))]
    labels = list(product((f"{level:g}" for level in levels), steps))
    for who, row in zip(_who(issued, places), values.reshape(len(places), -1).tolist(), strict=True):
        for (level, horizon), value in zip(labels, row, strict=True):
            yield (*who, horizon, level), value


def _exceedance(issued: Issued, places: Places) -> Iterator[Sample]:
    spec = issued.forecast.spec
    steps = _steps(issued)
    for at, target in enumerate(spec.targets):
        odds = issued.forecast.outputs.exceedance[places, at]
        highest = np.fmax.accumulate(odds, axis=1)[:, _at(steps)].tolist()
        for who, row in zip(_who(issued, places), highest, strict=True):
            for horizon, value in zip(steps, row, strict=True):
                yield (*who, target, horizon), value


def _places(issued: Issued, lowest: str) -> Places:
    """The entities that have series of their own."""
    topology = issued.topology
    least = min(LEVELS.index(lowest), LEVELS.index(topology.levels[-1]))
    return np.flatnonzero(topology.table["level"].is_in(LEVELS[least:]).to_numpy())


def _steps(issued: Issued) -> dict[str, int]:
    """The step in which each horizon ends, of those that are reached."""
    spec = issued.forecast.spec
    steps = {label: -(-ahead_s // spec.step_s) - 1 for label, ahead_s in HORIZONS.items()}
    return {label: step for label, step in steps.items() if step < spec.horizon_steps}


def _at(places: Mapping[Any, int]) -> Places:
    return np.array(list(places.values()), np.intp)


def _who(issued: Issued, places: Places) -> list[tuple[str, str, str]]:
    rows = issued.topology.table.select("entity_id", "level")[places].iter_rows()
    return [(issued.name, entity, level) for entity, level in rows]


def _rungs(issued: Issued) -> dict[str, float]:
    counts = np.bincount(issued.rung.max(axis=1), minlength=len(RUNGS))
    return dict(zip(RUNGS, counts.astype(float).tolist(), strict=True))


def _age_s(data_time: datetime | None, now: datetime) -> float:
    return math.inf if data_time is None else (now - data_time).total_seconds()


def _gauge(name: str, about: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    """A gauge of what is known: a limit that is not leaves no series."""
    family = GaugeMetricFamily(name, about, labels=labels)
    for values, value in samples:
        if not math.isnan(value):
            family.add_metric(values, value)
    return family
