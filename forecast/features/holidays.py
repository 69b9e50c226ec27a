"""Public holidays where the site is."""

from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files

import holidays
import numpy as np
import polars as pl

from forecast.contracts.errors import DataError


def holiday(start: datetime, steps: int, step_s: int, time_zone: str, country: str | None) -> np.ndarray:
    """1 for each of `steps` grid steps from `start` (UTC) that begins on a public holiday, `[steps]` float32.

    NaN throughout where the country is unknown.

    Args:
        country: ISO 3166 alpha-2; None takes the country of `time_zone`.

    Raises:
        DataError: a country that was named and whose holidays are not known.
    """
    code = country or country_of(time_zone)
    end = start + timedelta(seconds=step_s * steps)
    days = pl.datetime_range(start, end, f"{step_s}s", closed="left", time_zone="UTC", eager=True)
    local = days.dt.convert_time_zone(time_zone).dt.date()
    years = local.dt.year()
    if code is None:
        return np.full(steps, np.nan, np.float32)
    try:
        free = holidays.country_holidays(code, years=range(years.min(), years.max() + 1))  # type: ignore[arg-type, operator]
    except NotImplementedError as error:
        if country is not None:
            raise DataError(f"no public holidays are known of country {country!r}; use ISO 3166 such as US.") from error
        return np.full(steps, np.nan, np.float32)
    return local.is_in(list(free)).to_numpy().astype(np.float32)


@cache
def country_of(time_zone: str) -> str | None:
    """The country that tz's `zone.tab` files a zone under, after following its links; None for UTC and the like.

    Abbreviations (EST, CET) are links to some city, which is no country of theirs.
    """
    tables = files("tzdata") / "zoneinfo"
    zones = _fields(tables.joinpath("zone.tab").read_text(), "\t")
    country = {zone: code for code, _, zone, *_ in zones}
    links = {
        name: target for kind, target, name, *_ in _fields(tables.joinpath("tzdata.zi").read_text(), " ") if kind == "L"
    }
    if time_zone.isupper():
        return None
    return country.get(time_zone) or country.get(links.get(time_zone, ""))


def _fields(text: str, separator: str) -> list[list[str]]:
    lines = (line.split(separator) for line in text.splitlines() if not line.startswith("#"))
    return [fields for fields in lines if len(fields) > 2]
