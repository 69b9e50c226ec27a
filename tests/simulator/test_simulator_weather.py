from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.simulator.config import ClimateConfig, SimulatorConfig
from forecast.simulator.weather import draw_weather, stull_wet_bulb_c, wet_bulb_of

YEAR = SimulatorConfig(days=365)


def forecasts(config: SimulatorConfig) -> pl.DataFrame:
    """Return every forecast beside what was observed, with its lead in hours."""
    table = draw_weather(config).table()
    observed = table.filter(pl.col("issue_time") == pl.col("valid_time"))
    lead = (pl.col("valid_time") - pl.col("issue_time")).dt.total_hours().alias("lead_h")
    return table.filter(pl.col("issue_time") < pl.col("valid_time")).join(observed, on="valid_time").with_columns(lead)


def test_wet_bulb_of_the_published_example() -> None:
    """Stull (2011): 20 °C at 50 % gives 13.7 °C."""
    assert stull_wet_bulb_c(np.array(20.0), np.array(50.0)) == pytest.approx(13.7, abs=0.05)


@given(st.floats(5, 45), st.floats(0.3, 20))
def test_wet_bulb_never_exceeds_the_air_and_falls_as_the_air_dries(outdoor_c: float, depression_k: float) -> None:
    damp, dry = wet_bulb_of(np.array([outdoor_c]), np.array([depression_k, depression_k + 1]))
    assert dry <= damp <= outdoor_c


def test_a_year_has_seasons_and_days_of_the_configured_size() -> None:
    climate = ClimateConfig(mean_c=15.0, seasonal_k=10.0, diurnal_k=5.0)
    outdoor_c = draw_weather(replace(YEAR, climate=climate)).outdoor_c[48 : 48 + 365 * 24]
    first = YEAR.origin.timetuple().tm_yday - 1
    by_day = outdoor_c.reshape(365, 24).mean(axis=1)
    july, january = by_day[195 - first : 215 - first].mean(), by_day[:20].mean()
    assert july == pytest.approx(25.0, abs=3.5)
    assert january == pytest.approx(5.0, abs=3.5)
    local = np.roll(outdoor_c.reshape(365, 24).mean(axis=0), -5)  # New York is at UTC−5 in winter
    assert int(local.argmax()) in (14, 15, 16)
    assert local.max() - local.min() == pytest.approx(2 * 5.0 * 0.75, rel=0.15)


def test_forecasts_get_worse_with_lead_and_are_unbiased() -> None:
    frame = forecasts(YEAR).with_columns(error=pl.col("outdoor_c") - pl.col("outdoor_c_right"))
    spread = [frame.filter(pl.col("lead_h") == lead)["error"].std() for lead in (1, 6, 24, 48, 72)]
    assert spread == sorted(spread)
    assert spread[0] == pytest.approx(0.6, abs=0.1)
    assert spread[-1] == pytest.approx(3.3, abs=0.4)
    assert abs(frame.filter(pl.col("lead_h") == 24)["error"].mean()) < 0.3


def test_forecasts_come_every_six_hours_for_three_days_with_a_delay() -> None:
    table = draw_weather(SimulatorConfig(days=3)).table()
    ahead = table.filter(pl.col("issue_time") < pl.col("valid_time"))
    assert (ahead["available_at"] >= ahead["issue_time"] + timedelta(hours=3)).all()
    per_issue = ahead.group_by("issue_time").len().sort("issue_time")
    assert (per_issue["len"] == 72).all()
    assert per_issue["issue_time"].diff().drop_nulls().unique().to_list() == [timedelta(hours=6)]
    assert (table["wet_bulb_c"] <= table["outdoor_c"]).all()


def test_nothing_in_the_table_was_known_only_after_the_record_ends() -> None:
    config = SimulatorConfig(days=3)
    table = draw_weather(config).table()
    assert table["available_at"].max() < config.origin + timedelta(days=3)
    assert (table["available_at"] > table["issue_time"]).all()
    at_start = table.filter(pl.col("available_at") <= config.origin, pl.col("valid_time") > config.origin)
    assert at_start["valid_time"].max() > config.origin + timedelta(hours=48)


def test_physics_sees_the_weather_that_was_observed() -> None:
    weather = draw_weather(SimulatorConfig(days=2))
    outdoor_c, wet_bulb_c = weather.at(np.array([0.0, 1800.0, 3600.0]))
    assert outdoor_c[[0, 2]] == pytest.approx(weather.outdoor_c[48:50])
    assert outdoor_c[1] == pytest.approx(weather.outdoor_c[48:50].mean())
    assert wet_bulb_c[0] == pytest.approx(weather.wet_bulb_c[48])
