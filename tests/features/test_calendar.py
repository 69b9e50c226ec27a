"""The time of day and week, in the clock of the place."""

from datetime import UTC, datetime, timedelta
from math import cos, pi, sin
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.features.calendar import calendar

NEW_YORK = "America/New_York"
ZONES = st.sampled_from(["UTC", NEW_YORK, "Asia/Kolkata", "Australia/Lord_Howe"])
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def waves(time: datetime, zone: str = NEW_YORK) -> list[float]:
    """`day_sin, day_cos, week_sin, week_cos` of the step that begins at `time`."""
    return list(calendar(time, 1, 300, zone).row(0))


@pytest.mark.parametrize(
    ("local", "day_turn", "week_turn"),
    [
        ("2026-06-01T00:00", 0, 0),  # a Monday
        ("2026-06-01T06:00", 1 / 4, 1 / 28),
        ("2026-06-01T12:00", 1 / 2, 1 / 14),
        ("2026-06-04T12:00", 1 / 2, 1 / 2),
        ("2026-06-07T18:00", 3 / 4, 6.75 / 7),
        ("2026-06-02T00:00", 0, 1 / 7),
        ("2026-06-01T01:30", 1 / 16, 1 / 112),
        ("2026-12-07T00:00", 0, 0),  # a Monday in winter
    ],
)
def test_angles_turn_once_a_local_day_and_week(local: str, day_turn: float, week_turn: float) -> None:
    time = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(NEW_YORK)).astimezone(UTC)
    day, week = 2 * pi * day_turn, 2 * pi * week_turn
    assert waves(time) == pytest.approx([sin(day), cos(day), sin(week), cos(week)], abs=1e-6)


def test_the_clock_moves_with_daylight_saving() -> None:
    """In New York on 8 March 2026 the local day has no hour from 2 to 3; on 1 November it has two from 1 to 2."""
    spring = calendar(datetime(2026, 3, 8, 6, tzinfo=UTC), 2, 3600, NEW_YORK)
    assert spring.row(0) == pytest.approx(waves(datetime(2026, 3, 8, 1, tzinfo=UTC), "UTC"), abs=1e-6)
    assert spring.row(1) == pytest.approx(waves(datetime(2026, 3, 8, 3, tzinfo=UTC), "UTC"), abs=1e-6)
    autumn = calendar(datetime(2026, 11, 1, 5, tzinfo=UTC), 2, 3600, NEW_YORK)
    assert autumn.row(0) == autumn.row(1)


@given(TIMES, ZONES)
def test_every_wave_lies_on_the_unit_circle(time: datetime, zone: str) -> None:
    day_sin, day_cos, week_sin, week_cos = waves(time, zone)
    assert day_sin**2 + day_cos**2 == pytest.approx(1, abs=1e-6)
    assert week_sin**2 + week_cos**2 == pytest.approx(1, abs=1e-6)


@given(TIMES, ZONES, st.integers(-60, 60))
def test_a_week_of_the_local_clock_later_nothing_has_changed(time: datetime, zone: str, weeks: int) -> None:
    local = time.astimezone(ZoneInfo(zone))
    later = (local + timedelta(weeks=weeks)).astimezone(UTC)
    there = later.astimezone(ZoneInfo(zone))
    if there.replace(tzinfo=None) == (local + timedelta(weeks=weeks)).replace(tzinfo=None):  # the clock shows that time
        assert waves(later, zone) == waves(time, zone)


@given(TIMES, ZONES, st.sampled_from([60, 300, 3600]), st.integers(1, 30))
def test_a_run_of_steps_is_its_steps_one_by_one(time: datetime, zone: str, step_s: int, steps: int) -> None:
    run = calendar(time, steps, step_s, zone)
    assert run.dtypes == [pl.Float32] * 4
    assert run.height == steps
    last = calendar(time + timedelta(seconds=step_s * (steps - 1)), 1, step_s, zone)
    assert run.row(-1) == last.row(0)
