"""The scores as tables for people, and as figures for machines."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy.ett import published
from benchmarks.accuracy.methods import NEURAL, NOTES, OURS
from benchmarks.machine import cpu, record
from forecast.wording import MISSING, digits, fixed, known, percent, readable_unit, target_title, unit_of

_RESULTS = Path(__file__).parents[1] / "results"

#: What to reach, per task, target and score: the last table of the evaluation page.
GOALS = {
    ("A", "power_w", "wql"): 0.295,
    ("A", "temperature_c", "wql"): 0.122,
    ("B", "power_w", "wql"): 0.0148,
    ("B", "power_w", "wql_first"): 0.0101,
    ("C", "temperature_c", "wql"): 0.0096,
    ("Cb", "temperature_c", "wql"): 0.0055,
    ("D", "power_w", "wql"): 0.0147,
    ("D", "power_w", "wql_first"): 0.0115,
}

#: The same of task E: mean squared error per set, by whether the look-back is the field's 96 steps.
POINT_GOALS = {
    ("ETTh1", 96, True): 0.371,
    ("ETTh1", 96, False): 0.352,
    ("ETTm1", 96, True): 0.311,
    ("ETTm1", 96, False): 0.279,
}

_FIXED = "96"

#: How far coverage may lie from what it says, as a share: of the central 80 % and 98 %, and of 80 % per quarter.
_OFF_80, _OFF_98, _OFF_QUARTER = 0.02, 0.007, 0.05

#: A forecast's time beside that of the best network's.
_COST = 0.1

_INTRODUCTION = """# Accuracy beside peers

Made by `make bench-accuracy`. Every method forecasts the same windows from the same panel, knows nothing from a
window's origin on, and is scored by the code that scores every run. Lower WQL is better. *Beside Fleetcast* is the 95 %
interval, by block bootstrap over time, of the method's WQL minus ours: above 0, Fleetcast is ahead. Fleetcast is the
mean of its seeds. Seconds are processor time of this machine, {machine}; *series/s* is on
one core, and *cost* is a Fleetcast forecast's time over the method's. Both are taken when a method runs, and hold all
that its library does around it, such as tables and loaders. The *time of a forecast* among the goals is stricter: it is
taken in turns with the best network alone, both from arrays in memory to quantiles (`benchmarks.accuracy.cost`).
"""


@dataclass(frozen=True)
class Goal:
    """A goal, and what was reached.

    Attributes:
        name: for machines.
        title: for people.
        value: of Fleetcast.
        goal: at most this.
        places: that tell values apart.
    """

    name: str
    title: str
    value: float
    goal: float
    places: int

    @property
    def reached(self) -> bool:
        return self.value <= self.goal


def write(board: dict[str, Any]) -> None:
    """Write `results/accuracy.md` and `.json`; other tasks, and methods that were not run now, keep their rows."""
    before = _before()
    boards = {each["task"]: each for each in before["boards"]}
    boards[board["task"]] = merged(boards.get(board["task"]), board)
    _write([boards[name] for name in sorted(boards)], before["points"])


def write_costs(task: str, costs: dict[str, dict[str, float]]) -> None:
    """The same, of what Fleetcast costs beside networks."""
    before = _before()
    _write(
        [{**board, "costs": costs} if board["task"] == task else board for board in before["boards"]], before["points"]
    )


def write_points(rows: Sequence[dict[str, Any]]) -> None:
    """The same, of rows of task E."""
    before = _before()
    _write(before["boards"], points_merged(before["points"], rows))


def merged(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """A board with the rows of an earlier one of the same windows, of methods that were not run now.

    Costs beside networks were those of the Fleetcast that ran then.
    """
    if before is None or any(before[key] != now[key] for key in ("windows", "observed")):
        return now
    fresh = {row["method"] for row in now["rows"]}
    kept = [row for row in before["rows"] if row["method"] not in fresh]
    costs = {"costs": before["costs"]} if "costs" in before and OURS not in fresh else {}
    return {**now, "rows": [*kept, *now["rows"]], **costs}


def points_merged(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of task E, one per set, method, look-back and horizon."""
    rows = {_place(row): row for row in [*before, *now]}
    return [rows[place] for place in sorted(rows)]


def figures(boards: Sequence[dict[str, Any]], points: Sequence[dict[str, Any]] = ()) -> dict[str, dict[str, Any]]:
    """Fleetcast's scores beside their goals."""
    return {
        goal.name: {"value": round(goal.value, 5), "goal": goal.goal, "better": "lower"}
        for goal in [*_goals(boards), *_point_goals(points)]
    }


def goals_markdown(boards: Sequence[dict[str, Any]], points: Sequence[dict[str, Any]] = ()) -> str:
    """A row per goal: what it is, what was reached, and what was to be."""
    lines = ["| goal | Fleetcast | at most | reached |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| {goal.title} | {fixed(goal.value, goal.places)} | {fixed(goal.goal, goal.places)} | "
        f"{'yes' if goal.reached else 'no'} |"
        for goal in [*_goals(boards), *_point_goals(points)]
    ]
    return "## Goals\n\n" + "\n".join(lines) + "\n"


def _goals(boards: Sequence[dict[str, Any]]) -> list[Goal]:
    found = []
    for board in boards:
        for row in board["rows"]:
            if row["method"] == OURS:
                found += _goals_of(board, row)
    return found


def _goals_of(board: dict[str, Any], row: dict[str, Any]) -> list[Goal]:
    task, target = board["task"], row["target"]
    name, title = f"{task}_{target}", f"{task}, {target_title(target).lower()}"
    titles = {"wql": "WQL", "wql_first": f"WQL of the first {board['first_min']:g} min"}
    goals = [
        Goal(f"{name}_{score}", f"{title}: {titles[score]}", row[score], GOALS[task, target, score], 4)
        for score in titles
        if (task, target, score) in GOALS
    ]
    quarters = max(abs(row[f"coverage_80_quarter_{at}"] - 0.8) for at in (1, 2, 3, 4))
    for score, value, goal, what in (
        ("coverage_80_off", abs(row["coverage_80"] - 0.8), _OFF_80, "80 % coverage, off by"),
        ("coverage_98_off", abs(row["coverage_98"] - 0.98), _OFF_98, "98 % coverage, off by"),
        ("coverage_80_quarter_off", quarters, _OFF_QUARTER, "80 % coverage in the worst quarter, off by"),
    ):
        goals.append(Goal(f"{name}_{score}", f"{title}: {what}", value, goal, 3))
    best = _best_network(board, target)
    if best in board.get("costs", {}):
        cost = board["costs"][best]
        goals.append(Goal(f"{name}_cost", f"{title}: time of a forecast over {best}’s", cost["network"], _COST, 3))
        whole = f"{title}: over {best}’s with what its library does around it"
        goals.append(Goal(f"{name}_cost_with_library", whole, cost["library"], _COST, 3))
    return goals


def best_networks(task: str) -> set[str]:
    """Those networks that have the lowest WQL of some target, by the record."""
    boards = [board for board in _before()["boards"] if board["task"] == task]
    found = {_best_network(board, target) for board in boards for target in _targets(board)}
    return {name for name in found if name is not None}


def _best_network(board: dict[str, Any], target: str) -> str | None:
    networks = [row for row in board["rows"] if row["target"] == target and row["method"] in NEURAL]
    best = min(networks, key=lambda row: float(row["wql"]), default=None)
    return best and best["method"]


def _point_goals(points: Sequence[dict[str, Any]]) -> list[Goal]:
    """The best of ours with a free look-back may be that with the fixed one."""
    ours = [row for row in points if row["method"] == OURS]
    goals = []
    for (name, horizon, fixed_one), goal in POINT_GOALS.items():
        here = [row for row in ours if (row["set"], row["horizon"]) == (name, horizon)]
        chosen = [row for row in here if (row["look_back"] == _FIXED) == fixed_one]
        if chosen:
            words = f"look-back {_FIXED}" if fixed_one else "look-back free"
            key = f"E_{name}_{horizon}_mse_{'fixed' if fixed_one else 'free'}"
            mse = min(row["mse"] for row in chosen)
            goals.append(Goal(key, f"E, {name}, {horizon} steps, {words}: MSE", mse, goal, 3))
    return goals


def _place(row: dict[str, Any]) -> tuple[str, str, str, int]:
    return row["set"], row["method"], row["look_back"], row["horizon"]


def _before() -> dict[str, Any]:
    path = _RESULTS / "accuracy.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    return {"boards": kept.get("boards", []), "points": kept.get("points", [])}


def _write(boards: list[dict[str, Any]], points: list[dict[str, Any]]) -> None:
    cores = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    record("accuracy", cores, figures(boards, points), boards=boards, points=points)
    parts = [_INTRODUCTION.format(machine=cpu()), goals_markdown(boards, points), markdown(boards)]
    if points:
        parts.append(points_markdown(points, published()))
    (_RESULTS / "accuracy.md").write_text("\n".join(parts))


def markdown(boards: Sequence[dict[str, Any]]) -> str:
    """A table per task and target, best first."""
    return "\n".join(_table(board, target) for board in boards for target in _targets(board))


def points_markdown(rows: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]] = ()) -> str:
    """A table per set of task E, a row per method and look-back, best at the shortest horizon first.

    Args:
        rows: measured here.
        others: as published, each with its source.
    """
    everything = [*({**row, "source": "measured here"} for row in rows), *others]
    return "\n".join(_points_table(name, everything) for name in dict.fromkeys(row["set"] for row in rows))


def _points_table(name: str, rows: Sequence[dict[str, Any]]) -> str:
    here = [row for row in rows if row["set"] == name]
    horizons = sorted({row["horizon"] for row in here})
    methods: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    for row in here:
        methods.setdefault((row["method"], row["look_back"], row["source"]), {})[row["horizon"]] = row
    ordered = sorted(methods.items(), key=lambda item: [_mse(item[1].get(horizon)) for horizon in horizons])
    heads = ["method", "look-back", *(f"{horizon} steps" for horizon in horizons), "train s", "series/s", "source"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 2), "---"]]
    for (method, look_back, source), found in ordered:
        first = found.get(horizons[0], {})
        seeds = f", {first['seeds']} seeds" if first.get("seeds", 1) > 1 else ""
        cells = [f"**{method}{seeds}**" if method == OURS else method, look_back]
        cells += [_both(found.get(horizon)) for horizon in horizons]
        lines.append([*cells, fixed(first.get("train_s"), 1), fixed(first.get("series_per_s"), 0), source])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    counted = ", ".join(sorted({f"{row['windows']:,} at {row['horizon']}" for row in here if "windows" in row}))
    return (
        f"## E. {name}: mean squared and mean absolute error of z-scores\n\n"
        f"Every window of seven channels: {counted}.\n\n{table}"
    )


def _mse(row: dict[str, Any] | None) -> float:
    return float(row["mse"]) if row else float("inf")


def _both(row: dict[str, Any] | None) -> str:
    return f"{fixed(row['mse'], 3)} / {fixed(row['mae'], 3)}" if row else MISSING


def _targets(board: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["target"] for row in board["rows"]))


def _table(board: dict[str, Any], target: str) -> str:
    rows = sorted((row for row in board["rows"] if row["target"] == target), key=lambda row: row["wql"])
    first = f"first {board['first_min']:g} min"
    heads = ["method", "WQL", first, "beside Fleetcast", "MAE", "MASE", "80 %", "98 %", "80 % by quarter"]
    heads += ["train s", "series/s", "cost", "parameters"]
    ours = next((row["series_per_s"] for row in rows if row["method"] == OURS), None)
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *(_cells(row, ours) for row in rows)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    title = f"## {board['task']}. {board['title']}: {target_title(target).lower()}"
    counted = f"{board['windows']:,} windows, {board['observed']:,} steps scored."
    notes = [NOTES[board["task"]]] if board["task"] in NOTES else []
    notes += [
        f"In turns with {name}, a forecast takes {digits(cost['network'])} of its network's time, and "
        f"{digits(cost['library'])} of that with all that its library does around it."
        for name, cost in board.get("costs", {}).items()
    ]
    return f"{title}\n\n{' '.join([counted, *notes])}\n\n{table}"


def _cells(row: dict[str, Any], ours_per_s: float | None) -> list[str]:
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
        digits(row["series_per_s"] / ours_per_s) if ours_per_s and row["method"] != OURS else MISSING,
        f"{parameters:,}" if parameters else MISSING,
    ]


def _difference(row: dict[str, Any]) -> str:
    if "difference" not in row:
        return MISSING
    low, high = row["difference"]
    return f"{low:+.5f} … {high:+.5f}"
