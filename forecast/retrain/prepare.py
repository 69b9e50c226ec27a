"""Source to panel and ranges: what a run learns from, cached under a key of its content."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from forecast.contracts.errors import ConfigError
from forecast.contracts.schedule import strange_words
from forecast.contracts.specs import FUTURE, PLANS, SHIFTS, STATIC, ForecastSpec
from forecast.contracts.version import code_version, key_of
from forecast.evaluation.splits import Split, split
from forecast.features.units import jobs_like_kw
from forecast.retrain.config import JobConfig, WindowConfig
from forecast.retrain.stages import Stage, Stages
from forecast.traces.read import read_trace
from forecast.traces.trace import Trace
from forecast.windows.ahead import Ahead
from forecast.windows.panel import Panel
from forecast.windows.store import Store, Updated
from forecast.wording import counted


@dataclass(frozen=True, eq=False)
class Prepared:
    """What training, calibration and backtest work on.

    Attributes:
        panel: ends at the watermark; what came of later steps is not complete.
        content: hash of all that was known up to the watermark.
        code: version of the code that works on it.
    """

    trace: Trace
    spec: ForecastSpec
    panel: Panel
    split: Split
    content: str
    code: str
    ahead: Ahead

    @property
    def watermark(self) -> datetime:
        """The newest step that is complete, less the allowed lateness."""
        return self.panel.time(self.panel.steps - 1)


def prepare(config: JobConfig, stages: Stages) -> Prepared:
    """Read the source, build its panel or find it in the cache, and cut it into ranges.

    Raises:
        ConfigError: settings that contradict each other, or ranges that leave nothing.
        DataError: the source is missing or breaks its contract.
    """
    spec = spec_of(config.window)
    with stages("read") as stage:
        trace = read_trace(config.source, stage.progress)
        stage.result = counted(len(trace.topology.entities), "entity", "entities")
    with stages("features") as stage:
        updated, stage.result = _updated(trace, spec, config, stage)
        panel = updated.panel
        if config.evaluation.origins is None:  # else what is whole is listed: entities may end one by one
            panel = _complete(panel, config.allowed_lateness_h)
        watermark = panel.time(panel.steps - 1)
        content = key_of(updated.content(panel.steps), trace.topology.table.write_json(), _told(trace, watermark))
        stage.facts["watermark"] = watermark.isoformat()
        if later := updated.panel.steps - panel.steps:
            stage.result += f"; {later:,} steps after the watermark {watermark:%Y-%m-%d %H:%M} left out"
        ranges = split(panel, spec.horizon_steps, config.evaluation)
        ahead = Ahead.of(trace.topology, spec, trace.jobs, trace.weather)
        stage.result += "".join(f"; {count:,} {reason} set aside" for reason, count, _ in ahead.set_aside.iter_rows())
        jobs = trace.jobs
        strange = () if jobs is None else (*strange_words(jobs), *jobs_like_kw(jobs, trace.topology))
        stage.result += "".join(f"; the schedule {line}" for line in strange)
        stage.result += "".join(f"; {line}" for line in untold(spec, trace))
    return Prepared(trace, spec, panel, ranges, content, code_version(), ahead)


def untold(spec: ForecastSpec, trace: Trace) -> Iterator[str]:
    """What a forecast is to look at and nobody tells: it is unknown in training and ever after.

    Plans are learnt from what came true, so they need no table to train.
    """
    for kind, setting, table in (("schedule", "jobs", trace.jobs), ("weather", "weather", trace.weather)):
        names = [name for name in spec.future if FUTURE[name].source == kind and name not in PLANS]
        if names and table is None:
            yield f"no source.{setting}, so nothing is known ahead of {', '.join(names)}"


def spec_of(window: WindowConfig) -> ForecastSpec:
    """The forecast's interface.

    Raises:
        ConfigError: the settings contradict each other.
    """
    try:
        return ForecastSpec.from_dict({**asdict(window), "static": [*STATIC, *SHIFTS]})
    except ConfigError as error:  # which begins with the name of the field, in a bundle as here
        raise ConfigError(f"window.{error}") from None


def _complete(panel: Panel, lateness_h: float) -> Panel:
    """The panel up to the watermark.

    Raises:
        ConfigError: the allowed lateness leaves nothing.
    """
    end = panel.watermark() + 1 - math.ceil(lateness_h * 3600 / panel.step_s)
    if end < 1:
        raise ConfigError(f"allowed_lateness_h={lateness_h:g} leaves nothing of {_describe(panel)}; lower it.")
    return panel.before(end)


def _told(trace: Trace, until: datetime) -> list[int]:
    """Hash of what was known of the schedule and the weather at a time, whatever the order of rows."""
    tables = [
        table.filter(pl.col("available_at") <= until) for table in (trace.jobs, trace.weather) if table is not None
    ]
    return [int(table.collect().hash_rows().sum()) for table in tables]


def _updated(trace: Trace, spec: ForecastSpec, config: JobConfig, stage: Stage) -> tuple[Updated, str]:
    """The panel of a trace, and a line on what it holds."""
    settings = {
        name: value for name, value in asdict(config.source).items() if name not in {"until", "jobs", "weather"}
    }
    key = key_of(settings, trace.topology.table.write_json(), spec.past, spec.step_s)
    store = Store(Path(config.cache) / "panels" / key, config.memory_gb)
    updated = store.update(trace, spec, "source", stage.progress)
    marks: Counter[str] = Counter()
    for day in updated.days:
        marks.update(day.marks)
    aside = dict(updated.set_aside)
    if strangers := sum(day.unknown_rows for day in updated.days):
        aside["of entities that the topology lacks"] = strangers
    facts = [
        _describe(updated.panel),
        "" if updated.built == len(updated.days) else f"{updated.built or 'none'} of {len(updated.days)} days built",
        _listed("faults in steps", {fault.replace("_", " "): count for fault, count in marks.most_common()}),
        _listed("rows set aside", aside),
        _silent(updated.panel),
    ]
    stage.facts |= {
        "days": len(updated.days),
        "days_built": updated.built,
        "faults": dict(marks),
        "rows_set_aside": aside,
    }
    return updated, "; ".join(fact for fact in facts if fact)


def _listed(title: str, counts: Mapping[str, int]) -> str:
    return f"{title}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()) if counts else ""


def _silent(panel: Panel) -> str:
    """Who of the topology never reported."""
    values = panel.read(0, panel.steps)
    names = [entity for index, entity in enumerate(panel.entities) if np.isnan(values[:, index]).all()]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"never observed: {', '.join(names[:3])}{more}" if names else ""


def _describe(panel: Panel) -> str:
    days = panel.steps * panel.step_s / 86_400
    entities, steps = counted(len(panel.entities), "entity", "entities"), counted(panel.steps, "step")
    return f"{entities} × {steps} of {panel.step_s} s ({counted(round(days), 'day')})"
