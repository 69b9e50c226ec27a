"""Public holidays, in local days of the site's country."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.contracts.errors import DataError
from forecast.features.holidays import country_of, holiday

NEW_YORK = "America/New_York"


def on(day: str, time_zone: str, country: str | None = None, hour: int = 12) -> float:
    """The value at an hour of a local day."""
    local = datetime.fromisoformat(day).replace(hour=hour, tzinfo=ZoneInfo(time_zone))
    return float(holiday(local.astimezone(UTC), 1, 300, time_zone, country)[0])


@pytest.mark.parametrize(
    ("day", "time_zone", "country", "free"),
    [
        ("2026-07-04", NEW_YORK, None, True),
        ("2026-07-06", NEW_YORK, None, False),
        ("2026-11-26", NEW_YORK, None, True),  # Thanksgiving: the fourth Thursday
        ("2026-11-19", NEW_YORK, None, False),
        ("2026-10-03", "Europe/Berlin", None, True),
        ("2026-10-03", "Europe/Paris", None, False),
        ("2026-07-14", "Europe/Paris", None, True),
        ("2026-07-04", "UTC", "US", True),
        ("2026-07-04", NEW_YORK, "CA", False),
        ("2026-07-01", NEW_YORK, "CA", True),
    ],
)
def test_days_off_by_country(day: str, time_zone: str, country: str | None, free: bool) -> None:
    assert on(day, time_zone, country) == free


def test_a_holiday_is_a_local_day() -> None:
    start = datetime(2026, 7, 4, tzinfo=ZoneInfo(NEW_YORK)).astimezone(UTC)
    values = holiday(start - timedelta(hours=2), 28, 3600, NEW_YORK, None)
    assert values.dtype == np.float32
    assert values[2:26].all()
    # The third is a Friday on which federal offices observe the fourth, a Saturday.
    assert values[:2].all()
    assert not values[26:].any()


@pytest.mark.parametrize("time_zone", ["UTC", "Etc/GMT+5", "EST", "GMT", "CET"])
def test_where_no_country_is_known_nor_are_its_holidays(time_zone: str) -> None:
    assert country_of(time_zone) is None
    assert np.isnan(holiday(datetime(2026, 7, 4, tzinfo=UTC), 3, 3600, time_zone, None)).all()


def test_a_country_that_was_named_and_does_not_exist_is_refused() -> None:
    with pytest.raises(DataError, match="no public holidays are known of country 'XX'"):
        on("2026-07-04", NEW_YORK, "XX")


@pytest.mark.parametrize(
    ("time_zone", "country"),
    [
        (NEW_YORK, "US"),
        ("US/Eastern", "US"),
        ("Asia/Calcutta", "IN"),
        ("Europe/Berlin", "DE"),
        ("Asia/Singapore", "SG"),
    ],
)
def test_the_country_of_a_zone(time_zone: str, country: str) -> None:
    assert country_of(time_zone) == country


@given(st.sampled_from(sorted(zone for zone in available_timezones() if "/" in zone and "posix" not in zone)))
def test_every_zone_of_the_world_has_values(time_zone: str) -> None:
    values = holiday(datetime(2026, 12, 24, tzinfo=UTC), 48, 3600, time_zone, None)
    assert np.isnan(values).all() or set(values.tolist()) <= {0.0, 1.0}
