"""The simulated task: fleets that training never saw, and schedules that come late."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from smoke_run import ROOT

pytest.importorskip("lightgbm")

from benchmarks.accuracy import simulated
from forecast.contracts.tables import JOB_SCHEDULE
from forecast.simulator.config import RowConfig

ROWS = (RowConfig("hall", "h100-air", racks=2, servers_per_rack=1),)
BUSY = (RowConfig("hall", "cpu-2s", racks=1, servers_per_rack=4),)


def test_no_seed_and_no_kind_of_the_strange_fleet_is_trained_on() -> None:
    tested = {*simulated.TEST_SEEDS, simulated.STRANGE_SEED, *simulated._WRONG_SEEDS}
    assert tested.isdisjoint(simulated.TRAIN_SEEDS)
    assert len(simulated.TEST_SEEDS) == 5
    assert {row.sku for row in simulated._STRANGE} - {row.sku for row in simulated._ROWS}


def test_sites_together_keep_their_values_and_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "_SITES", tmp_path)
    sites = [simulated.site(seed, 1, ROWS) for seed in (1, 2)]
    both = simulated.together(sites)
    assert len(both.topology.entities) == sum(len(each.topology.entities) for each in sites)
    assert both.jobs["job_id"].n_unique() == sum(each.jobs["job_id"].n_unique() for each in sites)
    for each in sites:
        at = [both.panel.entities.index(entity) for entity in each.panel.entities]
        np.testing.assert_array_equal(both.panel.read(0, 288)[:, at], each.panel.read(0, 288))


def test_a_late_schedule_says_the_same_a_day_later() -> None:
    known = pl.datetime_range(pl.datetime(2026, 1, 1), pl.datetime(2026, 1, 2), "6h", eager=True)
    jobs = pl.DataFrame({"job_id": ["a"] * 5, "available_at": known})
    later = simulated.late(jobs)
    assert (later["available_at"] - known).dt.total_hours().unique().to_list() == [24]
    assert later["job_id"].to_list() == ["a"] * 5


@pytest.mark.parametrize("everything", [False, True])
def test_a_prophecy_tells_the_end_that_came_and_is_a_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything: bool
) -> None:
    monkeypatch.setattr(simulated, "_SITES", tmp_path)
    jobs = simulated.site(1, 4, BUSY).jobs
    told = simulated.prophetic(jobs, everything)
    done = jobs.filter(pl.col("status") == "done").select("job_id", "entity_id", "start_time", "end_time")
    promised = told.filter(pl.col("status") == "reserved")
    assert done.height > 0
    assert done.join(promised, on=done.columns, how="anti").is_empty()
    assert JOB_SCHEDULE.check(told.lazy(), "prophecy").collect().height == told.height
    first = jobs["available_at"].min()
    assert set(promised["available_at"] == first) == ({True} if everything else {True, False})


def test_a_wrong_schedule_and_none_at_all_are_figures_of_their_own() -> None:
    """As they are recorded, of the worlds beside them: neither hides the other."""
    recorded = json.loads((ROOT / "benchmarks" / "results" / "known_ahead.json").read_text())
    rows = {row["method"]: row for row in recorded["rows"]}
    figures = simulated._figures(rows, recorded["worlds"])
    assert set(figures) == set(recorded["figures"])
    for name in ("worst_percent_above_no_schedule_when_wrong", "percent_above_trained_without_when_none_is_told"):
        assert figures[name] == recorded["figures"][name]
    worse = simulated._figures(rows, recorded["worlds"] | {"jobs fail": {"change_percent": 7.0}})
    changed = {name for name in worse if worse[name] != figures[name]}
    assert changed == {"worst_percent_above_no_schedule_when_wrong"}
