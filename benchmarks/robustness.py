"""What a forecast loses where telemetry is missing, and where an entity is new.

Run as `python -m benchmarks.robustness`; writes `benchmarks/results/robustness.json`. `--range validation` prints only:
that is where settings are chosen. One model per source is asked the same windows with parts of their contexts hidden:
that of the simulated site trained as `python train.py` trains a first version, from the weights that ship, and those of
the accuracy tasks anew, as theirs are. For the cold start whole racks with their servers are kept out of training, and
asked with all of their history and with the last day of it: each rack in one of four turns, for a few of them are a few
loads, and one great rack would be the result.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.accuracy.tasks import LEVELS, TASKS, configured, load
from benchmarks.machine import record
from forecast.evaluation.metrics import Tally
from forecast.features.gridded import Floats
from forecast.models.graph import ForecastGraph
from forecast.retrain.config import JobConfig
from forecast.retrain.learn import Learner
from forecast.retrain.prepare import Prepared, prepare
from forecast.retrain.pretrained import SHIPPED
from forecast.retrain.stages import Stages

SHARES = (0.1, 0.3, 0.5)
GOAL, COLD_GOAL = 1.10, 1.15

#: Outages last from an hour to half a day, or a tenth of the context where that is short.
OUTAGE_H = (1.0, 3.0, 12.0)

#: One rack in so many is new, and each in one of as many turns.
_TURNS = 4

#: Windows asked for at most: neighbours tell the same.
_MOST = 4000


@dataclass(frozen=True, eq=False)
class Asked:
    """Windows with their truth, on the CPU: `past [M, C, L]`, `future`, `static`, `actual [M, T, H]`."""

    past: Floats
    future: torch.Tensor
    static: torch.Tensor
    actual: Floats

    @classmethod
    def of(cls, learner: Learner, entity: np.ndarray, origin: np.ndarray) -> "Asked":
        kept = np.unique(np.linspace(0, len(entity) - 1, min(len(entity), _MOST)).astype(int))
        batch = learner.windows.batch(torch.as_tensor(entity[kept]), torch.as_tensor(origin[kept]))
        return cls(batch.past.numpy(), batch.future, batch.static, batch.target.numpy())

    def wql(self, graph: ForecastGraph, past: Floats, levels: Sequence[float]) -> Floats:
        """WQL per target, `[T]`, with `past` in the place of the contexts."""
        chosen = [levels.index(level) for level in LEVELS]
        with torch.no_grad():
            parts = [
                graph(torch.from_numpy(past[rows]), self.future[rows], self.static[rows])[0][:, :, chosen].numpy()
                for rows in np.array_split(np.arange(len(past)), -(-len(past) // 256))
            ]
        tally = Tally(len(past), self.actual.shape[1], LEVELS, np.zeros(self.actual.shape[2], int))
        tally.add(np.arange(len(past)), self.actual, np.concatenate(parts))
        everyone = np.ones(len(past), bool)
        return np.array([tally.wql(everyone, target) for target in range(self.actual.shape[1])])


def scattered(past: Floats, share: float, step_s: int, random: np.random.Generator) -> Floats:
    """Single steps of all channels."""
    del step_s
    hidden = random.random((len(past), 1, past.shape[2])) < share
    return np.where(hidden, np.float32(np.nan), past)


def outages(past: Floats, share: float, step_s: int, random: np.random.Generator) -> Floats:
    """Stretches of all channels, of lengths that outages have, until the share is lost."""
    steps = past.shape[2]
    lengths = [min(max(round(hours * 3600 / step_s), 1), max(steps // 10, 1)) for hours in OUTAGE_H]
    hidden = np.zeros((len(past), steps), bool)
    for row in hidden:
        while row.sum() < share * steps:
            first = random.integers(-max(lengths) + 1, steps)
            row[max(first, 0) : max(first + random.choice(lengths), 0)] = True
    return np.where(hidden[:, None], np.float32(np.nan), past)


def sensors(past: Floats, share: float, step_s: int, random: np.random.Generator) -> Floats:
    """Outages of each channel by itself."""
    return np.stack([outages(past[:, [at]], share, step_s, random)[:, 0] for at in range(past.shape[1])], axis=1)


KINDS = {"steps one by one": scattered, "outages": outages, "outages of single sensors": sensors}


def missing(name: str, learner: Learner, asked: Asked, graph: ForecastGraph) -> list[dict[str, object]]:
    """A row per way of missing, share and target: WQL, and its ratio to that of the whole context."""
    spec = learner.windows.spec
    whole = asked.wql(graph, asked.past, spec.quantile_levels)
    rows = []
    for kind, hide in KINDS.items():
        for share in SHARES:
            past = hide(asked.past, share, spec.step_s, np.random.default_rng(0))
            rows += _rows(name, kind, share, spec.targets, asked.wql(graph, past, spec.quantile_levels), whole)
    if len(spec.past) > len(spec.targets):
        past = asked.past.copy()
        past[:, len(spec.targets) :] = np.nan
        lost = 1 - len(spec.targets) / len(spec.past)
        kind = f"no {', no '.join(spec.past[len(spec.targets) :])}"
        rows += _rows(name, kind, lost, spec.targets, asked.wql(graph, past, spec.quantile_levels), whole)
    return rows


def _rows(
    name: str, kind: str, share: float, targets: Sequence[str], found: Floats, whole: Floats
) -> list[dict[str, object]]:
    return [
        {
            "source": name, "missing": kind, "share": round(share, 2), "target": target,
            "wql": round(float(found[at]), 5), "whole": round(float(whole[at]), 5),
            "ratio": round(float(found[at] / whole[at]), 4),
        }
        for at, target in enumerate(targets)
    ]  # fmt: skip


def cold_start(config: JobConfig, prepared: Prepared, part: str) -> tuple[list[dict[str, object]], int]:
    """Rows of entities that training never saw, with all of their history and with its last day; how many they are."""
    spec, table = prepared.spec, prepared.trace.topology.table
    racks = table.filter(level="rack")["entity_id"].to_list()
    wholes, founds, sizes, entities = [], [], [], 0
    for turn in range(_TURNS):
        absent = racks[turn::_TURNS]
        new = (table["entity_id"].is_in(absent) | table["parent_id"].is_in(absent).fill_null(False)).to_numpy()
        graph, asked = _newcomers(config, prepared, part, new)
        last_day = asked.past.copy()
        last_day[:, :, : -spec.day_steps] = np.nan
        wholes.append(asked.wql(graph, asked.past, spec.quantile_levels))
        founds.append(asked.wql(graph, last_day, spec.quantile_levels))
        sizes.append(np.nansum(np.abs(asked.actual), axis=(0, 2), dtype=np.float64))
        entities += int(new.sum())
    whole, found = (np.average(each, axis=0, weights=sizes) for each in (wholes, founds))  # as if scored together
    share = 1 - spec.day_steps / spec.context_steps
    return _rows("new entities of the simulator", "all but the last day", share, spec.targets, found, whole), entities


def _newcomers(config: JobConfig, prepared: Prepared, part: str, new: np.ndarray) -> tuple[ForecastGraph, Asked]:
    """A model trained and calibrated without the entities `new [N]`, and their windows."""
    learner = Learner.of(config, prepared)
    known = torch.from_numpy(~new)
    trained = replace(
        learner,
        train=learner.train[known[learner.train[:, 0]]],
        validation=learner.validation[known[learner.validation[:, 0]]],
    )
    fitted = trained.train_model(config, lambda *_: None)
    entity, origin = _windows(learner, prepared, part)
    return trained.calibrate(fitted), Asked.of(learner, entity[new[entity]], origin[new[entity]])


def _windows(learner: Learner, prepared: Prepared, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Entities and origins of the simulator's range."""
    if part == "validation":
        pairs = learner.validation.numpy()
        return pairs[:, 0], pairs[:, 1]
    rows = [(entity, origin) for origin, entities in prepared.split.origins.items() for entity in entities]
    entity, origin = np.array(rows).T
    return entity, origin


def main() -> None:
    """Measure, print, and on the test range record."""
    chosen = _arguments()
    rows: list[dict[str, object]] = []
    for name in chosen.tasks:
        task = load(name, chosen.range)
        learner = Learner.of(task.config, task.prepared)
        fitted = learner.train_model(task.config, lambda *_: None)
        graph = learner.calibrate(fitted)
        learner.learn_last(task.config, fitted, lambda *_: None)
        rows += missing(f"task {name}", learner, Asked.of(learner, task.asked.entity, task.asked.origin), graph)
    config = configured(("source=simulator", f"training.start_from={SHIPPED}", *chosen.overrides))
    prepared = prepare(config, Stages(2))
    learner = Learner.of(config, prepared)
    fitted = learner.train_model(config, lambda *_: None)
    asked = Asked.of(learner, *_windows(learner, prepared, chosen.range))
    rows += missing("simulator", learner, asked, learner.calibrate(fitted))
    cold, entities = cold_start(config, prepared, chosen.range)
    rows += cold
    _print(rows)
    if chosen.range == "test":
        cores = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
        record("robustness", cores, _figures(rows), rows=rows, new_entities=entities)


def _figures(rows: Sequence[dict[str, object]]) -> dict[str, dict[str, object]]:
    """The worst ratio of each source and target where 30 % of the context is missing, and that of the cold start."""
    found: dict[str, dict[str, object]] = {}
    for row in rows:
        cold = row["missing"] == "all but the last day"
        if not cold and row["share"] != 0.3:
            continue
        what = "one day of history" if cold else "30 percent missing"
        name = f"{row['source']} {row['target']} {what}".replace(" ", "_")
        if name not in found or float(str(row["ratio"])) > float(str(found[name]["value"])):
            found[name] = {"value": row["ratio"], "goal": COLD_GOAL if cold else GOAL, "better": "lower"}
    return found


def _print(rows: Sequence[dict[str, object]]) -> None:
    print(f"{'source':<32}{'missing':<38}{'share':>6}  {'target':<14}{'WQL':>9}{'whole':>9}{'ratio':>8}")
    for row in rows:
        print(
            f"{row['source']:<32}{row['missing']:<38}{row['share']:>6}  {row['target']:<14}"
            f"{row['wql']:>9}{row['whole']:>9}{row['ratio']:>8}"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness", description=__doc__)
    parser.add_argument("--tasks", type=lambda text: [name for name in text.split(",") if name], default=["A", "B"])
    parser.add_argument("--range", choices=("test", "validation"), default="test")
    parser.add_argument("overrides", nargs="*", help="of the configuration, for the simulator")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.tasks if name not in TASKS]:
        parser.error(f"{unknown[0]!r} is none of {', '.join(TASKS)}")
    return chosen


if __name__ == "__main__":
    main()
