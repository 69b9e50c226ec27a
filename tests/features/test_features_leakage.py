"""The probe: whatever happens after t, the features before t keep every bit, with every fault there is in the data."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.features.marks import Mark, Marks
from forecast.features.pipeline import Built, build
from forecast.simulator.config import RowConfig, SimulatorConfig
from forecast.simulator.faults import FAULTS
from forecast.simulator.simulate import simulate
from forecast.windows.panel import panel_of

SPEC = ForecastSpec(
    step_s=900,
    context_steps=8,
    horizon_steps=4,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "inlet_c", "utilization_ratio"),
    quantile_levels=(0.1, 0.5, 0.9),
)
FAULTY = SimulatorConfig(
    days=3,
    step_s=300,
    rows=[
        RowConfig("hall-a", "h100-air", racks=2, servers_per_rack=3),
        RowConfig("hall-b", "cpu-2s", racks=1, servers_per_rack=8),
    ],
    faults={**dict.fromkeys(FAULTS, 0.4), "stuck_sensor": 0.7, "removed_entity": 0.1, "schema_drift": 0.2},
)
HOURS = (6, 23.25, 24, 37.5, 60)
#: Steps of the grid here and of the sampling: a mean of three samples, and one sample each.
STEPS_S = (900, 300)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, Topology]:
    """Telemetry with faults as it arrived, its power in floats whose sums depend on their order, and the tree."""
    out = tmp_path_factory.mktemp("probe") / "fleet"
    simulate(FAULTY, out)
    files = pl.scan_parquet(
        out / "telemetry", hive_partitioning=False, missing_columns="insert", extra_columns="ignore"
    )
    telemetry = files.filter(pl.col("time") < FAULTY.origin + timedelta(days=FAULTY.days)).collect()
    telemetry = telemetry.with_columns(pl.col("power_w", "utilization_ratio").cast(pl.Float64) * 0.9137)
    return telemetry, Topology.of(pl.read_parquet(out / "topology.parquet"))


def built(telemetry: pl.DataFrame, topology: Topology, step_s: int) -> Built:
    """All days of the record, whatever of them is in `telemetry`."""
    steps = FAULTY.days * 86_400 // step_s
    return build(telemetry.lazy(), topology, SPEC.past, FAULTY.origin, steps, step_s, with_offsets=True)


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


def at(hour: float) -> datetime:
    return FAULTY.origin + timedelta(hours=hour)


def of_values(marks: Marks) -> Marks:
    """Marks that do not tell in which order the rows lay in their files."""
    return marks & ~np.uint16(Mark.OUT_OF_ORDER | Mark.DUPLICATE)


@pytest.mark.parametrize("step_s", STEPS_S)
def test_the_record_holds_what_the_probe_is_to_look_at(fleet: tuple[pl.DataFrame, Topology], step_s: int) -> None:
    marks = built(*fleet, step_s).measured.marks
    assert {mark.name for mark in Mark if not (marks & mark).any()} == set()


@pytest.mark.parametrize("hour", HOURS)
@pytest.mark.parametrize("step_s", STEPS_S)
def test_noise_after_t_leaves_every_bit_before_t(
    fleet: tuple[pl.DataFrame, Topology], hour: float, step_s: int
) -> None:
    telemetry, topology = fleet
    random = np.random.default_rng(int(hour * 4))
    past, future = telemetry.filter(pl.col("time") < at(hour)), noise(telemetry, at(hour), random)
    until = int(hour * 3600 // step_s)
    known = built(past, topology, step_s)
    assert not np.isnan(known.values[0, :, :until]).all(axis=1).all()
    told = built(pl.concat([past, future.sort("time")]), topology, step_s)
    assert_array_equal(told.values[..., :until], known.values[..., :until])
    assert_array_equal(told.measured.values[..., :until], known.measured.values[..., :until])
    assert_array_equal(told.measured.marks[..., :until], known.measured.marks[..., :until])
    mixed = built(pl.concat([future, past]).sample(fraction=1, shuffle=True, seed=3), topology, step_s)
    assert_array_equal(mixed.values[..., :until], known.values[..., :until])
    assert_array_equal(of_values(mixed.measured.marks)[..., :until], of_values(known.measured.marks)[..., :until])


@pytest.mark.parametrize("hour", HOURS)
def test_a_panel_knows_nothing_from_after_its_end(fleet: tuple[pl.DataFrame, Topology], hour: float) -> None:
    telemetry, topology = fleet
    past = telemetry.filter(pl.col("time") < at(hour))
    noisy = pl.concat([past, noise(telemetry, at(hour), np.random.default_rng(5))])
    known, told = (panel_of(table.lazy(), topology, SPEC) for table in (past, noisy))
    assert known.start == told.start
    until = known.step(at(hour))
    assert_array_equal(told.read(0, until), known.read(0, until))


@pytest.mark.parametrize("step_s", STEPS_S)
def test_the_probe_sees_a_leak_of_one_sample(fleet: tuple[pl.DataFrame, Topology], step_s: int) -> None:
    telemetry, topology = fleet
    now = at(24)
    leak = (pl.col("time") >= now - timedelta(minutes=5)) & (pl.col("time") < now)
    leaky = pl.concat([telemetry.filter(~leak), noise(telemetry.filter(leak), FAULTY.origin, np.random.default_rng(0))])
    until = 86_400 // step_s
    pairs = [built(table, topology, step_s).values[..., :until] for table in (telemetry, leaky)]
    assert not np.array_equal(*pairs, equal_nan=True)
    assert_array_equal(pairs[0][..., : until - 1], pairs[1][..., : until - 1])


def test_two_runs_over_the_same_samples_agree_to_the_bit(fleet: tuple[pl.DataFrame, Topology]) -> None:
    telemetry, topology = fleet
    first = built(telemetry, topology, 900)
    for seed in range(2):
        again = built(telemetry.sample(fraction=1, shuffle=True, seed=seed), topology, 900)
        assert_array_equal(again.values, first.values)
        assert_array_equal(of_values(again.measured.marks), of_values(first.measured.marks))
