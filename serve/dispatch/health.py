"""How a forecast fares: how old its data is, which rungs speak, what was refused."""

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from serve.engine.engine import Engine
from serve.engine.issued import RUNGS, Issued
from serve.engine.live import Live

#: Faults are counted over the newest so many seconds.
_RECENT_S = 3600

#: How the engine calls what is published, where it reports problems.
_BUNDLE = "bundle of "


def summary(live: Live, now: datetime) -> dict[str, Any]:
    """What there is to ask of a forecast, and how fresh it is."""
    spec, issued = live.bundle.manifest.spec, live.issued
    newest = None if issued is None else newest_of(issued)
    return {
        "name": live.name,
        "bundle_id": live.bundle.manifest.bundle_id,
        "step_s": spec.step_s,
        "horizon_steps": spec.horizon_steps,
        "targets": list(spec.targets),
        "quantile_levels": list(spec.quantile_levels),
        "takes_plans": "planned_power_w" in spec.future,
        "entities": dict(Counter(live.topology.table["level"])),
        "forecast_time": None if issued is None else issued.time,
        "data_time": newest,
        "age_s": None if newest is None else (now - newest).total_seconds(),
        "falls_back": None if issued is None else issued.falls_back(),
    }


def status(engine: Engine, live: Live, now: datetime) -> dict[str, Any]:
    """All that an operator wants to know before he trusts it."""
    issued, spec, metrics = live.issued, live.bundle.manifest.spec, engine.metrics
    statuses = [] if issued is None else issued.forecast.status
    rungs = None if issued is None else issued.rung.max(axis=1).tolist()
    others = tuple(f" of {name}" for name in engine.names if name != live.name)
    count, total_s = _cycles(metrics.cycle, live.name)
    return summary(live, now) | {
        "issued_at": None if issued is None else issued.issued_at,
        "bundle_refused": engine.problems.get(_BUNDLE + live.name),
        "problems": {
            where: told
            for where, told in dict(engine.problems).items()
            if not where.startswith(_BUNDLE) and not where.endswith(others)
        },
        "sources": None if rungs is None else {rung: rungs.count(at) for at, rung in enumerate(RUNGS)},
        "statuses": dict(Counter(statuses)),
        "without_data": statuses.count("no_data"),
        "rows": sum(_counted(metrics.rows, live.name).values()),
        "rows_set_aside": _counted(metrics.aside, live.name, "reason"),
        "faults": live.ring.faults(max(_RECENT_S // spec.step_s, 1)),
        "cycles": count,
        "cycle_s": None if live.cycle is None else live.cycle.total_s,
        "cycle_parts": None if live.cycle is None else asdict(live.cycle),
        "mean_cycle_s": total_s / count if count else None,
    }


def newest_of(issued: Issued) -> datetime | None:
    """The end of the newest step that any entity was observed in."""
    return max((time for time in issued.forecast.data_time if time is not None), default=None)


def _counted(counter: MetricWrapperBase, name: str, by: str = "forecast") -> dict[str, int]:
    """A counter of one forecast, by a label."""
    samples = [sample for metric in counter.collect() for sample in metric.samples if sample.name.endswith("_total")]
    return {one.labels[by]: int(one.value) for one in samples if one.labels["forecast"] == name}


def _cycles(histogram: MetricWrapperBase, name: str) -> tuple[int, float]:
    """How many cycles there were, and the seconds that they took together."""
    of = {
        sample.name.rpartition("_")[2]: sample.value
        for metric in histogram.collect()
        for sample in metric.samples
        if sample.labels["forecast"] == name
    }
    return int(of.get("count", 0)), of.get("sum", 0.0)
