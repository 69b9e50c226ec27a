"""A table in files, mapped to a contract's columns: names, types, units and times."""

from collections.abc import Mapping

import polars as pl

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.tables import UTC, listed
from forecast.traces.numbers import check_numbers, number
from forecast.traces.times import utc
from forecast.traces.units import UNITS

#: Of the columns below, by the suffix of a name.
_SI = {"_w": "W", "_c": "°C", "_rpm": "rpm"}


def mapped(
    raw: pl.LazyFrame,
    known: Mapping[str, pl.DataType | type[pl.DataType]],
    columns: Mapping[str, str],
    units: Mapping[str, str],
    time_zone: str | None,
    where: str,
) -> pl.LazyFrame:
    """The columns of `raw` that `columns` names, by their names in `known`, typed, in SI and UTC.

    Text that is no number is NaN, so that it is counted.

    Raises:
        ConfigError: a name or unit that does not exist.
        DataError: a column that does not, or numbers that cannot be any.
    """
    found = raw.collect_schema()
    columns = columns or {name: name for name in known if name in found}
    for name, column in columns.items():
        if name not in known:
            raise ConfigError(f"columns maps {name!r}; known are {', '.join(known)}.")
        if column not in found:
            raise DataError(f"{where}: no column {column}; found {listed(found)}.")
    for name in units:
        if name not in columns:
            raise ConfigError(f"units names {name!r}, which is not among the columns {', '.join(columns)}.")
    check_numbers(raw, [column for name, column in columns.items() if known[name] == pl.Float64], where)
    return raw.select(
        _typed(raw, column, known[name], time_zone, where).alias(name)
        if known[name] != pl.Float64
        else _si(column, found[column], name, units.get(name)).alias(name)
        for name, column in columns.items()
    )


def _typed(
    raw: pl.LazyFrame, column: str, kind: pl.DataType | type[pl.DataType], time_zone: str | None, where: str
) -> pl.Expr:
    return utc(raw, column, time_zone, where) if kind == UTC else pl.col(column).cast(kind)


def _si(column: str, dtype: pl.DataType, name: str, unit: str | None) -> pl.Expr:
    raw = number(column, dtype) if dtype == pl.String else pl.col(column).cast(pl.Float64)
    if unit is None:
        return raw
    known = UNITS.get(next((si for suffix, si in _SI.items() if name.endswith(suffix)), ""), {})
    if unit not in known:
        raise ConfigError(f"units.{name}={unit!r}; known are {', '.join(known) or 'none'}.")
    factor, offset = known[unit]
    return raw * factor + offset
