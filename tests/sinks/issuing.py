"""Forecasts as the engine issues them, of small fleets and at once; and their rows as a consumer makes them again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
import polars as pl

from forecast.bundle.session import Outputs
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.tables import UTC as TIME
from forecast.contracts.tables import forecast_table
from forecast.contracts.topology import Topology
from forecast.predictor import Forecast
from serve.engine.issued import RUNGS, Issued
from serve.sinks.messages import messages

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)

SPEC = ForecastSpec(
    step_s=900,
    context_steps=96,
    horizon_steps=8,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c"),
    quantile_levels=(0.1, 0.5, 0.9),
)


def fleet(names: list[str]) -> Topology:
    """A site of one rack with these servers in it."""
    rows = [("site-1", None, "site"), ("rack-1", "site-1", "rack"), *((name, "rack-1", "server") for name in names)]
    table = pl.DataFrame(rows, schema=["entity_id", "parent_id", "level"], orient="row")
    return Topology.of(
        table.with_columns(
            sku=pl.lit("mixed"),
            power_limit_w=pl.lit(1000.0),
            temperature_limit_c=pl.lit(None, pl.Float64),
            site=pl.lit("site-1"),
            time_zone=pl.lit("UTC"),
        )
    )


def issue(
    names: list[str] | None = None, time: datetime = NOON, spec: ForecastSpec = SPEC, shift: float = 0.0
) -> Issued:
    """A forecast of which the last three steps of the first entity are last good, seasonal and safe bound."""
    topology = fleet(["server-1", "server-2"] if names is None else names)
    entities, steps = len(topology.entities), spec.horizon_steps
    random = np.random.default_rng(0)
    shape = (entities, len(spec.targets), len(spec.quantile_levels), steps)
    quantiles = np.sort(random.uniform(100.0, 900.0, shape), axis=2).astype(np.float32) + np.float32(shift)
    limits = np.array([1000.0, np.nan], np.float32)[None, :, None, None]
    exceedance = random.uniform(0.0, 1.0, (entities, len(spec.targets), steps)).astype(np.float32)
    exceedance[:, 1] = np.nan
    rung = np.zeros((entities, steps), np.uint8)
    rung[0, -3:] = [1, 2, 4]
    data_time: list[datetime | None] = [time - timedelta(seconds=spec.step_s)] * entities
    data_time[0] = None
    forecast = Forecast(
        time,
        Outputs(quantiles, limits - quantiles[:, :, ::-1], exceedance),
        [RUNGS[row] for row in rung.max(axis=1).tolist()],
        ["ok"] * entities,
        data_time,
        "bundle-2",
        spec,
        topology,
    )
    return Issued("day-ahead", forecast, rung, time, np.array(["bundle-1"] * entities))


def later(issued: Issued, steps: int) -> Issued:
    """The same, issued so many steps later."""
    time = issued.time + steps * timedelta(seconds=issued.forecast.spec.step_s)
    return replace(issued, forecast=replace(issued.forecast, time=time, data_time=[None] * len(issued.rung)))


TIMES = ("forecast_time", "valid_time", "data_time")


def rows_of(data: list[bytes]) -> pl.DataFrame:
    """The rows that messages carry, as a consumer makes them."""
    numbers = [name for name, kind in forecast_table(SPEC).required.items() if kind == pl.Float64]
    frames = [pl.DataFrame(orjson.loads(one)).with_columns(pl.col(numbers).cast(pl.Float32)) for one in data]
    together = pl.concat(frames, how="vertical_relaxed")
    read = [pl.col(name).cast(pl.String).str.to_datetime(time_zone="UTC").cast(TIME) for name in TIMES]
    return together.with_columns(read).sort("entity_id", "valid_time")


def expected(issued: Issued) -> pl.DataFrame:
    return issued.table().sort("entity_id", "valid_time")


def ids(issued: Issued) -> list[str]:
    return [message.id for message in messages(issued)]
