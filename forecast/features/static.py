"""What does not change about an entity: its limits and what it is."""

from collections.abc import Sequence

import polars as pl

from forecast.contracts.signals import LEVELS
from forecast.contracts.specs import STATIC
from forecast.contracts.topology import Topology


def static(topology: Topology, skus: Sequence[str]) -> pl.DataFrame:
    """Static inputs, one row per entity in topology order: float32 columns `STATIC`, NaN for an unknown limit.

    Codes start at 1; an SKU outside `skus` (the vocabulary of the training) is 0.
    """
    code = {
        "level_code": pl.col("level").replace_strict(_codes(LEVELS), default=0),
        "sku_code": pl.col("sku").replace_strict(_codes(skus), default=0),
    }
    limits = pl.col("power_limit_w", "temperature_limit_c").fill_null(float("nan"))
    return topology.table.select(limits, **code).select(pl.col(STATIC).cast(pl.Float32))


def _codes(names: Sequence[str]) -> dict[str, int]:
    return {name: code for code, name in enumerate(names, start=1)}
