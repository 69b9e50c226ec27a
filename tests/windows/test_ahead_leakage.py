"""The probe for what is known ahead: rewrite all that became known after t, and the inputs at t keep every bit."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch
from every_model import build, random_inputs

from forecast.bundle.export import export
from forecast.bundle.golden import TOLERANCE
from forecast.bundle.load import load
from forecast.bundle.manifest import Manifest
from forecast.contracts.signals import LEVELS
from forecast.contracts.specs import FUTURE, STATIC, ForecastSpec
from forecast.contracts.tables import JOB_SCHEDULE
from forecast.contracts.topology import Topology
from forecast.features.outlook import OUTLOOK_NAMES
from forecast.models.graph import ForecastGraph
from forecast.predictor import Forecast, Predictor
from forecast.simulator.config import RowConfig, SimulatorConfig
from forecast.simulator.simulate import simulate
from forecast.windows.ahead import Ahead
from forecast.windows.gather import Batch, Windows
from forecast.windows.inputs import Constants, Inputs, inputs_at
from forecast.windows.panel import Panel

SPEC = ForecastSpec(
    step_s=900,
    context_steps=96,
    horizon_steps=48,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "inlet_c", "utilization_ratio"),
    quantile_levels=(0.1, 0.5, 0.9),
    future=tuple(FUTURE),
)
START = datetime(2026, 1, 5, tzinfo=UTC)
BUSY = SimulatorConfig(
    days=3,
    rows=[
        RowConfig("hall-a", "h100-air", racks=2, servers_per_rack=3),
        RowConfig("hall-b", "cpu-2s", racks=1, servers_per_rack=8),
    ],
)
NAMES = (*FUTURE, *STATIC)


class Fleet(NamedTuple):
    """A simulated record, with the windows, plans and caps that the simulator does not write."""

    folder: Path
    topology: Topology
    jobs: pl.DataFrame
    weather: pl.DataFrame


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    out = tmp_path_factory.mktemp("probe") / "fleet"
    simulate(BUSY, out)
    topology = Topology.of(pl.read_parquet(out / "topology.parquet"))
    jobs = pl.read_parquet(out / "jobs.parquet")
    racks = topology.table.filter(pl.col("level") == "rack")["entity_id"]
    imposed = [
        (f"{kind}-{hour}", rack, kind, "reserved", hour, hour + 2.0, 5000.0 + 100 * hour, hour - early)
        for hour in range(0, 72, 3)
        for rack in racks
        for kind, early in (("maintenance", 6), ("plan", 4), ("cap", 5))
    ]
    more = pl.DataFrame(imposed, list(JOB_SCHEDULE.required), orient="row").with_columns(
        (pl.lit(START) + pl.duration(minutes=pl.col(name) * 60)).cast(pl.Datetime("us", "UTC")).alias(name)
        for name in ("start_time", "end_time", "available_at")
    )
    fans = pl.when(kind="plan").then(4000.0 + pl.col("planned_power_w") % 1000).alias("planned_fan_speed_rpm")
    return Fleet(out, topology, pl.concat([jobs, more]).with_columns(fans), pl.read_parquet(out / "weather.parquet"))


def inputs(fleet: Fleet, jobs: pl.DataFrame, weather: pl.DataFrame, now: datetime) -> dict[str, np.ndarray]:
    """Each input at `now` by its name, as serving has it; training must have the same."""
    nothing = np.full((len(SPEC.past), len(fleet.topology.entities), 4 * 96), np.nan, np.float32)
    panel = Panel(START, SPEC.step_s, SPEC.past, fleet.topology.entities, (nothing,))
    ahead = Ahead.of(fleet.topology, SPEC, jobs.lazy(), weather.lazy())
    constants = Constants.of(fleet.topology, fleet.topology.skus, ahead)
    served: Inputs = inputs_at(panel, constants, SPEC, panel.step(now))
    entity = torch.arange(len(fleet.topology.entities))
    windows = Windows(panel, constants, SPEC, torch.device("cpu"))
    trained: Batch = windows.batch(entity, torch.full_like(entity, panel.step(now)))
    np.testing.assert_array_equal(trained.future.numpy(), served.future)
    told = {name: served.future[:, index] for index, name in enumerate(SPEC.future)}
    return told | {name: served.static[:, index] for index, name in enumerate(SPEC.static)}


def noise(table: pl.DataFrame, now: datetime, seed: int) -> pl.DataFrame:
    """What became known after `now`, rewritten: other values and times, some rows gone, some twice, some strangers'."""
    random = np.random.default_rng(seed)
    later = table.filter(pl.col("available_at") > now).sample(fraction=0.7, seed=seed)
    rows = pl.concat([later, later.sample(fraction=0.3, seed=seed)])
    size, worst = rows.height, np.array([0.0, np.nan, 1e6, -5.0])
    values = {
        name: pl.Series(np.where(random.random(size) < 0.2, random.choice(worst, size), random.normal(20, 9, size)))
        for name, kind in table.schema.items()
        if kind.is_float()
    }
    moved = {
        name: pl.col(name) + pl.Series(1_000_000 * random.integers(-86_400, 86_400, size)).cast(pl.Duration("us"))
        for name in ("start_time", "end_time", "valid_time", "issue_time")
        if name in table.columns
    }
    names = {
        name: pl.Series(random.choice(table[name].unique().to_numpy(), size))
        for name in ("entity_id", "status", "kind")
        if name in table.columns
    }
    return rows.with_columns(**values, **moved, **names).cast(dict(table.schema))


@pytest.mark.parametrize("hour", [7, 25.25, 48, 59.5])
def test_what_became_known_after_t_leaves_every_bit(fleet: Fleet, hour: float) -> None:
    now = START + timedelta(hours=hour)
    expected = inputs(fleet, fleet.jobs, fleet.weather, now)
    for name in (name for name in FUTURE if FUTURE[name].source != "clock"):
        nobody_came = hour < 24 and name.startswith(("unsubmitted", "usual"))  # on the day before the record
        assert nobody_came or np.nan_to_num(expected[name]).any(), f"{name} has nothing to leak"
    past = [table.filter(pl.col("available_at") <= now) for table in (fleet.jobs, fleet.weather)]
    futures = [past]
    for seed in range(3):
        rewritten = [pl.concat([noise(table, now, seed), known]) for table, known in zip(fleet[2:], past, strict=True)]
        futures.append([table.sample(fraction=1, shuffle=True, seed=seed) for table in rewritten])
    for jobs, weather in futures:
        found = inputs(fleet, jobs, weather, now)
        for name in NAMES:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("name", [name for name in FUTURE if FUTURE[name].source != "clock"])
def test_the_probe_sees_a_leak_of_one_row(fleet: Fleet, name: str) -> None:
    """One row that counts, known in the last moment before t and rewritten, shows."""
    now = START + timedelta(hours=34)
    told = {"power_cap_w": "cap", "maintenance": "maintenance", "scheduled_power_w": "batch"}
    told |= dict.fromkeys(OUTLOOK_NAMES, "batch")
    if FUTURE[name].source == "weather":
        table, key, change = fleet.weather, ["site", "valid_time"], {name: pl.col(name) - 1}
        counts = pl.col("valid_time").is_between(now, now + timedelta(hours=11))
    else:
        table, key, change = fleet.jobs, ["job_id", "entity_id"], {"status": pl.lit("cancelled")}
        counts = (pl.col("kind") == told.get(name, "plan")) & pl.col("status").is_in(["running", "queued", "reserved"])
        counts &= (pl.col("start_time") < now + timedelta(hours=11)) & (pl.col("end_time") > now)
        if name.startswith("usual"):  # what runs now is usual from tomorrow on: something that ran a day ago counts
            table = table.filter(pl.col("available_at") <= now)
            counts = (pl.col("status") == "done") & (pl.col("end_time") - pl.col("start_time") > timedelta(hours=1))
            counts &= pl.col("end_time").is_between(now - timedelta(hours=23), now - timedelta(hours=12))
            change = {
                "end_time": pl.col("end_time") - timedelta(hours=1),
                "available_at": pl.col("available_at") - timedelta(hours=1),
            }
    known = table.with_row_index("row").filter(pl.col("available_at") <= now).sort("available_at", "row")
    newest = known.unique(key, keep="last", maintain_order=True).filter(counts)["row"][-1]
    leaky = table.with_columns(
        pl.when(pl.int_range(pl.len()) == newest).then(value).otherwise(column).alias(column)
        for column, value in change.items()
    )
    tables = (fleet.jobs, leaky) if FUTURE[name].source == "weather" else (leaky, fleet.weather)
    before, after = (inputs(fleet, *pair, now)[name] for pair in ((fleet.jobs, fleet.weather), tables))
    assert not np.array_equal(before, after, equal_nan=True)


def test_the_clock_and_what_is_constant_ask_no_table(fleet: Fleet) -> None:
    now = START + timedelta(hours=34)
    told, alone = (inputs(fleet, *tables, now) for tables in (fleet[2:], (fleet.jobs.clear(), fleet.weather.clear())))
    for name in (*STATIC, *(name for name in FUTURE if FUTURE[name].source == "clock")):
        np.testing.assert_array_equal(told[name], alone[name], err_msg=name)


@pytest.fixture(scope="module")
def predictor(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A bundle that looks at everything, with weights that nobody trained."""
    folder = tmp_path_factory.mktemp("bundle")
    offsets = torch.zeros(len(LEVELS) + 1, len(SPEC.targets), len(SPEC.quantile_levels), SPEC.horizon_steps)
    graph = ForecastGraph(build("linear", SPEC, noise=0.3), offsets, SPEC).eval()
    assert export(graph, Batch(*random_inputs(SPEC, 4), torch.empty(0)), folder) <= TOLERANCE
    skus = fleet.topology.skus
    Manifest("probe", "probe", SPEC, fleet.topology, skus, None, {}, []).write(folder)
    return Predictor(load(folder))


def identical(first: Forecast, second: Forecast) -> bool:
    return all(np.array_equal(*pair, equal_nan=True) for pair in zip(first.outputs, second.outputs, strict=True))


def test_no_forecast_changes_by_what_became_known_after_it(fleet: Fleet, predictor: Predictor) -> None:
    telemetry = pl.scan_parquet(fleet.folder / "telemetry", hive_partitioning=False)
    now = START + timedelta(hours=34)

    def forecast(jobs: pl.DataFrame, weather: pl.DataFrame) -> Forecast:
        return predictor.told(jobs.lazy(), weather.lazy()).forecast(telemetry, now)

    expected = forecast(fleet.jobs, fleet.weather)
    assert not identical(expected, predictor.forecast(telemetry, now)), "it does listen to what it is told"
    for seed in range(2):
        rewritten = [
            pl.concat([noise(table, now, seed), table.filter(pl.col("available_at") <= now)]) for table in fleet[2:]
        ]
        assert identical(forecast(*rewritten), expected)


def test_a_forecast_without_what_it_could_be_told_is_still_one(fleet: Fleet, predictor: Predictor) -> None:
    telemetry = pl.scan_parquet(fleet.folder / "telemetry", hive_partitioning=False)
    assert np.isfinite(predictor.forecast(telemetry, START + timedelta(hours=34)).outputs.quantiles).all()
