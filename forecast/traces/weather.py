"""Weather in files: forecasts by issue where the files have them, else observations that nobody knew before."""

from datetime import timedelta

import numpy as np
import polars as pl

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.tables import UTC, WEATHER
from forecast.simulator.weather import stull_wet_bulb_c
from forecast.traces.readers import collected, find_files, scan
from forecast.traces.settings import WeatherSpec
from forecast.traces.tables import mapped

#: An observation of an hour is labelled with its start and there at its end.
_OBSERVED_AFTER_S = 3600.0


def read_weather(spec: WeatherSpec) -> pl.LazyFrame:
    """Contract WEATHER from files, in memory.

    Without `issue_time` rows are observations: of what lies ahead nothing is known.

    Raises:
        DataError: no such file, a damaged one, or a column that is missing.
        ConfigError: a setting that names what does not exist, or forecasts of which nobody says when they came.
    """
    known = {**WEATHER.required, "humidity_percent": pl.Float64}
    raw = scan(find_files(spec.path), hold=True)
    table = mapped(raw, known, spec.columns, spec.units, spec.time_zone, spec.path)
    there = table.collect_schema().names()
    for name in ("valid_time", "outdoor_c"):
        if name not in there:
            raise DataError(f"{spec.path}: no column for {name}; map it in source.weather.columns.")
    placed = table.with_columns(site=_site(spec, there))
    if spec.sites:
        placed = placed.filter(pl.col("site").is_in(list(spec.sites))).with_columns(pl.col("site").replace(spec.sites))
    timed = _timed(placed, spec, there)
    if "wet_bulb_c" not in there:
        timed = timed.with_columns(wet_bulb_c=_wet_bulb(there))
    return collected(WEATHER.check_schema(timed.select(list(WEATHER.required)), spec.path), spec.path)


def _site(spec: WeatherSpec, there: list[str]) -> pl.Expr:
    if "site" in there:
        return pl.col("site")
    if spec.site is None:
        raise ConfigError(f"{spec.path}: whose weather is it? Map a `site` column, or set source.weather.site.")
    return pl.lit(spec.site)


def _timed(table: pl.LazyFrame, spec: WeatherSpec, there: list[str]) -> pl.LazyFrame:
    """The table with `issue_time` and `available_at`."""
    ahead = timedelta(hours=spec.perfect_forecast_h)
    if "issue_time" in there:
        if ahead:
            raise ConfigError("source.weather.perfect_forecast_h is for observations; the files have an issue_time.")
        if "available_at" not in there and spec.delay_s is None:
            raise ConfigError(
                f"{spec.path}: when did its forecasts arrive? Map `available_at`, or set source.weather.delay_s "
                f"(global models publish 3.5 to 5 h after their issue)."
            )
        timed = table
    else:
        timed = table.with_columns(issue_time=pl.col("valid_time") - ahead)
    if "available_at" in there and not ahead:
        return timed
    delay = timedelta(0) if ahead else timedelta(seconds=_OBSERVED_AFTER_S if spec.delay_s is None else spec.delay_s)
    return timed.with_columns(available_at=(pl.col("issue_time") + delay).cast(UTC))


def _wet_bulb(there: list[str]) -> pl.Expr:
    if "humidity_percent" not in there:
        return pl.lit(None, pl.Float64)
    return pl.struct("outdoor_c", "humidity_percent").map_batches(
        lambda air: wet_bulb_c(air.struct.field("outdoor_c"), air.struct.field("humidity_percent")),
        return_dtype=pl.Float64,
        is_elementwise=True,
    )


def wet_bulb_c(outdoor_c: pl.Series, humidity_percent: pl.Series) -> pl.Series:
    """Wet-bulb temperature at sea level by Stull (2011, doi 10.1175/JAMC-D-11-0143.1), eq. 1, °C.

    It holds from -20 to 50 °C and from 5 to 99 % (and errs by up to 1 K where it is both cold and dry): null outside,
    but air above 99 % is taken to be at 99 %.
    """
    t, rh = (series.cast(pl.Float64).to_numpy() for series in (outdoor_c, humidity_percent))
    holds = (t >= -20) & (t <= 50) & (rh >= 5) & (rh <= 100)
    found = np.full(len(t), np.nan)
    found[holds] = np.minimum(stull_wet_bulb_c(t[holds], np.minimum(rh[holds], 99.0)), t[holds])
    return pl.Series("wet_bulb_c", found, nan_to_null=True)
