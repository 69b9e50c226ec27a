"""Task E's telemetry in a form that any file source reads: seven channels of a transformer, each an entity of its own.

The field scores z-scores, which may be negative, and a load may not be. So each channel's z-score is told as a
temperature about 40 °C, `CELSIUS` degrees to one deviation, and what is forecast is taken back before it is scored: the
forecast of an affine map is the map of the forecast.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from forecast.features.gridded import Floats

#: Degrees of one deviation, and of a z-score of 0: all that was measured lies between 10 and 70 °C.
CELSIUS, ZERO_C = 5.0, 40.0

#: Days that train, validate and test, as the field cuts them: 12, 4 and 4 months of 30 days.
_DAYS = (360, 120, 120)

#: What others report, a row per set, method, look-back and horizon, with its source.
_PUBLISHED = Path(__file__).parent / "ett_published.csv"


@dataclass(frozen=True)
class Ett:
    """One of the two sets.

    Attributes:
        name: of the file.
        step_s: seconds.
    """

    name: str
    step_s: int

    @property
    def day(self) -> int:
        return 86_400 // self.step_s

    @property
    def ends(self) -> tuple[int, int, int]:
        """One past the last step of training, validation and test."""
        train, validation, test = (days * self.day for days in _DAYS)
        return train, train + validation, train + validation + test


SETS = {ett.name: ett for ett in (Ett("ETTh1", 3600), Ett("ETTm1", 900))}


def scores(ett: Ett, raw: Path) -> pl.DataFrame:
    """The set's `date` and its channels in z-scores of the training part, up to the end of the test.

    Args:
        ett: which.
        raw: folder of the CSV files.
    """
    train, _, end = ett.ends
    table = pl.read_csv(raw / f"{ett.name}.csv", try_parse_dates=True).head(end)
    z = [(pl.col(name) - _mean(table[name], train)) / _deviation(table[name], train) for name in table.columns[1:]]
    return table.select("date", *z)


def truth(ett: Ett, raw: Path) -> Floats:
    """The z-scores as `[7, steps]`, channels in the order of their names."""
    z = scores(ett, raw).drop("date")
    return np.ascontiguousarray(z.select(sorted(z.columns)).to_numpy().T, dtype=np.float32)


def write(ett: Ett, raw: Path, folder: Path) -> None:
    """Write `telemetry.parquet` and `topology.parquet` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    z = scores(ett, raw)
    long = z.unpivot(index="date", variable_name="entity_id", value_name="z").select(
        "entity_id",
        time=pl.col("date").dt.replace_time_zone("UTC"),  # naive in the file: a clock of its own
        temperature_c=ZERO_C + CELSIUS * pl.col("z"),
    )
    long.sort("entity_id", "time").write_parquet(folder / "telemetry.parquet")
    channels = pl.DataFrame({"entity_id": sorted(z.columns[1:])})
    channels.with_columns(
        parent_id=pl.lit(None, pl.String),
        level=pl.lit("server"),
        sku=pl.col("entity_id"),
        power_limit_w=pl.lit(None, pl.Float64),
        temperature_limit_c=200.0,  # far from anything measured: no headroom is asked for
        site=pl.lit("transformer"),
        time_zone=pl.lit("UTC"),
    ).write_parquet(folder / "topology.parquet")


def to_z(celsius: Floats) -> Floats:
    """Temperatures back to z-scores."""
    z: Floats = (celsius - np.float32(ZERO_C)) / np.float32(CELSIUS)
    return z


def published() -> list[dict[str, Any]]:
    """What others report for the same windows, per set, method, look-back and horizon, with its source."""
    return pl.read_csv(_PUBLISHED, schema_overrides={"look_back": pl.String}).to_dicts()


def _mean(channel: pl.Series, train: int) -> float:
    return float(channel[:train].to_numpy().mean())


def _deviation(channel: pl.Series, train: int) -> float:
    return float(channel[:train].to_numpy().std())
