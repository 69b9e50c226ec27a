"""What the detectors promise besides their scores: no look ahead, no memory beyond a day, no honest event hidden."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from broken_fleet import SIGNALS, Arrived, Healthy, judged
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.contracts.tables import FAULTS, TOPOLOGY
from forecast.contracts.topology import Topology
from forecast.features.findings import findings
from forecast.features.glitches import cleaned
from forecast.features.gridded import Gridded
from forecast.features.marks import Mark
from forecast.simulator.faults import EPISODIC

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = 288
SERVERS = 6


def tree(servers: int = SERVERS, power_limit_w: float | None = 10_000.0, limit_c: float | None = 87.0) -> Topology:
    shared = {"sku": "h100", "site": "here", "time_zone": "UTC"}
    limits = {"power_limit_w": power_limit_w, "temperature_limit_c": limit_c}
    hall = {"entity_id": "hall", "parent_id": None, "level": "hall", **shared}
    below = [{"entity_id": f"s{n}", "parent_id": "hall", "level": "server", **shared, **limits} for n in range(servers)]
    return Topology.of(pl.DataFrame([*below, hall], schema=dict(TOPOLOGY.required)))


def healthy(days: int = 2, servers: int = SERVERS, step_s: int = 300) -> Gridded:
    """Servers whose use rises and falls; power and temperature follow, with the noise and the digits of sensors."""
    rng = np.random.default_rng(7)
    shape = (servers, days * 86_400 // step_s)
    turns = np.arange(shape[1]) / 90 + rng.random((servers, 1))
    use = 0.5 + 0.35 * np.sin(2 * np.pi * turns) + 0.01 * rng.standard_normal(shape)
    power_w = np.round((2000 + 6000 * use) * (1 + 0.004 * rng.standard_normal(shape)))
    temperature_c = np.round(35 + 40 * use + 0.3 * rng.standard_normal(shape))
    inlet_c = np.round(2 * (24 + 0.15 * rng.standard_normal(shape))) / 2
    values = np.stack([power_w, temperature_c, inlet_c, np.round(use, 2)]).astype(np.float32)
    entities = tuple(f"s{n}" for n in range(servers))
    marks, offsets = np.zeros(values.shape, np.uint16), np.zeros(shape, np.float32)
    return Gridded(START, step_s, SIGNALS, entities, values, marks, offsets)


def marked(gridded: Gridded, mark: Mark, topology: Topology | None = None, signal: str | None = None) -> np.ndarray:
    found = judged(gridded, topology or tree(len(gridded.entities)), lead=0).marks & mark.value > 0
    return found.any(axis=0) if signal is None else found[SIGNALS.index(signal)]


@pytest.fixture(scope="module")
def arrived() -> Arrived:
    rates = dict.fromkeys(EPISODIC, 0.2) | {"new_entity": 0.1, "removed_entity": 0.05}
    return Healthy(seed=5, days=4, step_s=900).broken(rates)


def test_a_mark_never_knows_what_comes_later(arrived: Arrived) -> None:
    whole, rng = arrived.whole, np.random.default_rng(3)
    first = judged(whole, arrived.tree, 0).marks
    for now in rng.integers(2, whole.values.shape[2], 12):
        noise = whole.copy()
        later = noise.values[:, :, now:].shape
        noise.values[:, :, now:] = np.where(rng.random(later) < 0.3, np.nan, rng.uniform(-40, 20_000, later))
        noise.marks[:, :, now:] = rng.integers(0, 16, later)
        noise.offset_s[:, now:] = rng.uniform(0, 900, later[1:])
        again = judged(noise, arrived.tree, 0).marks
        np.testing.assert_array_equal(again[:, :, :now], first[:, :, :now])


def test_a_day_is_marked_alike_from_itself_and_the_day_before(arrived: Arrived) -> None:
    whole, day = arrived.whole, 86_400 // arrived.config.step_s
    full = judged(whole, arrived.tree, 0)
    assert all((full.marks & mark.value).any() for mark in Mark)
    for first in range(0, whole.values.shape[2] - 2 * day + 1, day // 4):
        part = Gridded(
            whole.start,
            whole.step_s,
            whole.signals,
            whole.entities,
            whole.values[:, :, first : first + 2 * day].copy(),
            whole.marks[:, :, first : first + 2 * day].copy(),
            whole.offset_s[:, first : first + 2 * day].copy(),
        )
        alone = judged(part, arrived.tree, day).marks[:, :, day:]
        np.testing.assert_array_equal(alone, full.marks[:, :, first + day : first + 2 * day])


def test_what_is_unusable_is_not_observed_and_all_else_is_untouched(arrived: Arrived) -> None:
    full = judged(arrived.whole, arrived.tree, 0)
    values = cleaned(full)
    bad = full.marks & (Mark.STUCK_SENSOR | Mark.SPIKE | Mark.KILOWATT | Mark.FAHRENHEIT).value > 0
    assert np.isnan(values[bad]).all()
    np.testing.assert_array_equal(values[~bad], full.values[~bad])


def test_healthy_servers_are_left_alone() -> None:
    assert not judged(healthy(), tree(), 0).marks.any()


@given(at=st.integers(DAY, 2 * DAY - 6), rise_k=st.floats(21, 45), servers=st.integers(1, SERVERS))
@settings(max_examples=30)
def test_heat_without_load_is_hidden_for_one_sample_at_most(at: int, rise_k: float, servers: int) -> None:
    """Cooling fails: dies and air heat within a sample, at the same power, and stay hot."""
    gridded = healthy()
    gridded.values[1, :servers, at:] += np.float32(rise_k)
    gridded.values[2, :servers, at:] += np.float32(min(rise_k, 30))  # to 54 °C, hotter than any class of air allows
    full = judged(gridded, tree(), 0)
    hidden = np.isnan(cleaned(full)[:3]) & ~np.isnan(gridded.values[:3])
    assert not hidden[:, :, at + 1 :].any()
    assert not hidden[:, servers:].any()


def test_a_job_that_starts_heats_dies_honestly() -> None:
    gridded = healthy()
    gridded.values[3, :, DAY:], gridded.values[3, :, :DAY] = 0.95, 0.0
    rng = np.random.default_rng(1)
    for use, steps in ((0.0, slice(0, DAY)), (0.95, slice(DAY, None))):
        like = gridded.values[0, :, steps]
        gridded.values[0, :, steps] = np.round((2000 + 6000 * use) * (1 + 0.004 * rng.standard_normal(like.shape)))
        gridded.values[1, :, steps] = np.round(35 + 40 * use + 0.3 * rng.standard_normal(like.shape))
    assert not marked(gridded, Mark.SPIKE).any()


def test_an_idle_sensor_that_always_repeats_is_not_stuck() -> None:
    gridded = healthy()
    gridded.values[0], gridded.values[1], gridded.values[3] = 52.0, 31.0, 0.0
    assert not marked(gridded, Mark.STUCK_SENSOR, tree(power_limit_w=300.0)).any()


def test_a_sensor_that_stands_still_while_use_moves_is_stuck_and_told_from_its_first_repeat() -> None:
    gridded = healthy()
    gridded.values[:2, 0, DAY : DAY + 60] = gridded.values[:2, 0, DAY, None]
    assert np.ptp(gridded.values[3, 0, DAY : DAY + 60]) > 0.1
    table = findings(judged(gridded, tree(), 0))
    FAULTS.check(table.lazy(), "findings")
    assert table.select("fault", "entity_id", "signal").rows() == [
        ("stuck_sensor", "s0", "power_w"),
        ("stuck_sensor", "s0", "temperature_c"),
    ]
    assert table["start_time"].to_list() == [gridded.time(DAY)] * 2
    assert table["end_time"].to_list() == [gridded.time(DAY + 60)] * 2


@pytest.mark.parametrize("servers", [1, SERVERS])
@pytest.mark.parametrize("steps", [slice(DAY, DAY + 12), slice(DAY, 2 * DAY)])
def test_kilowatts_are_told_for_one_server_and_a_hall_for_an_hour_and_a_day(servers: int, steps: slice) -> None:
    gridded = healthy()
    gridded.values[0, :servers, steps] /= 1000
    expected = np.zeros(gridded.values.shape[1:], bool)
    expected[:servers, steps] = True
    np.testing.assert_array_equal(marked(gridded, Mark.KILOWATT), expected)
    gridded.values[1:] = np.nan  # without a witness a hall is told by its majority, a single server could be off
    np.testing.assert_array_equal(marked(gridded, Mark.KILOWATT), expected & (servers > 1))


def test_without_a_nameplate_kilowatts_are_told_by_what_was_drawn_before() -> None:
    gridded = healthy()
    gridded.values[0, 0, DAY : DAY + 200] /= 1000
    expected = np.zeros(gridded.values.shape[1:], bool)
    expected[0, DAY : DAY + 200] = True
    np.testing.assert_array_equal(marked(gridded, Mark.KILOWATT, tree(power_limit_w=None, limit_c=None)), expected)


def test_a_server_that_is_off_draws_little_and_is_no_kilowatt() -> None:
    gridded = healthy()
    gridded.values[0, 0, DAY:] = 9.0  # standby, 0.09 % of nameplate
    gridded.values[1, 0, DAY:] = 25.0
    gridded.values[3, 0, DAY:] = 0.0
    assert not marked(gridded, Mark.KILOWATT).any()
    gridded.values[0, 0, DAY:] = 0.0
    assert not marked(gridded, Mark.KILOWATT).any()


@pytest.mark.parametrize("servers", [1, SERVERS])
@pytest.mark.parametrize("first", [0, DAY])
def test_fahrenheit_is_told_from_its_first_sample(servers: int, first: int) -> None:
    gridded = healthy()
    gridded.values[1:3, :servers, first : first + DAY] = gridded.values[1:3, :servers, first : first + DAY] * 1.8 + 32
    expected = np.zeros(gridded.values.shape[1:], bool)
    expected[:servers, first : first + DAY] = True
    for signal in ("temperature_c", "inlet_c"):
        np.testing.assert_array_equal(marked(gridded, Mark.FAHRENHEIT, signal=signal), expected)
    assert not marked(gridded, Mark.SPIKE).any()


def test_without_inlets_two_dies_beyond_shutdown_are_fahrenheit() -> None:
    gridded = healthy()
    gridded.values[2] = np.nan
    gridded.values[1, 0, DAY:] = gridded.values[1, 0, DAY:] * 1.8 + 32
    found = marked(gridded, Mark.FAHRENHEIT) | marked(gridded, Mark.SPIKE)
    assert found[0, DAY:].all()
    assert not found[1:].any()
    assert not found[:, :DAY].any()


def test_heat_that_comes_gradually_is_no_fahrenheit() -> None:
    gridded = healthy()
    gridded.values[2, :, DAY : DAY + 60] += np.minimum(np.arange(60) * 2.5, 50).astype(np.float32)
    assert not marked(gridded, Mark.FAHRENHEIT).any()


@pytest.mark.parametrize("jitter", ["phases", "jitter"])
def test_samplers_without_a_common_phase_have_no_skewed_clock(jitter: str) -> None:
    gridded, rng = healthy(servers=40), np.random.default_rng(2)
    if jitter == "phases":  # as Prometheus spreads its scrapes
        gridded.offset_s[:] = rng.uniform(0, 300, (40, 1))
    else:
        gridded.offset_s[:] = rng.uniform(0, 60, gridded.offset_s.shape)
    assert marked(gridded, Mark.SKEWED_CLOCK).mean() < 1e-3


def test_a_clock_behind_shows_as_one_ahead_by_most_of_a_step() -> None:
    gridded = healthy()
    gridded.offset_s[0, DAY:] = 300 - 40
    skewed = marked(gridded, Mark.SKEWED_CLOCK)
    assert skewed[0, DAY + 2 :].all()
    assert skewed.sum() == DAY - 2


def test_a_slow_sensor_has_no_gaps_until_it_misses_its_own_interval() -> None:
    gridded = healthy()
    gridded.values[:, :, np.arange(2 * DAY) % 3 > 0] = np.nan
    assert not marked(gridded, Mark.GAP)[:, 3:].any(), "its interval is known from the second sample on"
    gridded.values[:, 0, DAY : DAY + 30] = np.nan
    gap = marked(gridded, Mark.GAP)[:, 3:]
    assert gap[0].sum() == 30 + 2 - 3  # from the last sample before to the next after, less its own interval
    assert not gap[1:].any()


def test_who_came_and_who_went() -> None:
    gridded = healthy(days=3)
    gridded.values[:, 0, :100] = np.nan
    gridded.values[:, 1, DAY:] = np.nan
    gridded.values[:, 2, 200:205] = np.nan
    gridded.values[0, 3, 300:310] = np.nan
    gridded.values[:, 4] = np.nan
    gridded.values[:, :, :20] = np.nan
    gridded.offset_s[np.isnan(gridded.values).all(axis=0)] = np.nan
    step = {time: index for index, time in enumerate(gridded.time(at) for at in range(3 * DAY + 1))}
    rows = [(*row[:3], step[row[3]], step[row[4]]) for row in findings(judged(gridded, tree(), 0)).rows()]
    assert rows == [
        ("gap", "s2", "", 200, 205),
        ("gap", "s3", "power_w", 300, 310),
        ("new_entity", "s0", "", 20, 100),
        ("removed_entity", "s1", "", DAY, 3 * DAY),
    ]


def test_a_fleet_that_measures_power_only_is_judged_by_that() -> None:
    whole = healthy()
    gridded = Gridded(
        START, 300, SIGNALS[:1], whole.entities, whole.values[:1].copy(), whole.marks[:1], np.empty((0, 0), np.float32)
    )
    assert not judged(gridded, tree(), 0).marks.any()
    gridded.values[0, :, DAY:] /= 1000
    assert (judged(gridded, tree(), 0).marks[0, :, DAY:] & Mark.KILOWATT.value > 0).all()
