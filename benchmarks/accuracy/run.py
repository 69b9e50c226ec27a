"""Every method on every task, on the same windows, scored by the same code.

Run as `python -m benchmarks.accuracy --tasks A,B --models fleetcast,naive,lightgbm`; without arguments, all of them. On
the test range it writes `benchmarks/results/accuracy.md` and `.json`, where methods that are not run keep their rows;
`--range validation` prints only: that is where settings are chosen. Task E, which is scored otherwise, is
`benchmarks.accuracy.points`.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import ett, leaderboard, points
from benchmarks.accuracy.cache import Result, answered
from benchmarks.accuracy.methods import ENSEMBLES, NAMES, OURS, peers
from benchmarks.accuracy.ours import fleetcast
from benchmarks.accuracy.scores import interval, losses_of, score, tally_of
from benchmarks.accuracy.tasks import TASKS, Range, Task, load
from forecast.wording import some_of

_BENCH = Path("var/bench")

#: The task that `points` runs.
_POINTS = "E"


def main() -> None:
    """Run, print, and on the test range record."""
    chosen = _arguments()
    for name in chosen.tasks:
        if name == _POINTS:
            _run_points(chosen.models, chosen.range, chosen.seeds)
            continue
        task = load(name, chosen.range)
        rows = board(task, _results(task, chosen.models, chosen.seeds))
        print(leaderboard.markdown([rows]))
        if chosen.range == "test":
            leaderboard.write(rows)


def _run_points(names: list[str], part: Range, seeds: int) -> None:
    models = [name for name in points.NAMES if name in names or name not in NAMES]
    for found in ett.SETS.values():
        points.run(found, points.look_backs(found), points.HORIZONS, models, part, seeds)


def board(task: Task, results: dict[str, list[Result]]) -> dict[str, Any]:
    """A task's rows: a method and target each, with the mean over its seeds, and its difference from ours.

    Args:
        task: the windows.
        results: of every method, one per seed.
    """
    tallies = {name: [tally_of(task, result.quantiles) for result in seeds] for name, seeds in results.items()}
    rows = [
        _row(task, name, target, at, tallies, results[name])
        for at, target in enumerate(task.history.spec.targets)
        for name in results
    ]
    return {
        "task": task.name,
        "title": task.outline.title,
        "windows": len(task.asked.entity),
        "observed": int((~np.isnan(task.actual[:, 0])).sum()),
        "first_min": task.outline.first_steps * task.history.spec.step_s / 60,
        "rows": rows,
    }


def _row(task: Task, name: str, target: str, at: int, tallies: dict[str, Any], results: list[Result]) -> dict[str, Any]:
    found = [score(task, tally, at) for tally in tallies[name]]
    row: dict[str, Any] = {"target": target, "method": name, "seeds": len(found)}
    row |= {column: _mean_or_none([part[column] for part in found]) for column in found[0]}
    row["wql_by_seed"] = [part["wql"] for part in found]
    if name != OURS and OURS in tallies:
        ours, theirs = [losses_of(tally) for tally in tallies[OURS]], losses_of(tallies[name][0])
        row["difference"] = interval(task.when, task.history.spec.horizon_steps, ours, theirs, at)
    row["train_s"] = float(np.mean([result.train_s for result in results]))
    row["series_per_s"] = float(np.mean([result.series_per_s for result in results]))
    row["parameters"] = results[0].parameters
    return row


def _mean_or_none(values: list[float]) -> float | None:
    """JSON has no NaN."""
    mean = float(np.mean(values))
    return mean if math.isfinite(mean) else None


def _results(task: Task, names: list[str], seeds: int) -> dict[str, list[Result]]:
    """Every method's answers; what was asked before is found in the cache."""
    results = {}
    for name in names:
        if name == "fleetcast":
            results[OURS] = [fleetcast(task, seed, _BENCH / "fleetcast") for seed in range(seeds)]
        else:
            for make in peers(task.name, name):
                peer = make()
                results[peer.name] = [answered(peer, task.history, task.asked, _BENCH / "peers")]
    together = ENSEMBLES[task.name]
    if all(name in results for name in together):
        results[f"mean of {', '.join(together)}"] = [_mean([results[name][0] for name in together])]
    return results


def _mean(results: list[Result]) -> Result:
    """The mean of the quantiles, at the cost of all."""
    return Result(
        np.mean([result.quantiles for result in results], axis=0),
        sum(result.train_s for result in results),
        1 / sum(1 / result.series_per_s for result in results),
        sum(result.parameters or 0 for result in results),
    )


def _arguments() -> argparse.Namespace:
    tasks = [*TASKS, _POINTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--tasks", type=some_of(tasks), default=tasks, help=f"of {','.join(tasks)}")
    parser.add_argument("--models", type=some_of(NAMES), default=list(NAMES), help=f"of {','.join(NAMES)}")
    parser.add_argument("--range", choices=("test", "validation"), default="test")
    parser.add_argument("--seeds", type=int, default=3, help="of Fleetcast")
    return parser.parse_args()
