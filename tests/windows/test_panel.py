"""The dense panel: nothing lost from the table, nothing invented, the same from disk as in memory."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from trees import MONDAY, at, samples

from forecast.contracts.errors import DataError
from forecast.windows.panel import Floats, Panel, dense, open_panel, save

CELLS = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(-30, 60)),
    st.none() | st.floats(0, 1e6, width=32),
    min_size=1,
    max_size=25,
)


def panel_of(values: Floats | list[list[list[float]]], start: datetime = MONDAY, step_s: int = 3600) -> Panel:
    """A panel of `values [channel, entity, time]`."""
    array = np.asarray(values, np.float32)
    channels = ("power_w", "temperature_c")[: array.shape[0]]
    return Panel(start, step_s, channels, tuple(f"e{index}" for index in range(array.shape[1])), (array,))


def seen(*rows: str) -> Panel:
    """A panel of one channel in which `#` is observed and `.` is not, an entity per row."""
    return panel_of([[[1.0 if cell == "#" else np.nan for cell in row] for row in rows]])


@given(CELLS)
def test_table_to_panel_and_back(cells: dict[tuple[str, int], float | None]) -> None:
    table = samples(*((entity, minutes * 60, value) for (entity, minutes), value in cells.items()))
    panel = dense(table, ["power_w"], ["c", "a", "b"], 3600)
    back = {
        (entity, panel.time(step)): float(value)
        for row, entity in enumerate(panel.entities)
        for step, value in enumerate(panel.read(0, panel.steps)[0, row])
        if not np.isnan(value)
    }
    assert back == {(entity, at(hour * 60)): value for (entity, hour), value in cells.items() if value is not None}
    hours = [hour for _, hour in cells]
    assert panel.time(0) == at(min(hours) * 60)
    assert panel.steps == max(hours) - min(hours) + 1


def test_channels_and_entities_keep_the_order_asked_for() -> None:
    table = samples(("a", 0, 1.0), ("b", 60, 2.0)).with_columns(temperature_c=pl.Series([30.0, 40.0]))
    panel = dense(table, ["temperature_c", "power_w"], ["b", "idle", "a"], 3600)
    nan = np.nan
    expected = [[[nan, 40], [nan, nan], [30, nan]], [[nan, 2], [nan, nan], [1, nan]]]
    assert_array_equal(panel.read(0, 2), np.array(expected, np.float32))
    assert panel.channels == ("temperature_c", "power_w")
    assert panel.entities == ("b", "idle", "a")


def test_entities_that_were_not_asked_for_do_not_stretch_the_panel() -> None:
    panel = dense(samples(("a", 60, 1.0), ("stranger", 6000, 2.0)), ["power_w"], ["a"], 3600)
    assert (panel.steps, panel.time(0)) == (1, at(60))


@pytest.mark.parametrize("rows", [[], [("stranger", 0, 1.0)]])
def test_a_table_without_known_entities_is_refused(rows: list[tuple[str, float, float]]) -> None:
    with pytest.raises(DataError, match="no telemetry of any known entity"):
        dense(samples(*rows), ["power_w"], ["a"], 3600)


def test_values_are_float32_and_nan_where_null() -> None:
    values = dense(samples(("a", 0, 0.1), ("a", 60, None)), ["power_w"], ["a"], 3600).read(0, 2)
    assert values.dtype == np.float32
    assert values[0, 0, 0] == np.float32(0.1)
    assert np.isnan(values[0, 0, 1])


def test_steps_and_times_are_each_others_inverse_and_extrapolate() -> None:
    panel = seen("###")
    assert [panel.step(panel.time(step)) for step in (-30, -1, 0, 2, 500)] == [-30, -1, 0, 2, 500]
    assert panel.step(MONDAY + timedelta(minutes=59)) == 0
    assert panel.step(MONDAY - timedelta(minutes=1)) == -1
    assert panel.step(datetime(2026, 3, 2, 4, tzinfo=UTC)) == 4


def test_reading_outside_the_panel_gives_nan() -> None:
    panel = panel_of([[[1, 2, 3]]])
    nan = np.nan
    assert_array_equal(panel.read(-2, 5)[0, 0], np.array([nan, nan, 1, 2, 3, nan, nan], np.float32))
    assert_array_equal(panel.read(7, 9)[0, 0], np.array([nan, nan], np.float32))
    assert_array_equal(panel.read(1, 2)[0, 0], np.array([2], np.float32))
    assert panel.read(1, 1).shape == (1, 1, 0)


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5), begin=st.integers(-4, 25), length=st.integers(0, 12)
)
def test_chunks_are_invisible(lengths: list[int], begin: int, length: int) -> None:
    whole = panel_of(np.arange(2 * 3 * sum(lengths), dtype=np.float32).reshape(2, 3, -1))
    pieces = np.split(whole.chunks[0], np.cumsum(lengths)[:-1], axis=2)
    chunked = Panel(whole.start, whole.step_s, whole.channels, whole.entities, tuple(pieces))
    assert chunked.steps == whole.steps
    assert_array_equal(chunked.read(begin, begin + length), whole.read(begin, begin + length))


@given(
    hours=st.integers(1, 80),
    offset=st.integers(0, 30),
    step_s=st.sampled_from([1800, 3600, 7200, 86_400]),
    missing=st.integers(0, 2**32 - 1),
)
def test_disk_gives_back_what_memory_held(hours: int, offset: int, step_s: int, missing: int) -> None:
    random = np.random.default_rng(missing)
    values = random.uniform(0, 1e6, (2, 3, hours)).astype(np.float32)
    values[random.random(values.shape) < 0.2] = np.nan
    start = MONDAY + timedelta(seconds=offset * step_s)
    panel = panel_of(values, start, step_s)
    with TemporaryDirectory() as place:
        reopened = save(panel, Path(place) / "panel", {})
        days = {f"{panel.time(step):%Y-%m-%d}.npy" for step in range(hours)}
        assert {path.name for path in (Path(place) / "panel").glob("*.npy")} == days, "one file per UTC day"
        assert (reopened.start, reopened.step_s) == (start, step_s)
        assert (reopened.channels, reopened.entities) == (panel.channels, panel.entities)
        assert reopened.steps == hours
        assert_array_equal(reopened.read(-3, hours + 3), panel.read(-3, hours + 3))


def test_each_file_holds_the_steps_of_its_day(tmp_path: Path) -> None:
    save(panel_of([[list(range(30))]], MONDAY + timedelta(hours=20)), tmp_path / "panel", {"rows": 30})
    files = {path.name: np.load(path)[0, 0] for path in (tmp_path / "panel").glob("*.npy")}
    assert_array_equal(files["2026-03-02.npy"], range(4))
    assert_array_equal(files["2026-03-03.npy"], range(4, 28))
    assert_array_equal(files["2026-03-04.npy"], range(28, 30))
    assert '"rows": 30' in (tmp_path / "panel" / "manifest.json").read_text()


def test_saving_replaces_the_folder_as_a_whole(tmp_path: Path) -> None:
    save(panel_of([[list(range(100))]]), tmp_path / "panel", {})
    (tmp_path / ".panel.part").mkdir()
    (tmp_path / ".panel.part" / "2020-01-01.npy").write_bytes(b"left by a run that died")
    again = save(panel_of([[[7, 8]]]), tmp_path / "panel", {})
    assert again.steps == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["2026-03-02.npy", "manifest.json", "panel"]


def test_a_panel_may_be_saved_over_itself(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float32).reshape(1, 1, 60)
    save(panel_of(values), tmp_path / "panel", {})
    again = save(open_panel(tmp_path / "panel"), tmp_path / "panel", {})
    assert_array_equal(again.read(0, 60), values)


def test_pages_of_a_saved_panel_are_mapped_not_loaded(tmp_path: Path) -> None:
    reopened = save(panel_of([[[1, 2]]]), tmp_path / "panel", {})
    assert all(isinstance(chunk, np.memmap) for chunk in reopened.chunks)


@pytest.mark.parametrize(
    ("rows", "watermark"),
    [
        (("####", "####"), 3),
        (("####", "##.."), 1),
        (("####", "....", "...."), 3),  # entities that never report are not waited for
        (("#...", ".##."), 2),  # nowhere complete: the last step observed at all
        (("..#.", "..#."), 2),
        (("####",) * 19 + ("###.",), 3),  # 19 of 20 is 95 %
        (("####",) * 18 + ("###.",), 2),  # 18 of 19 is not
    ],
)
def test_the_watermark_is_the_last_step_at_which_nearly_all_reported(rows: tuple[str, ...], watermark: int) -> None:
    assert seen(*rows).watermark() == watermark


def test_an_entity_that_left_more_than_a_day_ago_is_not_waited_for() -> None:
    assert seen("#" * 40, "#" * 10 + "." * 30).watermark() == 39
    assert seen("#" * 40, "#" * 20 + "." * 20).watermark() == 19


def test_one_wrong_time_does_not_become_a_panel_of_decades() -> None:
    times = [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)]
    frame = pl.DataFrame({"time": times, "entity_id": ["a", "a"], "power_w": [1.0, 2.0]})
    entities = ["a", *(f"b{index}" for index in range(1000))]
    with pytest.raises(DataError, match="1970"):
        dense(frame.lazy(), ["power_w"], entities, step_s=300)


def test_one_channel_is_enough_to_have_reported() -> None:
    nan = np.nan
    assert panel_of([[[1, nan]], [[nan, 2]]]).watermark() == 1


def test_the_watermark_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="nothing was observed"):
        seen("..", "..").watermark()


def test_the_watermark_is_the_same_from_disk(tmp_path: Path) -> None:
    panel = seen("#" * 40 + "....", "#" * 30 + "..............")
    assert save(panel, tmp_path / "panel", {}).watermark() == panel.watermark() == 29
