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

    @property
    def credible(self) -> pl.Expr:
        """The times, null where the contract sets them aside as absurd: one wild clock must not stretch a part."""
        time = instant(self.name, self.dtype, self.time_zone, self.where)
        return pl.when(time.is_between(OLDEST, LATEST)).then(time)


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
    for file in files:
        first, last = range_by_footer(file, times) or _range_by_scan(file, times, entity)
        keys = {key: value for key, value in file.hive.items() if key in partitions}
        parts.append(Part(file.name, key_of(file.key, keys), first, last))
    return tuple(parts)


def range_by_footer(file: File, times: TimeColumn) -> Range | None:
    """First and last time, if the writer of the Parquet file kept them and both are credible."""
    if file.suffix != ".parquet" or not isinstance(times.dtype, pl.Datetime):
        return None
    chunks = [group.chunks.get(times.name) for group in footer(file) if group.rows]
    ends = [end for chunk in chunks for end in ((chunk.low, chunk.high) if chunk else (None,))]
    known = [end for end in ends if end is not None]
    if not known or len(known) < len(ends):
        return None
    raw = pl.LazyFrame({times.name: pl.Series([min(known), max(known)], dtype=pl.Int64).cast(times.dtype)})
    first, last = raw.select(times.credible.alias("time")).collect()["time"]
    return None if first is None or last is None else (first, last)


def _range_by_scan(file: File, times: TimeColumn, entity: str) -> tuple[datetime | None, datetime | None]:
    """The same in one pass over the times; and of text, whether the ids lost a letter to another encoding."""
    lost = pl.col(entity).cast(pl.String).str.contains("\ufffd", literal=True).any()
    columns = (times.credible.min().alias("first"), times.credible.max().alias("last"), lost.alias("lost"))
    first, last, other = scan([file]).select(columns).collect(engine="streaming").row(0)
    if other:
        raise DataError(f"{file.name}: {entity} is not in UTF-8; convert it, e.g. iconv -f LATIN1 -t UTF-8.")
    return first, last
