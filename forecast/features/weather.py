"""Weather as it was known: of every hour, which forecast counted from when on."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

#: Quantities told, in the order of the last axis.
WEATHER_NAMES = ("outdoor_c", "wet_bulb_c")

HOUR_S = 3600

#: Hours of one issue that lie further apart than this are not joined by a line; global models step by 1 to 6 h.
_WIDEST_H = 6

#: `known_from` of a version that does not exist.
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Versions:
    """What was said of each hour, and from when on.

    Attributes:
        first_hour: hours since 1970 of the first hour.
        known_from: `[site, hour, version]`, seconds since 1970, ascending; `NEVER` where there are no more versions.
        values: `[site, hour, version, 2]`, °C in the order of `WEATHER_NAMES`, NaN = unknown.
    """

    first_hour: int
    known_from: Ints
    values: Doubles


def versions(weather: pl.LazyFrame, sites: tuple[str, ...]) -> Versions:
    """What counts of contract WEATHER, for `sites` in their order.

    Of all that is known of an hour the newest issue counts. One that arrives after a newer one changes nothing, and one
    that never arrives leaves the older's remaining horizon.
    """
    hourly = _hourly(weather.filter(pl.col("site").is_in(sites)).collect())
    if hourly.is_empty():
        return Versions(0, np.zeros((len(sites), 0, 0), np.int64), np.zeros((len(sites), 0, 0, 2)))
    key = ["site", "hour"]
    newest = pl.col("issue_s").cum_max().over(key)
    told = (
        hourly.sort(*key, "known_from", "issue_s")
        .filter(pl.col("issue_s") == newest)
        .unique([*key, "known_from"], keep="last", maintain_order=True)
        .with_columns(version=pl.int_range(pl.len()).over(key), at=pl.col("hour") - pl.col("hour").min())
    )
    site = told["site"].replace_strict({name: index for index, name in enumerate(sites)}).to_numpy()
    where = site, told["at"].to_numpy(), told["version"].to_numpy()
    shape = (len(sites), int(where[1].max()) + 1, int(where[2].max()) + 1)
    known_from, values = np.full(shape, NEVER, np.int64), np.full((*shape, 2), np.nan)
    known_from[where] = told["known_from"].to_numpy()
    values[where] = told.select(WEATHER_NAMES).to_numpy()
    return Versions(int(told["hour"].min()), known_from, values)  # type: ignore[arg-type]


def _hourly(weather: pl.DataFrame) -> pl.DataFrame:
    """Rows on whole hours, the hours between two of one issue filled by a line; times in seconds."""
    issue = ["site", "issue_s", "known_from"]
    seconds = weather.drop_nulls(["issue_time", "valid_time", "available_at"]).select(
        "site",
        issue_s=pl.col("issue_time").dt.epoch("s"),
        valid_s=pl.col("valid_time").dt.epoch("s"),
        # A second that had begun when it came was before it.
        known_from=-(-pl.col("available_at").dt.epoch("us")).floordiv(1_000_000),
        **{name: pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in WEATHER_NAMES},
    )
    rows = seconds.unique([*issue, "valid_s"], keep="last", maintain_order=True).sort(*issue, "valid_s")
    gap_s = (pl.col("valid_s") - pl.col("valid_s").shift(1).over(issue)).fill_null(0)
    before = [pl.col(name).shift(1).over(issue).alias(f"before_{name}") for name in WEATHER_NAMES]
    hours = pl.int_ranges(-((-pl.col("valid_s") + pl.col("gap_s")).floordiv(HOUR_S)), pl.col("valid_s") // HOUR_S + 1)
    joined = pl.when(pl.col("gap_s") <= _WIDEST_H * HOUR_S).then("gap_s").otherwise(0)
    spread = (
        rows.with_columns(*before, gap_s=gap_s)
        .with_columns(gap_s=joined)
        .with_columns(hour=hours)
        .explode("hour", empty_as_null=False)
    )
    back = (pl.col("valid_s") - pl.col("hour") * HOUR_S) / pl.col("gap_s")
    lines = {
        name: pl.when(pl.col("hour") * HOUR_S == pl.col("valid_s"))
        .then(name)
        .otherwise(pl.col(name) + (pl.col(f"before_{name}") - pl.col(name)) * back)
        for name in WEATHER_NAMES
    }
    # An hour at the end of a gap is that row's own, not the next line's.
    own = pl.col("hour") * HOUR_S > pl.col("valid_s") - pl.col("gap_s")
    return spread.filter(own | (pl.col("hour") * HOUR_S == pl.col("valid_s"))).select(*issue, "hour", **lines)
