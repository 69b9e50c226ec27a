"""A file's times to UTC: what carries a zone keeps it, what carries none takes the zone that the source declares."""

import datetime as dt

import polars as pl

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.tables import UTC
from forecast.contracts.topology import is_time_zone

#: ISO 8601 as files write it, by its length where that tells. Other orders of day and month are not guessed: many a
#: date would fit two of them.
_LOCAL = {19: "%Y-%m-%dT%H:%M:%S", 16: "%Y-%m-%dT%H:%M", 10: "%Y-%m-%d", None: "%Y-%m-%dT%H:%M:%S%.f"}
_ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")
_OFFSET = r"T.*[+-]\d\d(:?\d\d)?$"

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
    zoned, local = _zoned(column), _local(column)
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
    zoned = _zoned(column)
    return zoned if time_zone is None else pl.coalesce(zoned, _placed(_local(column), time_zone, where))


def representable(time: pl.Expr) -> pl.Expr:
    """`time`, null where no calendar of four-digit years has it: a clock that ran wild, or units mistaken."""
    return pl.when(time.is_between(_FIRST, _LAST)).then(time)


def _iso(column: str) -> pl.Expr:
    return pl.col(column).str.strip_chars().str.replace(" ", "T", literal=True)


def _zoned(column: str) -> pl.Expr:
    """The instants of text with a zone, in UTC; null elsewhere."""
    iso = _iso(column)
    universal = _naive(pl.when(iso.str.ends_with("Z")).then(iso.str.strip_suffix("Z")))
    offset = pl.when(iso.str.contains(_OFFSET)).then(iso)
    moments = (offset.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False) for form in _ZONED)
    return pl.coalesce(universal.dt.replace_time_zone("UTC"), *moments)


def _local(column: str) -> pl.Expr:
    """The times of text without a zone; null elsewhere."""
    iso = _iso(column)
    return _naive(pl.when(~iso.str.ends_with("Z") & ~iso.str.contains(_OFFSET)).then(iso))


def _naive(iso: pl.Expr) -> pl.Expr:
    """Each format is tried where its length fits only: failing takes longer than reading."""
    length = iso.str.len_bytes()
    fits = {size: length == size if size else ~length.is_in([16, 19, 10]) for size in _LOCAL}
    return pl.coalesce(
        pl.when(fits[size]).then(iso).str.to_datetime(form, time_unit="us", strict=False)
        for size, form in _LOCAL.items()
    )


def _placed(local: pl.Expr, time_zone: str | None, where: str) -> pl.Expr:
    """Times without a zone as those of `time_zone`, in UTC."""
    if time_zone is None:
        raise DataError(
            f"{where}: times carry no zone; write them with one (2026-06-01T00:00Z), or "
            f"set the source's `time_zone` (e.g. UTC)."
        )
    if not is_time_zone(time_zone):
        raise ConfigError(f"{where}: time_zone={time_zone!r} is not an IANA time zone such as America/New_York.")
    return local.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
