"""Exporters' names to the contract's signals: what each metric measures, in which unit, and its words for "nothing"."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from forecast.contracts.errors import ConfigError
from forecast.contracts.signals import SIGNALS, TARGETS
from forecast.contracts.topology import Topology
from forecast.traces.units import UNITS

#: What a metric may measure besides a signal: a column of the topology, with its SI unit.
LIMITS = {"power_limit_w": "W", "temperature_limit_c": "°C"}

#: The place of a sample in its source.
_ROW = "row"

_KINDS = ("gauge", "margin", "counter")
_COMBINES = ("max", "mean", "sum", "min")
_SERIES = ("entity_id", "metric", "series")


@dataclass
class MetricSpec:
    """One metric of an exporter, or one sensor of a long table.

    Attributes:
        signal: the contract's signal it measures, or a limit of the topology (`power_limit_w`, `temperature_limit_c`).
        unit: as in `forecast.traces.units.UNITS`, of energy for counters; None is SI.
        kind: `gauge`; `margin` (degrees or watts left below the limit, so that signal = limit - value); or `counter`
            (energy since some start, so that power is its reset-aware rate).
        labels: label to a regular expression that must match wholly; series that don't are another metric's business.
        combine: of several series of one entity at one time: `max`, `mean`, `sum` or `min`, after conversion to SI.
        sentinels: raw values that mean "not available".
        rank: of several metrics of the same signal, the one with the lowest rank that has a value is taken; those of
            one rank are combined like series of one metric.
    """

    signal: str = "power_w"
    unit: str | None = None
    kind: str = "gauge"
    labels: dict[str, str] = field(default_factory=dict)
    combine: str = "max"
    sentinels: list[float] = field(default_factory=list)
    rank: int = 0

    @property
    def si(self) -> tuple[float, float]:
        """(factor, offset) of a raw value into SI; a margin is a difference, which no zero point shifts."""
        factor, offset = (1.0, 0.0) if self.unit is None else UNITS[self.dimension][self.unit]
        return factor, 0.0 if self.kind == "margin" else offset

    @property
    def dimension(self) -> str:
        """The SI unit of a raw value."""
        return "J" if self.kind == "counter" else measured_unit(self.signal)


def measured_unit(signal: str) -> str:
    """The SI unit of a signal or limit."""
    return LIMITS[signal] if signal in LIMITS else SIGNALS[signal].unit


def widen(samples: pl.LazyFrame, metrics: Mapping[str, MetricSpec], topology: Topology) -> pl.LazyFrame:
    """Samples of metrics as rows of signals.

    A sentinel, or a sum or mean with one in it, is NaN, so that it is counted downstream. A margin of an entity without
    a limit is null. A counter gives the mean power from each reading to the next of its series, at the earlier one's
    time: null after the last reading and over a reset, NaN next to a sentinel. A repeated sample counts once; of two
    that differ max takes the greater and min the lesser, and a sum or mean with them is NaN.

    Args:
        samples: long: `time` (UTC), `entity_id`, `metric` (a key of `metrics`; others are left out), `series` (which
            one within entity and metric; null where there is one only), `value`. In any order.
        metrics: metric to what it measures.
        topology: of the limits that margins are left below.

    Returns:
        The contract's telemetry, with the signals that `metrics` yields: one row per entity and time, in the order of
        the samples, so that late ones are still seen to be late. Rows without a time stay apart, one per sample.

    Raises:
        ConfigError: a metric that cannot mean anything.
    """
    check_metrics(metrics)
    chosen = {name: spec for name, spec in metrics.items() if spec.signal in SIGNALS}
    rows = _in_si(samples.with_row_index(_ROW), chosen)
    if any(spec.kind == "counter" for spec in chosen.values()):
        counted = pl.col("metric").is_in([name for name, spec in chosen.items() if spec.kind == "counter"])
        rows = pl.concat([rows.filter(~counted), _powers(rows.filter(counted))])
    added = [name for name, spec in chosen.items() if spec.combine in {"sum", "mean"}]
    if added:
        rows = pl.concat(
            [rows.filter(~pl.col("metric").is_in(added)), _once(rows.filter(pl.col("metric").is_in(added)))]
        )
    rows = rows.with_columns(value=_below_limits(chosen, topology))
    untimed = pl.when(pl.col("time").is_null()).then(_ROW)
    wide = _combined(rows.with_columns(untimed=untimed), chosen, ["time", "entity_id", "untimed"], pl.col(_ROW).min())
    return wide.sort(_ROW).drop("untimed", _ROW)


def limits(samples: pl.LazyFrame, metrics: Mapping[str, MetricSpec]) -> pl.DataFrame:
    """The limits that entities report: `entity_id`, `power_limit_w`, `temperature_limit_c`; null where there is none.

    Of a series the highest over time counts: a cap that is lowered for a while is no smaller nameplate.

    Args:
        samples, metrics: as of `widen`.
    """
    check_metrics(metrics)
    chosen = {name: spec for name, spec in metrics.items() if spec.signal in LIMITS}
    found = _in_si(samples, chosen).group_by(*_SERIES).agg(pl.col("value").fill_nan(None).max())
    table = _combined(found, chosen, ["entity_id"]).sort("entity_id").collect()
    absent = [pl.lit(None, pl.Float64).alias(name) for name in LIMITS if name not in table.columns]
    return table.with_columns(absent).select("entity_id", *LIMITS)


def resets(samples: pl.LazyFrame, metrics: Mapping[str, MetricSpec]) -> pl.DataFrame:
    """The first reading after each reset of a counter: `entity_id`, `series`, `time`.

    Args:
        samples, metrics: as of `widen`.
    """
    check_metrics(metrics)
    counters = {name: spec for name, spec in metrics.items() if spec.kind == "counter"}
    ordered = _ordered(_in_si(samples, counters).filter(pl.col("value").is_not_nan()))
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(1)) for name in _SERIES)
    fell = ordered.filter(same, pl.col("value") < pl.col("value").shift(1))
    return fell.select("entity_id", "series", "time").sort("entity_id", "series", "time").collect()


def blanks(samples: pl.LazyFrame, metrics: Mapping[str, MetricSpec]) -> pl.DataFrame:
    """How often each series said "not available": `entity_id`, `metric`, `series`, `count`.

    More than the NaN of `widen`, where a good series of the entity stands in for a blank one.

    Args:
        samples, metrics: as of `widen`.
    """
    check_metrics(metrics)
    blank = _in_si(samples, metrics).filter(pl.col("value").is_nan())
    counted = blank.group_by(*_SERIES).agg(pl.len().alias("count"))
    return counted.sort(*_SERIES).collect()


def check_metrics(metrics: Mapping[str, MetricSpec]) -> None:
    """Refuse metrics that cannot mean anything.

    Raises:
        ConfigError: naming the metric, its key, and what is known.
    """
    combines: dict[tuple[str, int], tuple[str, str]] = {}
    for name, spec in metrics.items():
        _known(name, "signal", spec.signal, (*SIGNALS, *LIMITS))
        _known(name, "kind", spec.kind, _KINDS)
        _known(name, "combine", spec.combine, _COMBINES)
        if spec.kind == "counter" and (spec.signal in LIMITS or measured_unit(spec.signal) != "W"):
            raise ConfigError(f"metrics.{name}: a counter of energy gives power, not {spec.signal}.")
        if spec.kind == "margin" and spec.signal not in TARGETS:
            raise ConfigError(f"metrics.{name}: a margin is left below a limit; {spec.signal} has none.")
        if spec.unit is not None:
            _known(name, "unit", spec.unit, tuple(UNITS[spec.dimension]))
        other, combine = combines.setdefault((spec.signal, spec.rank), (name, spec.combine))
        if combine != spec.combine:
            raise ConfigError(
                f"metrics.{name}: combine={spec.combine!r}, but {other} of the same signal and rank has {combine!r}; "
                f"give one of them another rank."
            )


def _known(metric: str, key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"metrics.{metric}: {key}={value!r}; known are {', '.join(known)}.")


def _in_si(samples: pl.LazyFrame, metrics: Mapping[str, MetricSpec]) -> pl.LazyFrame:
    """The samples of `metrics`, blanks as NaN and values in SI."""
    table = pl.LazyFrame(
        [(name, *spec.si) for name, spec in metrics.items()],
        schema={"metric": pl.String, "factor": pl.Float64, "offset": pl.Float64},
        orient="row",
    )
    value = pl.col("value").cast(pl.Float64)
    blank = [
        (pl.col("metric") == name) & value.is_in([float(blank) for blank in spec.sentinels])
        for name, spec in metrics.items()
        if spec.sentinels
    ]
    si = value * pl.col("factor") + pl.col("offset")
    known = samples.join(table, on="metric", how="inner")
    measured = pl.when(pl.any_horizontal(pl.lit(value=False), *blank)).then(float("nan")).otherwise(si)
    return known.with_columns(value=measured).drop("factor", "offset")


def _ordered(readings: pl.LazyFrame) -> pl.LazyFrame:
    """The readings of each series in time order; of two at one time the lower first, as the counter counts."""
    return readings.filter(pl.col("value").is_not_null()).sort(*_SERIES, "time", "value")


def _powers(energy: pl.LazyFrame) -> pl.LazyFrame:
    """Energy readings, J, as the mean power to the next reading of the series, W."""
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(-1)) for name in _SERIES)
    gained = pl.col("value").shift(-1) - pl.col("value")
    seconds = (pl.col("time").shift(-1) - pl.col("time")).dt.total_microseconds() / 1e6
    power = pl.when(same & (seconds > 0) & ~(gained < 0)).then(gained / seconds)
    return _ordered(energy).with_columns(value=power)


def _once(rows: pl.LazyFrame) -> pl.LazyFrame:
    """One row per series and time, so that a repeated sample adds nothing; NaN where repetitions differ."""
    low, high = pl.col("value").min(), pl.col("value").max()
    agreed = pl.when(low.eq_missing(high)).then(high).otherwise(float("nan"))
    once = rows.group_by("time", *_SERIES).agg(agreed.alias("value"), pl.col(_ROW).min())
    return once.select(rows.collect_schema().names())


def _below_limits(metrics: Mapping[str, MetricSpec], topology: Topology) -> pl.Expr:
    """The value, where it is a margin as what is measured: limit - margin."""
    value = pl.col("value")
    for signal, target in TARGETS.items():
        margins = [name for name, spec in metrics.items() if spec.kind == "margin" and spec.signal == signal]
        if margins:
            of = dict(topology.table.select("entity_id", target.limit).iter_rows())
            room = pl.col("entity_id").replace_strict(of, default=None, return_dtype=pl.Float64) - pl.col("value")
            value = pl.when(pl.col("metric").is_in(margins)).then(room).otherwise(value)
    return value


def _combined(rows: pl.LazyFrame, metrics: Mapping[str, MetricSpec], keys: list[str], *others: pl.Expr) -> pl.LazyFrame:
    """One row per `keys`, a column per signal (series combined, then the metrics' ranks), and `others` of the rows."""
    slots: dict[tuple[str, int], list[str]] = {}
    for name, spec in metrics.items():
        slots.setdefault((spec.signal, spec.rank), []).append(name)
    spread, combined = [], []
    for (signal, rank), names in slots.items():
        column = f"{signal}.{rank}"
        spread.append(pl.when(pl.col("metric").is_in(names)).then(pl.col("value")).alias(column))
        combined.append(_over_series(column, metrics[names[0]].combine))
    ranks = {
        signal: [f"{signal}.{rank}" for rank in sorted(rank for other, rank in slots if other == signal)]
        for signal in dict.fromkeys(signal for signal, _ in slots)
    }
    carried = [other.meta.output_name() for other in others]
    wide = rows.select(*keys, *carried, *spread).group_by(keys).agg(*combined, *others)
    return wide.select(*keys, *carried, *(_first_known(columns).alias(signal) for signal, columns in ranks.items()))


def _over_series(column: str, combine: str) -> pl.Expr:
    """The series of a slot as one; max and min pass over NaN, sum and mean don't."""
    values = pl.col(column)
    combined: pl.Expr = getattr(values, combine)()
    return pl.when(values.count() > 0).then(combined).alias(column) if combine == "sum" else combined


def _first_known(columns: list[str]) -> pl.Expr:
    """The first that has a value; NaN where the only ones there are blanks."""
    return pl.coalesce(*(pl.col(name).fill_nan(None) for name in columns), *columns)
