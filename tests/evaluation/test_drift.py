"""Drift: silent while nothing happens, whatever the load does; loud when the world has moved, and about what."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_fleet import START

from forecast.contracts.tables import TOPOLOGY
from forecast.contracts.topology import Topology
from forecast.evaluation.drift.inputs import input_series
from forecast.evaluation.drift.judge import ALARM, LEAST, Row, Series, _tails, judge
from forecast.evaluation.drift.measure import Drift
from forecast.evaluation.drift.section import section
from forecast.evaluation.drift.segments import sample_of, segments_of
from forecast.evaluation.report import Report, write_report
from forecast.windows.panel import Panel

CHANNELS = ("power_w", "temperature_c", "inlet_c", "utilization_ratio")
STEP_S, DAY = 3600, 24
KNOWN = 42


def fleet() -> Topology:
    """Two halls of eight servers, each hall with an SKU of its own, under one site."""
    rows = [("site", None, "site", "mixed")]
    for hall, sku in (("hall-a", "h100"), ("hall-b", "cpu")):
        rows.append((hall, "site", "hall", sku))
        rows += [(f"{hall}.{index}", hall, "server", sku) for index in range(8)]
    table = pl.DataFrame(rows, schema=["entity_id", "parent_id", "level", "sku"], orient="row").with_columns(
        power_limit_w=pl.lit(1000.0), temperature_limit_c=pl.lit(90.0), site=pl.lit("here"), time_zone=pl.lit("UTC")
    )
    return Topology.of(table.select(list(TOPOLOGY.required)))


def quiet(days: int, seed: int = 0) -> np.ndarray:
    """`[C, N, T]`: use follows day and week and wanders for days, power follows use, temperature power and inlet."""
    random, topology = np.random.default_rng(seed), fleet()
    steps, count = days * DAY, len(topology.entities)
    hour = np.arange(steps)
    week = 1 - 0.3 * (hour // DAY % 7 >= 5)
    wander = np.zeros((count, days))
    for day in range(1, days):
        wander[:, day] = 0.6 * wander[:, day - 1] + 0.08 * random.standard_normal(count)
    use = 0.5 + 0.2 * np.sin(2 * np.pi * hour / DAY) * week + np.repeat(wander, DAY, axis=1)
    use = np.clip(use + 0.03 * random.standard_normal((count, steps)), 0.02, 1)
    weather = 2 * np.sin(2 * np.pi * hour / (9 * DAY)) + random.standard_normal(days).repeat(DAY)
    inlet = 22 + np.maximum(weather, 0) + 0.2 * random.standard_normal((count, steps))
    power = (200 + 600 * use) * (1 + 0.01 * random.standard_normal((count, steps)))
    return np.stack([power, inlet + 0.05 * power + 0.3 * random.standard_normal((count, steps)), inlet, use])


def panel_of(values: np.ndarray) -> Panel:
    return Panel(START, STEP_S, CHANNELS, fleet().entities, (values.astype(np.float32),))


def compared(values: np.ndarray, known: int = KNOWN) -> list[Row]:
    days = values.shape[2] // DAY
    return judge(input_series(panel_of(values), fleet(), days * DAY, days, known), known, (1, 7))


def members(*names: str) -> np.ndarray:
    return np.array([any(name in entity for name in names) for entity in fleet().entities])


@pytest.mark.parametrize(
    ("ratio", "freedom", "tails"),
    [
        (12.706, 1, 0.05),
        (2.228, 10, 0.05),
        (4.587, 10, 0.001),
        (5.408, 10, 0.0003),
        (3.551, 40, 0.001),
    ],
)
def test_the_tails_are_those_of_the_tables_of_students_t(ratio: float, freedom: float, tails: float) -> None:
    assert _tails(ratio, freedom) == pytest.approx(tails, rel=1e-2)


def test_segments_are_what_changes_together() -> None:
    names = [(segment.by, segment.name, len(segment.entities)) for segment in segments_of(fleet())]
    assert names == [
        ("level", "server", 16),
        ("level", "hall", 2),
        ("level", "site", 1),
        ("sku", "cpu", 8),
        ("sku", "h100", 8),
        ("hall", "hall-a", 8),
        ("hall", "hall-b", 8),
    ], "one site alone is all leaves once more"


def test_a_quiet_world_raises_at_most_an_alarm_a_month() -> None:
    """Daily checks of 60 simulated months, each with its own reference: weekends and weather come and go."""
    checks = [compared(quiet(KNOWN + gap, seed)) for seed in range(60) for gap in (1, 4)]
    alarms = sum(any(row.drifted for row in rows) for rows in checks)
    assert alarms / len(checks) <= 1 / 30


def test_a_day_that_the_version_knows_is_no_drift() -> None:
    values = quiet(KNOWN)
    values[0, :, -DAY:] *= 1.5
    assert not any(row.drifted for row in compared(values))


def test_what_was_there_once_is_no_news() -> None:
    values = quiet(KNOWN + 1)
    for day in (KNOWN - 1, KNOWN):  # the version was made a day after the firmware
        values[0, members("hall-a."), day * DAY : (day + 1) * DAY] *= 1.1
    assert not any(row.drifted for row in compared(values) if row.kind == "relation")


def firmware(values: np.ndarray) -> None:
    values[0, members("hall-a."), -DAY:] *= 1.1


def chiller(values: np.ndarray) -> None:
    values[1:3, members("hall-b"), -DAY:] += 4


def silence(values: np.ndarray) -> None:
    values[:, members(".0", ".2", ".4", ".6"), -DAY:] = np.nan


@pytest.mark.parametrize(
    ("happens", "kind", "by", "segment", "signal"),
    [
        (firmware, "relation", "sku", "h100", "power_w"),
        (chiller, "relation", "hall", "hall-b", "inlet_c"),
        (silence, "observed", "level", "server", "power_w"),
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_happens_shows_within_a_day_and_where(
    happens: Callable[[np.ndarray], None], kind: str, by: str, segment: str, signal: str, seed: int
) -> None:
    values = quiet(KNOWN + 1, seed)
    happens(values)
    found = {(row.kind, row.by, row.segment, row.signal) for row in compared(values) if row.drifted}
    assert (kind, by, segment, signal) in found
    assert all(row[2] not in {"cpu", "hall-b"} for row in found) or happens is not firmware


def test_more_sensors_than_ever_are_no_drift() -> None:
    values = quiet(KNOWN + 1)
    values[:, members(".0", ".2"), : KNOWN * DAY : 3] = np.nan
    assert not any(row.drifted for row in compared(values) if row.kind == "observed")


@given(known=st.integers(0, 6), new=st.integers(1, 3))
def test_nothing_is_concluded_from_less_than_a_week(known: int, new: int) -> None:
    series = Series("values", "level", "server", "power_w", np.arange(known + new, dtype=float)[:, None] ** 3)
    assert judge([series], known, (1, 7)) == []


@given(st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=60), st.integers(1, 3))
def test_a_verdict_needs_all_three_of_rare_news_and_size(signature: list[float], new: int) -> None:
    series = Series("values", "level", "server", "power_w", np.array(signature)[:, None])
    for row in judge([series], len(signature) - new, (1,)):
        assert row.p is not None
        assert 0 <= row.p <= 1
        reference = np.array(signature[:-new])
        if row.drifted:
            assert row.p < ALARM
            assert row.statistic >= LEAST["values"]
            assert not reference.min() <= signature[-1] <= reference.max()


def test_days_of_which_nothing_came_are_passed_over() -> None:
    values = quiet(KNOWN + 1)
    values[:, :, 5 * DAY : 8 * DAY] = np.nan
    firmware(values)
    found = {(row.kind, row.segment) for row in compared(values) if row.drifted}
    assert ("relation", "h100") in found


def drift(*rows: Row) -> Drift:
    shares = np.full((2, 4), 0.25)
    return Drift("k1", START, START + timedelta(days=1), rows, {"power_w": shares}, (0.25, 0.5, 0.75))


ROW = Row("relation", "sku", "h100", "power_w", 1, 0.001, 0.099, 0.098, 0.005, 1e-6, True)


def test_the_reason_says_what_moved_where_and_how_much() -> None:
    assert drift(ROW, replace(ROW, segment="h200")).reason == (
        "load of sku h100: 9.8 % above what explains it (over 1 d, 19.6 × the usual variation); "
        "and 1 more of 2 comparisons"
    )
    inlet = replace(ROW, by="hall", segment="hall-b", signal="inlet_c", was=0.0, now=-0.16)
    assert "inlet of hall hall-b: 4.00 K below what explains it" in drift(inlet).reason
    assert drift(replace(ROW, drifted=False)).reason.startswith("none in 1 comparisons")
    assert drift().reason.startswith("too little to compare")


def test_it_is_plain_data() -> None:
    data = drift(ROW, Row("entities", "sku", "b300", "", 1, 0.0, 1.0, 1.0, 0.0, None, True)).to_dict()
    read = json.loads(json.dumps(data, allow_nan=False))
    assert read["drifted"]
    assert read["rows"][1]["p"] is None
    assert read["pit"]["power_w"]["newest"] == [0.25] * 4


def test_the_section_shows_the_worst_and_counts_the_rest() -> None:
    told = section(drift(*[replace(ROW, segment=f"sku-{index}") for index in range(20)]))
    assert len(told["rows"]) + told["left_out"] == 20
    assert told["left_out_drifted"] == 8
    assert "<svg" in told["pit"][0][1]


def test_the_report_tells_drift_and_escapes_names(tmp_path: Path) -> None:
    nothing = pl.DataFrame()
    report = Report("day-ahead", {}, (0.25, 0.5, 0.75), *[nothing] * 4, charts=[])
    named = replace(ROW, segment="<b>h100")
    pages = [
        write_report(replace(report, drift=told), tmp_path / "report.html").read_text(encoding="utf-8")
        for told in (drift(named), drift(replace(ROW, drifted=False)), None)
    ]
    assert "✗ Drifted" in pages[0]
    assert "Load of sku &lt;b&gt;h100: 9.8 % above what explains it" in pages[0]
    assert "✓ As usual" in pages[1]
    assert 'id="drift"' not in pages[2]


def test_a_large_fleet_is_told_by_some_of_every_kind() -> None:
    rows = [("site", None, "site", "mixed")]
    for rack in range(60):
        rows.append((f"r{rack}", "site", "rack", f"sku-{rack % 3}"))
        rows += [(f"r{rack}.{index}", f"r{rack}", "server", f"sku-{rack % 3}") for index in range(50)]
    table = pl.DataFrame(rows, schema=["entity_id", "parent_id", "level", "sku"], orient="row").with_columns(
        power_limit_w=pl.lit(1000.0), temperature_limit_c=pl.lit(90.0), site=pl.lit("here"), time_zone=pl.lit("UTC")
    )
    whole = Topology.of(table.select(list(TOPOLOGY.required)))
    some = sample_of(whole)
    assert len(some.entities) < 700
    assert (some.levels, some.skus) == (whole.levels, whole.skus)
    assert sample_of(fleet()).entities == fleet().entities
