"""Numbers and names as people read them: kW and MW, percent, "Load" for `power_w`."""

import argparse
import math
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import TypeGuard

from forecast.contracts.signals import SIGNALS

OURS = "fleetcast"
MISSING = "–"

_TARGETS = {"power_w": "Load", "temperature_c": "Temperature"}
_METHODS = {
    OURS: "Fleetcast",
    "persistence": "persistence",
    "seasonal_naive_24h": "seasonal naive (day)",
    "seasonal_naive_168h": "seasonal naive (week)",
}


def target_title(target: str) -> str:
    """Name a target for people; an unknown one keeps its own name."""
    return _TARGETS.get(target, target)


def method_title(method: str) -> str:
    """Name a method for people; an unknown one keeps its own name."""
    return _METHODS.get(method, method)


def unit_of(target: str) -> str:
    """Return a target's SI unit, or nothing for an unknown one."""
    return SIGNALS[target].unit if target in SIGNALS else ""


def readable_unit(unit: str, magnitude: float) -> tuple[float, str]:
    """Choose how to print values up to `magnitude`, which is in `unit`.

    Returns:
        The factor to multiply by, and the unit that results: W become kW or MW; all else stays.
    """
    if unit == "W" and magnitude >= 1e6:
        return 1e-6, "MW"
    if unit == "W" and magnitude >= 1e3:
        return 1e-3, "kW"
    return 1.0, unit


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a number to print: not null, NaN or infinite."""
    return value is not None and math.isfinite(value)


def quantity(value: float | None, unit: str) -> str:
    """Print a value with its unit to three digits or so: 12345 W is "12.3 kW"."""
    if not known(value):
        return MISSING
    factor, printed = readable_unit(unit, abs(value))
    return f"{digits(value * factor)} {printed}".rstrip()


def digits(value: float | None) -> str:
    """Print about three significant digits, never with an exponent."""
    if not known(value):
        return MISSING
    size = abs(value)
    return fixed(value, 0 if size >= 100 else 1 if size >= 10 else 2)


def fixed(value: float | None, decimals: int) -> str:
    """Print a number with so many decimals, thin spaces between thousands, and a real minus sign."""
    if not known(value):
        return MISSING
    return f"{value:,.{decimals}f}".replace("-", "−").replace(",", "\u202f")


def percent(share: float | None, decimals: int = 1) -> str:
    """Print a share in 0..1 as percent."""
    return f"{fixed(100 * share, decimals)} %" if known(share) else MISSING


def moment(time: datetime | None) -> str:
    """Print a time to the minute; one with a zone is shown in UTC."""
    if time is None:
        return MISSING
    if time.tzinfo is None:
        return f"{time:%Y-%m-%d %H:%M}"
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def span(seconds: int) -> str:
    """Print a length of time in its largest whole unit; two days and more in days."""
    for unit_s, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds % unit_s == 0 and (unit != "days" or seconds >= 2 * unit_s):
            return f"{seconds // unit_s} {unit}"
    return f"{seconds} s"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Print how many there are: 1 origin, 2,000 origins; `many` where an s does not make it so."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """For argparse: a comma-separated list of names that must be `known`."""

    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return parse
