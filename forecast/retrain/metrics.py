"""The end of a run as Prometheus metrics, for the textfile collector of node_exporter."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest


def exposition(run: Mapping[str, Any], published: datetime | None) -> bytes:
    """The text of a `.prom` file. What a run did not come to know has no line.

    Args:
        run: the content of `run.json`.
        published: when the version in service came into service.
    """
    page = _Page(run["forecast"])
    ended = datetime.fromisoformat(run["ended"])
    page.add(
        "run_exit_code",
        "Exit code of the last run: 0 published, 10 nothing new, others by the README.",
        run["exit_code"],
    )
    page.add("run_end_time_seconds", "When the last run ended.", ended.timestamp())
    page.add("run_duration_seconds", "How long the last run took.", run["seconds"])
    for step in run["steps"]:
        page.add("run_step_duration_seconds", "How long each step took.", step["seconds"], step=step["step"])
    if "watermark" in run:
        watermark = datetime.fromisoformat(run["watermark"])
        page.add("run_watermark_time_seconds", "Newest complete step of the telemetry.", watermark.timestamp())
        lag_s = (ended - watermark).total_seconds()
        page.add("run_watermark_lag_seconds", "From the newest complete step to the end of the run.", lag_s)
    for reason, rows in run.get("rows_set_aside", {}).items():
        page.add("run_rows_set_aside", "Rows of telemetry that were refused, by reason.", rows, reason=reason)
    if "drift" in run:
        _add_drift(page, run["drift"])
    if "gate" in run:
        page.add("run_gate_passed", "Whether the challenger passed its gate.", run["gate"]["passed"])
    if published is not None:
        page.add("publish_time_seconds", "When the bundle in service came into service.", published.timestamp())
    return generate_latest(page.registry)


def _add_drift(page: "_Page", drift: Mapping[str, Any]) -> None:
    page.add("run_drifted", "Whether the world has moved since the version in service was made.", drift["drifted"])
    for kind, found in drift["kinds"].items():
        page.add("run_drifted_comparisons", "Comparisons that drifted, by kind.", found["drifted"], kind=kind)
        if found["times"] is not None:
            meaning = "The greatest distance from what is usual, in units of the usual variation, by kind."
            page.add("run_drift_distance", meaning, found["times"], kind=kind)


class _Page:
    """Gauges of one forecast."""

    def __init__(self, forecast: str) -> None:
        self.registry = CollectorRegistry()
        self._forecast = forecast
        self._gauges: dict[str, Gauge] = {}

    def add(self, name: str, meaning: str, value: float, **labels: str) -> None:
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"fleetcast_{name}", meaning, ["forecast", *labels], registry=self.registry)
        self._gauges[name].labels(self._forecast, *labels.values()).set(value)
