"""The leaderboard: best first, ours marked, goals beside our figures only."""

from typing import Any

from benchmarks.accuracy.leaderboard import figures, markdown

SCORES = {"wql_first": 0.01, "mae": 1.0, "mase": 1.0, "coverage_80": 0.8, "coverage_98": 0.98}
QUARTERS = {f"coverage_80_quarter_{quarter}": 0.8 for quarter in (1, 2, 3, 4)}


def row(method: str, wql: float, **more: Any) -> dict[str, Any]:
    cost = {"train_s": 1.0, "series_per_s": 10.0, "parameters": None, "seeds": 1}
    return {"target": "power_w", "method": method, "wql": wql, **SCORES, **QUARTERS, **cost, **more}


def board(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"task": "B", "title": "PDUs", "windows": 435, "observed": 125_280, "first_min": 60.0, "rows": list(rows)}


def test_the_best_comes_first_and_ours_is_marked() -> None:
    ours = row("Fleetcast", 0.0150, seeds=3)
    text = markdown([board(row("persistence", 0.02, difference=(0.004, 0.006)), ours, row("LightGBM", 0.01))])
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0] for line in lines] == ["| LightGBM", "| **Fleetcast, 3 seeds**", "| persistence"]
    assert "+0.00400 … +0.00600" in lines[2]
    assert "435 windows, 125,280 steps" in text


def test_figures_are_ours_beside_their_goals() -> None:
    found = figures([board(row("LightGBM", 0.01), row("Fleetcast", 0.015))])
    assert found == {
        "B_power_w_wql": {"value": 0.015, "goal": 0.0148, "better": "lower"},
        "B_power_w_wql_first": {"value": 0.01, "goal": 0.0101, "better": "lower"},
    }
