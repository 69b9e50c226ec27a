"""Outdoor air: what was observed, and what was forecast with which delay and error."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from forecast.contracts.tables import UTC, WEATHER
from forecast.simulator.arrays import Floats, Ints
from forecast.simulator.config import ClimateConfig, SimulatorConfig
from forecast.simulator.streams import stream

LEAD_H = 72
ISSUE_EVERY_H = 6
#: Observations begin this far before the record, so that forecasts are already there at its first step.
HISTORY_H = 48
OBSERVATION_DELAY_S = 600  # [K] airport reports come within minutes
FORECAST_DELAY_S = 4 * 3600  # [K] global models publish 3.5 to 5 h after their issue time
WARMEST_DAY = 205  # [K] late July, northern hemisphere
WARMEST_HOUR = 15.0  # [K] mid-afternoon

_SYNOPTIC_TAU_H = 48.0  # [K] weather systems pass in two to five days
_LOCAL_TAU_H = 5.0
_LOCAL_K = 0.7
_DEW_TAU_H = 18.0


@dataclass(frozen=True)
class Weather:
    """Hourly truth from `HISTORY_H` before the record to `LEAD_H` past its end; arrays `[hours]`."""

    config: SimulatorConfig
    outdoor_c: Floats
    dew_depression_k: Floats

    @property
    def wet_bulb_c(self) -> Floats:
        return wet_bulb_of(self.outdoor_c, self.dew_depression_k)

    def at(self, time_s: Floats) -> tuple[Floats, Floats]:
        """Return outdoor and wet-bulb temperature at seconds from the origin, by linear interpolation."""
        hours = time_s / 3600 + HISTORY_H
        grid = np.arange(len(self.outdoor_c))
        return np.interp(hours, grid, self.outdoor_c), np.interp(hours, grid, self.wet_bulb_c)

    def table(self) -> pl.DataFrame:
        """Return observations and forecasts that were available before the record ends, contract WEATHER."""
        origin, end = self.config.origin, self.config.origin + timedelta(days=self.config.days)
        parts = [self._observed()]
        issues = range(0, HISTORY_H + 24 * self.config.days, ISSUE_EVERY_H)
        parts += [self._forecast(hour) for hour in issues]
        hours = pl.concat(parts)
        start = pl.lit(origin, dtype=UTC)
        return (
            hours.select(
                site=pl.lit(self.config.site),
                issue_time=start + pl.duration(hours=pl.col("issue_h") - HISTORY_H),
                valid_time=start + pl.duration(hours=pl.col("valid_h") - HISTORY_H),
                available_at=start + pl.duration(hours=pl.col("issue_h") - HISTORY_H, seconds=pl.col("delay_s")),
                outdoor_c=pl.col("outdoor_c").round(1),
                wet_bulb_c=pl.col("wet_bulb_c").round(1),
            )
            .filter(pl.col("available_at") < end)
            .select(list(WEATHER.required))
            .sort("issue_time", "valid_time")
        )

    def _observed(self) -> pl.DataFrame:
        hours = np.arange(HISTORY_H + 24 * self.config.days)
        return _rows(hours, hours, OBSERVATION_DELAY_S, self.outdoor_c[hours], self.dew_depression_k[hours])

    def _forecast(self, issue_h: int) -> pl.DataFrame:
        rng = stream(self.config.seed, "weather forecast", issue_h)
        valid_h = issue_h + 1 + np.arange(LEAD_H)
        error_k, dew_error_k = forecast_error(rng), 0.5 * forecast_error(rng)
        outdoor_c = self.outdoor_c[valid_h] + error_k
        depression_k = np.maximum(self.dew_depression_k[valid_h] + dew_error_k, 0.2)
        return _rows(np.full(LEAD_H, issue_h), valid_h, FORECAST_DELAY_S, outdoor_c, depression_k)


def draw_weather(config: SimulatorConfig) -> Weather:
    """Draw the weather of the site: season, time of day under more or less cloud, passing systems, local noise."""
    climate: ClimateConfig = config.climate
    count = HISTORY_H + 24 * config.days + LEAD_H + 1
    first = config.origin - timedelta(hours=HISTORY_H)
    day_of_year = first.timetuple().tm_yday + np.arange(count) / 24
    zone_h = (config.zone.utcoffset(config.origin.replace(tzinfo=None)) or timedelta()).total_seconds() / 3600
    solar_hour = (first.hour + zone_h + np.arange(count)) % 24
    synoptic = _autoregressive(stream(config.seed, "synoptic"), count, _SYNOPTIC_TAU_H)
    local = _autoregressive(stream(config.seed, "local weather"), count, _LOCAL_TAU_H)
    dew = _autoregressive(stream(config.seed, "dew point"), count, _DEW_TAU_H)
    seasonal_k = climate.seasonal_k * np.cos(2 * np.pi * (day_of_year - WARMEST_DAY) / 365.25)
    # Moist air and cloud go together and flatten the day, so one process drives both.
    clear = np.clip(0.75 + 0.35 * dew, 0.2, 1.3)
    diurnal = np.cos(2 * np.pi * (solar_hour - WARMEST_HOUR) / 24)
    outdoor_c = (
        climate.mean_c
        + seasonal_k
        + climate.diurnal_k * clear * diurnal
        + climate.synoptic_k * synoptic
        + _LOCAL_K * local
    )
    depression_k = climate.dew_depression_k * np.exp(0.45 * dew) * (1 + 0.35 * diurnal)
    return Weather(config, outdoor_c, np.maximum(depression_k, 0.3))


def wet_bulb_of(outdoor_c: Floats, dew_depression_k: Floats) -> Floats:
    """Return the wet-bulb temperature of air whose dew point lies `dew_depression_k` below `outdoor_c`.

    Relative humidity by the Magnus form with the coefficients of Alduchov and Eskridge (1996), then Stull (2011).
    """

    def exponent(temperature_c: Floats) -> Floats:
        return np.asarray(17.625 * temperature_c / (243.04 + temperature_c))

    humidity = 100 * np.exp(exponent(outdoor_c - dew_depression_k) - exponent(outdoor_c))
    return np.minimum(stull_wet_bulb_c(outdoor_c, np.clip(humidity, 5.0, 99.0)), outdoor_c)


def stull_wet_bulb_c(outdoor_c: Floats, humidity_percent: Floats) -> Floats:
    """Return the wet-bulb temperature at sea level by Stull (2011), eq. 1.

    Valid for 5-99 % and −20-50 °C, save where it is both cold and dry: there it errs by up to 1 K.
    """
    t, rh = outdoor_c, humidity_percent
    return np.asarray(
        t * np.arctan(0.151977 * np.sqrt(rh + 8.313659))
        + np.arctan(t + rh)
        - np.arctan(rh - 1.676331)
        + 0.00391838 * rh**1.5 * np.arctan(0.023101 * rh)
        - 4.686035
    )


def forecast_error(rng: np.random.Generator) -> Floats:
    """Draw the error of one forecast at leads 1..`LEAD_H` hours, `[LEAD_H]` K.

    A random walk: about 0.5 K standard deviation at the first hour, 2 K at 24 h and 3.3 K at 72 h [K].
    """
    return rng.normal(0.0, 0.45) + np.cumsum(rng.normal(0.0, 0.39, LEAD_H))


def _autoregressive(rng: np.random.Generator, count: int, tau_h: float) -> Floats:
    """Draw an hourly first-order process of unit variance and correlation time `tau_h`."""
    keep = np.exp(-1.0 / tau_h)
    values = rng.normal(0.0, 1.0, count)
    values[1:] *= np.sqrt(1 - keep**2)
    for hour in range(1, count):
        values[hour] += keep * values[hour - 1]
    return values


def _rows(issue_h: Ints, valid_h: Ints, delay_s: int, outdoor_c: Floats, depression_k: Floats) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "issue_h": issue_h,
            "valid_h": valid_h,
            "delay_s": np.full(len(valid_h), delay_s),
            "outdoor_c": outdoor_c,
            "wet_bulb_c": wet_bulb_of(outdoor_c, depression_k),
        }
    )
