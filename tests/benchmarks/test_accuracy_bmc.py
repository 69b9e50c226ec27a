"""Task C: runs are kept apart, whole, and tested as the evaluation page says."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.accuracy import bmc
from benchmarks.accuracy.tasks import TASKS, Task, configured, task_of
from forecast.retrain.prepare import prepare
from forecast.retrain.stages import Stages


@pytest.fixture(scope="module")
def raw(shared_data: Path) -> pl.DataFrame:
    return pl.read_parquet(shared_data / "bmc_thermal" / "bmc_sensors.parquet").sort("run_id", "timestamp")


@pytest.fixture(scope="module")
def tested(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("bmc")
    bmc.write(shared_data / "bmc_thermal" / "bmc_sensors.parquet", folder)
    config = configured(
        [
            *TASKS["C"].settings,
            f"source.path={folder / 'telemetry.parquet'}",
            f"source.topology={folder / 'topology.parquet'}",
            f"evaluation.origins={folder / 'origins.csv'}",
            f"cache={folder / 'cache'}",
        ]
    )
    return task_of("C", TASKS["C"], config, prepare(config, Stages(2)), "test")


def test_one_run_in_four_is_tested_in_whole_windows(tested: Task, raw: pl.DataFrame) -> None:
    names = [tested.history.entities[entity] for entity in tested.asked.entity]
    runs = {name.split("-")[0] for name in names}
    assert (len(names), len(runs)) == (2 * 222, 14)
    assert runs <= set(raw["run_id"].unique().sort().gather_every(4))


def test_nothing_is_learnt_from_a_run_that_is_tested(tested: Task) -> None:
    learnt = ~np.isnan(tested.history.values[0])
    learnt[:, : bmc.CONTEXT] = False  # too short for a window to be learnt from
    assert not learnt[np.unique(tested.asked.entity)].any()
    assert learnt.any(axis=1).sum() > 50


def test_what_came_is_what_was_measured(tested: Task, raw: pl.DataFrame) -> None:
    """A step's mean lies between the samples in it and the one before it, which holds until the next."""
    checked = 0
    for row in range(0, len(tested.asked.entity), 29):
        run, cpu = tested.history.entities[tested.asked.entity[row]].split("-")
        samples = raw.filter(run_id=run)
        since_s = (samples["timestamp"] - samples["timestamp"][0]).dt.total_seconds().to_numpy()
        values = samples[f"{cpu}_temp_c"].to_numpy()
        for ahead in np.flatnonzero(~np.isnan(tested.actual[row, 0])):
            begin_s = (int(tested.asked.origin[row]) + int(ahead)) * bmc.STEP_S
            first = max(int(np.searchsorted(since_s, begin_s)) - 1, 0)
            near = values[first : int(np.searchsorted(since_s, begin_s + bmc.STEP_S))]
            assert near.min() - 1e-3 <= tested.actual[row, 0, ahead] <= near.max() + 1e-3
            checked += 1
    assert checked > 400


def test_both_processors_of_a_run_share_their_time_and_runs_do_not(tested: Task) -> None:
    runs = np.array([tested.history.entities[entity].split("-")[0] for entity in tested.asked.entity])
    for when in np.unique(tested.when):
        here = runs[tested.when == when]
        assert len(here) == 2
        assert len(set(here)) == 1
