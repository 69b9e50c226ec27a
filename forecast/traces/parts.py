"""The pieces of a file source: what each file is known by, and between which times its samples lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from forecast.contracts.errors import DataError
from forecast.contracts.rules import LATEST, OLDEST
from forecast.contracts.version import key_of
from forecast.traces.places import File
from forecast.traces.readers import footer, scan
from forecast.traces.times import instant
from forecast.traces.trace import Part

Range = tuple[datetime, datetime]


@dataclass(frozen=True)
class TimeColumn:
    """The times of files that are alike.

    Attributes:
        name, dtype: of their column.
        time_zone: of times that carry none.
        where: the source, for errors.
    """

    name: str
    dtype: pl.DataType
    time_zone: str | None
    where: str

    def credible(self, raw: pl.LazyFrame) -> pl.LazyFrame:
        """`raw` with its times as instants, null where the contract sets them aside as absurd.

        One wild clock must not stretch a part.
        """
        instants = raw.with_columns(instant(self.name, self.dtype, self.time_zone, self.where).alias(self.name))
        time = pl.col(self.name)
        return instants.with_columns(pl.when(time.is_between(OLDEST, LATEST)).then(time))


def parts_of(files: Sequence[File], times: TimeColumn, entity: str, partitions: Sequence[str]) -> tuple[Part, ...]:
    """One part per file.

    Args:
        files: of one source, opened before.
        times: where their times are.
        entity: the column of their ids.
        partitions: keys of their folders that are read as columns, which are content too.

    Raises:
        DataError: ids that were not in UTF-8.
    """
    parts = []
    for file, span in zip(files, spans_of(files, times, entity), strict=True):
        first, last = span or (None, None)
        keys = {key: value for key, value in file.hive.items() if key in partitions}
        parts.append(Part(file.name, key_of(file.key, keys), first, last))
    return tuple(parts)


def spans_of(files: Sequence[File], times: TimeColumn, entity: str) -> list[Range | None]:
    """First and last credible time of each file; None where it has none. Arguments and errors as of `parts_of`."""
    footers = ranges_by_footer(files, times)
    return [told or _range_by_scan(file, times, entity) for file, told in zip(files, footers, strict=True)]


def ranges_by_footer(files: Sequence[File], times: TimeColumn) -> list[Range | None]:
    """First and last time of each file, where the writer of Parquet kept them and both are credible, else None."""
    if files[0].suffix != ".parquet" or not isinstance(times.dtype, pl.Datetime):
        return [None] * len(files)
    ends = [_ends(file, times.name) for file in files]
    low, high = (pl.Series([end[at] for end in ends], dtype=pl.Int64).cast(times.dtype) for at in (0, 1))
    firsts, lasts = (times.credible(pl.LazyFrame({times.name: end})).collect().to_series() for end in (low, high))
    return [None if first is None or last is None else (first, last) for first, last in zip(firsts, lasts, strict=True)]


def _ends(file: File, column: str) -> tuple[int | None, int | None]:
    """Least and greatest value of a column by the statistics of all row groups; None where one has none."""
    chunks = [group.chunks.get(column) for group in footer(file) if group.rows]
    lows = [chunk.low for chunk in chunks if chunk is not None and chunk.low is not None]
    highs = [chunk.high for chunk in chunks if chunk is not None and chunk.high is not None]
    if not chunks or len(lows) < len(chunks) or len(highs) < len(chunks):
        return None, None
    return min(lows), max(highs)


def _range_by_scan(file: File, times: TimeColumn, entity: str) -> Range | None:
    """The same in one pass over the times; and of text, whether the ids lost a letter to another encoding."""
    time, lost = pl.col(times.name), pl.col(entity).cast(pl.String).str.contains("\ufffd", literal=True).any()
    columns = (time.min().alias("first"), time.max().alias("last"), lost.alias("lost"))
    first, last, other = times.credible(scan([file])).select(columns).collect(engine="streaming").row(0)
    if other:
        raise DataError(f"{file.name}: {entity} is not in UTF-8; convert it, e.g. iconv -f LATIN1 -t UTF-8.")
    return None if first is None else (first, last)
