"""Fleetcast on a task: its own retraining job, from the committed settings, and the predictor that serves."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.accuracy.cache import Result
from benchmarks.accuracy.tasks import LEVELS, Asked, Task
from forecast.bundle.load import load
from forecast.evaluation.splits import Split
from forecast.features.gridded import Floats
from forecast.predictor import Predictor
from forecast.retrain.job import run_key
from forecast.retrain.make import STAGES, make_bundle
from forecast.retrain.stages import Stage, Stages
from forecast.windows.inputs import Constants, Inputs, inputs_at

#: Stages of the job that are training.
_TRAINING = ("train", "calibrate")


class _Timed(Stages):
    """Stages that remember their seconds."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[Stage]:
        begin = perf_counter()
        with super().__call__(name) as stage:
            yield stage
        self.seconds[name] = perf_counter() - begin


def fleetcast(task: Task, seed: int, folder: Path) -> Result:
    """Train with `seed` if `folder` has no bundle of the same data, settings and code; forecast every window."""
    config = replace(task.config, seed=seed)
    prepared = replace(task.prepared, split=_one_origin(task.prepared.split))
    key = run_key(config, prepared)
    run = folder / key
    if not (run / "seconds.json").exists():
        shutil.rmtree(run, ignore_errors=True)
        stages = _Timed(STAGES)
        make_bundle(config, prepared, key, run, stages)
        (run / "seconds.json").write_text(json.dumps(stages.seconds))
    seconds = json.loads((run / "seconds.json").read_text())
    predictor = Predictor(load(run / "bundle"), prepared.ahead)
    parameters = int(predictor.bundle.manifest.training["model"]["parameters"])
    train_s = sum(seconds[name] for name in _TRAINING)
    return Result(_forecast(predictor, task, task.asked), train_s, _series_per_s(predictor, task), parameters)


def _one_origin(ranges: Split) -> Split:
    """The job backtests on its last origin only: all of them are scored here."""
    last = max(ranges.origins)
    return replace(ranges, origins={last: ranges.origins[last]})


def _forecast(predictor: Predictor, task: Task, asked: Asked) -> Floats:
    """Quantiles `[M, T, Q, H]` at `LEVELS`, as the predictor gives them."""
    spec, panel, targets = predictor.spec, task.prepared.panel, task.history.spec.targets
    levels = [spec.quantile_levels.index(level) for level in LEVELS]
    chosen = np.ix_([spec.targets.index(name) for name in targets], levels)
    answers = np.empty((len(asked.entity), len(targets), len(LEVELS), spec.horizon_steps), np.float32)
    for origin in np.unique(asked.origin):
        rows = np.flatnonzero(asked.origin == origin)
        answers[rows] = predictor.at(panel, int(origin)).outputs.quantiles[asked.entity[rows]][:, *chosen]
    return answers


def _series_per_s(predictor: Predictor, task: Task) -> float:
    """Windows per second from their inputs to quantiles, asked for at once as the peers are, on one core."""
    constants = Constants.of(predictor.topology, predictor.bundle.manifest.skus, task.prepared.ahead)
    made = [inputs_at(task.prepared.panel, constants, predictor.spec, int(at)) for at in np.unique(task.asked.origin)]
    inputs = Inputs(*(np.concatenate([getattr(part, name) for part in made]) for name in ("past", "future", "static")))
    predictor.bundle.session.run(inputs)
    begin = perf_counter()
    predictor.bundle.session.run(inputs)
    return len(inputs.past) / (perf_counter() - begin)
