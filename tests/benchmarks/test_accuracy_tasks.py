"""The windows of every task are those of its page, and hold nothing that a method must not know."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_task import load

from benchmarks.accuracy.peers import features
from benchmarks.accuracy.tasks import TASKS, Task, configured, contexts, task_of
from forecast.retrain.prepare import Prepared, prepare
from forecast.retrain.stages import Stages

FILES = {
    "A": ("biohpc_gpu_servers.parquet", "power_avg_w"),
    "B": ("google_pdu_power_2019.parquet", "measured_power_util"),
    "D": ("fleet_cpu/azure_v2_fleet_300s.parquet", "cpu_usage_core_pct"),
}


@pytest.fixture(scope="module", params=FILES)
def prepared(request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> "Ready":
    name = request.param
    settings = [*TASKS[name].settings, f"source.path={shared_data / FILES[name][0]}"]
    settings += [f"cache={tmp_path_factory.mktemp('cache')}"]
    if name == "A":
        settings += [f"evaluation.origins={shared_data.parent / 'evaluation' / 'biohpc_origins.csv'}"]
    config = configured(settings)
    return Ready(name, config, prepare(config, Stages(2)))


class Ready:
    """A task's data, prepared once for all tests of it."""

    def __init__(self, name: str, config: object, prepared: Prepared) -> None:
        self.name, self.config, self.prepared = name, config, prepared

    def task(self, part: str, prepared: Prepared | None = None) -> Task:
        return task_of(self.name, TASKS[self.name], self.config, prepared or self.prepared, part)


def counts(task: Task) -> dict[str, int]:
    return {name: int((task.asked.entity == at).sum()) for at, name in enumerate(task.history.entities)}


def test_there_are_as_many_windows_as_the_page_says(prepared: Ready) -> None:
    expected = {
        "A": {"cbsugpu05": 188, "cbsugpu06": 188, "cbsugpu07": 108, "cbsugpu08": 126},
        "B": dict.fromkeys(("cella_pdu10", "cella_pdu6", "cella_pdu7"), 145),
        "D": {"azure_v2_fleet": 145},
    }
    tested = prepared.task("test")
    assert counts(tested) == expected[prepared.name]
    scored = {"A": 29_051, "B": 435 * 288, "D": 145 * 288}
    assert (~np.isnan(tested.actual)).sum((0, 2)).tolist() == [scored[prepared.name]] * tested.actual.shape[1]
    validated = {"A": [67, 67, 64, 62], "B": [49] * 3, "D": [49]}
    assert list(counts(prepared.task("validation")).values()) == validated[prepared.name]


def test_what_came_is_what_was_measured(prepared: Ready, shared_data: Path) -> None:
    """The truth is compared with the file itself: repair and gridding have not touched it."""
    task, (file, column) = prepared.task("test"), FILES[prepared.name]
    shift_h = {"A": 5, "B": 0, "D": 0}[prepared.name]
    scale = {"A": 1.0, "B": 1e6, "D": 1.0}[prepared.name]
    raw = pl.read_parquet(shared_data / file).with_columns(time=pl.col("timestamp").dt.offset_by(f"{shift_h}h"))
    values = {(entity, time): value for entity, time, value in raw.select("entity", "time", column).iter_rows()}
    panel, names = task.prepared.panel, task.history.entities
    for row in range(0, len(task.asked.entity), 17):
        entity, origin = names[task.asked.entity[row]], int(task.asked.origin[row])
        times = [panel.time(origin + ahead).replace(tzinfo=None) for ahead in range(task.actual.shape[2])]
        measured = np.array([values.get((entity, time), np.nan) for time in times]) * scale
        np.testing.assert_allclose(task.actual[row, 0], measured, rtol=1e-6)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_no_window_begins_before_what_is_learnt_from_ends(prepared: Ready, part: str) -> None:
    task = prepared.task(part)
    assert (task.asked.origin >= task.history.end[task.asked.entity]).all()
    if part == "validation":
        last = task.asked.origin + task.history.spec.horizon_steps
        assert (last <= prepared.prepared.split.test[task.asked.entity]).all()


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_method_is_told_nothing_from_its_range_on(prepared: Ready, part: str) -> None:
    """Everything after the cut is replaced by noise: what is learnt from does not change by a bit."""
    before = prepared.task(part)
    panel = prepared.prepared.panel
    values = panel.read(0, panel.steps)
    noise = np.random.default_rng(0).normal(1e5, 1e6, values.shape).astype(np.float32)
    late = np.arange(panel.steps) >= before.history.end[:, None]
    noisy = replace(prepared.prepared, panel=replace(panel, chunks=(np.where(late, noise, values),)))
    after = prepared.task(part, noisy)
    np.testing.assert_array_equal(before.history.values, after.history.values)
    assert not np.array_equal(before.actual, after.actual, equal_nan=True)
    first = before.asked.origin == before.history.end[before.asked.entity]
    assert first.any()
    np.testing.assert_array_equal(before.asked.past[first], after.asked.past[first])


@given(st.integers(0, 2**31), st.integers(24, 29 * 24), st.sampled_from([24, 72, 100]))
def test_hand_made_features_see_nothing_from_the_origin_on(seed: int, origin: int, length: int) -> None:
    values = load()
    noise = np.random.default_rng(seed).normal(0, 1e4, values.shape).astype(np.float32)
    noisy = np.where(np.arange(values.shape[2]) >= origin, noise, values)
    entity, origins, clock = np.array([0, 1]), np.full(2, origin), features.Clock(3600, 0.0)
    ahead = np.tile(np.arange(30), (2, 1))
    made = []
    for part in (values, noisy):
        past = contexts(part, entity, origins, length)
        made.append((features.of_window(past, 0, 24), features.of_steps(past, 0, 24, origins, ahead, clock)))
    np.testing.assert_array_equal(made[0][0], made[1][0])
    np.testing.assert_array_equal(made[0][1], made[1][1])


def test_a_context_ends_where_the_forecast_begins() -> None:
    values = np.arange(20, dtype=np.float32).reshape(1, 1, 20)
    taken = contexts(values, np.array([0, 0, 0]), np.array([2, 10, 22]), 4)
    nan = np.nan
    np.testing.assert_array_equal(taken[:, 0], [[nan, nan, 0, 1], [6, 7, 8, 9], [18, 19, nan, nan]])
