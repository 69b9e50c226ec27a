"""A season of operation in minutes: `make soak`.

A small site is simulated for sixty days in which its world changes, with every fault of telemetry. Every morning the
job runs once; then the day is forecast three times, by what is in service, by the version of the first day, and by the
newest challenger whatever the gate said of it, and scored by what was true. Writes `benchmarks/results/soak.json` and
`docs/season.png`. With `--seed` it prints only: rules are chosen on other seeds than the one that is recorded.
"""

import argparse
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machine import record
from benchmarks.soak.contest import MODELS, NEVER, SERVED, UNGATED, score
from benchmarks.soak.picture import draw
from benchmarks.soak.season import EXPECTED, Day, Season
from benchmarks.soak.world import season
from forecast.contracts.errors import ExitCode
from forecast.retrain.pretrain import composed

#: Of the season that is recorded.
SEED = 2028

#: Hourly, with a week of context, and few steps, as each run goes on from the last weights.
SETTINGS = (
    "name=soak",
    "window.step_s=3600",
    "window.context_steps=168",
    "window.horizon_steps=12",
    "training.start_from=champion",
    "training.steps=40",
    "evaluation.test_h=168",
    "evaluation.validation_h=72",
    "evaluation.origin_every_h=6",
    "log=json",
)

_OUTCOMES = {
    ExitCode.PUBLISHED: "published",
    ExitCode.NOTHING_NEW: "nothing new",
    ExitCode.REJECTED: "rejected",
    ExitCode.DATA_REFUSED: "refused",
}


def main() -> None:
    """Live through the season, print it, and record it."""
    chosen = _arguments()
    folder = Path(chosen.folder)
    shutil.rmtree(folder, ignore_errors=True)
    world = season(SEED if chosen.seed is None else chosen.seed, chosen.days)
    print(f"{'day':>3} {'date':<11}{'run':<12}{'s':>4}  {'served':>7} {'never':>7} {'ungated':>7}  event; why")
    days = Season(world, composed(*SETTINGS, *chosen.overrides), folder).live(lambda day: print(line(day), flush=True))
    found = figures(days)
    for name, figure in found.items():
        print(f"{name:<34}{figure['value']:>10}{figure.get('goal', ''):>8}")
    if chosen.seed is None and chosen.days == world.days and not chosen.overrides:
        cores = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
        record("soak", cores, found, seed=SEED, days=[_row(day) for day in days])
        draw(days, Path("docs/season.png"))


def line(day: Day) -> str:
    """One day as a line of the table."""
    outcome = _OUTCOMES.get(ExitCode(day.code), f"EXIT {day.code}")
    scores = " ".join(f"{score([day.sums[name]]):7.4f}" if name in day.sums else f"{'–':>7}" for name in MODELS)
    unserved = f"; {day.asked - day.forecasts} FORECASTS FAILED" if day.forecasts < day.asked else ""
    said = "; ".join(part for part in (day.event, day.why) if part)
    return f"{day.day:>3} {day.date:<11}{outcome:<12}{day.seconds:>4.0f}  {scores}  {said}{unserved}"


def figures(days: Sequence[Day]) -> dict[str, dict[str, Any]]:
    """What the season came to."""
    totals = {name: score([day.sums[name] for day in days if name in day.sums]) for name in MODELS}
    counts = {
        "days_without_forecasts": sum(day.forecasts == 0 for day in days),
        "forecasts_that_failed": sum(day.asked - day.forecasts for day in days),
        "unexpected_exits": sum(day.code not in EXPECTED for day in days),
    }
    return {
        **{
            f"served_over_{rival.replace(' ', '_')}": {
                "value": round(totals[SERVED] / totals[rival], 4),
                "goal": 1.0,
                "better": "lower",
            }
            for rival in (NEVER, UNGATED)
        },
        **{name: {"value": count, "goal": 0, "better": "lower"} for name, count in counts.items()},
        **{f"wql_{name.replace(' ', '_')}": {"value": round(totals[name], 5)} for name in MODELS},
        **{name: {"value": sum(day.code == code for day in days)} for code, name in _OUTCOMES.items()},
        "seconds_per_run": {"value": round(median(day.seconds for day in days), 1)},
    }


def _row(day: Day) -> dict[str, Any]:
    scores = {name: round(score([sums]), 5) for name, sums in day.sums.items()}
    return {name: value for name, value in asdict(day).items() if name != "sums"} | {"wql": scores}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seed", type=int, help=f"of the world; without it that of the record, {SEED}")
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--folder", default="var/soak", help="made anew: record, lake, registry and runs")
    parser.add_argument("overrides", nargs="*", help="of the job's configuration")
    return parser.parse_args()


if __name__ == "__main__":
    main()
