"""Which times train, which validate, which test: per entity, and never mixed."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import available_timezones

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.errors import ConfigError, DataError
from forecast.windows.panel import Panel

Steps = NDArray[np.int64]

#: Ranges that can be scored, and what a file of origins calls them.
_SCORED = {"test": "test", "validation": "val"}


@dataclass
class EvaluationConfig:
    """The protocol of the backtest.

    Attributes:
        test_h: the newest hours, looked at once per claim: a week, for less tells a better model from luck too seldom
            (docs/deploy.md).
        validation_h: the hours before them; early stopping and calibration use these.
        origin_every_h: hours between forecast times of the backtest.
        seasons_h: lags of the seasonal naive baselines.
        origins: CSV of `entity_id, split (val or test), forecast_time_local`, instead of the hours above.
        origins_time_zone: zone of that column.
        range: what is scored: `test`, or `validation` for whoever chooses between settings: every range then lies one
            earlier, and what follows is never seen.
    """

    test_h: float = 168.0
    validation_h: float = 96.0
    origin_every_h: float = 1.0
    seasons_h: list[int] = field(default_factory=lambda: [24, 168])
    origins: str | None = None
    origins_time_zone: str = "UTC"
    range: str = "test"

    def __post_init__(self) -> None:
        if self.range not in _SCORED:
            raise ConfigError(f"evaluation.range is {self.range!r}; it must be {' or '.join(_SCORED)}.")
        for name in ("test_h", "validation_h", "origin_every_h"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"evaluation.{name} is {getattr(self, name):g}; it must be a number above 0.")
        if not all(lag_h > 0 for lag_h in self.seasons_h):
            raise ConfigError(
                f"evaluation.seasons_h is {self.seasons_h}; each must be above 0, for a lag of 0 h would be the answer "
                f"itself."
            )


@dataclass(frozen=True, eq=False)
class Split:
    """Where ranges begin, as panel steps.

    Attributes:
        validation, test: `[N]`, the first step of each entity's ranges.
        end: one past the last step.
        origins: first forecast step to the entities `[M]` that are tested there.
    """

    validation: Steps
    test: Steps
    end: int
    origins: dict[int, Steps]


def split(panel: Panel, horizon_steps: int, config: EvaluationConfig) -> Split:
    """Cut a panel as `config` says.

    Raises:
        ConfigError: the ranges leave nothing to train on.
        DataError: the file of origins is missing or damaged, or tests no entity of the panel.
    """
    if config.origins is not None:
        return _listed(panel, config)
    per_hour = 3600 / panel.step_s
    if config.test_h * per_hour < horizon_steps or config.validation_h * per_hour < horizon_steps:
        raise ConfigError(
            f"evaluation.test_h={config.test_h:g} and validation_h={config.validation_h:g} must each hold the horizon, "
            f"{horizon_steps / per_hour:g} h."
        )
    end, test_h = panel.steps, config.test_h
    if config.range == "validation":
        end, test_h = end - round(test_h * per_hour), config.validation_h
    test = end - round(test_h * per_hour)
    validation = test - round(config.validation_h * per_hour)
    if validation <= 0:
        raise ConfigError(
            f"evaluation.test_h={config.test_h:g} and validation_h={config.validation_h:g} leave nothing to train on: "
            f"the data spans {panel.steps / per_hour:g} h; shorten them."
        )
    everyone = np.arange(len(panel.entities))
    stride = max(round(config.origin_every_h * per_hour), 1)
    origins = dict.fromkeys(range(test, end - horizon_steps + 1, stride), everyone)
    return Split(np.full(everyone.size, validation), np.full(everyone.size, test), end, origins)


def _listed(panel: Panel, config: EvaluationConfig) -> Split:
    table = _known_origins(panel, config)
    first = {
        name: dict(table.filter(pl.col("split") == name).group_by("entity").agg(pl.col("step").min()).iter_rows())
        for name in ("val", "test")
    }
    scored = pl.col("split") == _SCORED[config.range]
    rows = table.filter(scored).group_by("step", maintain_order=True).agg("entity").sort("step")
    first_steps = {
        name: np.array([steps.get(entity, panel.steps) for entity in range(len(panel.entities))])
        for name, steps in first.items()
    }
    # Where no validation is listed, training ends at the test all the same.
    test, validation = first_steps["test"], np.minimum(first_steps["val"], first_steps["test"])
    earlier = np.maximum(validation - (test - validation), 0)
    if config.range == "validation":
        test, validation = validation, earlier
    return Split(validation, test, panel.steps, {step: np.array(entities) for step, entities in rows.iter_rows()})


def read_origins(config: EvaluationConfig) -> pl.DataFrame:
    """Read the file of origins: columns `split`, `entity_id`, and `time` in UTC.

    Raises:
        ConfigError: there is no such time zone.
        DataError: it is not there, or is no such table.
    """
    named, zone = f"evaluation.origins={config.origins}", config.origins_time_zone
    if zone not in available_timezones():
        raise ConfigError(f"evaluation.origins_time_zone is {zone!r}; it must be an IANA time zone.")
    needs = f"a CSV of entity_id, split (val or test) and forecast_time_local, a time of the {zone} clock"
    if not Path(config.origins or "").is_file():
        raise DataError(f"{named}: there is no such file; name {needs}.")
    local = pl.col("forecast_time_local").str.to_datetime().dt.replace_time_zone(zone)
    try:
        table = pl.read_csv(config.origins or "", infer_schema=False)
        return table.select("split", "entity_id", time=local.dt.convert_time_zone("UTC"))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{named}: {str(error).splitlines()[0]}; it must be {needs}.") from error


def _known_origins(panel: Panel, config: EvaluationConfig) -> pl.DataFrame:
    """Those of the panel's entities: columns `split`, `entity` (index), `step`."""
    code = {entity: index for index, entity in enumerate(panel.entities)}
    entity = pl.col("entity_id").replace_strict(code, default=None, return_dtype=pl.Int64)
    step = (pl.col("time") - panel.start).dt.total_seconds() // panel.step_s
    known = read_origins(config).select("split", entity=entity, step=step).drop_nulls()
    named = f"evaluation.origins={config.origins}"
    if known.is_empty():
        raise DataError(f"{named}: names no entity of this source.")
    scored = _SCORED[config.range]
    if scored not in known["split"]:
        raise DataError(f"{named}: no {scored} origin of any entity of this source; split must be val or test.")
    return known
