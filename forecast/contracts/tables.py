"""The tables that pass between rooms: columns, types, keys, and the check that they hold.

Each table is a `Table`; `check` looks at the schema without reading a row, so it costs nothing on a lazy frame.
Value rules (ranges, duplicates, units) are the business of `forecast.features.repair`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from forecast.contracts.errors import DataError
from forecast.contracts.signals import SIGNALS

UTC = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Table:
    """The contract of one table.

    Attributes:
        name: what a person calls it.
        required: column name to Polars type; any float width satisfies a float.
        optional: the same for columns that may be absent.
        key: columns that identify a row.
    """

    name: str
    required: Mapping[str, pl.DataType | type[pl.DataType]]
    optional: Mapping[str, pl.DataType | type[pl.DataType]]
    key: tuple[str, ...]

    def check(self, frame: pl.LazyFrame, where: str) -> pl.LazyFrame:
        """Return `frame` unchanged when its columns and types fit.

        Args:
            frame: the table, lazy; only its schema is read.
            where: file or source named in the error.

        Raises:
            DataError: naming `where`, the column, and what to do.
        """
        schema = frame.collect_schema()
        missing = [column for column in self.required if column not in schema]
        if missing:
            raise DataError(
                f"{where}: {self.name} lacks column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
                f"found {', '.join(schema)}. Map them in the source's `columns`."
            )
        for column, expected in {**self.required, **self.optional}.items():
            if column in schema and not _fits(schema[column], expected):
                raise DataError(f"{where}: column {column} of {self.name} is {schema[column]}, expected {expected}.")
        return frame


def _fits(actual: pl.DataType, expected: pl.DataType | type[pl.DataType]) -> bool:
    if expected == pl.Float64:
        return actual.is_numeric() or actual == pl.Null
    return bool(actual == expected)


#: Long measurements. `time` is the start of the sample's interval; a null is "not observed".
TELEMETRY = Table(
    "telemetry",
    required={"time": UTC, "entity_id": pl.String},
    optional=dict.fromkeys(SIGNALS, pl.Float64),
    key=("entity_id", "time"),
)

#: One row per entity of the fleet tree. A null limit is unknown, a null parent is the root.
TOPOLOGY = Table(
    "topology",
    required={
        "entity_id": pl.String,
        "parent_id": pl.String,
        "level": pl.String,
        "sku": pl.String,
        "power_limit_w": pl.Float64,
        "temperature_limit_c": pl.Float64,
        "site": pl.String,
        "time_zone": pl.String,
    },
    optional={},
    key=("entity_id",),
)

#: The scheduler's queue as it was known. As of time t, the row of a (job_id, entity_id) that counts is the one with the
#: newest `available_at` <= t. `end_time` is what was promised then (a time limit), never what came true later.
JOB_SCHEDULE = Table(
    "job schedule",
    required={
        "job_id": pl.String,
        "entity_id": pl.String,
        "kind": pl.String,
        "status": pl.String,
        "start_time": UTC,
        "end_time": UTC,
        "planned_power_w": pl.Float64,
        "available_at": UTC,
    },
    optional={},
    key=("job_id", "entity_id", "available_at"),
)

#: Weather by issue: an observation has `issue_time == valid_time`, a forecast speaks of a later `valid_time`.
WEATHER = Table(
    "weather",
    required={
        "site": pl.String,
        "issue_time": UTC,
        "valid_time": UTC,
        "available_at": UTC,
        "outdoor_c": pl.Float64,
        "wet_bulb_c": pl.Float64,
    },
    optional={},
    key=("site", "issue_time", "valid_time"),
)

#: What the simulator broke, beside the data it broke. An empty `signal` means whole rows.
FAULTS = Table(
    "fault truth",
    required={"fault": pl.String, "entity_id": pl.String, "signal": pl.String, "start_time": UTC, "end_time": UTC},
    optional={},
    key=("fault", "entity_id", "signal", "start_time"),
)
