"""What the benchmark of missing telemetry hides is what its rows say."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.robustness import KINDS, _figures
from forecast.features.gridded import Floats

Hide = Callable[[Floats, float, int, np.random.Generator], Floats]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_each_way_of_missing_hides_the_share_and_changes_nothing_else(kind: str, share: float) -> None:
    past = np.random.default_rng(1).random((30, 3, 2016)).astype(np.float32)
    hide: Hide = KINDS[kind]
    left = hide(past.copy(), share, 300, np.random.default_rng(0))
    hidden = np.isnan(left)
    assert hidden.mean() == pytest.approx(share, abs=0.04)
    assert (left[~hidden] == past[~hidden]).all()
    together = (hidden == hidden[:, :1]).all()
    assert together == (kind != "outages of single sensors")


def test_outages_are_hours_long() -> None:
    past = np.zeros((20, 1, 2016), np.float32)
    hidden = np.isnan(KINDS["outages"](past, 0.3, 300, np.random.default_rng(0)))[:, 0]
    starts = (np.diff(hidden.astype(int), axis=1) == 1).sum(1)
    assert (hidden.sum(1) / np.maximum(starts, 1)).min() >= 12


def test_the_worst_way_of_missing_a_third_is_the_figure_and_the_cold_start_has_its_own_goal() -> None:
    rows = [
        {"source": "task B", "missing": "outages", "share": 0.3, "target": "power_w", "ratio": 1.02},
        {"source": "task B", "missing": "steps one by one", "share": 0.3, "target": "power_w", "ratio": 1.01},
        {"source": "task B", "missing": "outages", "share": 0.5, "target": "power_w", "ratio": 1.3},
        {"source": "new", "missing": "all but the last day", "share": 0.86, "target": "power_w", "ratio": 1.1},
    ]
    assert _figures(rows) == {
        "task_B_power_w_30_percent_missing": {"value": 1.02, "goal": 1.10, "better": "lower"},
        "new_power_w_one_day_of_history": {"value": 1.1, "goal": 1.15, "better": "lower"},
    }
