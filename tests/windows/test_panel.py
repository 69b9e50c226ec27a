"""The dense panel: how it is read, to where it is complete, and what it cannot be made of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from trees import MONDAY, at, node, samples, tree_of

from forecast.contracts.errors import DataError
from forecast.contracts.specs import ForecastSpec
from forecast.features.gridded import Floats
from forecast.windows.panel import Panel, panel_of, span

ABC = tree_of(node("c"), node("a"), node("b"))
RACK = tree_of(node("rack", "rack"), node("a", parent="rack"), node("b", parent="rack"))
CELLS = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(-30, 60)),
    st.none() | st.floats(300, 900, width=32),
    min_size=1,
    max_size=25,
)


def made_of(values: Floats | list[list[list[float]]], start: datetime = MONDAY, step_s: int = 3600) -> Panel:
    """A panel of `values [channel, entity, time]`."""
    array = np.asarray(values, np.float32)
    channels = ("power_w", "temperature_c")[: array.shape[0]]
    return Panel(start, step_s, channels, tuple(f"e{index}" for index in range(array.shape[1])), (array,))


def seen(*rows: str) -> Panel:
    """A panel of one channel in which `#` is observed and `.` is not, an entity per row."""
    return made_of([[[1.0 if cell == "#" else np.nan for cell in row] for row in rows]])


def power_only(spec: ForecastSpec) -> ForecastSpec:
    return replace(spec, targets=("power_w",), past=("power_w",))


@given(CELLS)
def test_samples_to_panel_and_back(cells: dict[tuple[str, int], float | None]) -> None:
    """One sample an hour of entities that have nothing to do with each other."""
    spec = ForecastSpec(3600, 4, 2, ("power_w",), ("power_w",), (0.1, 0.5, 0.9))
    telemetry = samples(*((entity, hours * 60, value) for (entity, hours), value in cells.items()))
    hours = [hour for (_, hour), value in cells.items() if value is not None]
    if not hours:
        with pytest.raises(DataError, match="power_w was never observed"):
            panel_of(telemetry, ABC, spec)
        return
    panel = panel_of(telemetry, ABC, spec)
    back = {
        (entity, panel.time(step)): float(value)
        for row, entity in enumerate(panel.entities)
        for step, value in enumerate(panel.read(0, panel.steps)[0, row])
        if not np.isnan(value)
    }
    assert back == {(entity, at(hour * 60)): value for (entity, hour), value in cells.items() if value is not None}
    assert panel.time(0) == at(min(hours) * 60)
    assert panel.steps == max(hours) - min(hours) + 1
    assert panel.entities == ABC.entities


def test_channels_keep_the_order_asked_for(spec: ForecastSpec) -> None:
    telemetry = samples(("a", 0, 500.0)).with_columns(temperature_c=pl.lit(40.0), utilization_ratio=pl.lit(0.5))
    swapped = replace(spec, targets=("temperature_c", "power_w"), past=("temperature_c", "power_w"))
    panel = panel_of(telemetry, ABC, swapped)
    assert panel.channels == ("temperature_c", "power_w")
    assert_array_equal(panel.read(0, 1)[:, ABC.entities.index("a"), 0], [40.0, 500.0])


def test_entities_that_are_not_in_the_tree_do_not_stretch_the_panel(spec: ForecastSpec) -> None:
    panel = panel_of(samples(("a", 60, 500.0), ("stranger", 6000, 500.0)), ABC, power_only(spec))
    assert (panel.steps, panel.time(0)) == (1, at(60))


def test_levels_are_in_the_panel(spec: ForecastSpec) -> None:
    panel = panel_of(samples(("a", 0, 500.0), ("b", 59, 400.0)), RACK, power_only(spec))
    assert panel.read(0, 1)[0, RACK.entities.index("rack"), 0] == 900.0


def test_a_channel_that_the_forecast_needs_is_named_when_it_is_missing(spec: ForecastSpec) -> None:
    with pytest.raises(DataError, match=r"day.csv: no column temperature_c, utilization_ratio, which this forecast"):
        panel_of(samples(("a", 0, 1.0)), RACK, spec, "day.csv")


@pytest.mark.parametrize("rows", [[], [("stranger", 0, 500.0)]])
def test_no_rows_of_anybody_known(spec: ForecastSpec, rows: list[tuple[str, float, float]]) -> None:
    with pytest.raises(DataError, match=r"day.csv: no rows of known entities in the time range"):
        panel_of(samples(*rows), RACK, power_only(spec), "day.csv")


@pytest.mark.parametrize("nothing", [None, float("nan"), 2_147_483_632.0])
def test_a_target_that_was_never_observed(spec: ForecastSpec, nothing: float | None) -> None:
    """A column of text comes as NaN; a driver may send its blank for ever."""
    telemetry = samples(("a", 0, 500.0)).with_columns(
        temperature_c=pl.lit(nothing, pl.Float64), utilization_ratio=pl.lit(0.5)
    )
    with pytest.raises(DataError, match=r"day.csv: temperature_c was never observed; check its column"):
        panel_of(telemetry, RACK, spec, "day.csv")


def test_a_channel_that_is_no_target_may_be_absent_throughout(spec: ForecastSpec) -> None:
    telemetry = samples(("a", 0, 100.0), ("b", 0, 100.0)).with_columns(
        temperature_c=pl.lit(50.0), utilization_ratio=pl.lit(None, pl.Float64)
    )
    window = panel_of(telemetry, RACK, spec).read(0, 1)
    assert np.isnan(window[2]).all()
    assert window[0, RACK.entities.index("rack"), 0] == 200.0


def test_a_wrong_unit_is_refused_with_the_name_of_the_file(spec: ForecastSpec) -> None:
    with pytest.raises(DataError, match=r"day.csv: power_w is typically"):
        panel_of(samples(("a", 0, 0.4)), RACK, power_only(spec), "day.csv")


def test_one_wrong_time_does_not_become_a_panel_of_decades() -> None:
    wrong = pl.LazyFrame({"time": [datetime(2001, 1, 1, tzinfo=UTC)], "entity_id": ["a"], "power_w": [1.0]})
    with pytest.raises(DataError, match=r"day.csv: spans 2001-01-01 .* next to nothing in between; check its times"):
        span(pl.concat([wrong, samples(("a", 0, 1.0))], how="diagonal"), ABC, "day.csv")


def test_years_of_telemetry_and_strangers_with_wrong_times_are_nothing_to_refuse() -> None:
    years = samples(*(("a", day * 1440, 1.0) for day in range(0, 800, 2)))
    stranger = pl.LazyFrame({"time": [datetime(2001, 1, 1, tzinfo=UTC)], "entity_id": ["x"], "power_w": [1.0]})
    both = pl.concat([years, stranger], how="diagonal")
    assert span(both, ABC, "day.csv") == (MONDAY, MONDAY + timedelta(days=798))


def test_values_are_float32_and_nan_where_null(spec: ForecastSpec) -> None:
    values = panel_of(samples(("a", 0, 500.1), ("a", 60, None), ("a", 120, 500)), ABC, power_only(spec)).read(0, 2)
    assert values.dtype == np.float32
    assert_array_equal(values[0, ABC.entities.index("a")], np.array([500.1, np.nan], np.float32))


def test_steps_and_times_are_each_others_inverse_and_extrapolate() -> None:
    panel = seen("###")
    assert [panel.step(panel.time(step)) for step in (-30, -1, 0, 2, 500)] == [-30, -1, 0, 2, 500]
    assert panel.step(MONDAY + timedelta(minutes=59)) == 0
    assert panel.step(MONDAY - timedelta(minutes=1)) == -1
    assert panel.step(datetime(2026, 3, 2, 4, tzinfo=UTC)) == 4


def test_reading_outside_the_panel_gives_nan() -> None:
    panel = made_of([[[1, 2, 3]]])
    nan = np.nan
    assert_array_equal(panel.read(-2, 5)[0, 0], np.array([nan, nan, 1, 2, 3, nan, nan], np.float32))
    assert_array_equal(panel.read(7, 9)[0, 0], np.array([nan, nan], np.float32))
    assert_array_equal(panel.read(-9, -7)[0, 0], np.array([nan, nan], np.float32))
    assert_array_equal(panel.read(1, 2)[0, 0], np.array([2], np.float32))
    assert panel.read(1, 1).shape == (1, 1, 0)


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5), begin=st.integers(-14, 25), length=st.integers(0, 12)
)
def test_chunks_are_invisible(lengths: list[int], begin: int, length: int) -> None:
    values = np.arange(2 * 3 * sum(lengths), dtype=np.float32).reshape(2, 3, -1)
    pieces = np.split(values, np.cumsum(lengths)[:-1], axis=2)
    chunked = replace(made_of(values), chunks=tuple(pieces))
    assert chunked.steps == values.shape[2]
    outside = np.full((2, 3, 40), np.nan, np.float32)
    padded = np.concatenate([outside, values, outside], axis=2)
    assert_array_equal(chunked.read(begin, begin + length), padded[:, :, 40 + begin : 40 + begin + length])


@pytest.mark.parametrize(
    ("rows", "watermark"),
    [
        (("####", "####"), 3),
        (("####", "##.."), 1),
        (("####", "....", "...."), 3),  # entities that never report are not waited for
        (("#...", ".##."), 2),  # never together: the last at which as many came as ever
        (tuple("####" if entity % 10 else "#.#." for entity in range(40)), 2),
        (tuple("." * (entity % 4) + "#" + "." * (3 - entity % 4) for entity in range(40)), 3),  # each now and then
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


def test_one_channel_is_enough_to_have_reported() -> None:
    nan = np.nan
    assert made_of([[[1, nan]], [[nan, 2]]]).watermark() == 1


def test_a_panel_cut_short_ends_there_in_any_chunks() -> None:
    panel = seen("#" * 40, "#" * 30 + "." * 10)
    chunked = replace(panel, chunks=tuple(np.split(panel.chunks[0], [10, 24], axis=2)))
    for end in (5, 10, 24, 30, 40):
        assert chunked.before(end).steps == end
        assert_array_equal(chunked.before(end).read(0, end), panel.read(0, end))


def test_the_watermark_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="nothing was observed"):
        seen("..", "..").watermark()


def test_the_watermark_is_the_same_in_chunks() -> None:
    panel = seen("#" * 40 + "....", "#" * 30 + "..............")
    chunked = replace(panel, chunks=tuple(np.split(panel.chunks[0], [24], axis=2)))
    assert chunked.watermark() == panel.watermark() == 29
