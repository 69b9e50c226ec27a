"""Forecasts for sites that training never saw, beside the best peer that was trained on them.

Run as `python -m benchmarks.zero_shot`; writes `benchmarks/results/zero_shot.md` and `.json`. `--range validation`
prints only: that is where settings are chosen. Windows, targets and scores are those of `benchmarks.accuracy`, whose
results tell the peers. Three ways of not having seen:

    entities    trained on the other entities of the same data set, in turns, so that each is forecast by a model that
                never saw it
    data sets   pretrained (`make pretrain`) on what is simulated or drawn, and on all public telemetry but the task's
    everything  the weights that ship, pretrained on what is simulated or drawn alone; with overrides, such made anew

Weights and calibration of the latter two come as they would ship: nothing is learnt from the site.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.scores import score, tally_of
from benchmarks.accuracy.tasks import LEVELS, Task, load
from benchmarks.machine import cpu, record
from forecast.contracts.version import code_version, key_of
from forecast.features.gridded import Floats
from forecast.models.graph import ForecastGraph
from forecast.retrain.learn import Learner
from forecast.retrain.pretrain import PUBLIC, pretrain
from forecast.retrain.pretrained import SHIPPED, Pretrained
from forecast.retrain.stages import Stages
from forecast.wording import percent, some_of, target_title

_RESULTS = Path(__file__).parent / "results"
_WEIGHTS = Path("var/bench/pretrained")

#: Zero-shot is to be no worse than this beside the best peer trained on the site.
GOAL = 1.05

#: The pretrained window of each task, the source that is the task's own, and in how many turns entities are left out:
#: runs of C are never seen anyhow, and the fleet of D is one entity.
TASKS = {"A": ("hourly", "biohpc", 2), "B": ("day-ahead", "google_pdu", 3), "C": ("minutes", "bmc_thermal", 0),
         "D": ("day-ahead", "azure_fleet", 0)}  # fmt: skip


def main() -> None:
    """Measure, print, and on the test range record."""
    chosen = _arguments()
    rows = [row for name in chosen.tasks for row in _rows(load(name, chosen.range), chosen)]
    text = markdown(rows)
    print(text)
    if chosen.range == "test":
        cores = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
        record("zero_shot", cores, _figures(rows), rows=rows)
        (_RESULTS / "zero_shot.md").write_text(_INTRODUCTION.format(machine=cpu()) + "\n" + text)


def _rows(task: Task, chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for way, quantiles in _answers(task, chosen):
        tally = tally_of(task, quantiles)
        for at, target in enumerate(task.history.spec.targets):
            found = score(task, tally, at)
            peer = _best_peer(task.name, target) if chosen.range == "test" else None
            yield {
                "task": task.name,
                "target": target,
                "never seen": way,
                **{name: round(found[name], 5) for name in ("wql", "wql_first", "coverage_80", "coverage_98")},
                "best_peer": peer and peer["method"],
                "best_peer_wql": peer and round(peer["wql"], 5),
                "ratio": peer and round(found["wql"] / peer["wql"], 4),
            }


def _answers(task: Task, chosen: argparse.Namespace) -> Iterator[tuple[str, Floats]]:
    """Every way of not having seen the site, and the quantiles `[M, T, Q, H]` at `LEVELS`."""
    window, own, turns = TASKS[task.name]
    if "entities" in chosen.ways and turns:
        yield "entities", _strangers(task, turns)
    others = [source for source in PUBLIC[window] if source != own]
    if "data sets" in chosen.ways and others:
        yield "data sets", _shipped(task, _weights(window, others, chosen.overrides))
    if "everything" in chosen.ways:
        yield "everything", _shipped(task, _weights(window, [], chosen.overrides) if chosen.overrides else SHIPPED)


def _strangers(task: Task, turns: int) -> Floats:
    """Each entity by a model trained and calibrated on others."""
    learner = Learner.of(task.config, task.prepared)
    entities = len(task.history.entities)
    answers: Floats | None = None
    for turn in range(turns):
        new = torch.arange(entities) % turns == turn
        kept = replace(
            Learner.of(task.config, task.prepared),
            train=learner.train[~new[learner.train[:, 0]]],
            validation=learner.validation[~new[learner.validation[:, 0]]],
        )
        fitted = kept.train_model(task.config, lambda *_: None)
        graph = kept.calibrate(fitted)
        kept.learn_last(task.config, fitted, lambda *_: None)
        found = _forecast(task, kept, graph)
        answers = found if answers is None else answers
        mine = new.numpy()[task.asked.entity]
        answers[mine] = found[mine]
    assert answers is not None
    return answers


def _shipped(task: Task, start_from: str) -> Floats:
    """Forecasts of weights as they are, with the calibration that came with them."""
    training = replace(task.config.training, start_from=start_from, steps=0)
    learner = Learner.of(replace(task.config, training=training), task.prepared)
    spec, weights = learner.windows.spec, learner.start.weights
    assert weights is not None
    return _forecast(task, learner, ForecastGraph(learner.model, weights.offsets_for(spec), spec).eval())


@torch.no_grad()
def _forecast(task: Task, learner: Learner, graph: ForecastGraph) -> Floats:
    chosen = [learner.windows.spec.quantile_levels.index(level) for level in LEVELS]
    entity, origin = torch.as_tensor(task.asked.entity), torch.as_tensor(task.asked.origin)
    parts = []
    for rows in torch.arange(len(entity)).split(256):
        batch = learner.windows.batch(entity[rows], origin[rows])
        parts.append(graph(batch.past, batch.future, batch.static)[0][:, :, chosen].numpy())
    return np.concatenate(parts)


def _weights(window: str, public: Sequence[str], overrides: Sequence[str]) -> str:
    """Where weights of the recipe lie, made once."""
    key = key_of(window, list(public), list(overrides), code_version("models", "training", "retrain", "simulator"))
    path = _WEIGHTS / f"{window}-{key}.safetensors"
    if not path.exists():
        pretrain(window, public, Stages(99), overrides).write(path)
    Pretrained.read(path)
    return str(path)


def _best_peer(task: str, target: str) -> dict[str, Any] | None:
    """The best single peer on the test range, by the record of `make bench-accuracy`."""
    boards = json.loads((_RESULTS / "accuracy.json").read_text())["boards"]
    rows = [row for board in boards if board["task"] == task for row in board["rows"] if row["target"] == target]
    peers = [row for row in rows if not row["method"].startswith(("Fleetcast", "mean of"))]
    best: dict[str, Any] | None = min(peers, key=lambda row: row["wql"], default=None)
    return best


def _figures(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        f"{row['task']}_{row['target']}_{row['never seen'].replace(' ', '_')}": {
            "value": row["ratio"],
            "goal": GOAL,
            "better": "lower",
        }
        for row in rows
        if row["ratio"] is not None
    }


_INTRODUCTION = """# Sites never seen

Made by `make bench-zero-shot`, on the windows of `make bench-accuracy`. *Never seen* are **entities** (trained on the
other ones of the same data set), **data sets** (pretrained on what is simulated or drawn, and on public telemetry but
this), or **everything** (the weights that ship, pretrained on what is simulated or drawn alone). Beside it stands the
best single peer that was trained on the site itself; a ratio of 1.05 is the goal. Machine: {machine}.
"""


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """One table."""
    heads = ["task", "target", "never seen", "WQL", "first steps", "80 %", "98 %", "best peer, trained on it", "ratio"]
    lines = [heads, ["---"] * 3 + ["---:"] * 4 + ["---", "---:"]]
    for row in rows:
        peer = "–" if row["best_peer"] is None else f"{row['best_peer']}: {row['best_peer_wql']:.5f}"
        lines.append(
            [
                row["task"],
                target_title(row["target"]).lower(),
                row["never seen"],
                f"{row['wql']:.5f}",
                f"{row['wql_first']:.5f}",
                percent(row["coverage_80"]),
                percent(row["coverage_98"]),
                peer,
                "–" if row["ratio"] is None else f"{row['ratio']:.3f}",
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zero_shot", description=__doc__)
    parser.add_argument("--tasks", type=some_of(TASKS), default=list(TASKS), help=f"of {','.join(TASKS)}")
    ways = ("entities", "data sets", "everything")
    parser.add_argument("--ways", type=some_of(ways), default=list(ways), help=f"of {','.join(ways)}")
    parser.add_argument("--range", choices=("test", "validation"), default="test")
    parser.add_argument("overrides", nargs="*", help="of the configuration, such as model=adaptive_cdf")
    return parser.parse_args()


if __name__ == "__main__":
    main()
