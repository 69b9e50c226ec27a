"""Bad rows are set aside with a count and a reason; values that mean nothing become "not observed"."""

import polars as pl

from forecast.contracts.errors import DataError
from forecast.contracts.signals import SIGNALS
from forecast.contracts.topology import Topology

_KEY = ("entity_id", "time")


def signals_in(telemetry: pl.LazyFrame) -> list[str]:
    """The contract's signals that a telemetry frame has."""
    return [name for name in telemetry.collect_schema().names() if name in SIGNALS]


def observed(name: str) -> pl.Expr:
    """The signal where it is finite and physically possible, else null: sentinels and glitches are not clipped."""
    signal, value = SIGNALS[name], pl.col(name)
    return pl.when(value.is_between(signal.low, signal.high)).then(value.cast(pl.Float64))


def repair(telemetry: pl.LazyFrame) -> pl.LazyFrame:
    """One row per entity and time, holding possible values only.

    Identical repeats collapse into one row. Repeats that disagree are all set aside: nothing says which is right.
    """
    values = [observed(name).alias(name) for name in signals_in(telemetry)]
    once = telemetry.select(*_KEY, *values).unique()
    return once.filter(pl.len().over(_KEY) == 1)


def setbacks(telemetry: pl.LazyFrame) -> pl.DataFrame:
    """How many values and rows `repair` sets aside: columns `reason`, `count`, only reasons that occur."""
    signals = signals_in(telemetry)
    impossible = [
        (pl.col(name).is_not_null() & observed(name).is_null()).sum().alias(f"impossible {name}") for name in signals
    ]
    values = telemetry.select(*_KEY, *(observed(name).alias(name) for name in signals))
    repeats = values.group_by(_KEY).agg(pl.len().alias("rows"), pl.struct(signals).n_unique().alias("distinct"))
    identical = pl.when(pl.col("distinct") == 1).then(pl.col("rows") - 1).sum().alias("identical duplicate")
    conflicting = pl.when(pl.col("distinct") > 1).then(pl.col("rows")).sum().alias("conflicting duplicate")
    counts = pl.concat([telemetry.select(impossible), repeats.select(identical, conflicting)], how="horizontal")
    table = counts.collect().unpivot(variable_name="reason", value_name="count")
    return table.filter(pl.col("count") > 0)


def check_units(telemetry: pl.LazyFrame, topology: Topology, where: str) -> None:
    """Refuse telemetry whose typical values fit another unit better than the declared one.

    A fleet's median power is never under 0.3 % of nameplate (idle boards draw 4 % and more, DOMAIN.md §2) unless it is
    in kW, nor over 30 times nameplate unless in mW; a median temperature above every limit fits °F.

    Raises:
        DataError: naming `where`, the signal, the typical value, and the setting that would convert it.
    """
    medians = _medians(telemetry, topology)
    if medians["power_w"] is not None and not 3e-3 <= medians["power_w"] <= 30:
        raise DataError(
            f"{where}: power_w is typically {medians['power_w']:.2g} × nameplate, which fits kW or mW rather than W; "
            f"declare it in the source's YAML, e.g. units: {{power_w: kW}}."
        )
    for name in ("temperature_c", "inlet_c"):
        share = medians[name]
        if share is not None and share > 1.05:
            raise DataError(
                f"{where}: {name} typically exceeds any limit by {share - 1:.0%}, which fits °F rather than °C; "
                f"declare it in the source's YAML, e.g. units: {{{name}: degF}}."
            )


def _medians(telemetry: pl.LazyFrame, topology: Topology) -> dict[str, float | None]:
    """Median of each checked signal relative to its limit; air and coolant supply to 45 °C, ASHRAE A4 and W45."""
    limits = topology.table.lazy().select("entity_id", "power_limit_w", "temperature_limit_c")
    relative = {
        "power_w": _number("power_w") / pl.col("power_limit_w"),
        "temperature_c": _number("temperature_c") / pl.col("temperature_limit_c"),
        "inlet_c": _number("inlet_c") / 45.0,
    }
    present = set(signals_in(telemetry))
    chosen = [(expr if name in present else pl.lit(None)).median().alias(name) for name, expr in relative.items()]
    return telemetry.join(limits, on="entity_id").select(chosen).collect().row(0, named=True)


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64).fill_nan(None)
