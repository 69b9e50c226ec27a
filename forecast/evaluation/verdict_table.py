"""A gate's verdict in words and figures, for the report's page and the terminal."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from forecast.wording import MISSING, fixed, known, percent, target_title

#: Ratios at the ends of the strip that shows one.
_WIDEST = 1.25

_Figure = Callable[[float | None], str]


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
    return VerdictRow(
        rule=f"{title}, {_who(row)}" if row["metric"] not in _BUDGETS else title,
        champion=figure(row["champion"]),
        challenger=figure(row["challenger"]),
        change=change(value) if change else "",
        bounds=f"{change(lower)} to {change(upper)}" if change and bounded else "",
        limit=_limit(row, change or figure),
        passed=row["passed"],
        strip=tuple(_along(each) for each in (lower, value, upper)) if row["metric"] == "wql" and bounded else None,
    )


def _limit(row: Mapping[str, Any], told: _Figure) -> str:
    limit = told(row["limit"])
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


def _relative(ratio: float | None) -> str:
    if not known(ratio):
        return MISSING
    return _signed(100 * (ratio - 1), 1 if ratio < 2 else 0, " %")


def _points(share: float | None) -> str:
    return _signed(100 * share if known(share) else None, 1, " points")


#: Title, the figure of each of the two, and what changed.
_METRICS: dict[str, tuple[str, _Figure, _Figure | None]] = {
    "wql": ("WQL", lambda value: fixed(value, 4), _relative),
    "coverage_90": ("90 % coverage", percent, _points),
    "brier": ("Brier score", lambda value: fixed(value, 5), lambda value: _signed(value, 5)),
    "size_mb": ("Size", lambda value: _with_unit(value, 1, "MB"), None),
    "ms_per_1000": ("1,000 forecasts on one core", lambda value: _with_unit(value, 0, "ms"), None),
}

_BUDGETS = ("size_mb", "ms_per_1000")
