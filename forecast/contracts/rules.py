"""What a good row looks like, one reason per rule, and what is wrong with a table that breaks some."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl

from forecast.contracts.errors import one_line
from forecast.contracts.signals import LEVELS, SIGNALS

#: No telemetry of machines that run today is older; clocks that lost their battery say 1970 or 1980.
OLDEST = datetime(2000, 1, 1, tzinfo=UTC)

#: What lies beyond is a parsing mistake or somebody's "for ever".
LATEST = datetime(2100, 1, 1, tzinfo=UTC)

#: A sample from further ahead of the reader's clock is from the future (OPERATIONS §2).
CLOCK_TOLERANCE = timedelta(seconds=120)

#: Outdoor air, with margin: -89.2 °C at Vostok in 1983 and 56.7 °C in Death Valley in 1913 (WMO's archive of extremes).
OUTDOOR_C = (-95.0, 60.0)

#: Two sensors of ±0.2 °C each (WMO-No. 8) and values rounded to 0.1 °C: so far a wet bulb may read above the dry one.
WET_BULB_TOLERANCE_C = 0.5

#: How many rows a report quotes for each reason.
EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class Rule:
    """One thing that is true of good rows.

    Attributes:
        reason: what a row that breaks it is, in words.
        good: true or null for good rows.
        value: the column whose value alone is set aside, as null; None sets the row aside.
    """

    reason: str
    good: pl.Expr
    value: str | None = None

    @property
    def bad(self) -> pl.Expr:
        return self.good.not_().fill_null(value=False)

    def applies(self, columns: Iterable[str]) -> bool:
        """Whether a table with `columns` has all that the rule speaks of."""
        return set(self.good.meta.root_names()) <= set(columns)


def told(column: str) -> Rule:
    """`column` is there, and not blank."""
    return Rule(f"no {column}", pl.col(column).is_not_null() & (pl.col(column).str.strip_chars() != ""))


def clock(column: str) -> tuple[Rule, Rule]:
    """`column` was readable and is a time that this software can meet."""
    return (
        Rule(f"unreadable {column}", pl.col(column).is_not_null()),
        Rule(f"absurd {column}", pl.col(column).is_between(OLDEST, LATEST)),
    )


def not_future(column: str, now: datetime) -> Rule:
    """`column` is not ahead of the clock by more than clocks differ."""
    return Rule(f"future {column}", pl.col(column) <= now + CLOCK_TOLERANCE)


def ordered(early: str, late: str, reason: str, *, strictly: bool = False) -> Rule:
    """`early` comes before `late`, or with it unless `strictly`."""
    return Rule(reason, pl.col(early) < pl.col(late) if strictly else pl.col(early) <= pl.col(late))


def possible(column: str, low: float, high: float) -> tuple[Rule, Rule]:
    """Values of `column` are numbers, NaN being text that was none, within a range; null is not observed."""
    value = pl.col(column).cast(pl.Float64)
    return (
        Rule(f"unreadable {column}", value.is_not_nan(), column),
        Rule(f"impossible {column}", value.is_between(low, high), column),
    )


def signals() -> tuple[Rule, ...]:
    """Every signal is a number within its physical range."""
    return tuple(rule for name, signal in SIGNALS.items() for rule in possible(name, signal.low, signal.high))


def level() -> Rule:
    """The level is one of the house's words."""
    return Rule(f"unknown level (levels are {', '.join(LEVELS)})", pl.col("level").is_in(LEVELS).fill_null(value=False))


def limit(column: str) -> Rule:
    """A nameplate limit is positive and finite where it is known; NaN is unknown too."""
    value = pl.col(column).cast(pl.Float64)
    good = value.is_nan() | ((value > 0) & value.is_finite())
    return Rule(f"{column} that is not positive and finite; leave it null if unknown", good)


def ascending(columns: Sequence[str], label: str) -> Rule:
    """Quantiles of `label` do not cross; one that is unknown crosses none."""
    steps = [pl.col(low) <= pl.col(high) for low, high in pairwise(columns)]
    return Rule(f"crossing {label}", pl.all_horizontal(pl.lit(value=True), *steps))


def quoted(row: dict[str, object]) -> str:
    """A row as one line of `column=value`."""
    return one_line(" ".join(f"{name}={_shown(value)}" for name, value in row.items()))


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value:g}" if isinstance(value, float) else str(value)
