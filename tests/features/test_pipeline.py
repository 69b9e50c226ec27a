"""From telemetry as it arrives to the values of the panel."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from trees import MONDAY, node, samples, tree_of

from forecast.features import glitches, rollup
from forecast.features.grid import grid
from forecast.features.gridded import Gridded
from forecast.features.marks import Mark
from forecast.features.pipeline import Built, build

RACK = tree_of(node("rack", "rack"), node("a", parent="rack"), node("b", parent="rack"))
SIGNALS = ("power_w", "temperature_c", "inlet_c", "utilization_ratio")
#: Two halls of four servers in two racks each.
FLEET = tree_of(
    node("site", "site"),
    *(node(f"h{hall}", "hall", "site") for hall in range(2)),
    *(node(f"h{hall}-r{rack}", "rack", f"h{hall}") for hall in range(2) for rack in range(2)),
    *(node(f"s{at}", "server", f"h{at % 2}-r{at // 2 % 2}") for at in range(8)),
)


def values_of(built: Built) -> dict[tuple[str, int], float]:
    """What was observed of the first signal, by entity and step."""
    rows = zip(built.measured.entities, built.values[0], strict=True)
    return {(entity, int(step)): float(row[step]) for entity, row in rows for step in np.flatnonzero(~np.isnan(row))}


def days(count: int, seed: int = 0) -> pl.LazyFrame:
    """Telemetry of `FLEET` with gaps, a spike and a stuck sensor, at 5 min."""
    random = np.random.default_rng(seed)
    steps = count * 288
    wave = 500 + 300 * np.sin(np.arange(steps) / 40)
    frames = []
    for at in range(8):
        power = wave + random.normal(0, 10, steps)
        power[steps // 2 : steps // 2 + 60] = power[steps // 2] if at == 3 else power[steps // 2 : steps // 2 + 60]
        power[steps // 3] = 30_000 if at == 5 else power[steps // 3]
        kept = np.flatnonzero(random.random(steps) < 0.9)
        frames.append(
            samples(
                *((f"s{at}", 5 * int(step) + random.uniform(0, 5), float(power[step])) for step in kept)
            ).with_columns(
                utilization_ratio=pl.Series((power[kept] / 1000).clip(0, 1)),
                temperature_c=pl.Series(25 + power[kept] / 20 + random.normal(0, 0.5, len(kept))),
                inlet_c=pl.Series(20 + random.normal(0, 0.5, len(kept))),
            )
        )
    return pl.concat(frames)


def test_bad_samples_repeats_and_levels_come_out_as_one_grid() -> None:
    telemetry = samples(
        ("a", 0, 400.0), ("a", 0, 400.0), ("a", 30, 600.0), ("a", 45, 2e10), ("b", 10, 300.0), ("b", 20, 310.0),
        ("b", 20, 320.0), ("b", 61, 300.0), ("a", 70, 100.0), ("a", 70, 200.0), ("a", 80, 500.0), ("x", 0, 1.0),
    )  # fmt: skip
    built = build(telemetry.with_columns(note=pl.lit("x")), RACK, ("power_w",), MONDAY, 24, 3600)
    assert values_of(built) == {
        ("a", 0): 500.0, ("b", 0): 300.0, ("rack", 0): 800.0, ("a", 1): 500.0, ("b", 1): 300.0, ("rack", 1): 800.0,
    }  # fmt: skip
    a, b = (built.measured.entities.index(name) for name in "ab")
    assert built.measured.marks[0, a, 0] == Mark.DUPLICATE | Mark.SENTINEL
    assert built.measured.marks[0, [a, b], [1, 0]].tolist() == [Mark.CONFLICTING_DUPLICATE] * 2
    assert built.unknown_rows == 1


def test_what_is_marked_unusable_is_measured_but_not_a_value() -> None:
    built = build(days(2), FLEET, SIGNALS, MONDAY, 2 * 288, 300)
    for name, entity in ((Mark.SPIKE, "s5"), (Mark.STUCK_SENSOR, "s3")):
        place = built.measured.entities.index(entity)
        marked = (built.measured.marks[0, place] & name) > 0
        assert marked.any()
        assert np.isnan(built.values[0, place, marked]).all()
        assert not np.isnan(built.measured.values[0, place, marked]).any()


@pytest.mark.parametrize("most", [1, 3, 6, 1000])
def test_blocks_are_invisible(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    whole = build(days(2), FLEET, SIGNALS, MONDAY, 2 * 288, 300, with_offsets=True)
    monkeypatch.setattr(glitches, "_BLOCK", most)
    monkeypatch.setattr(rollup, "_STEPS", 10 * most)
    blocks = build(days(2), FLEET, SIGNALS, MONDAY, 2 * 288, 300, with_offsets=True)
    assert_array_equal(blocks.measured.marks, whole.measured.marks)
    assert_array_equal(blocks.values, whole.values)


def built_by_day(telemetry: pl.LazyFrame, runs: Sequence[int], step_s: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Values and marks of consecutive runs of days, each built from itself and the day before it."""
    steps, begin, values, marks = 86_400 // step_s, 0, [], []
    for length in runs:
        lead = None
        if begin:
            lead = Gridded.empty(MONDAY, step_s, SIGNALS, FLEET.entities, begin * steps).between(
                (begin - 1) * steps, begin * steps
            )
            grid(telemetry, lead)
        start = Gridded.empty(MONDAY, step_s, SIGNALS, (), 1).time(begin * steps)
        built = build(telemetry, FLEET, SIGNALS, start, length * steps, step_s, lead)
        values.append(built.values)
        marks.append(built.measured.marks)
        begin += length
    return np.concatenate(values, axis=2), np.concatenate(marks, axis=2)


@pytest.mark.parametrize("runs", [(1, 1, 1, 1, 1), (2, 3), (1, 3, 1)])
def test_a_day_needs_only_the_day_before_it(runs: tuple[int, ...]) -> None:
    """Marks too: the rows of `days` are in order."""
    telemetry = days(5).filter(~pl.col("time").dt.day().is_in([MONDAY.day + 2]))
    values, marks = built_by_day(telemetry, (5,))
    assert marks.any()
    again, marked = built_by_day(telemetry, runs)
    assert_array_equal(again, values)
    assert_array_equal(marked, marks)


def test_an_empty_day_before_is_as_good_as_none() -> None:
    empty = Gridded.empty(MONDAY, 300, SIGNALS, FLEET.entities, 288)
    tuesday = empty.time(288)
    telemetry = days(2).filter(pl.col("time") >= tuesday)
    alone = build(telemetry, FLEET, SIGNALS, tuesday, 288, 300)
    led = build(telemetry, FLEET, SIGNALS, tuesday, 288, 300, empty)
    assert_array_equal(led.values, alone.values)
    assert_array_equal(led.measured.marks, alone.measured.marks)
