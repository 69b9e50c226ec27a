"""A file's times to UTC: what carries a zone keeps it, what carries none takes the zone that the source declares."""

import datetime as dt

import polars as pl

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.tables import UTC
from forecast.contracts.topology import is_time_zone

#: ISO 8601 as files write it. Other orders of day and month are not guessed: many a date would fit two of them.
_ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")
_LOCAL = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")

#: Years 1 and 9999 without their outer days, which a zone could push over the edge.
_FIRST, _LAST = (dt.datetime(*day, tzinfo=dt.UTC) for day in ((1, 1, 2), (9999, 12, 30)))


def utc(raw: pl.LazyFrame, column: str, time_zone: str | None, where: str) -> pl.Expr:
    """`column` of `raw` in UTC, null where it is no time.

    A local time that a change of clocks skips is null, one that it repeats is the earlier.

    Raises:
        DataError: the column holds no times, or some without a zone and there is no `time_zone` to take them in.
        ConfigError: a `time_zone` that does not exist.
    """
    dtype = raw.collect_schema()[column]
    if dtype != pl.String:
        return instant(column, dtype, time_zone, where)
    text = pl.col(column)
    zoned, local = _parsed(text, _ZONED, "UTC"), _parsed(text, _LOCAL, None)
    first, texts, aware, naive = (
        raw.select(
            text.drop_nulls().first(), text.count().alias("n"), zoned.count().alias("z"), local.count().alias("l")
        )
        .collect(engine="streaming")
        .row(0)
    )
    if texts and not aware and not naive:
        raise DataError(f"{where}: the time column {column} holds {first!r}, expected ISO text like 2026-06-01T00:00.")
    return pl.coalesce(zoned, _placed(local, time_zone, where)) if naive else zoned


def instant(column: str, dtype: pl.DataType, time_zone: str | None, where: str) -> pl.Expr:
    """As `utc`, by the type alone: text without a zone is null where there is no `time_zone`.

    Times in UTC stay as they are, so that a filter on them reaches the file and spares what it rules out.
    """
    if dtype == UTC:
        return pl.col(column)
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is not None:
            return pl.col(column).cast(UTC, strict=False)
        return _placed(pl.col(column).cast(pl.Datetime("us"), strict=False), time_zone, where)
    if dtype != pl.String:
        raise DataError(f"{where}: the time column {column} is {dtype}, expected a timestamp or ISO text.")
    zoned, local = _parsed(pl.col(column), _ZONED, "UTC"), _parsed(pl.col(column), _LOCAL, None)
    return zoned if time_zone is None else pl.coalesce(zoned, _placed(local, time_zone, where))


def representable(time: pl.Expr) -> pl.Expr:
    """`time`, null where no calendar of four-digit years has it: a clock that ran wild, or units mistaken."""
    return pl.when(time.is_between(_FIRST, _LAST)).then(time)


def _parsed(text: pl.Expr, formats: tuple[str, ...], time_zone: str | None) -> pl.Expr:
    iso = text.str.strip_chars().str.replace(" ", "T", literal=True)
    return pl.coalesce(iso.str.to_datetime(form, time_unit="us", time_zone=time_zone, strict=False) for form in formats)


def _placed(local: pl.Expr, time_zone: str | None, where: str) -> pl.Expr:
    """Times without a zone as those of `time_zone`, in UTC."""
    if time_zone is None:
        raise DataError(f"{where}: times carry no zone; set the source's `time_zone` (e.g. UTC).")
    if not is_time_zone(time_zone):
        raise ConfigError(f"{where}: time_zone={time_zone!r} is not an IANA time zone such as America/New_York.")
    return local.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
