"""The scores as tables for people, and as figures for machines."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.methods import OURS
from benchmarks.machine import cpu, record
from forecast.wording import MISSING, digits, fixed, known, percent, readable_unit, target_title, unit_of

_RESULTS = Path(__file__).parents[1] / "results"

#: What to reach, per task, target and score.
GOALS = {
    ("A", "power_w", "wql"): 0.295,
    ("A", "temperature_c", "wql"): 0.122,
    ("B", "power_w", "wql"): 0.0148,
    ("B", "power_w", "wql_first"): 0.0101,
    ("C", "temperature_c", "wql"): 0.0096,
    ("D", "power_w", "wql"): 0.0147,
    ("D", "power_w", "wql_first"): 0.0115,
}

_INTRODUCTION = """# Accuracy beside peers

Made by `make bench-accuracy`. Every method forecasts the same windows from the same panel, knows nothing from a
window's origin on, and is scored by the code that scores every run. Lower WQL is better. *Beside Fleetcast* is the 95 %
interval, by block bootstrap over time, of the method's WQL minus ours: above 0, Fleetcast is ahead. Fleetcast is the
mean of its seeds. Seconds are of this machine, {machine}; *series/s* is on one core.
"""


def write(board: dict[str, Any]) -> None:
    """Write `results/accuracy.md` and `results/accuracy.json`; other tasks keep what they had."""
    path = _RESULTS / "accuracy.json"
    before = json.loads(path.read_text())["boards"] if path.exists() else []
    now = {each["task"]: each for each in [*before, board]}
    merged = [now[name] for name in sorted(now)]
    cores = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    record("accuracy", cores, figures(merged), boards=merged)
    (_RESULTS / "accuracy.md").write_text(_INTRODUCTION.format(machine=cpu()) + "\n" + markdown(merged))


def figures(boards: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Fleetcast's scores beside their goals."""
    found = {}
    for board in boards:
        for row in board["rows"]:
            for (task, target, score), goal in GOALS.items():
                if row["method"] == OURS and (board["task"], row["target"]) == (task, target):
                    name = f"{task}_{target}_{score}"
                    found[name] = {"value": round(row[score], 5), "goal": goal, "better": "lower"}
    return found


def markdown(boards: Sequence[dict[str, Any]]) -> str:
    """A table per task and target, best first."""
    return "\n".join(_table(board, target) for board in boards for target in _targets(board))


def _targets(board: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["target"] for row in board["rows"]))


def _table(board: dict[str, Any], target: str) -> str:
    rows = sorted((row for row in board["rows"] if row["target"] == target), key=lambda row: row["wql"])
    first = f"first {board['first_min']:g} min"
    heads = ["method", "WQL", first, "beside Fleetcast", "MAE", "MASE", "80 %", "98 %", "80 % by quarter"]
    heads += ["train s", "series/s", "parameters"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *(_cells(row) for row in rows)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    title = f"## {board['task']}. {board['title']}: {target_title(target).lower()}"
    return f"{title}\n\n{board['windows']:,} windows, {board['observed']:,} steps scored.\n\n{table}"


def _cells(row: dict[str, Any]) -> list[str]:
    factor, unit = readable_unit(unit_of(row["target"]), row["mae"])
    quarters = [row[f"coverage_80_quarter_{quarter}"] for quarter in (1, 2, 3, 4)]
    name = f"{row['method']}, {row['seeds']} seeds" if row["seeds"] > 1 else row["method"]
    parameters = row["parameters"]
    return [
        f"**{name}**" if row["method"] == OURS else name,
        fixed(row["wql"], 5),
        fixed(row["wql_first"], 5),
        _difference(row),
        f"{digits(row['mae'] * factor)} {unit}".rstrip() if known(row["mae"]) else MISSING,
        fixed(row["mase"], 3),
        percent(row["coverage_80"]),
        percent(row["coverage_98"]),
        " ".join(fixed(100 * share, 0) for share in quarters),
        fixed(row["train_s"], 1),
        fixed(row["series_per_s"], 0),
        f"{parameters:,}" if parameters else MISSING,
    ]


def _difference(row: dict[str, Any]) -> str:
    if "difference" not in row:
        return MISSING
    low, high = row["difference"]
    return f"{low:+.5f} … {high:+.5f}"
