"""What one named forecast takes in and gives out: the same specification trains, serves, and lies in the bundle."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from forecast.contracts.errors import ConfigError
from forecast.contracts.signals import SIGNALS, TARGETS


@dataclass(frozen=True)
class Covariate:
    """Something known ahead of an entity.

    Attributes:
        name: its unit is the suffix, but for waves and shares.
        unit: SI unit as printed.
        source: what tells it: `clock` (and the calendar of the place), `weather` or `schedule`.
        optional: whether it can be unknown (NaN); a model then sees it with a mask.
        centre, typical_scale: a model sees (value - centre) / typical_scale; None is the entity's nameplate.
        meaning: one line.
    """

    name: str
    unit: str
    source: str
    optional: bool
    centre: float
    typical_scale: float | None
    meaning: str


#: Known-ahead covariates that a forecast may name. 15 °C is a mild day; 10 °C more make a chiller work noticeably.
FUTURE = {
    covariate.name: covariate
    for covariate in (
        Covariate("day_sin", "1", "clock", False, 0.0, 1.0, "sine of the local time of day"),
        Covariate("day_cos", "1", "clock", False, 0.0, 1.0, "cosine of the local time of day"),
        Covariate("week_sin", "1", "clock", False, 0.0, 1.0, "sine of the local time of week"),
        Covariate("week_cos", "1", "clock", False, 0.0, 1.0, "cosine of the local time of week"),
        Covariate("holiday", "1", "clock", True, 0.0, 1.0, "1 on a public holiday of the site's country"),
        Covariate("outdoor_c", "°C", "weather", True, 15.0, 10.0, "outdoor air as forecast at forecast_time"),
        Covariate("wet_bulb_c", "°C", "weather", True, 15.0, 10.0, "wet bulb as forecast at forecast_time"),
        Covariate("scheduled_power_w", "W", "schedule", True, 0.0, None, "power of jobs running, queued and reserved"),
        Covariate("expected_power_w", "W", "schedule", True, 0.0, None, "the same by the chance that each runs then"),
        Covariate("expected_busy_ratio", "1", "schedule", True, 0.0, 1.0, "share of its leaves with a job, likewise"),
        Covariate("running_power_w", "W", "schedule", True, 0.0, None, "likewise, of jobs that run at forecast_time"),
        Covariate("running_busy_ratio", "1", "schedule", True, 0.0, 1.0, "likewise, of jobs that run at forecast_time"),
        Covariate("usual_power_w", "W", "schedule", True, 0.0, None, "jobs at this time of day, mean of last week"),
        Covariate("usual_busy_ratio", "1", "schedule", True, 0.0, 1.0, "share of its leaves with a job, likewise"),
        Covariate("place_ratio", "1", "schedule", True, 0.0, 1.0, "share of its peers that get a job before it"),
        Covariate("free_peers_ratio", "1", "schedule", True, 0.0, 1.0, "share of its peers that have no job"),
        Covariate("unsubmitted_power_w", "W", "schedule", True, 0.0, None, "of jobs that nobody has submitted yet"),
        Covariate("unsubmitted_busy_ratio", "1", "schedule", True, 0.0, 1.0, "share of its leaves with one of those"),
        Covariate("maintenance", "1", "schedule", True, 0.0, 1.0, "share of the entity under maintenance"),
        Covariate("planned_power_w", "W", "schedule", True, 0.0, None, "a load imposed on the entity"),
        Covariate("power_cap_w", "W", "schedule", True, 0.0, None, "a cap imposed on the entity"),
        Covariate("planned_fan_speed_rpm", "rpm", "schedule", True, 0.0, 3000.0, "a fan speed imposed on the entity"),
    )
}

#: What a plan imposes: the covariate that tells it, to the signal that follows it.
PLANS = {"planned_power_w": "power_w", "planned_fan_speed_rpm": "fan_speed_rpm"}

#: What every forecast knows without being told, in graph order (`forecast.features.calendar`).
CALENDAR = ("day_sin", "day_cos", "week_sin", "week_cos")

#: Static inputs, in graph order: limits in their units, then codes into the level and SKU vocabularies, 0 = unknown.
STATIC = ("power_limit_w", "temperature_limit_c", "level_code", "sku_code")

#: The quantiles that adaptation shifts: the outermost, and those at 0.1 and 0.9; what lies between moves with them.
SIDES = ("bottom", "low", "high", "top")

#: Static inputs after `STATIC` of a graph that can be adapted (`forecast.adaptation`), in normal scores; NaN = none.
SHIFTS = tuple(f"{target}_{side}_shift" for target in TARGETS for side in SIDES)


@dataclass(frozen=True)
class ForecastSpec:
    """The interface of a forecast graph.

    Attributes:
        step_s: grid step, seconds.
        context_steps: steps the graph looks back (L).
        horizon_steps: steps it looks ahead (H).
        targets: signals forecast (T), which lead `past`.
        past: observed signals in channel order (C).
        quantile_levels: ascending, symmetric about the median (Q).
        future: known-ahead covariates (`FUTURE`) in channel order (F).
        static: constants per entity (S).
    """

    step_s: int
    context_steps: int
    horizon_steps: int
    targets: tuple[str, ...]
    past: tuple[str, ...]
    quantile_levels: tuple[float, ...]
    future: tuple[str, ...] = CALENDAR
    static: tuple[str, ...] = STATIC

    def __post_init__(self) -> None:
        for field in ("step_s", "context_steps", "horizon_steps"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} is {getattr(self, field)}; it must be at least 1.")
        if 86_400 % self.step_s:
            raise ConfigError(
                f"step_s={self.step_s} does not divide a day; the grid would drift. Use e.g. 300 or 3600."
            )
        _check_names("targets", self.targets, TARGETS)
        _check_names("past", self.past, SIGNALS)
        _check_names("future", self.future, FUTURE)
        if set(self.future) <= set(PLANS):
            raise ConfigError(f"future names plans alone; name the calendar too: {', '.join(CALENDAR)}.")
        if self.past[: len(self.targets)] != self.targets:
            raise ConfigError(f"past must start with the targets {list(self.targets)}, got {list(self.past)}.")
        _check_levels(self.quantile_levels)

    @property
    def day_steps(self) -> int:
        return 86_400 // self.step_s

    @property
    def planned(self) -> bool:
        """Whether it can be told what will be imposed."""
        return not set(PLANS).isdisjoint(self.future)

    @property
    def unplanned(self) -> "ForecastSpec":
        """The forecast that never sees a plan."""
        return replace(self, future=tuple(name for name in self.future if name not in PLANS))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ForecastSpec":
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return cls(**fields)


def _check_names(field: str, names: tuple[str, ...], known: Mapping[str, object]) -> None:
    if not names:
        raise ConfigError(f"{field} is empty; choose from {', '.join(known)}.")
    if len(set(names)) < len(names):
        raise ConfigError(f"{field} names a signal twice, got {list(names)}.")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"{field} names {unknown[0]!r}; known are {', '.join(known)}.")


def _check_levels(levels: tuple[float, ...]) -> None:
    mirrored = tuple(round(1 - level, 9) for level in reversed(levels))
    ascending = all(low < high for low, high in pairwise(levels))
    if not ascending or mirrored != tuple(round(level, 9) for level in levels) or 0.5 not in levels:
        raise ConfigError(f"quantile_levels must ascend, mirror about 0.5 and hold it, got {list(levels)}.")
    if levels[0] <= 0 or not {0.1, 0.9} <= set(levels):
        raise ConfigError(f"quantile_levels must lie inside (0, 1) and hold 0.1 and 0.9, got {list(levels)}.")
