"""Drift of the version in service, measured once a run, and what a run that waits for it does."""

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from forecast.bundle.load import Bundle
from forecast.contracts.topology import Topology
from forecast.evaluation.drift.judge import LEAST
from forecast.evaluation.drift.measure import Drift, measure
from forecast.predictor import Predictor
from forecast.registry.store import Registry
from forecast.retrain.prepare import Prepared
from forecast.retrain.rival import incomparable
from forecast.retrain.stages import Stage

#: Beside the bundle in the folder of a run.
NAME = "drift.json"

#: A rejected challenger is not followed by another one at once: what drifted does not come back within the hour.
_PATIENCE = timedelta(hours=24)


def drift_of(champion: Bundle | None, prepared: Prepared, out: Path, stage: Stage) -> Drift | None:
    """Measure how far the world has moved since `champion` was made, and leave it in `out/drift.json`.

    Returns:
        None where nothing is in service, or what is forecasts something else.
    """
    if champion is None:
        stage.result = "nothing in service that could drift"
        return None
    if (reason := incomparable(champion.manifest.spec, prepared.spec)) is not None:
        stage.result = f"not comparable: {reason}"
        return None
    trace = prepared.trace

    def tell(fleet: Topology) -> Predictor:
        return Predictor(champion, topology=fleet).told(trace.jobs, trace.weather)

    drift = measure(champion, tell, prepared.panel, trace.topology, stage.progress)
    out.mkdir(parents=True, exist_ok=True)
    (out / NAME).write_text(json.dumps(drift.to_dict(), indent=1))
    stage.facts["drift"] = {"drifted": drift.drifted, "reason": drift.reason, "kinds": _kinds(drift)}
    stage.result = drift.reason
    return drift


def waits(drift: Drift | None, champion: Bundle | None, registry: Registry) -> str | None:
    """Why a run that is to happen only on drift ends before it trains; None where it goes on."""
    if drift is not None and not drift.drifted:
        return f"No drift: {drift.reason}."
    service = champion.manifest.bundle_id if champion else ""
    rejected = [
        datetime.fromisoformat(entry["time"])
        for entry in registry.journal()
        if entry["action"] == "reject" and entry.get("champion") == service
    ]
    if rejected and (since := datetime.now(UTC) - rejected[-1]) < _PATIENCE:
        hours, patience = (span.total_seconds() / 3600 for span in (since, _PATIENCE))
        return f"A challenger was rejected {hours:.1f} h ago; the next is tried {patience:.0f} h after it."
    return None


def _kinds(drift: Drift) -> dict[str, dict[str, Any]]:
    """Per kind of drift: comparisons, how many drifted, and the largest distance in units of the usual one."""
    kinds = {}
    for kind in LEAST:
        rows = [row for row in drift.rows if row.kind == kind]
        times = [row.times for row in rows if math.isfinite(row.times)]
        kinds[kind] = {
            "comparisons": len(rows),
            "drifted": sum(row.drifted for row in rows),
            "times": max(times, default=None),
        }
    return kinds
