"""The outlook of jobs: how long they run by what is known of past ones, and the same bits in training and serving."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from trees import MONDAY, node, tree_of

from forecast.contracts.specs import ForecastSpec
from forecast.contracts.tables import JOB_SCHEDULE
from forecast.features.outlook import OUTLOOK_NAMES, UNSUBMITTED, outlook
from forecast.windows.ahead import Ahead
from forecast.windows.gather import Windows
from forecast.windows.inputs import Constants, inputs_at
from forecast.windows.panel import Panel
from forecast.windows.queues import Queues

TREE = tree_of(node("a", parent="rack"), node("b", parent="rack"), node("rack", "rack"))
ENTITIES = {name: index for index, name in enumerate(TREE.entities)}
#: A horizon longer than a day, in hours.
SPEC = ForecastSpec(3600, 8, 36, ("power_w",), ("power_w",), (0.1, 0.5, 0.9), ("scheduled_power_w", *OUTLOOK_NAMES))
STEPS = 30 * 24
NOTHING = Panel(
    MONDAY, SPEC.step_s, SPEC.past, TREE.entities, (np.full((1, len(ENTITIES), STEPS), np.nan, np.float32),)
)


def moment(hours: float) -> datetime:
    return MONDAY + timedelta(hours=hours)


def row(
    job: str, entity: str, status: str, known: float, start: float, end: float, power_w: float | None = 1000.0
) -> dict[str, object]:
    """Times in hours after Monday."""
    times = {"start_time": moment(start), "end_time": moment(end), "available_at": moment(known)}
    return {
        "job_id": job,
        "entity_id": entity,
        "kind": "training",
        "status": status,
        **times,
        "planned_power_w": power_w,
    }


def ran(job: str, entity: str, start: float, end: float, limit: float) -> list[dict[str, object]]:
    """A job that was believed to run to its limit until it ended."""
    return [
        row(job, entity, "running", start, start, start + limit),
        row(job, entity, "done", end, start, end),
    ]


def told(hour: int, rows: list[dict[str, object]], entity: str = "a") -> dict[str, np.ndarray]:
    """By name, what is told at an hour after Monday, `[H]`."""
    jobs = pl.LazyFrame(rows, schema=dict(JOB_SCHEDULE.required))
    constants = Constants.of(TREE, TREE.skus, Ahead.of(TREE, SPEC, jobs, None))
    future = inputs_at(NOTHING, constants, SPEC, hour).future[ENTITIES[entity]]
    return dict(zip(SPEC.future, future, strict=True))


#: Sixty jobs of one hour that had asked for two; all over by Thursday.
HASTY = [each for number in range(60) for each in ran(f"past-{number}", "b", number, number + 1, 2.0)]
NOW = 96

#: The table is kept up: it tells of an end that was a moment ago.
KEPT_UP = row("over", "rack", "done", NOW, NOW - 2, NOW)


def test_where_no_job_was_ever_seen_to_end_limits_are_believed() -> None:
    found = told(NOW, [row("job", "a", "running", 90, 90, 110)])
    assert_array_equal(found["expected_power_w"], found["scheduled_power_w"])
    assert_array_equal(found["running_power_w"], found["scheduled_power_w"])
    assert found["expected_busy_ratio"].tolist() == [1.0] * 14 + [0.0] * 22


def test_jobs_that_ended_at_half_their_limit_tell_that_the_next_will() -> None:
    found = told(NOW, [*HASTY, row("job", "a", "running", NOW, NOW, NOW + 20)])
    assert_array_equal(found["scheduled_power_w"][:20], 1000.0)
    assert_array_equal(found["expected_power_w"][:10], 1000.0)
    assert (found["expected_power_w"][12:] < 100).all()
    assert_allclose(found["expected_busy_ratio"], found["expected_power_w"] / 1000, atol=1e-5)


def test_a_job_past_the_usual_end_has_survived_it() -> None:
    found = told(NOW, [*HASTY, row("job", "a", "running", NOW - 14, NOW - 14, NOW + 6)])
    assert_array_equal(found["expected_power_w"][:6], 1000.0)


def test_who_asks_for_longer_may_use_less_of_it() -> None:
    short = [each for number in range(60) for each in ran(f"short-{number}", "b", number, number + 2, 2.0)]
    long = [each for number in range(60) for each in ran(f"long-{number}", "b", number, number + 10, 20.0)]
    found = told(NOW, [*short, *long, row("job", "a", "running", NOW, NOW, NOW + 20)])["expected_power_w"]
    assert found[9] > 900
    assert found[12] < 250
    brief = row("job", "a", "running", NOW - 1, NOW - 1, NOW + 1)
    assert told(NOW, [*short, *long, brief])["expected_power_w"][0] > 900


def test_jobs_that_still_run_tell_how_long_jobs_run() -> None:
    over = [each for number in range(10) for each in ran(f"over-{number}", "b", number, number + 5, 20.0)]
    running = [row(f"now-{number}", "b", "running", NOW - 19, NOW - 19, NOW + 1) for number in range(60)]
    job = row("job", "a", "running", NOW + 24, NOW + 24, NOW + 44)
    alone, beside = (told(NOW + 24, [*over, *more, job])["expected_power_w"] for more in ([], running))
    assert alone[8] < 500
    assert beside[8] > 800


def test_what_was_learnt_after_the_forecast_time_counts_for_nothing() -> None:
    job = row("job", "a", "running", 1, 1, 25)
    early, alone = told(2, [*HASTY, job]), told(2, [HASTY[0], HASTY[1], HASTY[2], job])
    for name in OUTLOOK_NAMES:
        assert_array_equal(early[name], alone[name])


def test_a_queued_job_moves_up_as_the_one_before_it_ends_early() -> None:
    rows = [
        *HASTY,
        row("first", "a", "running", NOW, NOW, NOW + 20),
        row("next", "a", "queued", NOW, NOW + 20, NOW + 60, 400.0),
    ]
    found = told(NOW, rows)
    assert_array_equal(found["scheduled_power_w"][:20], 1000.0)
    assert_array_equal(found["running_power_w"][:10], 1000.0)
    assert (found["running_power_w"][12:] < 100).all()
    assert (found["expected_power_w"][12:20] < 450).all()
    assert (found["expected_busy_ratio"][:28] > 0.95).all(), "one or the other runs"
    assert_allclose(found["expected_power_w"][14:28], 400.0, atol=80)
    assert (found["expected_power_w"][33:] < 80).all(), "it too will use half of its limit"


def test_a_queue_moves_up_by_what_all_before_leave() -> None:
    limits = (NOW, NOW + 10, NOW + 20, NOW + 30)
    queue = [
        row(name, "a", "queued", NOW, *limits[at : at + 2], power)
        for at, (name, power) in enumerate([("one", 100.0), ("two", 200.0), ("three", 400.0)])
    ]
    found = told(NOW, [*HASTY, KEPT_UP, *queue])["expected_power_w"]
    assert_array_equal(found[:5], 100.0)
    assert_allclose(found[[7, 12]], [200.0, 400.0], atol=60)
    assert (found[18:] < 80).all(), "three halves of ten hours"


def test_a_queued_job_behind_nobody_waits_for_its_time() -> None:
    found = told(NOW, [*HASTY, KEPT_UP, row("next", "a", "queued", NOW, NOW + 5, NOW + 60)])
    assert found["expected_power_w"][:6].tolist() == [0, 0, 0, 0, 0, 1000]
    assert found["running_power_w"].tolist() == [0] * 36


def test_a_job_on_several_servers_waits_for_the_last_of_those_before_it() -> None:
    rows = [
        *HASTY,
        row("sure", "a", "running", NOW - 14, NOW - 14, NOW + 6),
        row("hasty", "b", "running", NOW, NOW, NOW + 4),
        *(row("wide", entity, "queued", NOW, NOW + 6, NOW + 30) for entity in "ab"),
    ]
    assert_allclose(told(NOW, rows, "b")["expected_power_w"][2:6], [0, 0, 0, 0], atol=200)
    assert told(NOW, rows, "rack")["expected_power_w"][6] == 2000.0


def test_unknown_power_leaves_the_busy_share_known() -> None:
    found = told(NOW, [row("job", "a", "running", NOW, NOW, NOW + 4, None)], "rack")
    assert np.isnan(found["expected_power_w"][:4]).all()
    assert found["expected_busy_ratio"][:5].tolist() == [0.5] * 4 + [0.0]


def test_what_is_usual_is_the_mean_of_the_days_before_at_that_time() -> None:
    """From Monday 10:00 to 12:00 and Tuesday 10:00 to 11:00, seen on Thursday at 10:00: three days were known."""
    rows = [*ran("first", "a", 1, 2, 5.0), *ran("one", "a", 10, 12, 20.0), *ran("two", "a", 34, 35, 5.0)]
    found = told(72 + 10, rows, "rack")
    expected = np.zeros(36)
    expected[[0, 24]], expected[[1, 25]] = 2000 / 3, 1000 / 3
    assert_allclose(found["usual_power_w"], expected, rtol=1e-6)
    assert_allclose(found["usual_busy_ratio"], expected / 2000, rtol=1e-6)


def test_nothing_is_usual_before_a_day_was_known() -> None:
    found = told(20, ran("one", "a", 10, 12, 20.0))
    assert np.isnan(found["usual_power_w"]).all()
    assert (found["expected_power_w"] == 0).all()


def test_of_two_servers_the_one_that_is_free_first_gets_the_next_job() -> None:
    def places(rows: list[dict[str, object]]) -> list[tuple[float, float]]:
        found = (told(NOW, [*HASTY, KEPT_UP, *rows], name) for name in ("a", "b", "rack"))
        return [(each["place_ratio"][0].item(), each["free_peers_ratio"][-1].item()) for each in found]

    assert places([]) == [(0.25, 1.0), (0.75, 1.0), (0.5, 1.0)], "in the order of the topology"
    busy = row("job", "a", "running", NOW, NOW, NOW + 4)
    assert places([busy]) == [(0.75, 0.5), (0.25, 0.5), (0.5, 0.5)]
    assert places([busy, row("late", "b", "running", NOW, NOW, NOW + 3)]) == [(0.75, 0), (0.25, 0), (0.5, 0)]
    assert places([busy, row("late", "b", "queued", NOW, NOW + 3, NOW + 5)]) == [(0.25, 0), (0.75, 0), (0.5, 0)]


#: On each of ten days a job of two hours, which takes "a" while it is free, from ten o'clock on.
DAILY = [each for day in range(10) for each in ran(f"day-{day}", "a", 24 * day + 10, 24 * day + 12, 2.0)]
EVENING = 9 * 24 + 20


def test_what_came_on_the_days_before_is_expected_again_on_what_is_free_first() -> None:
    rack, a, b = (told(EVENING, DAILY, name) for name in ("rack", "a", "b"))
    expected = np.zeros(36)
    expected[14:16] = 1.0
    assert_allclose(a["unsubmitted_busy_ratio"], expected, atol=0.02)
    assert_allclose(rack["unsubmitted_power_w"], 1000 * expected, atol=20)
    assert not b["unsubmitted_busy_ratio"].any()
    busy = row("job", "a", "running", EVENING, EVENING, EVENING + 30)
    a, b = (told(EVENING, [*DAILY, busy], name)["unsubmitted_busy_ratio"] for name in "ab")
    assert_allclose(b, expected, atol=0.02)
    assert not a.any()


def test_newcomers_wait_behind_all_that_are_known() -> None:
    queue = [row(name, name, "queued", EVENING, EVENING, EVENING + 20) for name in "ab"]
    found = told(EVENING, [*DAILY, *queue], "rack")["unsubmitted_busy_ratio"]
    assert_allclose(found[:20], 0.0, atol=0.02)
    assert_allclose(found.sum(), 1.0, atol=0.02)


def test_the_same_weekday_comes_again_more_often() -> None:
    """Four weeks of jobs on Mondays from ten o'clock to noon; of 27 days that come again four are Mondays, or three."""
    mondays = [each for week in range(4) for each in ran(f"week-{week}", "a", 168 * week + 10, 168 * week + 12, 2.0)]
    first = ran("first", "b", -24, -23, 1.0)
    monday, tuesday = (told(hour, [*first, *mondays])["unsubmitted_busy_ratio"][:12].sum() for hour in (672, 696))
    assert_allclose([monday, tuesday], [2 * 12 / 35, 2 * 3 / 35], rtol=0.1)


def test_servers_that_a_service_holds_wait_for_nobody() -> None:
    """It is promised to end long before the job on the other server does."""
    service = row("service", "b", "running", -20, -100, EVENING + 5)
    busy = row("job", "a", "running", EVENING, EVENING, EVENING + 30)
    a, b = (told(EVENING, [*DAILY, service, busy], name)["unsubmitted_busy_ratio"] for name in "ab")
    assert a[30:].any()
    assert not b.any()


def test_nobody_is_expected_before_a_whole_horizon_was_known() -> None:
    found = told(40, DAILY, "a")
    assert not found["unsubmitted_power_w"].any()
    assert told(60, DAILY, "a")["unsubmitted_power_w"].any()


@pytest.mark.parametrize(("leaves", "jobs", "length_h"), [(120, 60, 2.0), (2, 1500, 0.02), (100, 1000, 1.0)])
def test_of_large_pools_and_many_jobs_a_part_stands_for_all(leaves: int, jobs: int, length_h: float) -> None:
    names = [f"leaf-{number}" for number in range(leaves)]
    tree = tree_of(*(node(name, parent="rack") for name in names), node("rack", "rack"))
    rows = []
    for day, number in product(range(3), range(jobs)):
        begin = 24 * day + 12 * number / jobs
        rows += ran(f"{day}-{number}", names[number % leaves], begin, begin + length_h, length_h)
    known = outlook(pl.LazyFrame(rows, schema=dict(JOB_SCHEDULE.required)), tree)
    now = np.array([int(moment(72).timestamp())] * (leaves + 1))
    day = replace(SPEC, horizon_steps=24)
    found = Queues(known, day).at(np.arange(leaves + 1), now)[UNSUBMITTED][1]
    rack = tree.entities.index("rack")
    assert_allclose(found[rack].sum() * leaves, jobs * length_h, rtol=0.05)
    assert_allclose(found[rack], np.delete(found, rack, axis=0).mean(0), atol=1e-9)


HOURS = st.floats(-30, 600).map(lambda hours: round(hours * 3600) / 3600)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "rack"]),
        HOURS,
        HOURS,
        st.floats(0.1, 300),
        st.one_of(st.none(), st.floats(0, 1e8)),
        st.sampled_from(["1", "2", "3", "4"]),
        st.sampled_from(["queued", "running", "running", "done", "failed"]),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.lists(st.integers(8, STEPS - 36), min_size=1, max_size=20), st.integers(0, 99))
def test_training_and_serving_know_the_same_bits(rows: list[tuple], origins: list[int], seed: int) -> None:
    table = [
        row(job, entity, status, known, start, start + length, power)
        for entity, known, start, length, power, job, status in rows
    ]
    jobs = pl.LazyFrame(table, schema=dict(JOB_SCHEDULE.required))
    constants = Constants.of(TREE, TREE.skus, Ahead.of(TREE, SPEC, jobs, None))
    windows = Windows(NOTHING, constants, SPEC, torch.device("cpu"))
    entity = torch.from_numpy(np.random.default_rng(seed).integers(0, len(ENTITIES), len(origins)))
    batch = windows.batch(entity, torch.tensor(origins)).future.numpy()
    for at, (which, origin) in enumerate(zip(entity.tolist(), origins, strict=True)):
        served = inputs_at(NOTHING, constants, SPEC, origin).future[which]
        assert_array_equal(batch[at], served)
        by_name = dict(zip(SPEC.future, served, strict=True))
        busy = by_name["expected_busy_ratio"][~np.isnan(by_name["expected_busy_ratio"])]
        assert ((busy >= 0) & (busy <= 1)).all()


def test_a_parent_expects_what_its_leaves_expect() -> None:
    rows = [*HASTY, row("x", "a", "running", NOW, NOW, NOW + 20), row("y", "b", "queued", NOW, NOW + 3, NOW + 9, 300.0)]
    found = {name: told(NOW, rows, name)["expected_power_w"] for name in ENTITIES}
    assert_allclose(found["rack"], found["a"] + found["b"], rtol=1e-6)
