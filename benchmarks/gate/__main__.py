"""The gate's operating figures: `make bench-gate`; writes `benchmarks/results/gate.json`."""

import os
from statistics import fmean

import numpy as np

from benchmarks.gate.losses import RECORDS, Losses
from benchmarks.machine import no_arguments, record
from forecast.retrain.gate import BETTER, Row, compare
from forecast.wording import percent

#: True ratios of challenger to champion; None leaves two seeds as they are.
TRUTHS = {"3 % worse": 1.03, "equal": 1.0, "5 % better": 0.95, "another seed": None}

#: Days of the test range; a week is the default. Of a short record only those that leave stretches to draw.
DAYS = (3, 7, 14, 28)

#: Simulated retrainings of each kind.
_DRAWN = 300

#: What the share that is promoted should be: at most, or at least.
_GOALS = {"3 % worse": (0.05, "lower"), "5 % better": (0.8, "higher")}


def main() -> None:
    """Print a row per record, length of the test range and truth; record the shares that were promoted."""
    no_arguments("benchmarks.gate", __doc__)
    print("| losses | test days | challenger | promoted | better beyond chance | failed by segment, coverage, Brier |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    figures = {}
    for name in RECORDS:
        losses = Losses.read(name)
        for days in (days for days in DAYS if 1.5 * days <= losses.days):
            for truth, ratio in TRUTHS.items():
                verdicts = judged(losses, days, ratio, _DRAWN)
                print(_row(name, days, truth, verdicts), flush=True)
                goal, better = _GOALS.get(truth, (None, None))
                key = f"{name}_{days}_days_{truth}_promoted".replace(" % ", "_").replace(" ", "_")
                figures[key] = {"value": round(promoted(verdicts), 4), "goal": goal, "better": better}
    record("gate", os.cpu_count() or 1, figures, retrainings=_DRAWN)


def judged(losses: Losses, days: int, ratio: float | None, drawn: int, seed: int = 0) -> list[list[Row]]:
    """The verdicts on so many simulated retrainings."""
    random = np.random.default_rng(seed)
    return [compare(losses.retraining(random, days, ratio), BETTER) for _ in range(drawn)]


def promoted(verdicts: list[list[Row]]) -> float:
    """Share in which every rule holds."""
    return float(np.mean([all(row.passed for row in rows) for rows in verdicts]))


def _row(name: str, days: int, truth: str, verdicts: list[list[Row]]) -> str:
    failed = [{row.rule for row in rows if not row.passed} for rows in verdicts]
    rules = ", ".join(percent(fmean(rule in each for each in failed), 0) for rule in ("segment", "coverage", "brier"))
    better = percent(fmean("overall" not in each for each in failed))
    return f"| {name} | {days} | {truth} | {percent(promoted(verdicts))} | {better} | {rules} |"


if __name__ == "__main__":
    main()
