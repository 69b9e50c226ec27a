"""Fleetcast on a task: its own retraining job, from the committed settings, and the predictor that serves."""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

import numpy as np

from benchmarks.accuracy.cache import Result
from benchmarks.accuracy.tasks import LEVELS, Asked, Steps, Task
from forecast.adaptation import Adaptation
from forecast.bundle.load import load
from forecast.evaluation.splits import Split
from forecast.features.gridded import Floats
from forecast.predictor import Predictor
from forecast.retrain.config import JobConfig
from forecast.retrain.make import make_bundle
from forecast.retrain.novelty import run_key
from forecast.retrain.prepare import Prepared
from forecast.retrain.stages import MAKING, Stage, Stages
from forecast.windows.arrays import Inputs
from forecast.windows.inputs import Constants, inputs_at
from forecast.windows.panel import Panel

#: Stages of the job that are training.
_TRAINING = ("train", "calibrate")

#: Where a speed is told for, windows are at most so many: they fit the memory.
_TIMED = 2048


class _Timed(Stages):
    """Stages that remember their processor seconds."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[Stage]:
        begin = process_time()
        with super().__call__(name) as stage:
            yield stage
        self.seconds[name] = process_time() - begin


@dataclass(frozen=True, eq=False)
class Trained:
    """What came out of a run of the job.

    Attributes:
        predictor: of its bundle.
        train_s: processor seconds of training and calibration.
        parameters: of its model.
    """

    predictor: Predictor
    train_s: float
    parameters: int


def fleetcast(task: Task, seed: int, folder: Path) -> Result:
    """Train with `seed` if `folder` has no bundle of the same data, settings and code; forecast every window."""
    run = trained(replace(task.config, seed=seed), task.prepared, folder)
    series_per_s = speed(run.predictor, task.prepared, task.asked.origin)
    return Result(_forecast(run.predictor, task, task.asked), run.train_s, series_per_s, run.parameters)


def trained(config: JobConfig, prepared: Prepared, folder: Path) -> Trained:
    """The job's bundle, from `folder` if it was made before."""
    prepared = replace(prepared, split=_one_origin(prepared.split))
    key = run_key(config, prepared)
    run = folder / key
    if not (run / "seconds.json").exists():
        shutil.rmtree(run, ignore_errors=True)
        stages = _Timed(MAKING)
        make_bundle(config, prepared, key, run, stages)
        (run / "seconds.json").write_text(json.dumps(stages.seconds))
    seconds = json.loads((run / "seconds.json").read_text())
    predictor = Predictor(load(run / "bundle"), prepared.ahead)
    parameters = int(predictor.bundle.manifest.training["model"]["parameters"])
    return Trained(predictor, sum(seconds[name] for name in _TRAINING), parameters)


def replayed(predictor: Predictor, panel: Panel, origins: Iterable[int]) -> Iterator[tuple[int, Floats]]:
    """Forecasts as they would have been made: each origin once, in order of time, by one predictor.

    Yields:
        an origin, and the quantiles `[N, T, Q, H]` of every entity of the panel.
    """
    for origin in sorted({int(each) for each in origins}):
        yield origin, predictor.at(panel, origin).outputs.quantiles


def operated(predictor: Predictor, prepared: Prepared, origins: Iterable[int]) -> Predictor:
    """The predictor with adaptation, as it stands at the first of `origins`, in service since validation began."""
    spec, wanted = predictor.spec, sorted({int(each) for each in origins})
    state = Adaptation(spec, predictor.topology, predictor.bundle.manifest.bundle_id)
    adapting = Predictor(predictor.bundle, prepared.ahead, state)
    stride = int(np.median(np.diff(wanted))) if len(wanted) > 1 else spec.horizon_steps
    begin = max(int(prepared.split.validation.min()), spec.context_steps)
    for origin in range(begin, wanted[0], stride):
        adapting.at(prepared.panel, origin)
    return adapting


def speed(predictor: Predictor, prepared: Prepared, origins: np.ndarray) -> float:
    """Windows per second from their inputs to quantiles, asked for at once as the peers are, on one core."""
    entities = len(predictor.topology.entities)
    timed = np.unique(origins)[: max(_TIMED // entities, 1)]
    inputs = inputs_of(predictor, prepared, np.tile(np.arange(entities), len(timed)), np.repeat(timed, entities))
    predictor.bundle.session.run(inputs)
    begin = process_time()
    predictor.bundle.session.run(inputs)
    return len(inputs.past) / (process_time() - begin)


def inputs_of(predictor: Predictor, prepared: Prepared, entity: Steps, origin: Steps) -> Inputs:
    """The graph's inputs of the windows of `entity [M]` that begin at `origin [M]`, in order."""
    constants = Constants.of(predictor.topology, predictor.bundle.manifest.skus, prepared.ahead)
    whole = {int(at): inputs_at(prepared.panel, constants, predictor.spec, int(at)) for at in np.unique(origin)}
    rows = list(zip(entity, origin, strict=True))
    return Inputs(
        *(np.stack([getattr(whole[int(at)], name)[of] for of, at in rows]) for name in ("past", "future", "static"))
    )


def _one_origin(ranges: Split) -> Split:
    """The job backtests on its last origin only: all of them are scored here."""
    last = max(ranges.origins)
    return replace(ranges, origins={last: ranges.origins[last]})


def _forecast(predictor: Predictor, task: Task, asked: Asked) -> Floats:
    """Quantiles `[M, T, Q, H]` at `LEVELS`, as the predictor gives them."""
    if task.outline.shared_time is None:  # runs that were measured one after the other are nobody's service
        predictor = operated(predictor, task.prepared, asked.origin)
    spec, targets = predictor.spec, task.history.spec.targets
    told = [spec.targets.index(name) for name in targets]
    levels = [spec.quantile_levels.index(level) for level in LEVELS]
    answers = np.empty((len(asked.entity), len(targets), len(LEVELS), spec.horizon_steps), np.float32)
    for origin, quantiles in replayed(predictor, task.prepared.panel, asked.origin):
        rows = np.flatnonzero(asked.origin == origin)
        answers[rows] = quantiles[asked.entity[rows]][:, told][:, :, levels]
    return answers
