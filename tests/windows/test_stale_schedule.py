"""A schedule that is no longer kept up: its jobs become unknown, in training and serving alike; its windows stay."""

from datetime import timedelta

import numpy as np
import polars as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from trees import MONDAY, node, tree_of

from forecast.contracts.specs import ForecastSpec
from forecast.features.news import News
from forecast.features.outlook import OUTLOOK_NAMES
from forecast.windows.ahead import Ahead
from forecast.windows.gather import Windows
from forecast.windows.inputs import Constants
from forecast.windows.panel import Panel

TREE = tree_of(node("a"))
TOLD = ("scheduled_power_w", *OUTLOOK_NAMES)
SPEC = ForecastSpec(3600, 8, 24, ("power_w",), ("power_w",), (0.1, 0.5, 0.9), (*TOLD, "maintenance"))
STEPS = 8 * 24
NOTHING = Panel(MONDAY, 3600, SPEC.past, TREE.entities, (np.full((1, 1, STEPS), np.nan, np.float32),))


def table(hours: int, late_h: float = 0.0, every_h: int = 2) -> pl.DataFrame:
    """Jobs of an hour each that begin every so often, until `hours` after Monday, and a window on the last day."""
    rows = []
    for begin in range(0, hours, every_h):
        job = {"job_id": f"job-{begin}", "entity_id": "a", "kind": "training", "planned_power_w": 500.0}
        for status, at, end in (("running", begin, begin + 3), ("done", begin + 1, begin + 1)):
            rows.append(job | {"status": status, "start_time": begin, "end_time": end, "available_at": at + late_h})
    window = {"job_id": "window", "entity_id": "a", "kind": "maintenance", "planned_power_w": None}
    rows.append(window | {"status": "reserved", "start_time": 0, "end_time": 9 * 24, "available_at": 0})
    times = ("start_time", "end_time", "available_at")
    told = pl.DataFrame(rows, infer_schema_length=None, strict=False)
    moments = [(MONDAY + pl.duration(minutes=60 * pl.col(name))).alias(name) for name in times]
    return told.with_columns(moments)


def told(jobs: pl.DataFrame, hour: int) -> dict[str, np.ndarray]:
    return Ahead.of(TREE, SPEC, jobs.lazy(), None).at(int(MONDAY.timestamp()) + 3600 * hour, SPEC, 1)


def test_jobs_become_unknown_once_nothing_was_heard_of_them_for_long() -> None:
    jobs = table(hours=72)  # a beginning or an end an hour, so that it is about a day
    for hour, known in ((72, True), (94, True), (96, False), (150, False)):
        found = told(jobs, hour)
        assert {name: not np.isnan(found[name]).any() for name in TOLD} == dict.fromkeys(TOLD, known), hour
        assert (found["maintenance"] == 1.0).all(), "a window is planned long before"


def test_a_schedule_that_goes_on_but_comes_two_days_late_is_not_believed() -> None:
    assert not np.isnan(told(table(hours=170), 150)["expected_power_w"]).any()
    assert np.isnan(told(table(hours=170, late_h=48.0), 150)["expected_power_w"]).all()


def test_few_jobs_tell_no_gap() -> None:
    assert not np.isnan(told(table(hours=8), 180)["expected_power_w"]).any()


def test_one_that_only_tells_what_is_to_come_is_believed() -> None:
    queued = table(hours=72).filter(status="running").with_columns(status=pl.lit("queued"))
    assert News.of(queued.lazy()).believed(np.array([0, 2**40])).all()


@given(st.integers(20, 100), st.sampled_from([0.0, 7.5, 48.0]), st.integers(1, 6))
def test_training_and_serving_doubt_at_the_same_times(hours: int, late_h: float, every_h: int) -> None:
    ahead = Ahead.of(TREE, SPEC, table(hours, late_h, every_h).lazy(), None)
    windows = Windows(NOTHING, Constants.of(TREE, (), ahead), SPEC, torch.device("cpu"))
    origin = torch.arange(0, STEPS - SPEC.horizon_steps, 7)
    future = windows.batch(torch.zeros_like(origin), origin).future.numpy()
    for at, step in enumerate(origin.tolist()):
        found = ahead.at(int(NOTHING.time(step).timestamp()), SPEC, 1)
        assert_array_equal(future[at], [found[name][0] for name in SPEC.future])


@given(st.integers(0, 150), st.integers(0, 150))
def test_what_is_heard_later_changes_no_belief(hour: int, later: int) -> None:
    jobs = table(hours=160)
    at_s = np.array([int(MONDAY.timestamp()) + 3600 * hour])
    known = jobs.filter(pl.col("available_at") <= MONDAY + timedelta(hours=hour))
    more = jobs.filter(pl.col("available_at") <= MONDAY + timedelta(hours=hour + later))
    assert News.of(known.lazy()).believed(at_s) == News.of(more.lazy()).believed(at_s)
