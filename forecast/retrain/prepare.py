"""Source to panel and ranges: what a run learns from, cached under a key of its content."""

from dataclasses import asdict, dataclass
from pathlib import Path

from forecast.contracts.specs import ForecastSpec
from forecast.contracts.version import code_version, key_of
from forecast.evaluation.splits import Split, split
from forecast.features.pipeline import build
from forecast.features.repair import setbacks
from forecast.retrain.config import JobConfig, WindowConfig
from forecast.traces.trace import Trace
from forecast.windows.panel import Panel, dense, open_panel, save


@dataclass(frozen=True, eq=False)
class Prepared:
    """What training, calibration and backtest work on."""

    trace: Trace
    spec: ForecastSpec
    panel: Panel
    split: Split


def spec_of(window: WindowConfig) -> ForecastSpec:
    """The forecast's interface.

    Raises:
        ConfigError: the settings contradict each other.
    """
    return ForecastSpec.from_dict(asdict(window))


def panel_of(trace: Trace, spec: ForecastSpec, where: str, cache: Path) -> tuple[Panel, str]:
    """The panel of a trace, from the cache if it was built before, and a line on what it holds."""
    key = key_of(trace.key, spec.to_dict(), code_version("contracts", "features", "windows"))
    folder = cache / "panels" / key
    if (folder / "manifest.json").exists():
        panel = open_panel(folder)
        return panel, f"{describe(panel)}, reused"
    bad = setbacks(trace.telemetry)
    gridded = build(trace.telemetry, trace.topology, spec, where)
    panel = save(dense(gridded, spec.past, trace.topology.entities, spec.step_s), folder, {"set_aside": bad.to_dicts()})
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in bad.iter_rows())
    return panel, describe(panel) + (f"; set aside {reasons}" if reasons else "")


def prepare(config: JobConfig, trace: Trace, panel: Panel, spec: ForecastSpec) -> Prepared:
    """Cut the panel into ranges as the configuration says."""
    return Prepared(trace, spec, panel, split(panel, spec.horizon_steps, config.evaluation))


def describe(panel: Panel) -> str:
    """Say how large a panel is."""
    days = panel.steps * panel.step_s / 86_400
    return f"{len(panel.entities)} entities × {panel.steps:,} steps of {panel.step_s} s ({days:.0f} days)"
