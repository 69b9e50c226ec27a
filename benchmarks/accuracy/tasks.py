"""The tasks: measured data, the windows they are scored on, and what a method may know of them.

A method never sees the panel. It learns from a `History`, which is NaN from the end of each entity's range on, and is
`Asked` with contexts that end at the origin: what comes later is not there to be looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.accuracy import bmc
from forecast.contracts.specs import CALENDAR, ForecastSpec
from forecast.evaluation.splits import EvaluationConfig, Split
from forecast.features.gridded import Floats
from forecast.retrain.config import JobConfig
from forecast.retrain.prepare import Prepared, prepare
from forecast.retrain.pretrain import composed
from forecast.retrain.stages import Stages
from forecast.windows.panel import Panel

Steps = NDArray[np.int64]
Range = Literal["validation", "test"]

#: What every method is asked for: the deciles that WQL averages over, and the ends of the 98 % interval.
LEVELS = (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)

_BMC = Path("../shared/data/bmc_thermal/bmc_sensors.parquet")


@dataclass(frozen=True)
class Outline:
    """What a task is made of.

    Attributes:
        title: for people.
        settings: overrides of the committed configuration: those of `python train.py`.
        past: signals that any method may look at; the targets come first.
        targets: how many of them are forecast.
        context_steps: steps that peers may look back; Fleetcast has its own, and no more.
        first_steps: the first steps of the horizon, scored by themselves too.
        seasons_h: of the methods that have a season, in hours, the shortest first.
        shared_time: entities whose names agree before this text were measured together, others at times of their own;
            None where the panel's clock is everybody's.
        told: those of `past` whose future is told too.
    """

    title: str
    settings: tuple[str, ...]
    past: tuple[str, ...]
    targets: int
    context_steps: int
    first_steps: int
    seasons_h: tuple[int, ...]
    shared_time: str | None = None
    told: tuple[str, ...] = ()


TASKS = {
    "A": Outline(
        title="BioHPC: four GPU servers, hourly, 48 h ahead",
        settings=("source=biohpc",),
        past=("power_w", "temperature_c", "utilization_ratio"),
        targets=2,
        context_steps=336,
        first_steps=1,
        seasons_h=(24,),
    ),
    "B": Outline(
        title="Google: three PDUs, 5 min, 24 h ahead",
        settings=("source=google_pdu",),
        past=("power_w",),
        targets=1,
        context_steps=2016,
        first_steps=12,
        seasons_h=(24, 168),
    ),
    "C": Outline(
        title="BMC: CPU temperatures of runs never seen, 15 s, 10 min ahead",
        settings=("source=bmc_thermal",),
        past=("temperature_c", "power_w", "inlet_c"),
        targets=1,
        context_steps=40,
        first_steps=4,
        seasons_h=(),
        shared_time="-cpu",
    ),
    "Cb": Outline(
        title="BMC, told the power and fan speeds that come",
        settings=("source=bmc_thermal_told",),
        past=("temperature_c", "power_w", "inlet_c", "fan_speed_rpm"),
        targets=1,
        context_steps=40,
        first_steps=4,
        seasons_h=(),
        shared_time="-cpu",
        told=("power_w", "fan_speed_rpm"),
    ),
    "D": Outline(
        title="Azure: CPU use of a fleet, 5 min, 24 h ahead",
        settings=("source=azure_fleet",),
        past=("power_w",),
        targets=1,
        context_steps=2016,
        first_steps=12,
        seasons_h=(24, 168),
    ),
}


@dataclass(frozen=True, eq=False)
class History:
    """What a method may learn from.

    Attributes:
        values: `[C, N, T]`, channels in the order of `spec.past`; NaN where not observed, and from `end` on.
        end: `[N]`, the first step that is not to be learnt from.
        start: start of the first step, UTC.
        clock_offset_h: local time minus UTC.
        spec: what is looked at and what is forecast, as the task says it, whatever Fleetcast looks at.
        entities: names along the second axis.
        seasons_h: seasons of the task.
        told: channels whose future is told with each window.
    """

    values: Floats
    end: Steps
    start: datetime
    clock_offset_h: float
    spec: ForecastSpec
    entities: tuple[str, ...]
    seasons_h: tuple[int, ...]
    told: tuple[int, ...] = ()

    def contexts(self, entity: Steps, origin: Steps, length: int) -> Floats:
        """`[M, C, length]`: what was observed before each origin; NaN before the beginning."""
        return contexts(self.values, entity, origin, length)

    def told_from(self, entity: Steps, origin: Steps) -> Floats:
        """`[M, K, H]`: what is told of the horizon that begins at each origin."""
        horizon = self.spec.horizon_steps
        return contexts(self.values[list(self.told)], entity, origin + horizon, horizon)


@dataclass(frozen=True, eq=False)
class Asked:
    """The windows that are to be forecast.

    Attributes:
        entity: `[M]`, index into the history's entities.
        origin: `[M]`, the first step of the forecast.
        past: `[M, C, L]`, the context; nothing from the origin on.
        told: `[M, K, H]`, of the horizon, in the order of the history's `told`; K is 0 in most tasks.
    """

    entity: Steps
    origin: Steps
    past: Floats
    told: Floats


@dataclass(frozen=True, eq=False)
class Task:
    """A task, ready to be run.

    Attributes:
        name: the letter.
        config: of Fleetcast's job.
        prepared: panel, ranges and topology, as the job prepares them.
        history, asked: what methods are given.
        actual: `[M, T, H]`, what came; NaN where not observed.
        when: `[M]`, in steps: what happened at the same time has the same, and neighbours in time follow each other.
    """

    name: str
    outline: Outline
    config: JobConfig
    prepared: Prepared
    history: History
    asked: Asked
    actual: Floats
    when: Steps


def load(name: str, part: Range) -> Task:
    """Read a task's data and cut its windows.

    Raises:
        ConfigError, DataError: as the retraining job would.
    """
    outline = TASKS[name]
    if name in {"C", "Cb"}:
        bmc.write(_BMC, Path("var/bench/bmc"))
    # What is scored is not learnt from.
    config = configured(outline.settings if part == "test" else (*outline.settings, "training.last_share=0"))
    prepared = prepare(config, Stages(2))
    return task_of(name, outline, config, prepared, part)


def task_of(name: str, outline: Outline, config: JobConfig, prepared: Prepared, part: Range) -> Task:
    """The same, from data that is prepared."""
    panel, ranges = prepared.panel, prepared.split
    spec = _told(outline, prepared.spec)
    end = ranges.test if part == "test" else ranges.validation
    pairs = _tested(ranges.origins) if part == "test" else _validated(panel, spec, config.evaluation, ranges)
    values = panel.read(0, panel.steps)[[panel.channels.index(name) for name in spec.past]]
    targets = values[: len(spec.targets)]
    entity, origin = pairs.T
    history = History(
        values=np.where(np.arange(panel.steps) < end[:, None], values, np.float32(np.nan)),
        end=end,
        start=panel.start,
        clock_offset_h=_clock_offset_h(prepared),
        spec=spec,
        entities=panel.entities,
        seasons_h=outline.seasons_h,
        told=tuple(spec.past.index(name) for name in outline.told),
    )
    past = contexts(values, entity, origin, spec.context_steps)
    told = contexts(values[list(history.told)], entity, origin + spec.horizon_steps, spec.horizon_steps)
    actual = contexts(targets, entity, origin + spec.horizon_steps, spec.horizon_steps)
    actual[np.isnan(past[:, : len(spec.targets)]).all(-1)] = np.nan  # as the backtest: no context, no forecast
    when = origin + _groups(panel.entities, outline.shared_time)[entity] * (panel.steps + spec.horizon_steps)
    return Task(name, outline, config, prepared, history, Asked(entity, origin, past, told), actual, when)


def _told(outline: Outline, ours: ForecastSpec) -> ForecastSpec:
    """What the task is told, with nothing in it that a change of Fleetcast's own settings could change."""
    return ForecastSpec(
        step_s=ours.step_s,
        context_steps=outline.context_steps,
        horizon_steps=ours.horizon_steps,
        targets=outline.past[: outline.targets],
        past=outline.past,
        quantile_levels=LEVELS,
        future=CALENDAR,
    )


def configured(settings: Sequence[str]) -> JobConfig:
    """The configuration of `python train.py SETTINGS`; sources of the benchmark lie beside it."""
    return composed(*settings, "registry.publish=false")


def contexts(values: Floats, entity: Steps, origin: Steps, length: int) -> Floats:
    """Steps `[origin - length, origin)` of `values [C, N, T]`, as `[M, C, length]`; NaN outside."""
    front = max(length - int(origin.min(initial=length)), 0)
    back = max(int(origin.max(initial=0)) - values.shape[2], 0)
    padded = np.pad(values, ((0, 0), (0, 0), (front, back)), constant_values=np.nan)
    runs = np.lib.stride_tricks.sliding_window_view(padded, length, axis=2)
    taken: Floats = np.ascontiguousarray(runs[:, entity, origin - length + front].transpose(1, 0, 2))
    return taken


def _tested(origins: dict[int, Steps]) -> Steps:
    """`[M, 2]` pairs of entity and origin, in order of time."""
    return np.array([(entity, origin) for origin, entities in sorted(origins.items()) for entity in sorted(entities)])


def _validated(panel: Panel, spec: ForecastSpec, config: EvaluationConfig, ranges: Split) -> Steps:
    """The pairs of the validation range: those of the file of origins, or hourly."""
    if config.origins is None:
        stride = max(round(config.origin_every_h * 3600 / panel.step_s), 1)
        every = range(int(ranges.validation[0]), int(ranges.test[0]) - spec.horizon_steps + 1, stride)
        return np.array([(entity, origin) for origin in every for entity in range(len(panel.entities))])
    code = {entity: index for index, entity in enumerate(panel.entities)}
    table = pl.read_csv(config.origins).filter(split="val")
    local = pl.col("forecast_time_local").str.to_datetime().dt.replace_time_zone(config.origins_time_zone)
    rows = table.select("entity_id", time=local.dt.convert_time_zone("UTC")).iter_rows()
    pairs = [(panel.step(time), code[entity]) for entity, time in rows]
    return np.array([(entity, origin) for origin, entity in sorted(pairs)])


def _groups(entities: Sequence[str], shared_time: str | None) -> Steps:
    """Per entity, the number of those that were measured together with it."""
    if shared_time is None:
        return np.zeros(len(entities), np.int64)
    names = [entity.split(shared_time)[0] for entity in entities]
    return np.array([sorted(set(names)).index(name) for name in names])


def _clock_offset_h(prepared: Prepared) -> float:
    """Local time minus UTC at the start of the panel: what hand-made calendars are made of."""
    zone = prepared.trace.topology.table["time_zone"][0]
    local = pl.Series([prepared.panel.start]).dt.convert_time_zone(zone).dt.replace_time_zone(None)[0]
    return float((local - prepared.panel.start.replace(tzinfo=None)) / timedelta(hours=1))
