"""Samples to the grid: against means taken by hand, whatever the order, the types and the batches they come in."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import typeof
from numpy.testing import assert_allclose, assert_array_equal
from trees import MONDAY, at, samples

from forecast.contracts.signals import SIGNALS
from forecast.features import grid as module
from forecast.features.grid import grid
from forecast.features.gridded import Gridded
from forecast.features.marks import Mark

STEP_S, STEPS = 60, 4
CHANNELS = ("power_w", "temperature_c", "inlet_c")
#: The values of one signal of one entity: time in s, value.
Series = list[tuple[float, float | None]]
Row = tuple[int, float | None, float | None, float | None]

TIMES = st.sampled_from([-61.0, -0.000001, 0.0, 7.25, 30.0, 59.999999, 60.0, 61.5, 90.0, 150.0, 179.0, 200.5, 239.0])
WILD = (float("nan"), float("inf"), float("-inf"), -41.0, 2_147_483_632.0, 3e9)
VALUES = st.none() | st.sampled_from([0.0, 1.0, 1.0, 2.0, 20.1, 77.7, *WILD]) | st.floats(0, 120, width=32)
#: An entity's number (the last one is a stranger's), seconds, power and temperature.
ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.none() | TIMES | st.integers(0, 239).map(float), VALUES, VALUES), max_size=40
)
KINDS = st.tuples(
    st.sampled_from([pl.Float64, pl.Float32]), st.sampled_from([pl.String, pl.Categorical, "same", "other"])
)


def names(entities: int) -> tuple[str, ...]:
    return tuple(f"e{index}" for index in range(entities))


def table(rows: Sequence[Row], entities: int = 3, number: Any = pl.Float64, text: Any = pl.String) -> pl.DataFrame:
    """Telemetry with two of the three signals; ids as text, as categories, or as an Enum of the same or other order."""
    ids = [*names(entities), "stranger"]
    types = {"same": pl.Enum(ids), "other": pl.Enum(ids[::-1])}
    columns = {
        "time": pl.Series(
            [None if row[1] is None else MONDAY + timedelta(seconds=row[1]) for row in rows],
            dtype=pl.Datetime("us", "UTC"),
        ),
        "entity_id": pl.Series([ids[min(row[0], entities)] for row in rows], dtype=pl.String).cast(
            types.get(text, text)
        ),
    }
    values = {
        name: pl.Series([row[place] for row in rows], dtype=pl.Float64).cast(number)
        for place, name in ((2, "power_w"), (3, "temperature_c"))
    }
    return pl.DataFrame(columns | values)


def gridded(telemetry: pl.DataFrame, entities: int = 3, first: int = 0) -> Gridded:
    into = Gridded.empty(MONDAY, STEP_S, CHANNELS, names(entities), STEPS, with_offsets=True)
    grid(telemetry.lazy(), into, first)
    return into


def series_of(rows: Sequence[Row], entities: int = 3) -> dict[tuple[int, int], Series]:
    """Rows within the grid, by signal and entity, in their order."""
    found: dict[tuple[int, int], Series] = defaultdict(list)
    for entity, time, *values in rows:
        if entity < entities and time is not None and 0 <= time < STEP_S * STEPS:
            for signal, value in enumerate(values):
                found[signal, entity].append((time, value))
    return found


def possible(signal: int, value: float | None) -> bool:
    bounds = SIGNALS[CHANNELS[signal]]
    return value is not None and bounds.low <= np.float32(value) <= bounds.high


def mean_by_hand(step: int, told: dict[float, set[float]]) -> float:
    """The mean over the time from the first sample that is not contradicted to the end of the step."""
    times = sorted(time for time, values in told.items() if time // STEP_S == step and len(values) == 1)
    if not times:
        return np.nan
    held = [next(iter(told[time])) for time in times]
    ends = [Fraction(time) for time in [*times[1:], (step + 1) * STEP_S]]
    total = sum(Fraction(value) * (end - Fraction(time)) for value, time, end in zip(held, times, ends, strict=True))
    return held[0] if len(held) == 1 else float(total / (ends[-1] - Fraction(times[0])))


def by_hand(rows: Sequence[Row], entities: int = 3) -> np.ndarray:
    values = np.full((len(CHANNELS), entities, STEPS), np.nan)
    for (signal, entity), series in series_of(rows, entities).items():
        told: dict[float, set[float]] = defaultdict(set)
        for time, value in series:
            if possible(signal, value):
                told[time].add(float(np.float32(value)))
        values[signal, entity] = [mean_by_hand(step, told) for step in range(STEPS)]
    return values


def marks_by_hand(rows: Sequence[Row], entities: int = 3) -> np.ndarray:
    """What the rows of a table in order are marked with."""
    marks = np.zeros((len(CHANNELS), entities, STEPS), np.uint16)
    for (signal, entity), series in series_of(rows, entities).items():
        told: dict[float, list[float]] = defaultdict(list)
        for time, value in series:
            step = int(time // STEP_S)
            if value is None:
                continue
            if not possible(signal, value):
                marks[signal, entity, step] |= Mark.SENTINEL
                continue
            same = all(other == np.float32(value) for other in told[time])
            if told[time]:
                marks[signal, entity, step] |= Mark.DUPLICATE if same else Mark.CONFLICTING_DUPLICATE
            told[time].append(float(np.float32(value)))
    return marks


def in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -1.0 if row[1] is None else row[1])


def check_means(found: Gridded, rows: Sequence[Row], entities: int = 3) -> None:
    """To the rounding of a float32."""
    assert_allclose(found.values, by_hand(rows, entities), rtol=1.2e-7, atol=1e-10)


@settings(max_examples=50)
@given(ROWS, KINDS)
def test_means_are_those_taken_by_hand_in_any_order(rows: list[Row], kinds: tuple[Any, Any]) -> None:
    check_means(gridded(table(rows, 3, *kinds)), rows)


@given(ROWS)
@example([(0, 0.0, 5.0, None), (0, 0.0, None, 20.0), (0, 0.0, 5.0, 21.0)])
def test_marks_of_a_table_in_order_are_those_found_by_hand(rows: list[Row]) -> None:
    rows = in_order(rows)
    assert_array_equal(gridded(table(rows)).marks, marks_by_hand(rows))


@given(ROWS)
def test_a_row_older_than_one_before_it_is_out_of_order(rows: list[Row]) -> None:
    late = np.zeros((len(CHANNELS), 3, STEPS), np.bool_)
    for (signal, entity), series in series_of(rows).items():
        newest = -1.0
        for time, value in series:
            if possible(signal, value):
                late[signal, entity, int(time // STEP_S)] |= time < newest
                newest = max(newest, time)
    assert_array_equal((gridded(table(rows)).marks & Mark.OUT_OF_ORDER) > 0, late)


@settings(max_examples=50)
@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 3, 7, 64]))
def test_order_batches_groups_and_threads_do_not_change_a_bit(
    rows: list[Row], shuffler: Any, batch: int, group: int, threads: int
) -> None:
    once = gridded(table(rows))
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH_ROWS", batch)
        patch.setattr(module, "_SORTED_ROWS", group)
        patch.setattr(pl, "thread_pool_size", lambda: threads)
        same, other = gridded(table(rows)), gridded(table(shuffled))
    for again in (same, other):
        assert_array_equal(again.values, once.values)
        assert_array_equal(again.offset_s, once.offset_s)
        assert_array_equal(again.came, once.came)
    assert_array_equal(same.marks, once.marks)


@pytest.mark.parametrize("entities", [1, 2, 254, 255, 256, 300])
def test_fleets_on_both_sides_of_what_a_byte_can_number(entities: int) -> None:
    random = np.random.default_rng(entities)
    rows: list[Row] = [
        (int(entity), float(time), float(power), float(power))
        for entity, time, power in zip(
            random.integers(0, entities + 1, 3000),
            random.integers(-10, 250, 3000),
            random.integers(0, 100, 3000),
            strict=True,
        )
    ]
    check_means(gridded(table(rows, entities), entities), rows, entities)


def test_batches_do_straddle_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the property above rests on: a small batch size is heeded."""
    monkeypatch.setattr(module, "_BATCH_ROWS", 2)
    telemetry = table([(0, float(second), 1.0, None) for second in range(7)])
    into = Gridded.empty(MONDAY, STEP_S, CHANNELS, names(3), STEPS)
    coded = module._coded(telemetry.lazy(), into, 0)
    assert max(len(batch.time_us) for batch in module._batches(coded, CHANNELS)) == 2


def test_each_sample_holds_until_the_next_or_the_end_of_the_step() -> None:
    """10 W over 15 s and 20 W over 30 s, both after the first sample at 15 s."""
    found = gridded(table([(0, 15.0, 10.0, None), (0, 30.0, 20.0, None), (0, 60.0, 90.0, None)]))
    assert found.values[0, 0, :2].tolist() == [pytest.approx((10 * 15 + 20 * 30) / 45), 90.0]


@given(st.floats(0, 2e9, width=32), st.floats(0, 59.99))
def test_a_single_sample_and_a_constant_keep_every_bit(value: float, second: float) -> None:
    constant = [(0, 60.0 + time, value, None) for time in sorted({0.0, second, second / 3, 59.0})]
    found = gridded(table([(0, second, value, None), *constant]))
    assert found.values[0, 0, :2].tolist() == [value, value]


def test_signals_are_sampled_each_at_its_own_rate() -> None:
    rows = [(0, float(second), float(second), 30.0 if second % 45 == 0 else None) for second in range(0, 60, 5)]
    found = gridded(table(rows))
    assert found.values[:2, 0, 0].tolist() == [pytest.approx(27.5), 30.0]
    assert np.isnan(found.values[2]).all(), "no column of it"


@pytest.mark.parametrize("signal", SIGNALS)
def test_what_is_outside_its_physical_range_is_not_observed(signal: str) -> None:
    low, high = SIGNALS[signal].low, SIGNALS[signal].high
    inside = [low, (low + high) / 2, high]
    outside = [low - 0.01, high * 1.01, float("nan"), float("inf"), float("-inf"), 2_147_483_632.0]
    telemetry = samples(*(("a", index, value) for index, value in enumerate([*inside, *outside, None])), signal=signal)
    into = Gridded.empty(MONDAY, 60, (signal,), ("a",), 10)
    grid(telemetry, into)
    assert_array_equal(into.values[0, 0], np.array([*inside, *[np.nan] * 7], np.float32))
    assert_array_equal(into.marks[0, 0], [0] * 3 + [Mark.SENTINEL] * 6 + [0])
    assert_array_equal(into.came[0, 0], [True] * 9 + [False])


def test_whole_numbers_are_read_alike() -> None:
    whole = table([(0, 0.0, 300.0, 50.0), (0, 61.0, None, -41.0)]).with_columns(
        pl.col("power_w", "temperature_c").cast(pl.Int64)
    )
    found = gridded(whole)
    assert_array_equal(found.values[:2, 0, :2], np.array([[300, np.nan], [50, np.nan]], np.float32))
    assert found.marks[1, 0, 1] == Mark.SENTINEL


@pytest.mark.parametrize(
    ("values", "mean", "mark"),
    [
        ((5.0, 5.0, 5.0), 5.0, Mark.DUPLICATE),
        ((5.0, 6.0), np.nan, Mark.CONFLICTING_DUPLICATE),
        ((5.0, 6.0, 5.0), np.nan, Mark.CONFLICTING_DUPLICATE),
        ((5.0, 6.0, 6.0), np.nan, Mark.CONFLICTING_DUPLICATE),
        ((5.0, 5.0, 6.0), np.nan, Mark.CONFLICTING_DUPLICATE | Mark.DUPLICATE),
        ((None, 5.0, None), 5.0, 0),
        ((5.0, float("nan"), -1.0), 5.0, Mark.SENTINEL),
    ],
)
def test_repeats_of_one_time_count_once_or_not_at_all(
    values: tuple[float | None, ...], mean: float, mark: Mark
) -> None:
    found = gridded(table([(0, 10.0, value, None) for value in values]))
    assert_array_equal(found.values[0, 0, 0], mean)
    assert found.marks[0, 0, 0] == mark
    assert found.came[0, 0, 0]


def test_a_contradiction_leaves_what_held_before_it_and_what_comes_after() -> None:
    """10 W from 6 s, contradicted at 12 s, 40 W from 30 s on; the next step begins with a contradiction."""
    rows = [(6.0, 10.0), (12.0, 20.0), (12.0, 30.0), (12.0, 20.0), (30.0, 40.0), (60.0, 1.0), (60.0, 2.0), (90.0, 3.0)]
    found = gridded(table([(0, time, value, None) for time, value in rows]))
    assert found.values[0, 0, :2].tolist() == [pytest.approx((10 * 24 + 40 * 30) / 54), 3.0]
    assert found.marks[0, 0, :2].tolist() == [Mark.CONFLICTING_DUPLICATE] * 2


def test_a_contradiction_in_one_signal_leaves_the_other() -> None:
    found = gridded(table([(0, 0.0, 5.0, 40.0), (0, 0.0, 5.0, 41.0)]))
    assert_array_equal(found.values[:2, 0, 0], np.array([5.0, np.nan], np.float32))
    assert found.marks[:2, 0, 0].tolist() == [Mark.DUPLICATE, Mark.CONFLICTING_DUPLICATE]


def test_rows_of_strangers_are_counted_within_the_grid_only() -> None:
    rows: list[Row] = [(3, 0.0, 1.0, None), (3, 30.0, None, None), (3, 900.0, 1.0, None), (3, None, 1.0, None)]
    into = Gridded.empty(MONDAY, STEP_S, CHANNELS, names(3), STEPS)
    nobody = table([(0, 0.0, 1.0, None)]).with_columns(entity_id=pl.lit(None, pl.String))
    assert grid(pl.concat([table(rows), nobody]).lazy(), into) == 3
    assert not into.came.any()


@settings(max_examples=50)
@given(ROWS, st.integers(0, STEPS - 1))
def test_steps_before_the_first_are_left_as_they_are(rows: list[Row], first: int) -> None:
    found, whole = gridded(table(rows), first=first), gridded(table(rows))
    assert np.isnan(found.values[..., :first]).all()
    assert not found.marks[..., :first].any()
    assert_array_equal(found.values[..., first:], whole.values[..., first:])


def test_a_clock_is_noted_by_the_first_sample_of_each_step() -> None:
    found = gridded(table([(0, 59.0, 1.0, None), (0, 7.5, 1.0, None), (0, 130.25, 1.0, None), (1, 3.0, -1.0, 20.0)]))
    nan = np.nan
    assert_array_equal(found.offset_s[:2], np.array([[7.5, nan, 10.25, nan], [nan] * 4], np.float32))


def test_nothing_at_all() -> None:
    assert not gridded(table([])).came.any()
    assert gridded(table([(0, None, 1.0, None)])).channels == []


@pytest.mark.parametrize("step_s", [60, 300, 3600, 86_400])
def test_a_sample_lies_in_the_step_that_begins_at_or_before_it(step_s: int) -> None:
    into = Gridded.empty(MONDAY, step_s, ("power_w",), ("a",), 2 * 86_400 // step_s)
    grid(samples(("a", 1234.5, 1.0), ("a", 24 * 60, 2.0)), into)
    steps = np.flatnonzero(into.came[0, 0])
    assert [into.time(int(step)) for step in steps] == [at(1234.5 * 60 // step_s * step_s / 60), at(1440)]


@settings(max_examples=50)
@given(ROWS, ROWS, st.integers(0, STEPS - 1))
def test_a_sample_after_a_step_never_changes_it(before: list[Row], after: list[Row], step: int) -> None:
    now = step * STEP_S
    past = [row for row in before if row[1] is None or row[1] < now]
    future = [row for row in after if row[1] is not None and row[1] >= now]
    seen, alone = gridded(table([*future, *past])), gridded(table(past))
    assert_array_equal(seen.values[..., :step], alone.values[..., :step])
    assert_array_equal(seen.came[..., :step], alone.came[..., :step])


def test_columns_are_of_one_type_to_the_kernel_however_polars_keeps_them() -> None:
    """It would be compiled anew, in seconds, for those that were copied since they came in several chunks."""
    whole = pl.DataFrame({"time": [0, 1], "code": [0, 0], "power_w": [1.0, 2.0]})
    parts = pl.concat([whole[:1], whole[1:]], rechunk=False)
    assert parts["time"].to_numpy().flags.writeable != whole["time"].to_numpy().flags.writeable
    kinds = [
        {typeof(column) for column in (batch.time_us, batch.code, *batch.values)}
        for batch in (module._batch(frame, ["power_w"]) for frame in (whole, parts))
    ]
    assert kinds[0] == kinds[1]
