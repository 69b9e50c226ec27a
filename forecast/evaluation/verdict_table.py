"""A gate's verdict in words and figures, for the report's page and the terminal."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from forecast.wording import MISSING, fixed, known, percent, target_title

#: Ratios at the ends of the strip that shows one.
_WIDEST = 1.25

#: A number as text, with so many decimals more than usual.
_Figure = Callable[[float | None, int], str]

#: Beyond the usual ones; what more would tell apart is as good as equal.
_MOST_DECIMALS = 6


@dataclass(frozen=True)
class VerdictRow:
    """One rule as text.

    Attributes:
        rule: what is asked, and of whom.
        champion, challenger: the figures that are compared.
        change: from the one to the other; for coverage, the distance from nominal.
        bounds: how far chance could have moved it.
        limit: what it is held against.
        passed: whether the rule holds.
        strip: where lower bound, ratio and upper bound lie from 0 to 1, equal being 0.5; None where there is no ratio.
    """

    rule: str
    champion: str
    challenger: str
    change: str
    bounds: str
    limit: str
    passed: bool
    strip: tuple[float, ...] | None


@dataclass(frozen=True)
class VerdictTable:
    """What decided: the rows on the whole and those that failed, in this order; and the rest."""

    first: list[VerdictRow]
    rest: list[VerdictRow]


def verdict_table(verdict: Mapping[str, Any]) -> VerdictTable:
    """Arrange the rows of a verdict; there are none in one that another version of this code gave."""
    rows = [row for row in verdict.get("rows", []) if row.get("metric") in _METRICS]
    overall, failed, kept = (
        [verdict_row(row) for row in rows if _place(row) == place] for place in ("overall", "failed", "kept")
    )
    return VerdictTable(overall + failed, kept)


def _place(row: Mapping[str, Any]) -> str:
    if row["rule"] == "overall":
        return "overall"
    return "kept" if row["passed"] else "failed"


def verdict_row(row: Mapping[str, Any]) -> VerdictRow:
    """Put one row of a verdict into words."""
    title, figure, change = _METRICS[row["metric"]]
    lower, value, upper = (row[name] for name in ("lower", "value", "upper"))
    bounded = known(lower) and known(upper)
    more = _decimals(row, change or figure)
    usual = 0 if change else more
    return VerdictRow(
        rule=f"{title}, {_who(row)}" if row["metric"] not in _BUDGETS else title,
        champion=figure(row["champion"], usual),
        challenger=figure(row["challenger"], usual),
        change=change(value, more) if change else "",
        bounds=f"{change(lower, more)} to {change(upper, more)}" if change and bounded else "",
        limit=_limit(row, change or figure, more),
        passed=row["passed"],
        strip=tuple(_along(each) for each in (lower, value, upper)) if row["metric"] == "wql" and bounded else None,
    )


def _decimals(row: Mapping[str, Any], told: _Figure) -> int:
    """How many decimals beyond the usual tell a figure that failed from its limit."""
    off = row["metric"] == "coverage_90"
    decided, limit = row["value"], row["limit"]
    if row["rule"] == "overall" and known(row["upper"]):
        decided = row["upper"]
    elif off and known(row["lower"]) and known(row["upper"]):
        decided = max(row["lower"], -row["upper"])  # the bound that is nearer to nominal
    if row["passed"] or not known(decided) or decided == limit:
        return 0
    return next((more for more in range(_MOST_DECIMALS) if told(decided, more) != told(limit, more)), 0)


def _limit(row: Mapping[str, Any], told: _Figure, more: int) -> str:
    limit = told(row["limit"], more)
    return f"±{limit.removeprefix('+')}" if row["metric"] == "coverage_90" else limit


def _who(row: Mapping[str, Any]) -> str:
    """Say "load, level rack", or "on the whole"."""
    target = "" if row["target"] == "all" else target_title(row["target"]).lower()
    part = "" if row["segment"] == "all" else row["segment"]
    return ", ".join(each for each in (target, part) if each) or "on the whole"


def _along(ratio: float) -> float:
    place = 0.5 + 0.5 * math.log(ratio) / math.log(_WIDEST) if ratio > 0 else 0.0
    return round(min(max(place, 0.0), 1.0), 4)


def _signed(value: float | None, decimals: int, unit: str = "") -> str:
    if not known(value):
        return MISSING
    return f"{'+' if round(value, decimals) > 0 else ''}{fixed(value, decimals)}{unit}"


def _with_unit(value: float | None, decimals: int, unit: str) -> str:
    return f"{fixed(value, decimals)} {unit}" if known(value) else MISSING


def _relative(ratio: float | None, more: int) -> str:
    if not known(ratio):
        return MISSING
    return _signed(100 * (ratio - 1), (1 if ratio < 2 else 0) + more, " %")


def _points(share: float | None, more: int) -> str:
    return _signed(100 * share if known(share) else None, 1 + more, " points")


#: Title, the figure of each of the two, and what changed.
_METRICS: dict[str, tuple[str, _Figure, _Figure | None]] = {
    "wql": ("WQL", lambda value, more: fixed(value, 4 + more), _relative),
    "coverage_90": ("90 % coverage", lambda value, more: percent(value, 1 + more), _points),
    "brier": ("Brier score", lambda value, more: fixed(value, 5 + more), lambda value, more: _signed(value, 5 + more)),
    "size_mb": ("Size", lambda value, more: _with_unit(value, 1 + more, "MB"), None),
    "ms_per_1000": ("1,000 forecasts on one core", lambda value, more: _with_unit(value, more, "ms"), None),
}

_BUDGETS = ("size_mb", "ms_per_1000")
