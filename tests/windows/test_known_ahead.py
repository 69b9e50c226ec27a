"""Known ahead: as of the forecast time, the same on the device as when serving, and nothing that came later."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from trees import MONDAY, node, tree_of

from forecast.contracts.specs import FUTURE, ForecastSpec
from forecast.contracts.tables import JOB_SCHEDULE, WEATHER
from forecast.windows.ahead import Ahead
from forecast.windows.gather import Windows
from forecast.windows.inputs import Constants, inputs_at
from forecast.windows.panel import Panel

TREE = tree_of(
    node("a1", parent="rack-a", site="north", time_zone="America/New_York"),
    node("a2", parent="rack-a", site="north", time_zone="America/New_York"),
    node("b1", parent="rack-b", site="north", time_zone="America/New_York"),
    node("far", site="south", time_zone="Etc/GMT+5"),
    node("rack-a", "rack", "hall", site="north", time_zone="America/New_York"),
    node("rack-b", "rack", "hall", site="north", time_zone="America/New_York"),
    node("hall", "hall", site="north", time_zone="America/New_York"),
)
SPEC = ForecastSpec(
    step_s=900,
    context_steps=8,
    horizon_steps=24,
    targets=("power_w",),
    past=("power_w",),
    quantile_levels=(0.1, 0.5, 0.9),
    future=tuple(reversed(FUTURE)),
)
STEPS = 4 * 24 * 4
ENTITIES = {name: index for index, name in enumerate(TREE.entities)}
NOTHING = Panel(
    MONDAY, SPEC.step_s, SPEC.past, TREE.entities, (np.full((1, len(ENTITIES), STEPS), np.nan, np.float32),)
)


def moment(hours: float) -> datetime:
    return MONDAY + timedelta(hours=hours)


def job(
    entity: str, known: float, start: float, end: float, power_w: float | None = 1000.0, **fields: str
) -> dict[str, object]:
    """A row of the schedule; times in hours after Monday."""
    usual = {"job_id": "job", "kind": "batch", "status": "queued"}
    times = {"start_time": moment(start), "end_time": moment(end), "available_at": moment(known)}
    return {**usual, "entity_id": entity, **times, "planned_power_w": power_w, **fields}


def jobs_of(*rows: dict[str, object]) -> pl.LazyFrame:
    return pl.LazyFrame(list(rows), schema=dict(JOB_SCHEDULE.required))


def said(issue: float, delay: float, values: dict[float, float], site: str = "north") -> list[dict[str, object]]:
    """One issue of the weather: hour to temperature; the wet bulb lies 3 K below."""
    times = {"issue_time": moment(issue), "available_at": moment(issue + delay)}
    return [
        {"site": site, **times, "valid_time": moment(hour), "outdoor_c": value, "wet_bulb_c": value - 3}
        for hour, value in values.items()
    ]


def weather_of(*issues: list[dict[str, object]]) -> pl.LazyFrame:
    return pl.LazyFrame([row for issue in issues for row in issue], schema=dict(WEATHER.required))


def told(hour: float, jobs: pl.LazyFrame | None = None, weather: pl.LazyFrame | None = None) -> np.ndarray:
    """Inputs known ahead at so many hours after Monday, `[N, F, H]`."""
    constants = Constants.of(TREE, TREE.skus, Ahead.of(TREE, SPEC, jobs, weather))
    return inputs_at(NOTHING, constants, SPEC, int(hour * 4)).future


def scheduled(
    hour: float, *rows: dict[str, object], entity: str = "a1", name: str = "scheduled_power_w"
) -> list[float]:
    """A covariate by hour after `hour` (six of them), each the mean of its four steps."""
    values = told(hour, jobs_of(*rows))[ENTITIES[entity], SPEC.future.index(name)]
    return [float(value) for value in values.reshape(6, 4).mean(axis=1)]


def test_a_job_counts_from_its_start_to_its_promised_end_by_overlap() -> None:
    assert scheduled(10, job("a1", 9, 11, 13.5)) == [0, 1000, 1000, 500, 0, 0]
    steps = told(10, jobs_of(job("a1", 9, 11.1, 11.2)))[ENTITIES["a1"], SPEC.future.index("scheduled_power_w")]
    assert steps[4] == pytest.approx(1000 * 0.1 / 0.25, rel=1e-6)
    assert steps.sum() == steps[4]


def test_what_is_not_yet_known_counts_for_nothing() -> None:
    row = job("a1", 10, 11, 13)
    assert scheduled(9.75, job("a1", 1, 2, 3), row) == [0] * 6
    assert scheduled(10, job("a1", 1, 2, 3), row) == [0, 1000, 1000, 0, 0, 0]


def test_before_anything_was_known_the_schedule_is_unknown_and_not_empty() -> None:
    assert np.isnan(scheduled(9.75, job("a1", 10, 11, 13))).all()
    assert np.isnan(scheduled(9.75, job("a1", 10, 11, 13), name="maintenance")).all()
    assert np.isnan(told(10)[:, SPEC.future.index("scheduled_power_w")]).all()


@pytest.mark.parametrize("status", ["done", "failed", "cancelled", "timeout"])
def test_a_job_that_ended_early_leaves_no_promise(status: str) -> None:
    rows = job("a1", 9, 9.5, 14), job("a1", 11, 9.5, 11, status=status)
    assert scheduled(10, *rows) == [1000, 1000, 1000, 1000, 0, 0], "at 10 it was still believed"
    assert scheduled(11, *rows) == [0] * 6


def test_a_late_start_supersedes_the_promised_one() -> None:
    rows = job("a1", 9, 10, 12), job("a1", 10.5, 13, 15)
    assert scheduled(10, *rows) == [1000, 1000, 0, 0, 0, 0]
    assert scheduled(10.5, *rows)[:5] == [0, 0, 500, 1000, 500]


def test_a_restart_after_a_failure_is_a_promise_again() -> None:
    rows = job("a1", 9, 9, 15, status="running"), job("a1", 11, 9, 11, status="failed"), job("a1", 11.1, 12, 15)
    assert scheduled(11, *rows) == [0] * 6
    assert scheduled(11.25, *rows) == [250, 1000, 1000, 750, 0, 0]
    assert scheduled(12, *rows) == [1000, 1000, 1000, 0, 0, 0]


def test_the_time_limit_is_believed_until_the_true_end_is_known() -> None:
    rows = job("a1", 9, 9, 15, status="running"), job("a1", 12.25, 9, 12.2, status="done")
    assert scheduled(12, *rows) == [1000, 1000, 1000, 0, 0, 0]
    assert scheduled(12.25, *rows) == [0] * 6


def test_of_two_rows_in_one_second_the_later_counts() -> None:
    early, late = job("a1", 9, 10, 12), job("a1", 9, 10, 11)
    early["available_at"] = moment(9) - timedelta(microseconds=900)
    late["available_at"] = moment(9) - timedelta(microseconds=100)
    assert scheduled(9, late, early)[:3] == [0, 1000, 0]


def test_a_row_that_comes_within_the_second_after_is_not_known() -> None:
    row = job("a1", 10, 10, 12)
    row["available_at"] = moment(10) + timedelta(microseconds=1)
    assert scheduled(10, job("a1", 1, 1, 2, job_id="old"), row) == [0] * 6


def test_a_job_counts_once_for_everything_above_it() -> None:
    rows = job("a1", 1, 2, 20), job("a2", 1, 2, 20, 500.0), job("b1", 1, 2, 20, 250.0, job_id="other")
    found = {entity: scheduled(4, *rows, entity=entity)[0] for entity in ENTITIES}
    expected = {"a1": 1000, "a2": 500, "b1": 250, "far": 0, "rack-a": 1500, "rack-b": 250, "hall": 1750}
    assert found == expected


def test_a_job_of_unknown_power_makes_the_sum_unknown_while_it_runs() -> None:
    rows = job("a1", 1, 2, 6, None), job("a2", 1, 2, 20)
    assert np.isnan(scheduled(4, *rows)[:2]).all()
    assert scheduled(4, *rows)[2:] == [0] * 4
    assert np.isnan(scheduled(4, *rows, entity="rack-a")[:2]).all()
    assert scheduled(4, *rows, entity="rack-a")[2:] == [1000] * 4


def test_maintenance_covers_what_is_below_and_a_share_of_what_is_above() -> None:
    window = job("rack-a", 1, 5, 7, None, kind="maintenance", status="reserved")
    again = job("a1", 1, 5, 7, kind="maintenance", job_id="again")
    shares = {entity: scheduled(4, window, entity=entity, name="maintenance")[1] for entity in ENTITIES}
    expected = {"a1": 1, "a2": 1, "b1": 0, "far": 0, "rack-a": 1, "rack-b": 0, "hall": 2 / 3}
    assert shares == pytest.approx(expected)
    assert scheduled(4, window, entity="hall", name="maintenance") == pytest.approx([0, 2 / 3, 2 / 3, 0, 0, 0])
    assert scheduled(4, window, again, entity="a1", name="maintenance") == [0, 1, 1, 0, 0, 0]
    assert scheduled(4, window) == [0] * 6, "a window is no load"


def test_a_plan_may_impose_a_fan_speed_beside_its_power_or_alone() -> None:
    rows = [job("a1", 9, 10, 12, kind="plan"), job("a2", 9, 10, 12, None, kind="plan"), job("a1", 9, 10, 14)]
    jobs = jobs_of(*rows).with_columns(planned_fan_speed_rpm=pl.Series([2500.5, 4000.0, 9000.0]))
    values = told(10, jobs)
    fan, power = (values[:, SPEC.future.index(name)] for name in ("planned_fan_speed_rpm", "planned_power_w"))
    assert_array_equal(fan[ENTITIES["a1"]], [2500.5] * 8 + [np.nan] * 16)
    assert_array_equal(fan[ENTITIES["a2"]], [4000.0] * 8 + [np.nan] * 16)
    assert_array_equal(power[ENTITIES["a1"]], [1000.0] * 8 + [np.nan] * 16)
    assert np.isnan(power[ENTITIES["a2"]]).all()
    assert np.isnan(fan[[ENTITIES["b1"], ENTITIES["rack-a"]]]).all()


@pytest.mark.parametrize(("kind", "name"), [("plan", "planned_power_w"), ("cap", "power_cap_w")])
def test_plans_and_caps_stand_where_they_are_imposed_and_are_unknown_elsewhere(kind: str, name: str) -> None:
    rows = job("rack-a", 1, 5, 6, 800.0, kind=kind), job("rack-a", 1, 6, 7, 600.0, kind=kind, job_id="next")
    assert scheduled(4, *rows, entity="rack-a", name=name)[1:3] == [800, 600]
    assert np.isnan(scheduled(4, *rows, entity="rack-a", name=name)[3:]).all()
    assert np.isnan(scheduled(4, *rows, entity="hall", name=name)).all()
    assert scheduled(4, *rows, entity="rack-a") == [0] * 6


def outdoor(hour: float, *issues: list[dict[str, object]], entity: str = "a1") -> np.ndarray:
    return told(hour, weather=weather_of(*issues))[ENTITIES[entity], SPEC.future.index("outdoor_c")]


def test_weather_lies_on_a_line_between_hours_at_the_middle_of_each_step() -> None:
    found = outdoor(10, said(6, 4, {hour: hour * 2.0 for hour in range(7, 30)}))
    assert found == pytest.approx([2 * (10 + (step + 0.5) / 4) for step in range(24)])


def test_a_forecast_counts_when_it_has_arrived() -> None:
    first, second = (
        said(issue, 4, dict.fromkeys(range(issue + 1, issue + 40), value)) for issue, value in ((0, 10.0), (6, 20.0))
    )
    assert outdoor(9.75, first, second) == pytest.approx(10)
    assert outdoor(10, first, second) == pytest.approx(20)


def test_a_forecast_that_never_came_leaves_the_older_ones_horizon_and_nothing_beyond() -> None:
    found = outdoor(10, said(0, 4, dict.fromkeys(range(1, 13), 10.0)))
    assert found[:8] == pytest.approx(10)
    assert np.isnan(found[8:]).all()


def test_an_older_forecast_that_comes_late_changes_nothing() -> None:
    newer = said(6, 1, dict.fromkeys(range(7, 30), 20.0))
    older = said(0, 9, dict.fromkeys(range(1, 30), 10.0))
    assert outdoor(8, newer, older) == pytest.approx(20)
    assert outdoor(12, newer, older) == pytest.approx(20)


def test_three_hourly_forecasts_are_joined_by_lines_and_far_ones_are_not() -> None:
    found = outdoor(10, said(0, 4, {9: 9.0, 12: 12.0, 15: 15.0, 22: 22.0}))
    assert found[:20] == pytest.approx([10 + (step + 0.5) / 4 for step in range(20)])
    assert np.isnan(found[20:]).all()


def test_a_site_has_its_own_weather() -> None:
    north = said(6, 1, dict.fromkeys(range(7, 30), 20.0))
    assert np.isnan(outdoor(8, north, entity="far")).all()
    both = outdoor(8, north, said(6, 1, dict.fromkeys(range(7, 30), -5.0), "south"), entity="far")
    assert both == pytest.approx(-5)


def test_holidays_are_those_of_the_country_of_the_zone() -> None:
    fourth = datetime(2026, 7, 4, 5, tzinfo=MONDAY.tzinfo)  # 01:00 in New York
    panel = replace(NOTHING, start=fourth)
    constants = Constants.of(TREE, TREE.skus)
    future = inputs_at(panel, constants, SPEC, 0).future[:, SPEC.future.index("holiday")]
    assert (future[ENTITIES["a1"]] == 1).all()
    assert np.isnan(future[ENTITIES["far"]]).all(), "a fixed offset lies in no country"


HOURS = st.floats(-30, 120).map(lambda hours: round(hours * 3600) / 3600)
ROWS = st.lists(
    st.tuples(
        st.sampled_from([*ENTITIES, "stranger"]),
        HOURS,
        HOURS,
        st.floats(0, 60),
        st.one_of(st.none(), st.floats(0, 1e6)),
        st.sampled_from(["1", "2", "3"]),
        st.sampled_from(["batch", "training", "maintenance", "plan", "cap"]),
        st.sampled_from(["queued", "running", "reserved", "done", "cancelled"]),
    ),
    max_size=40,
)
ISSUES = st.lists(
    st.tuples(
        st.integers(-12, 90),
        st.floats(0, 12),
        st.integers(1, 3),
        st.integers(0, 40),
        st.sampled_from(["north", "south"]),
    ),
    max_size=15,
)


@settings(max_examples=50)
@given(ROWS, ISSUES, st.lists(st.integers(8, STEPS - 24), min_size=1, max_size=20), st.integers(0, 99))
def test_training_and_serving_know_the_same_bits(
    rows: list[tuple], issues: list[tuple], origins: list[int], seed: int
) -> None:
    jobs = jobs_of(
        *(
            job(entity, known, start, start + length, power, job_id=name, kind=kind, status=status)
            for entity, known, start, length, power, name, kind, status in rows
        )
    )
    random = np.random.default_rng(seed)
    weather = weather_of(
        *(
            said(issue, delay, {issue + each * lead: random.normal() for lead in range(count)}, site)
            for issue, delay, each, count, site in issues
        )
    )
    constants = Constants.of(TREE, TREE.skus, Ahead.of(TREE, SPEC, jobs, weather))
    windows = Windows(NOTHING, constants, SPEC, torch.device("cpu"))
    entity = torch.from_numpy(random.integers(0, len(ENTITIES), len(origins)))
    batch = windows.batch(entity, torch.tensor(origins)).future.numpy()
    assert batch.dtype == np.float32
    for row, (which, origin) in enumerate(zip(entity.tolist(), origins, strict=True)):
        assert_array_equal(batch[row], inputs_at(NOTHING, constants, SPEC, origin).future[which])


def test_a_job_of_no_kind_is_a_job_and_one_of_no_status_is_none() -> None:
    rows = job("a1", 1, 2, 20), job("a1", 1, 2, 20, 50.0, job_id="odd")
    for name, expected in (("kind", 1050.0), ("status", 1000.0)):
        odd = {**rows[1], name: None}
        assert scheduled(4, rows[0], odd)[0] == expected
