"""The tables that pass between rooms: columns, types, keys, value rules, and the check that they hold.

Each table is a `Table`. `check_schema` looks at the schema alone, so it costs nothing on a lazy frame. `check` and
`sift` look at the values too, in one streaming pass when all is well: `check` raises, `sift` sets the bad aside.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from forecast.contracts import rules
from forecast.contracts.errors import DataError, one_line
from forecast.contracts.rules import Rule
from forecast.contracts.signals import SIGNALS, TARGETS
from forecast.contracts.specs import ForecastSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UTC = pl.Datetime("us", "UTC")

_EPOCH = datetime.fromisoformat("1970-01-01T00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)

_REPORT: dict[str, pl.DataType | type[pl.DataType]] = {
    "reason": pl.String,
    "count": pl.Int64,
    "examples": pl.List(pl.String),
}
_ALPHA_2 = "^[A-Z]{2}$"


@dataclass(frozen=True, eq=False)
class Sifted:
    """A table without what was wrong with it.

    Attributes:
        good: the rows that keep the contract, lazy; a value that alone was wrong is null in them.
        report: columns `reason`, `count` and `examples` (the first few, as text), one row per reason that occurs. A row
            counts under the first rule that it breaks, a value of a row that stays under its own.
    """

    good: pl.LazyFrame
    report: pl.DataFrame


@dataclass(frozen=True, eq=False)
class Table:
    """The contract of one table.

    Attributes:
        name: what a person calls it.
        required: column name to Polars type; any float width satisfies a float.
        optional: the same for columns that may be absent.
        key: columns that identify a row.
        rules: what is true of good rows; a rule about an absent optional column does not apply.
        clock: the column that must not lie in the future, if any.
        unique: whether repeated keys are looked for, which holds the keys in memory. Not in telemetry: what to do with
            a repeat there depends on whether it agrees, and the grid sees both rows side by side without a search.
        mapping: the setting that maps a file's own columns to these; None where files must have these names.
    """

    name: str
    required: Mapping[str, pl.DataType | type[pl.DataType]]
    optional: Mapping[str, pl.DataType | type[pl.DataType]]
    key: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    clock: str | None = None
    unique: bool = True
    mapping: str | None = None

    def check(self, frame: pl.LazyFrame, where: str, now: datetime | None = None) -> pl.LazyFrame:
        """Return `frame` unchanged when its columns, types and values fit.

        Args:
            frame: the table, lazy; streamed once.
            where: file or source named in the error.
            now: what the clock says; None does not judge whether a time is in the future.

        Raises:
            DataError: naming `where`, the column, and what to do; or the reason, how many rows, and the first of them.
        """
        report = self.sift(frame, where, now).report
        if not report.is_empty():
            reason, count, examples = report.row(0)
            others = f" (and {len(report) - 1} other reasons)" if len(report) > 1 else ""
            raise DataError(f"{where}: {self.name} with {reason}: {count}, the first {examples[0]}{others}.")
        return frame

    def sift(self, frame: pl.LazyFrame, where: str, now: datetime | None = None) -> Sifted:
        """Set bad rows and values aside.

        Args:
            frame, where, now: as of `check`.

        Raises:
            DataError: a column that is missing or of another type; values raise nothing.
        """
        columns = self.check_schema(frame, where).collect_schema().names()
        judged = [*self.rules, *([rules.not_future(self.clock, now)] if self.clock and now else [])]
        broken, repeats = self._screened(frame, [rule for rule in judged if rule.applies(columns)])
        of_rows = [rule for rule in broken if rule.value is None]
        of_values = [rule for rule in broken if rule.value is not None]
        good = frame.filter(*(~rule.bad for rule in of_rows))
        found = [
            _Found(rule.reason, frame.filter(bad), self._quoted(rule)) for rule, bad in _exclusive(of_rows, of_values)
        ]
        if repeats:
            found.append(_Found("repeated key", good.filter(~_first_of(self.key)), list(self.key)))
            good = good.filter(_first_of(self.key))
        return Sifted(good.with_columns(_without(of_values)), _report(found))

    def _screened(self, frame: pl.LazyFrame, judged: list[Rule]) -> tuple[list[Rule], bool]:
        """The rules that some row breaks, and whether a key repeats: one pass, and the last where all is well."""
        counts = [rule.bad.sum().alias(str(at)) for at, rule in enumerate(judged)]
        repeats = (~_first_of(self.key)).sum() if self.unique else pl.lit(0)
        *broken, repeated = frame.select(*counts, repeats.alias("repeated")).collect(engine="streaming").row(0)
        return [rule for rule, count in zip(judged, broken, strict=True) if count], bool(repeated)

    def check_schema(self, frame: pl.LazyFrame, where: str) -> pl.LazyFrame:
        """Return `frame` unchanged when its columns and types fit; no row is read.

        Raises:
            DataError: naming `where`, the column, and what to do.
        """
        schema = frame.collect_schema()
        self.check_names(schema, where)
        for column, expected in {**self.required, **self.optional}.items():
            if column in schema and not _fits(schema[column], expected):
                raise DataError(f"{where}: column {column} of {self.name} is {schema[column]}, expected {expected}.")
        return frame

    def check_names(self, found: Collection[str], where: str) -> None:
        """See that every required column is among those `found`.

        Raises:
            DataError: naming `where`, what is missing, what was found, and what to do.
        """
        missing = [column for column in self.required if column not in found]
        if missing:
            advice = f" Map them in {self.mapping}." if self.mapping else ""
            raise DataError(
                f"{where}: {self.name} lacks column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
                f"found {listed(found)}.{advice}"
            )

    def _quoted(self, rule: Rule) -> list[str]:
        """The columns that show what is meant."""
        return list(dict.fromkeys([*self.key, *rule.good.meta.root_names()]))


@dataclass(frozen=True, eq=False)
class _Found:
    """Rows that are wrong for one reason, and the columns that show it."""

    reason: str
    rows: pl.LazyFrame
    quoted: list[str]


def microseconds(time: datetime) -> int:
    """A time as `times` takes it: from 1970 on, whole."""
    return (time - _EPOCH) // _MICROSECOND


def times(name: str, micros: "Sequence[int | None] | NDArray[np.int64]") -> pl.Series:
    """A column of times, of `microseconds`: Polars takes ten times as long for objects of Python."""
    return pl.Series(name, micros, pl.Int64).cast(UTC)


def percentile(label: str, level: float) -> str:
    """Column name of a quantile: `percentile("power_w", 0.9)` is `power_w_p90`."""
    return f"{label}_p{level * 100:g}"


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names in one line, the first `most` of them."""
    all_names = list(names)
    more = f" and {len(all_names) - most} more" if len(all_names) > most else ""
    return one_line(", ".join(all_names[:most]) + more)


def _fits(actual: pl.DataType, expected: pl.DataType | type[pl.DataType]) -> bool:
    if expected == pl.Float64:
        return actual.is_numeric() or actual == pl.Null
    return bool(actual == expected)


def _all(conditions: Iterable[pl.Expr]) -> pl.Expr:
    return pl.all_horizontal(pl.lit(value=True), *conditions)


def _exclusive(of_rows: list[Rule], of_values: list[Rule]) -> Iterator[tuple[Rule, pl.Expr]]:
    """Each rule with whether it is the first that sets a row aside, or a value of a row that stays."""
    for at, rule in enumerate(of_rows):
        yield rule, rule.bad & _all(~other.bad for other in of_rows[:at])
    for at, rule in enumerate(of_values):
        before = [*of_rows, *(other for other in of_values[:at] if other.value == rule.value)]
        yield rule, rule.bad & _all(~other.bad for other in before)


def _without(of_values: list[Rule]) -> list[pl.Expr]:
    """Columns whose bad values are null."""
    columns = dict.fromkeys(rule.value for rule in of_values if rule.value is not None)
    good = {column: _all(~rule.bad for rule in of_values if rule.value == column) for column in columns}
    return [pl.when(kept).then(pl.col(column)).alias(column) for column, kept in good.items()]


def _first_of(key: tuple[str, ...]) -> pl.Expr:
    return pl.struct(key).is_first_distinct()


def _report(found: list[_Found]) -> pl.DataFrame:
    """Counts and first examples, in one pass for all; a reason under which no row is left is no reason."""
    counts = [one.rows.select(pl.len()) for one in found]
    firsts = [one.rows.select(one.quoted).head(rules.EXAMPLES) for one in found]
    tables = pl.collect_all([*counts, *firsts], engine="streaming")
    rows = [
        (one.reason, count.item(), [rules.quoted(row) for row in first.iter_rows(named=True)])
        for one, count, first in zip(found, tables[: len(found)], tables[len(found) :], strict=True)
    ]
    return pl.DataFrame(rows, schema=_REPORT, orient="row").filter(pl.col("count") > 0)


#: Long measurements. `time` is the start of the sample's interval; a null is "not observed", a NaN was text.
TELEMETRY = Table(
    "telemetry",
    required={"time": UTC, "entity_id": pl.String},
    optional=dict.fromkeys(SIGNALS, pl.Float64),
    key=("entity_id", "time"),
    rules=(*rules.clock("time"), rules.told("entity_id"), *rules.signals()),
    clock="time",
    unique=False,
    mapping="the source's `columns`",
)

#: One row per entity of the fleet tree. A null limit is unknown, a null parent is a root. `country` (two letters of
#: ISO 3166-1) says whose holidays the site keeps.
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
    optional={"country": pl.String},
    key=("entity_id",),
    rules=(
        rules.told("entity_id"),
        rules.level(),
        rules.limit("power_limit_w"),
        rules.limit("temperature_limit_c"),
        Rule("country that is not two capital letters (ISO 3166-1)", pl.col("country").str.contains(_ALPHA_2)),
    ),
)

#: The scheduler's queue as it was known. As of time t, the row of a (job_id, entity_id) that counts is the one with the
#: newest `available_at` <= t. `end_time` is what was promised then (a time limit), never what came true later. A plan
#: may impose a fan speed beside its power, or alone.
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
    optional={"planned_fan_speed_rpm": pl.Float64},
    key=("job_id", "entity_id", "available_at"),
    rules=(
        rules.told("job_id"),
        rules.told("entity_id"),
        *rules.clock("start_time"),
        *rules.clock("end_time"),
        *rules.clock("available_at"),
        rules.ordered("start_time", "end_time", "end_time that is not after start_time", strictly=True),
        *rules.possible("planned_power_w", SIGNALS["power_w"].low, SIGNALS["power_w"].high),
        *rules.possible("planned_fan_speed_rpm", SIGNALS["fan_speed_rpm"].low, SIGNALS["fan_speed_rpm"].high),
    ),
    clock="available_at",
    mapping="the source's `jobs.columns`",
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
    rules=(
        rules.told("site"),
        *rules.clock("issue_time"),
        *rules.clock("valid_time"),
        *rules.clock("available_at"),
        rules.ordered("issue_time", "valid_time", "issue_time after valid_time"),
        rules.ordered("issue_time", "available_at", "available_at before issue_time"),
        *rules.possible("outdoor_c", *rules.OUTDOOR_C),
        *rules.possible("wet_bulb_c", *rules.OUTDOOR_C),
        Rule(
            "wet_bulb_c above outdoor_c",
            pl.col("wet_bulb_c") <= pl.col("outdoor_c") + rules.WET_BULB_TOLERANCE_C,
            "wet_bulb_c",
        ),
    ),
    clock="available_at",
    mapping="the source's `weather.columns`",
)

#: What the simulator broke, beside the data it broke. An empty `signal` means whole rows.
FAULTS = Table(
    "fault truth",
    required={"fault": pl.String, "entity_id": pl.String, "signal": pl.String, "start_time": UTC, "end_time": UTC},
    optional={},
    key=("fault", "entity_id", "signal", "start_time"),
    rules=(
        rules.told("fault"),
        rules.told("entity_id"),
        *rules.clock("start_time"),
        *rules.clock("end_time"),
        rules.ordered("start_time", "end_time", "end_time before start_time"),
        Rule("unknown signal", pl.col("signal").is_in(["", *SIGNALS])),
    ),
)


def forecast_table(spec: ForecastSpec) -> Table:
    """The rows that a forecast of `spec` consists of: quantiles that do not cross, probabilities, and provenance.

    A null quantile is unknown, as headroom is where the limit is; `data_time` is null where nothing was observed.
    """
    labels = [label for name in spec.targets for label in (name, TARGETS[name].headroom)]
    quantiles = {label: [percentile(label, at) for at in spec.quantile_levels] for label in labels}
    exceedances = [f"{name}_exceedance" for name in spec.targets]
    numbers = [column for label in labels for column in quantiles[label]]
    texts = ("entity_id", "level", "bundle_id", "source", "status")
    return Table(
        "forecast",
        required={
            "forecast_time": UTC,
            "valid_time": UTC,
            **dict.fromkeys(texts, pl.String),
            "data_time": UTC,
            **dict.fromkeys([*numbers, *exceedances], pl.Float64),
        },
        optional={},
        key=("entity_id", "forecast_time", "valid_time"),
        rules=(
            *rules.clock("forecast_time"),
            *rules.clock("valid_time"),
            *(rules.told(column) for column in texts),
            rules.level(),
            rules.ordered("forecast_time", "valid_time", "valid_time before forecast_time"),
            rules.ordered("data_time", "forecast_time", "data_time after forecast_time"),
            *(Rule(f"{name} that is not finite", pl.col(name).cast(pl.Float64).is_finite()) for name in numbers),
            *(rules.ascending(columns, f"quantiles of {label}") for label, columns in quantiles.items()),
            *(
                Rule(f"{name} that is no probability", pl.col(name).cast(pl.Float64).is_between(0.0, 1.0))
                for name in exceedances
            ),
        ),
    )
