"""Exporters' names to the contract's signals: what each metric measures, in which unit, and its words for "nothing"."""

from dataclasses import dataclass, field


@dataclass
class MetricSpec:
    """One metric of an exporter, or one sensor of a long table.

    Attributes:
        signal: the contract's signal it measures, or a limit of the topology (`power_limit_w`, `temperature_limit_c`).
        unit: as in `forecast.traces.files.UNITS`, with mW for power and J, mJ, kWh for counters; None is SI.
        kind: `gauge`; `margin` (degrees or watts left below the limit, so that signal = limit - value); or `counter`
            (energy since some start, so that power is its reset-aware rate).
        labels: label to a regular expression that must match wholly; series that don't are another metric's business.
        combine: of several series of one entity at one time: `max`, `mean`, `sum` or `min`, after conversion to SI.
        sentinels: raw values that mean "not available".
        rank: of several metrics of the same signal, the one with the lowest rank that has a value is taken.
    """

    signal: str = "power_w"
    unit: str | None = None
    kind: str = "gauge"
    labels: dict[str, str] = field(default_factory=dict)
    combine: str = "max"
    sentinels: list[float] = field(default_factory=list)
    rank: int = 0
