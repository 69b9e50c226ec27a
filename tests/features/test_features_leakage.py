"""The probe: whatever happens after t, the features before t keep every bit."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.features.pipeline import build
from forecast.simulator.config import RowConfig, SimulatorConfig
from forecast.simulator.simulate import simulate

SPEC = ForecastSpec(
    step_s=900,
    context_steps=8,
    horizon_steps=4,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "inlet_c", "utilization_ratio"),
    quantile_levels=(0.1, 0.5, 0.9),
)
FAULTY = SimulatorConfig(
    days=2,
    rows=[
        RowConfig("hall-a", "h100-air", racks=2, servers_per_rack=3),
        RowConfig("hall-b", "cpu-2s", racks=1, servers_per_rack=8),
    ],
    faults={"duplicate": 0.5, "conflicting_duplicate": 0.5, "gap": 0.5, "sentinel": 0.5, "out_of_order": 0.5},
)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, Topology]:
    """Telemetry with faults, its power in floats whose sums depend on their order, and the tree."""
    out = tmp_path_factory.mktemp("probe") / "fleet"
    simulate(FAULTY, out)
    telemetry = pl.read_parquet(out / "telemetry", hive_partitioning=False)
    random = np.random.default_rng(1)
    factor = pl.Series(random.uniform(0.9, 1.0, telemetry.height))
    telemetry = telemetry.with_columns(pl.col("power_w", "utilization_ratio").cast(pl.Float64) * factor)
    return telemetry, Topology.of(pl.read_parquet(out / "topology.parquet"))


def features(telemetry: pl.DataFrame, topology: Topology, until: datetime) -> pl.DataFrame:
    table = build(telemetry.lazy(), topology, SPEC).filter(pl.col("time") < until).collect()
    return table.sort("entity_id", "time")


def noise(telemetry: pl.DataFrame, after: datetime, random: np.random.Generator) -> pl.DataFrame:
    """What came after `after`, with all values replaced, a third of it repeated with others, and some impossible."""
    future = telemetry.filter(pl.col("time") >= after)
    rows = pl.concat([future, future.sample(fraction=0.3, seed=int(random.integers(1000)))])
    worst = np.array([1e12, -1e3, np.nan, np.inf, 0.0])

    def values(high: float) -> np.ndarray:
        usual = random.uniform(0, high, rows.height)
        return np.where(random.random(rows.height) < 0.1, random.choice(worst, rows.height), usual)

    scale = {"power_w": 2e4, "temperature_c": 89.0, "inlet_c": 40.0, "utilization_ratio": 1.0}
    replaced = [pl.Series(name, values(high)).cast(rows.schema[name]) for name, high in scale.items()]
    return rows.with_columns(replaced)


@pytest.mark.parametrize("hour", [6, 23.25, 24, 37.5])
def test_noise_after_t_leaves_every_bit_before_t(fleet: tuple[pl.DataFrame, Topology], hour: float) -> None:
    telemetry, topology = fleet
    now = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(hours=hour)
    random = np.random.default_rng(int(hour * 4))
    past = telemetry.filter(pl.col("time") < now)
    noisy = pl.concat([noise(telemetry, now, random), past]).sample(fraction=1, shuffle=True, seed=3)
    expected = features(past, topology, now)
    assert expected["entity_id"].n_unique() == len(topology.entities)
    assert_frame_equal(features(noisy, topology, now), expected, check_exact=True, check_column_order=False)


def test_the_probe_sees_a_leak_of_one_sample(fleet: tuple[pl.DataFrame, Topology]) -> None:
    telemetry, topology = fleet
    now = datetime(2026, 1, 6, tzinfo=UTC)
    first = telemetry.filter(pl.col("time") >= now - timedelta(minutes=5))
    leaky = pl.concat(
        [telemetry.filter(pl.col("time") < now - timedelta(minutes=5)), noise(first, now, np.random.default_rng(0))]
    )
    assert not features(leaky, topology, now).equals(features(telemetry, topology, now))


def test_two_runs_over_the_same_samples_agree_to_the_bit(fleet: tuple[pl.DataFrame, Topology]) -> None:
    telemetry, topology = fleet
    end = datetime(2026, 1, 7, tzinfo=UTC)
    first = features(telemetry, topology, end)
    for seed in range(3):
        shuffled = telemetry.sample(fraction=1, shuffle=True, seed=seed)
        assert_frame_equal(features(shuffled, topology, end), first, check_exact=True)
