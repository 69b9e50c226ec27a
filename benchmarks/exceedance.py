"""Is the probability of passing a limit kept? Brier score beside climatology and reliability, on measured data.

Limits are seldom passed on measured data, so each entity is asked for levels of load and temperature that it passed in
a tenth and in a twentieth of its training range. Run as `make bench-exceedance`; writes
`benchmarks/results/exceedance.json`. Settings are chosen with `--range validation`, which records nothing.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.accuracy.ours import fleetcast
from benchmarks.accuracy.tasks import LEVELS, Task, load
from benchmarks.machine import record
from forecast.evaluation.brier import Brier, brier
from forecast.exceedance import exceedance
from forecast.features.gridded import Floats
from forecast.wording import fixed, percent, some_of, target_title

#: Shares of the training range at which a limit is passed.
SHARES = (0.1, 0.05)

_TASKS = ("A", "B", "D")

#: A probability is kept when what comes differs from it by no more, on average: that of coverage per quarter.
_KEPT = 0.05


def main() -> None:
    """Print a row per task, target and share; on the test range record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exceedance", description=__doc__)
    parser.add_argument("--tasks", type=some_of(_TASKS), default=list(_TASKS), help=f"of {','.join(_TASKS)}")
    parser.add_argument("--range", choices=("test", "validation"), default="test")
    chosen = parser.parse_args()
    print("| task | passed in training | passed now | Brier | climatology | skill | miscalibration |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    figures = {}
    for name in chosen.tasks:
        task = load(name, chosen.range)
        result = fleetcast(task, 0, Path("var/bench/fleetcast"))
        for at, target in enumerate(task.history.spec.targets):
            for share in SHARES:
                found = scored(task, result.quantiles, at, share)
                print(_row(f"{name} {target_title(target).lower()}", share, found), flush=True)
                figures[f"{name}_{target}_{share:g}_brier_over_climatology"] = _figure(
                    found.score / found.climatology, 1.0
                )
                figures[f"{name}_{target}_{share:g}_miscalibration"] = _figure(found.miscalibration, _KEPT)
    if chosen.range == "test":
        record("exceedance", 1, figures)


def scored(task: Task, quantiles: Floats, target: int, share: float) -> Brier:
    """Brier scores of passing what each entity passed in `share` of its training range."""
    history = task.history.values[target]
    every = limits_of(history, share)
    limits = every[task.asked.entity]
    usual = np.nanmean(np.where(np.isnan(history), np.nan, history > every), axis=1)
    actual = task.actual[:, target]
    came = np.where(np.isnan(actual), np.nan, actual > limits)
    told = exceedance(quantiles[:, target], LEVELS, limits)
    return brier(told, came, usual[task.asked.entity, None])


def limits_of(history: Floats, share: float) -> Floats:
    """`[N, 1]`, what each entity passed in `share` of its history `[N, T]`."""
    limits: Floats = np.nanquantile(history, 1 - share, axis=1)[:, None]
    return limits


def _figure(value: float, goal: float) -> dict[str, float | str]:
    return {"value": round(value, 4), "goal": goal, "better": "lower"}


def _row(name: str, share: float, found: Brier) -> str:
    cells = [name, percent(share, 0), percent(found.rate)]
    cells += [fixed(value, 4) for value in (found.score, found.climatology)]
    cells += [percent(found.skill), percent(found.miscalibration)]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
