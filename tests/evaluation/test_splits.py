"""Ranges that never mix, by hours and by a file of origins, and the published origins of real servers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_fleet import START, daily_load, pairs_in, panel_of, windows_of
from smoke_run import ROOT, settings

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.specs import ForecastSpec
from forecast.evaluation.splits import EvaluationConfig, split
from forecast.retrain.prepare import spec_of
from forecast.windows.panel import Panel
from forecast.windows.panel import panel_of as panel_from

DAYS = 10
HEADER = "entity_id,split,forecast_time_local\n"


def panel(spec: ForecastSpec, entities: int = 3) -> Panel:
    return panel_of(daily_load(spec, entities, DAYS), spec)


def listed(tmp_path: Path, *rows: str, time_zone: str = "UTC") -> EvaluationConfig:
    path = tmp_path / "origins.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return EvaluationConfig(origins=str(path), origins_time_zone=time_zone)


def test_hours_are_counted_back_from_the_end(spec: ForecastSpec) -> None:
    ranges = split(panel(spec), 12, EvaluationConfig(test_h=48, validation_h=24, origin_every_h=6))
    assert ranges.test.tolist() == [192] * 3
    assert ranges.validation.tolist() == [168] * 3
    assert ranges.end == 240
    assert list(ranges.origins) == [192, 198, 204, 210, 216, 222, 228]
    assert all(entities.tolist() == [0, 1, 2] for entities in ranges.origins.values())


def test_hours_on_another_grid(spec: ForecastSpec) -> None:
    fine = Panel(START, 900, spec.past, ("e00",), (np.ones((3, 1, 960), np.float32),))
    ranges = split(fine, 8, EvaluationConfig(test_h=48, validation_h=24, origin_every_h=1.5))
    assert ranges.test.tolist() == [960 - 192]
    assert ranges.validation.tolist() == [960 - 288]
    assert np.diff(list(ranges.origins)).tolist() == [6] * (len(ranges.origins) - 1)


def test_ranges_longer_than_the_data_are_refused(spec: ForecastSpec) -> None:
    with pytest.raises(ConfigError, match=r"test_h=140 and validation_h=100 .*spans 240 h; shorten them"):
        split(panel(spec), 12, EvaluationConfig(test_h=140, validation_h=100))


def test_whoever_chooses_sees_every_range_one_earlier(spec: ForecastSpec) -> None:
    config = EvaluationConfig(test_h=48, validation_h=24, origin_every_h=6)
    tested, chosen = (split(panel(spec), 12, replace(config, range=name)) for name in ("test", "validation"))
    assert chosen.test.tolist() == tested.validation.tolist()
    assert chosen.end == tested.test[0]
    assert chosen.test[0] - chosen.validation[0] == 24
    assert max(chosen.origins) + 12 <= tested.test[0]


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.range is 'train'; it must be test or validation"):
        EvaluationConfig(range="train")


def test_no_window_reaches_over_an_edge(spec: ForecastSpec) -> None:
    ranges = split(panel(spec), spec.horizon_steps, EvaluationConfig(test_h=48, validation_h=48))
    windows = windows_of(daily_load(spec, 3, DAYS), spec, ["server"] * 3)
    validation, test = int(ranges.validation[0]), int(ranges.test[0])
    train = pairs_in(windows, 0, validation)[:, 1]
    assert train.max() + spec.horizon_steps == validation
    judged = pairs_in(windows, validation, test)[:, 1]
    assert judged.min() == validation
    assert judged.max() + spec.horizon_steps == test
    assert min(ranges.origins) >= test


def test_a_file_of_origins_sets_each_entitys_ranges(spec: ForecastSpec, tmp_path: Path) -> None:
    rows = [
        "e00,val,2026-03-07 00:00:00",
        "e00,val,2026-03-06 00:00:00",
        "e00,test,2026-03-09 00:00:00",
        "e00,test,2026-03-08 00:00:00",
        "e02,val,2026-03-04 12:00:00",
        "e02,test,2026-03-08 00:00:00",
        "elsewhere,test,2026-03-08 00:00:00",
    ]
    ranges = split(panel(spec), 12, listed(tmp_path, *rows))
    assert ranges.validation.tolist() == [96, 240, 60]
    assert ranges.test.tolist() == [144, 240, 144]
    assert {step: sorted(entities.tolist()) for step, entities in ranges.origins.items()} == {144: [0, 2], 168: [0]}


def test_whoever_chooses_is_scored_on_the_origins_listed_for_it(spec: ForecastSpec, tmp_path: Path) -> None:
    rows = ["e00,val,2026-03-07 00:00:00", "e00,val,2026-03-06 00:00:00", "e00,test,2026-03-08 00:00:00"]
    ranges = split(panel(spec), 12, replace(listed(tmp_path, *rows), range="validation"))
    assert list(ranges.origins) == [96, 120]
    assert (ranges.validation[0], ranges.test[0]) == (48, 96)


def test_local_origins_are_read_in_their_zone(spec: ForecastSpec, tmp_path: Path) -> None:
    rows = ["e00,val,2026-03-05 19:00:00", "e00,test,2026-03-07 19:00:00"]
    ranges = split(panel(spec), 12, listed(tmp_path, *rows, time_zone="Etc/GMT+5"))
    assert (ranges.validation[0], ranges.test[0]) == (96, 144)


def test_an_entity_that_is_tested_and_never_validated_is_not_trained_on_its_test_range(
    spec: ForecastSpec, tmp_path: Path
) -> None:
    rows = ["e00,val,2026-03-06 00:00:00", "e00,test,2026-03-08 00:00:00", "e01,test,2026-03-09 00:00:00"]
    ranges = split(panel(spec), 12, listed(tmp_path, *rows))
    assert ranges.validation[1] == ranges.test[1] == 168


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["nobody,test,2026-03-08 00:00:00"], "no entity of this source"),
        (["e00,val,2026-03-08 00:00:00"], "no test origin"),
        (["e00,holdout,2026-03-08 00:00:00"], "no test origin"),
        (["e00,test,yesterday"], "forecast_time_local"),
        ([], "no entity of this source"),
    ],
)
def test_a_file_that_tests_nothing_is_refused(spec: ForecastSpec, tmp_path: Path, rows: list[str], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        split(panel(spec), 12, listed(tmp_path, *rows))


def test_a_file_that_is_not_there_is_refused_by_name(spec: ForecastSpec, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        split(panel(spec), 12, EvaluationConfig(origins=str(tmp_path / "nowhere.csv")))


def test_a_file_with_other_columns_is_refused(spec: ForecastSpec, tmp_path: Path) -> None:
    path = tmp_path / "origins.csv"
    path.write_text("entity_id,split,time\ne00,test,2026-03-08 00:00:00\n")
    with pytest.raises(DataError, match="forecast_time_local"):
        split(panel(spec), 12, EvaluationConfig(origins=str(path)))


def test_a_local_time_that_the_clock_skipped_is_refused(spec: ForecastSpec, tmp_path: Path) -> None:
    config = listed(tmp_path, "e00,test,2026-03-08 02:30:00", time_zone="America/New_York")
    with pytest.raises(DataError, match="origins"):
        split(panel(spec), 12, config)


def test_a_clock_that_there_is_not_is_named(spec: ForecastSpec, tmp_path: Path) -> None:
    config = listed(tmp_path, "e00,test,2026-03-08 02:30:00", time_zone="Mars/Base")
    with pytest.raises(
        ConfigError, match=r"evaluation\.origins_time_zone is 'Mars/Base'; it must be an IANA time zone"
    ):
        split(panel(spec), 12, config)


@pytest.fixture(scope="module")
def biohpc(shared_data: Path) -> tuple[Panel, ForecastSpec, EvaluationConfig]:
    """Three years of four servers, through the source, as `train.py source=biohpc` reads them."""
    origins = shared_data.parent / "evaluation" / "biohpc_origins.csv"
    config = settings(
        "source=biohpc",
        f"source.path={shared_data / 'biohpc_gpu_servers.parquet'}",
        f"evaluation.origins={origins}",
    )
    spec = spec_of(config.window)
    trace = config.source.read(ROOT / "var" / "unused")
    return panel_from(trace.telemetry, trace.topology, spec), spec, config.evaluation


def test_the_published_origins_are_all_tested(biohpc: tuple[Panel, ForecastSpec, EvaluationConfig]) -> None:
    hourly, spec, config = biohpc
    ranges = split(hourly, spec.horizon_steps, config)
    tested = np.concatenate(list(ranges.origins.values()))
    counts = {name: int((tested == index).sum()) for index, name in enumerate(hourly.entities)}
    assert counts == {"cbsugpu05": 188, "cbsugpu06": 188, "cbsugpu07": 108, "cbsugpu08": 126}


def test_no_window_of_the_published_task_learns_from_what_it_is_tested_on(
    biohpc: tuple[Panel, ForecastSpec, EvaluationConfig],
) -> None:
    hourly, spec, config = biohpc
    ranges = split(hourly, spec.horizon_steps, config)
    table = pl.read_csv(config.origins, try_parse_dates=True)
    time = pl.col("forecast_time_local").dt.replace_time_zone(config.origins_time_zone).dt.convert_time_zone("UTC")
    first = table.group_by("entity_id", "split").agg(time.min())
    for index, name in enumerate(hourly.entities):
        starts = dict(first.filter(entity_id=name).select("split", "forecast_time_local").iter_rows())
        # A training target ends before validation begins, a validation target before the test does.
        assert hourly.time(int(ranges.validation[index])) == starts["val"]
        assert hourly.time(int(ranges.test[index])) == starts["test"]
        tested = [step for step, entities in ranges.origins.items() if index in entities]
        assert min(tested) == ranges.test[index]
        assert ranges.validation[index] < ranges.test[index] < ranges.end
