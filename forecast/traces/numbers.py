"""What a file holds as numbers: what says "nothing" is null, and what cannot be read is NaN, so that it is counted."""

import polars as pl

from forecast.contracts.errors import DataError

#: Words for "nothing", in small letters.
BLANKS = ("", "na", "nan", "null", "n/a", "-")

_DECIMAL_COMMA = r"^\s*[-+]?\d+,\d+\s*$"
_PROBE_ROWS = 1000


def number(column: str, dtype: pl.DataType) -> pl.Expr:
    """`column` of type `dtype` as floats. A NaN in a column of numbers is its writer's "nothing"."""
    if dtype == pl.Float32:  # as wide as the panel; to widen it costs time and memory
        return pl.col(column).fill_nan(None)
    if dtype != pl.String:
        return pl.col(column).cast(pl.Float64, strict=False).fill_nan(None)
    text = pl.col(column).str.strip_chars()
    value = text.cast(pl.Float64, strict=False)
    unread = text.is_not_null() & value.is_null()
    blank = text.str.to_lowercase().is_in(BLANKS)
    return pl.when(blank).then(None).when(unread).then(float("nan")).otherwise(value)


def check_numbers(raw: pl.LazyFrame, columns: list[str], where: str) -> None:
    """Refuse columns that cannot hold numbers, and numbers written with a decimal comma.

    Raises:
        DataError: naming the column, what it holds, and what to do.
    """
    schema = raw.collect_schema()
    for column in columns:
        dtype = schema[column]
        if not (dtype.is_numeric() or dtype in {pl.String, pl.Null}):
            raise DataError(f"{where}: column {column} is {dtype}, expected numbers.")
    texts = list(dict.fromkeys(column for column in columns if schema[column] == pl.String))
    head = raw.select(texts).head(_PROBE_ROWS).collect() if texts else pl.DataFrame()
    for name in texts:
        commas = head[name].filter(head[name].str.contains(_DECIMAL_COMMA))
        if len(commas) and head[name].str.strip_chars().cast(pl.Float64, strict=False).null_count() == len(head):
            raise DataError(
                f"{where}: column {name} holds {commas[0]!r}, with a comma in the number; write it like 12.5."
            )
