"""A world that changes is compared with its twin in which nothing does: they differ as physics says, and no more."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecast.contracts.errors import ConfigError
from forecast.contracts.tables import FAULTS, JOB_SCHEDULE
from forecast.contracts.topology import Topology
from forecast.simulator.config import (
    ChillerFailureConfig,
    CoolingConfig,
    EventsConfig,
    ExporterUpgradeConfig,
    FirmwareConfig,
    RowConfig,
    SensorLossConfig,
    SimulatorConfig,
)
from forecast.simulator.fleet import Fleet
from forecast.simulator.machines import Machines
from forecast.simulator.simulate import simulate
from forecast.simulator.skus import sku
from forecast.simulator.units import draw_units
from forecast.traces.simulated import SimulatedSource

KEY = ["time", "entity_id"]
GENEROUS = CoolingConfig(capacity_ratio=1.5)
SITE = SimulatorConfig(
    start="2026-07-06",
    days=4,
    step_s=900,
    rows=[RowConfig("hall-a", "h100-air", 2, 3), RowConfig("hall-b", "cpu-2s", 2, 4)],
)
LATER = [
    RowConfig("hall-b", "cpu-2s", 1, 3, from_day=2),
    RowConfig("hall-c", "gb200-tray", 2, 3, inference_ratio=0.5, from_day=3),
]


def recorded(config: SimulatorConfig, folder: Path) -> Path:
    simulate(config, folder)
    return folder


def telemetry(record: Path) -> pl.DataFrame:
    return pl.read_parquet(record / "telemetry" / "**" / "*.parquet", hive_partitioning=False)


def on_day(day: float) -> datetime:
    return datetime(2026, 7, 6, tzinfo=UTC) + timedelta(days=day)


def twins(config: SimulatorConfig, tmp_path: Path) -> pl.DataFrame:
    """Telemetry with events beside the same without, as columns that end in `_still`."""
    changed = telemetry(recorded(config, tmp_path / "changed"))
    still = telemetry(recorded(replace(config, events=EventsConfig()), tmp_path / "still"))
    return changed.join(still, on=KEY, suffix="_still", validate="1:1")


def test_events_that_are_yet_to_come_change_no_byte(tmp_path: Path) -> None:
    events = EventsConfig(
        firmware=[FirmwareConfig(2, "h100-air", 1.2)],
        chiller_failures=[ChillerFailureConfig(2, "hall-a", 5)],
        sensor_losses=[SensorLossConfig(2, 2, 0.5)],
        exporter_upgrades=[ExporterUpgradeConfig(2, 1)],
    )
    short, whole = replace(SITE, days=2, events=events), replace(SITE, events=events)
    folders = [
        recorded(config, tmp_path / name)
        for name, config in (("still", replace(SITE, days=2)), ("short", short), ("whole", whole))
    ]
    still, soon, longer = (
        {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*.parquet")
        }
        for folder in folders
    )
    assert soon == still
    days = [name for name in soon if name.startswith("telemetry")]
    assert len(days) == 2
    assert all(longer[name] == soon[name] for name in days)


def test_firmware_raises_what_its_dies_draw_by_the_ratio(tmp_path: Path) -> None:
    config = replace(SITE, cooling=GENEROUS, events=EventsConfig(firmware=[FirmwareConfig(2, "h100-air", 1.08)]))
    both = twins(config, tmp_path).drop_nulls("power_w")
    upgraded = (pl.col("time") >= on_day(2)) & pl.col("entity_id").str.contains("hall-a")
    rest = both.filter(~upgraded)
    assert_frame_equal(
        rest.select("power_w", "temperature_c"),
        rest.select(power_w="power_w_still", temperature_c="temperature_c_still"),
    )
    kind, after = sku("h100-air"), both.filter(upgraded)
    # 8 % of eight dies at the server's use, through both converters (constants.md §3); fans and leakage come
    # on top.
    die_w = kind.die_idle_w + (kind.die_peak_w - kind.die_idle_w) * after["utilization_ratio"].to_numpy()
    expected_w = (0.08 * 8 * die_w / 0.98 / 0.96).mean()
    more_w = (after["power_w"] - after["power_w_still"]).to_numpy().mean()
    assert expected_w < more_w < 1.25 * expected_w
    # ΔT = ΔP·R of a die and its sink at full flow, or more where fans are slower; the same fans may blow harder.
    more_k = (after["temperature_c"] - after["temperature_c_still"]).to_numpy().mean()
    assert 0.5 < more_k / (0.08 * die_w.mean() * (kind.die_sink_k_per_w + kind.sink_supply_k_per_w)) < 2


def test_while_a_chiller_is_down_its_hall_warms_and_cools_again_after(tmp_path: Path) -> None:
    failure = ChillerFailureConfig(1, "hall-a", hours=12, capacity_ratio=0.3, hour=6.0)
    config = replace(SITE, cooling=CoolingConfig(capacity_ratio=0.6), events=EventsConfig(chiller_failures=[failure]))
    both = twins(config, tmp_path).with_columns(warmer_k=pl.col("inlet_c") - pl.col("inlet_c_still"))
    hall = both.filter(entity_id="site-1.hall-a")
    assert hall.filter(pl.col("time") < on_day(1.25))["warmer_k"].abs().max() == 0
    late = hall.filter(pl.col("time").is_between(on_day(1.5), on_day(1.75), closed="left"))
    assert late["warmer_k"].min() > 3
    assert (late["cooling_power_w"] < late["cooling_power_w_still"]).all(), "what is broken draws nothing"
    # The mass of the hall gives back its heat with a time constant of 4 h (constants.md §5).
    assert hall.filter(pl.col("time") >= on_day(2.75))["warmer_k"].abs().max() <= 0.5
    servers = both.filter(pl.col("entity_id").str.contains("hall-a.*server"))
    down = pl.col("time").is_between(on_day(1.5), on_day(1.75), closed="left")
    assert (servers.filter(down)["temperature_c"] >= servers.filter(down)["temperature_c_still"]).all()
    assert servers.filter(down).select(pl.col("temperature_c") - pl.col("temperature_c_still")).mean().item() > 2
    elsewhere = both.filter(pl.col("entity_id").str.contains("hall-b"))
    assert elsewhere["warmer_k"].abs().max() == 0


def test_the_share_of_servers_whose_sensors_are_lost_is_silent_just_then(tmp_path: Path) -> None:
    loss = SensorLossConfig(1, 2, 0.5)
    record = recorded(replace(SITE, events=EventsConfig(sensor_losses=[loss])), tmp_path / "lost")
    still = telemetry(recorded(SITE, tmp_path / "still"))
    lost = still.join(telemetry(record), on=KEY, how="anti").sort(KEY)
    assert lost["entity_id"].n_unique() == 7, "half of 14 servers, and no hall"
    assert (lost["time"].min(), lost["time"].max()) == (on_day(1), on_day(3) - timedelta(minutes=15))
    assert lost.height == 7 * 2 * 96
    assert_frame_equal(still.join(telemetry(record), on=KEY, how="semi"), telemetry(record))
    truth = pl.read_parquet(record / "truth" / "faults.parquet")
    FAULTS.check(truth.lazy(), "truth")
    assert set(truth["fault"]) == {"sensors_lost"}
    assert set(truth["entity_id"]) == set(lost["entity_id"])
    assert truth["end_time"].max() == on_day(3)


def test_an_upgraded_exporter_is_rolled_back(tmp_path: Path) -> None:
    events = EventsConfig(exporter_upgrades=[ExporterUpgradeConfig(1, 2)])
    record = recorded(replace(SITE, events=events), tmp_path / "upgraded")
    days = sorted((record / "telemetry").iterdir())
    names = [pl.read_parquet_schema(day / "part-0.parquet").keys() for day in days]
    assert ["temperature_c" in found for found in names] == [True, False, False, True]
    assert ["gpu_temperature_c" in found for found in names] == [False, True, True, False]
    truth = pl.read_parquet(record / "truth" / "faults.parquet")
    assert truth["start_time"].to_list() == [on_day(1), on_day(2)]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a site to which a row and a hall are added; read only."""
    faults = {"new_entity": 0.3, "gap": 0.5, "kilowatt": 0.5}
    config = replace(SITE, rows=SITE.rows + LATER, faults=faults)
    return recorded(config, tmp_path_factory.mktemp("grown") / "record")


def test_nothing_is_heard_of_a_row_before_it_comes_into_service(grown: Path) -> None:
    first = dict(telemetry(grown).group_by("entity_id").agg(pl.col("time").min()).iter_rows())
    row = {entity: time for entity, time in first.items() if "hall-b.row-2" in entity}
    hall = {entity: time for entity, time in first.items() if "hall-c" in entity}
    assert len(row) == 3
    assert "site-1.hall-c" in hall, "a new hall has its cooling measured"
    assert len(hall) > 3
    assert min(row.values()) == on_day(2)
    assert min(hall.values()) == on_day(3)
    jobs = pl.read_parquet(grown / "jobs.parquet")
    JOB_SCHEDULE.check(jobs.lazy(), "jobs")
    for name, day in (("hall-b.row-2", 2), ("hall-c", 3)):
        known = jobs.filter(pl.col("entity_id").str.contains(name))
        assert known["available_at"].min() >= on_day(day)
        assert known["start_time"].min() >= on_day(day)
        truth = pl.read_parquet(grown / "truth" / "faults.parquet").filter(pl.col("entity_id").str.contains(name))
        assert not truth.is_empty()
        assert truth["start_time"].min() >= on_day(day)
    assert set(jobs.filter(pl.col("entity_id").str.contains("hall-c"))["kind"]) == {"inference", "training"}


def test_the_tree_is_told_as_it_was_known(grown: Path) -> None:
    trees = {path.stem: Topology.of(pl.read_parquet(path)) for path in sorted((grown / "topologies").iterdir())}
    assert list(trees) == ["2026-07-06", "2026-07-08", "2026-07-09"]
    first, second, third = trees.values()
    assert {entity.split(".")[1] for entity in first.entities if "." in entity} == {"hall-a", "hall-b"}
    assert first.skus == ("cpu-2s", "h100-air", "mixed")
    assert set(second.entities) - set(first.entities) == {"site-1.hall-b.row-2", "site-1.hall-b.row-2.rack-01"} | {
        f"site-1.hall-b.row-2.rack-01.server-{slot:02d}" for slot in (1, 2, 3)
    }
    assert "gb200-tray" in third.skus
    limits = [float(tree.table.filter(entity_id="site-1")["power_limit_w"].item()) for tree in trees.values()]
    assert limits == sorted(limits)
    assert limits[0] < limits[-1]
    assert_frame_equal(
        pl.read_parquet(grown / "topology.parquet"), pl.read_parquet(grown / "topologies/2026-07-09.parquet")
    )


def test_a_longer_record_of_a_growing_site_extends_a_shorter_one(tmp_path: Path) -> None:
    growing = replace(SITE, rows=SITE.rows + LATER)
    short, longer = (recorded(replace(growing, days=days), tmp_path / str(days)) for days in (3, 4))
    for day in sorted((short / "telemetry").iterdir()):
        name = Path("telemetry") / day.name / "part-0.parquet"
        assert (short / name).read_bytes() == (longer / name).read_bytes()
    assert "hall-c" not in " ".join(pl.read_parquet(short / "topology.parquet")["entity_id"])


def test_a_server_that_is_yet_to_come_gives_off_no_heat() -> None:
    rows = [RowConfig("hall-a", "cpu-2s", 1, 4), RowConfig("hall-a", "cpu-2s", 1, 4, from_day=1)]
    fleet = Fleet.of(SimulatorConfig(rows=rows))
    machines = Machines(fleet, draw_units(fleet))
    work = np.full(8, 0.7)
    for _ in range(120):
        before = machines.advance(work, 1.0, 30.0, 22.0, machines.events.at(0.0))
    for _ in range(120):
        after = machines.advance(work, 1.0, 30.0, 22.0, machines.events.at(86_400.0))
    assert (before.power_w[4:] == 0).all()
    assert (after.power_w[4:] > 300).all()
    assert after.cooling_power_w[0] > 1.6 * before.cooling_power_w[0]


def test_the_source_knows_the_tree_that_was_known(tmp_path: Path) -> None:
    config = replace(SITE, step_s=3600, rows=SITE.rows + LATER)
    source = SimulatedSource(fleet=config, path=str(tmp_path / "fleet"))
    known = {
        until: len(replace(source, until=until).read().topology.entities)
        for until in ("2026-07-08", "2026-07-08T01:00", "2026-07-09T12:00", None)
    }
    grown = list(known.values())
    assert grown[0] + 5 == grown[1]
    assert grown[1] < grown[2] == grown[3]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (EventsConfig(firmware=[FirmwareConfig(1, "abacus", 1.1)]), "unknown SKU 'abacus'"),
        (EventsConfig(firmware=[FirmwareConfig(1, "gb200-tray", 1.1)]), "'gb200-tray', which no row has"),
        (EventsConfig(chiller_failures=[ChillerFailureConfig(1, "hall-z", 2)]), "'hall-z'.* there are hall-a, hall-b"),
    ],
)
def test_an_event_of_nobody_is_refused_by_name(events: EventsConfig, message: str) -> None:
    fleet = Fleet.of(replace(SITE, events=events))
    with pytest.raises(ConfigError, match=message):
        Machines(fleet, draw_units(fleet))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: FirmwareConfig(-1, "cpu-2s", 1.1), "before the record"),
        (lambda: FirmwareConfig(1, "cpu-2s", 0.0), "power_ratio is 0.0"),
        (lambda: ChillerFailureConfig(1, "hall-a", 0), "hours must be above 0"),
        (lambda: ChillerFailureConfig(1, "hall-a", 5, capacity_ratio=0.0), "capacity_ratio is 0.0"),
        (lambda: SensorLossConfig(1, 0, 0.5), "days start at 1"),
        (lambda: SensorLossConfig(1, 1, 1.5), "share is 1.5"),
        (lambda: ExporterUpgradeConfig(1, 0), "days start at 1"),
        (lambda: SimulatorConfig(rows=[RowConfig("h", "cpu-2s", 1, 1, from_day=3)]), "from the first day on"),
        (lambda: SimulatorConfig(rows=[RowConfig("h", "cpu-2s", 1, 1, from_day=-1)]), "from_day is -1"),
    ],
)
def test_an_event_that_cannot_be_is_refused(made, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message):
        made()


def test_events_are_part_of_the_structured_config() -> None:
    omegaconf = pytest.importorskip("omegaconf")
    events = {"firmware": [{"day": 20, "sku": "h100-air", "power_ratio": 1.08}], "sensor_losses": []}
    schema = omegaconf.OmegaConf.structured(SimulatorConfig)
    config = omegaconf.OmegaConf.to_object(omegaconf.OmegaConf.merge(schema, {"events": events}))
    assert config.events == EventsConfig(firmware=[FirmwareConfig(20, "h100-air", 1.08)])
    with pytest.raises(omegaconf.errors.OmegaConfBaseException, match="watts"):
        omegaconf.OmegaConf.merge(schema, {"events": {"firmware": [{"day": 1, "sku": "x", "watts": 5}]}})
