"""The leaderboard: best first, ours marked, goals beside our figures only."""

from typing import Any

from benchmarks.accuracy.ett import published
from benchmarks.accuracy.leaderboard import figures, goals_markdown, markdown, merged, points_markdown, points_merged

SCORES = {"wql_first": 0.01, "mae": 1.0, "mase": 1.0, "coverage_80": 0.8, "coverage_98": 0.98}
QUARTERS = {f"coverage_80_quarter_{quarter}": 0.8 for quarter in (1, 2, 3, 4)}


def row(method: str, wql: float, **more: Any) -> dict[str, Any]:
    cost = {"train_s": 1.0, "series_per_s": 10.0, "parameters": None, "seeds": 1}
    return {"target": "power_w", "method": method, "wql": wql, **SCORES, **QUARTERS, **cost, **more}


COSTS = {"NHITS": {"network": 0.14, "library": 0.09}, "TiDE": {"network": 0.2, "library": 0.12}}


def board(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"task": "B", "title": "PDUs", "windows": 435, "observed": 125_280, "first_min": 60.0, "rows": list(rows)}


def test_the_best_comes_first_and_ours_is_marked() -> None:
    ours = row("Fleetcast", 0.0150, seeds=3)
    text = markdown([board(row("persistence", 0.02, difference=(0.004, 0.006)), ours, row("LightGBM", 0.01))])
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0] for line in lines] == ["| LightGBM", "| **Fleetcast, 3 seeds**", "| persistence"]
    assert "+0.00400 … +0.00600" in lines[2]
    assert "435 windows, 125,280 steps" in text


def point(method: str, mse: float, **more: Any) -> dict[str, Any]:
    cost = {"train_s": 1.0, "series_per_s": 10.0, "parameters": None, "windows": 2785}
    place = {"set": "ETTh1", "method": method, "look_back": "96", "horizon": 96}
    return {**place, "mse": mse, "mae": 0.4, **cost, **more}


def test_figures_are_ours_beside_their_goals() -> None:
    ours = row("Fleetcast", 0.015, coverage_80=0.83, coverage_80_quarter_3=0.74)
    rows = [row("LightGBM", 0.01), ours, row("NHITS", 0.02), row("TiDE", 0.03)]
    found = figures([{**board(*rows), "costs": COSTS}])
    assert {name: (figure["value"], figure["goal"]) for name, figure in found.items()} == {
        "B_power_w_wql": (0.015, 0.0148),
        "B_power_w_wql_first": (0.01, 0.0101),
        "B_power_w_coverage_80_off": (0.03, 0.02),
        "B_power_w_coverage_98_off": (0.0, 0.007),
        "B_power_w_coverage_80_quarter_off": (0.06, 0.05),
        "B_power_w_cost": (0.14, 0.1),
        "B_power_w_cost_with_library": (0.09, 0.1),
    }
    assert all(figure["better"] == "lower" for figure in found.values())


def test_goals_of_task_e_tell_the_look_backs_apart() -> None:
    rows = [point("Fleetcast", 0.37), point("Fleetcast", 0.36, look_back="336"), point("least squares", 0.1)]
    found = figures([], rows)
    assert found["E_ETTh1_96_mse_fixed"]["value"] == 0.37
    assert found["E_ETTh1_96_mse_free"]["value"] == 0.36


def test_goals_say_whether_they_were_reached() -> None:
    text = goals_markdown([board(row("Fleetcast", 0.015))], [point("Fleetcast", 0.37)])
    lines = text.splitlines()
    assert "| B, load: WQL | 0.0150 | 0.0148 | no |" in lines
    assert "| B, load: WQL of the first 60 min | 0.0100 | 0.0101 | yes |" in lines
    assert "| E, ETTh1, 96 steps, look-back 96: MSE | 0.370 | 0.371 | yes |" in lines


def test_methods_that_are_not_run_keep_their_rows() -> None:
    before = board(row("Fleetcast", 0.02), row("NHITS", 0.03))
    after = merged(before, board(row("Fleetcast", 0.01)))
    assert [(each["method"], each["wql"]) for each in after["rows"]] == [("NHITS", 0.03), ("Fleetcast", 0.01)]


def test_costs_are_those_of_the_fleetcast_they_were_measured_with() -> None:
    before = {**board(row("Fleetcast", 0.02), row("NHITS", 0.03)), "costs": COSTS}
    assert merged(before, board(row("NHITS", 0.03)))["costs"] == COSTS
    again = merged(before, board(row("Fleetcast", 0.01)))
    assert "costs" not in again
    assert not any(name.endswith("cost") for name in figures([again]))


def test_other_windows_bring_no_row_along() -> None:
    before = {**board(row("NHITS", 0.03)), "windows": 434}
    assert [each["method"] for each in merged(before, board(row("Fleetcast", 0.01)))["rows"]] == ["Fleetcast"]


def test_a_cut_of_task_e_is_told_once() -> None:
    after = points_merged([point("Fleetcast", 0.4), point("last value", 1.3)], [point("Fleetcast", 0.3)])
    assert [(each["method"], each["mse"]) for each in after] == [("Fleetcast", 0.3), ("last value", 1.3)]


def test_what_others_published_stands_beside_ours() -> None:
    text = points_markdown([point("Fleetcast", 0.36), point("Fleetcast", 0.40, horizon=192)], published())
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert lines[0].startswith("| DUET | searched | 0.352 / 0.384 | 0.398 / 0.409 | 0.414 / 0.426 |")
    assert lines[2].startswith(
        "| **Fleetcast** | 96 | 0.360 / 0.400 | 0.400 / 0.400 | – | – | 1.0 | 10 | measured here |"
    )
    assert "ETTm1" not in text
