"""The season's driver: nothing is known before it came, and losses are compared on the same cells."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from benchmarks.soak.__main__ import SETTINGS, figures, line
from benchmarks.soak.contest import MODELS, Cell, score
from benchmarks.soak.lake import Lake
from benchmarks.soak.picture import draw
from benchmarks.soak.season import EXPECTED, Day, Season
from benchmarks.soak.world import FAULTS, season
from forecast.contracts.errors import DataError, ExitCode
from forecast.retrain.pretrain import composed
from forecast.simulator.config import (
    EventsConfig,
    ExporterUpgradeConfig,
    FirmwareConfig,
    RowConfig,
    SensorLossConfig,
    SimulatorConfig,
)
from forecast.simulator.faults import EPISODIC, LASTING
from forecast.simulator.simulate import simulate

SITE = SimulatorConfig(
    days=4,
    step_s=1800,
    rows=[RowConfig("hall-a", "cpu-2s", 2, 3), RowConfig("hall-b", "cpu-2s", 1, 3, from_day=2)],
    events=EventsConfig(exporter_upgrades=[ExporterUpgradeConfig(day=1, days=1)]),
    faults={"late": 1.0, "out_of_order": 1.0},
)
DAY = timedelta(days=1)
KEY = ["time", "entity_id"]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("soak") / "record"
    simulate(SITE, out)
    return out


def lake_after(days: int, record: Path, tmp_path: Path) -> Lake:
    lake = Lake(record, tmp_path / "lake", SITE.origin)
    for _ in range(days):
        lake.arrive()
    return lake


def test_the_season_has_every_fault_and_every_event() -> None:
    world = season(seed=1)
    told = " ".join(world.happenings().values())
    for what in ("b200-air", "hall-c", "firmware: h100-air +10%", "chiller", "50% of sensors", "clocks", "renamed"):
        assert what in told
    assert set(FAULTS) == {*EPISODIC, *LASTING} - {"schema_drift"}
    assert all(0 <= day < world.days for day in world.happenings())
    assert world.unbroken.events.firmware == world.fleet.events.firmware
    assert not world.unbroken.faults


def test_a_lake_holds_what_arrived_and_no_more(record: Path, tmp_path: Path) -> None:
    lake = lake_after(1, record, tmp_path)
    assert lake.until == SITE.origin + DAY
    first = lake.source().read()
    assert len(first.topology.entities) == 6 + 2 + 1 + 1 + 1, "the second hall is yet to come"
    assert first.telemetry.select(pl.col("time").max()).collect().item() < lake.until
    lake.arrive()
    lake.arrive()
    lake.mend()
    assert "site-1.hall-b" in lake.source().read().topology.entities


def test_what_a_wrong_clock_stamped_a_day_ahead_is_not_read(tmp_path: Path) -> None:
    simulate(replace(SITE, days=2, faults={"future": 1.0}), tmp_path / "ahead")
    lake = lake_after(1, tmp_path / "ahead", tmp_path)
    sent = pl.read_parquet(lake.folder / "telemetry" / "**" / "*.parquet")["time"]
    read = lake.source().read().telemetry.collect()["time"]
    assert read.max() < lake.until < sent.max()


def test_a_renamed_column_is_refused_until_somebody_mends_it(record: Path, tmp_path: Path) -> None:
    lake = lake_after(2, record, tmp_path)
    with pytest.raises(DataError, match="temperature_c"):
        lake.source().read()
    lake.mend()
    mended = lake.source().read().telemetry.collect()
    assert mended.filter(pl.col("time") >= SITE.origin + DAY)["temperature_c"].is_not_null().any()


def test_a_server_hears_nothing_before_it_was_sent(record: Path, tmp_path: Path) -> None:
    lake = lake_after(2, record, tmp_path)
    noon = lake.until + DAY / 2
    morning, later = (lake.live(at, days=2).collect() for at in (lake.until, noon))
    assert morning["time"].max() < noon + DAY
    today = later.filter(pl.col("time") >= lake.until)
    sent = pl.read_parquet(record / "telemetry" / f"day={lake.until:%Y-%m-%d}" / "part-0.parquet")
    behind = sent.filter((pl.col("time") < noon) & (pl.col("time").cum_max() >= noon))
    assert not behind.is_empty()
    assert today.join(behind, on=KEY, how="semi").is_empty()
    late = pl.read_parquet(record / "telemetry" / f"day={lake.until:%Y-%m-%d}" / "late-0.parquet")
    assert morning.join(late, on=KEY, how="semi").is_empty(), "an outage lasts until midnight, its rows come after it"
    assert later.join(late, on=KEY, how="semi").height == late.height
    assert today["time"].max() < noon


def test_a_score_is_the_mean_ratio_of_its_cells() -> None:
    load, heat = Cell("power_w", "site"), Cell("temperature_c", "server")
    days = [{load: (20.0, 100.0), heat: (1.0, 50.0)}, {load: (10.0, 100.0)}]
    assert score(days) == pytest.approx((0.15 * 0.02) ** 0.5)
    better = [{load: (10.0, 100.0), heat: (1.0, 50.0)}, {load: (5.0, 100.0)}]
    assert score(better) / score(days) == pytest.approx(0.5**0.5), "half the loss of one of two cells"


def _day(day: int, code: int, forecasts: int, losses: tuple[float, float, float]) -> Day:
    cell = Cell("power_w", "site")
    sums = {name: {cell: (loss, 100.0)} for name, loss in zip(MODELS, losses, strict=True)} if forecasts else {}
    return Day(day, f"2026-03-{day + 1:02d}", "firmware" * (day == 1), code, "a reason", 7.0, forecasts, 3, sums)


def test_the_table_counts_what_went_wrong(tmp_path: Path) -> None:
    days = [_day(0, 0, 3, (9, 10, 10)), _day(1, 70, 2, (8, 10, 9)), _day(2, 20, 0, (0, 0, 0))]
    found = {name: figure["value"] for name, figure in figures(days).items()}
    assert found["served_over_never_retrained"] == pytest.approx(17 / 20)
    assert found["served_over_ungated"] == pytest.approx(17 / 19, abs=1e-4)
    assert (found["days_without_forecasts"], found["forecasts_that_failed"], found["unexpected_exits"]) == (1, 4, 1)
    assert "EXIT 70" in line(days[1])
    assert "1 FORECASTS FAILED" in line(days[1])
    draw(days, tmp_path / "season.png")
    assert (tmp_path / "season.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_three_days_of_a_site_that_breaks_and_changes(tmp_path: Path) -> None:
    world = season(seed=101, days=3, history_days=22)
    events = EventsConfig(
        sensor_losses=[SensorLossConfig(day=22, days=1, share=0.5)],
        firmware=[FirmwareConfig(day=23, sku="cpu-2s", power_ratio=1.2)],
        exporter_upgrades=[ExporterUpgradeConfig(day=23, days=1)],
    )
    site = replace(world, fleet=replace(world.fleet, events=events))
    days = Season(site, composed(*SETTINGS), tmp_path / "season").live(lambda _: None)
    assert all(day.code in EXPECTED for day in days), [day.why for day in days]
    assert days[2].code == ExitCode.DATA_REFUSED, "a column was renamed on the day before"
    assert all(day.forecasts == day.asked == 3 for day in days), "no day without forecasts"
    assert all(set(day.sums) == set(MODELS) for day in days)
