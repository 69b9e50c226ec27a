"""Whether a fleet's values can be in the units they claim."""

from collections.abc import Iterable, Iterator, Mapping
from statistics import median

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.errors import DataError
from forecast.contracts.schedule import IMPOSED
from forecast.contracts.topology import Topology
from forecast.features.gridded import Floats, Gridded

#: Signals whose values tell their unit.
CHECKED = ("power_w", "temperature_c", "inlet_c")

#: Power in kW reads as a thousandth; machines draw at most their nameplate, and 20 % over for meters and bad labels.
LIKE_KW = 1.2e-3

#: Where power is far above its limits, which may be what is wrong.
LIMITS_IN_KW = "the power limits are in kW: give them in W"

#: Supply air and coolant reach 45 °C: ASHRAE A4 and W45 (constants.md §1).
_WARMEST_SUPPLY_C = 45.0

#: A median needs no more cells than this.
_CELLS = 200_000

Medians = Mapping[str, float | None]


def typical(gridded: Gridded, topology: Topology) -> dict[str, float | None]:
    """Median of each checked signal relative to its limit; None where there is no limit or nothing observed."""
    return {
        name: median_of(name, gridded.values[gridded.signals.index(name)], limit, _CELLS)
        for name, limit in limits_of(topology).items()
        if name in gridded.signals
    }


def median_of(signal: str, values: Floats, limit: NDArray[np.float64] | None, most: int) -> float | None:
    """Median of a signal's `values [N, T]`, over its `limit [N]` if given, of `most` of them or a few more.

    None where none tells a unit: 0 W is 0 kW too, so that machines which are off, or not yet there, say nothing.
    """
    few = values[:, :: values.size // most + 1]
    relative = few if limit is None else few / limit[:, None]
    seen = relative[relative > 0] if signal == "power_w" else relative[~np.isnan(relative)]
    return float(np.median(seen)) if seen.size else None


def limits_of(topology: Topology) -> dict[str, NDArray[np.float64]]:
    """What limits each of `CHECKED`, of every entity `[N]`; NaN where it is unknown."""
    table = topology.table.select("power_limit_w", "temperature_limit_c").cast(pl.Float64).fill_null(float("nan"))
    power, die = table["power_limit_w"].to_numpy(), table["temperature_limit_c"].to_numpy()
    return dict(zip(CHECKED, (power, die, np.full(table.height, _WARMEST_SUPPLY_C)), strict=True))


def jobs_like_kw(jobs: pl.LazyFrame, topology: Topology) -> Iterator[str]:
    """Whether jobs of JOB_SCHEDULE typically ask for next to nothing; the line goes on from the schedule's name."""
    power, limit = pl.col("planned_power_w").cast(pl.Float64), pl.col("power_limit_w")
    places = topology.table.lazy().select("entity_id", "power_limit_w")
    asked = jobs.filter(~pl.col("kind").fill_null("").is_in(IMPOSED), power > 0).join(places, on="entity_id")
    share, power_w = asked.select((power / limit).median(), power.median().alias("power_w")).collect().row(0)
    if share is not None and share <= LIKE_KW:
        advice = "if that is kW, tell units: {planned_power_w: kW}"
        yield f"has jobs of typically {power_w:g} W, {share:.2g} × nameplate; {advice}"


def middle(days: Iterable[float | None]) -> float | None:
    """Median of the days that tell; None where none does."""
    known = [value for value in days if value is not None]
    return median(known) if known else None


def check_units(medians: Medians, where: str) -> None:
    """Refuse telemetry whose typical values fit another unit better than the declared one.

    The median power of machines that draw any is never under 0.3 % of nameplate (idle boards draw over 4 %,
    constants.md §2) unless it is in kW, nor over 30 times nameplate unless in mW, or nameplates are in kW; a median
    temperature above every limit fits °F.

    Raises:
        DataError: naming `where`, the signal, the typical value, and the setting that would convert it.
    """
    power = medians.get("power_w")
    if power is not None and not 3e-3 <= power <= 30:
        unit, limits = ("kW", "") if power < 1 else ("mW", f"; or {LIMITS_IN_KW}")
        raise DataError(
            f"{where}: power_w is typically {power:.2g} × nameplate, which fits {unit} rather than W; "
            f"declare it in the source's YAML, e.g. units: {{power_w: {unit}}}{limits}."
        )
    for name in ("temperature_c", "inlet_c"):
        share = medians.get(name)
        if share is not None and share > 1.05:
            raise DataError(
                f"{where}: {name} typically exceeds any limit by {share - 1:.0%}, which fits °F rather than °C; "
                f"declare it in the source's YAML, e.g. units: {{{name}: degF}}."
            )
