"""What pretraining draws: the same for a seed, physical, and calmer the more machines it is the sum of."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from forecast.contracts.signals import LEVELS, SIGNALS
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.retrain.held import held
from forecast.retrain.prior import KINDS, drawn
from forecast.retrain.warming import Heat, warmed
from forecast.windows.panel import Panel

#: Seconds of a stage that is soon as warm as it gets.
FAST = (60.0, 60.1)

PAST = ("power_w", "temperature_c", "inlet_c", "utilization_ratio")


def spec(step_s: int) -> ForecastSpec:
    return ForecastSpec(step_s, 40, 40, PAST[:2], PAST, (0.1, 0.5, 0.9))


@pytest.fixture(scope="module")
def days() -> tuple[Panel, Topology]:
    return drawn(spec(300), seed=5, entities=96, days=14)


@pytest.fixture(scope="module")
def minutes() -> tuple[Panel, Topology]:
    return drawn(spec(15), seed=5, entities=48, days=1)


def values(panel: Panel, signal: str) -> np.ndarray:
    """`[N, T]`."""
    return panel.read(0, panel.steps)[PAST.index(signal)]


def test_a_seed_draws_the_same_and_another_one_does_not() -> None:
    once, again, other = (drawn(spec(300), seed, entities=8, days=1)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(values(once, "power_w"), values(again, "power_w"))
    assert not np.array_equal(values(once, "power_w"), values(other, "power_w"), equal_nan=True)


def test_an_hour_is_the_mean_of_its_minutes() -> None:
    fine, coarse = (values(drawn(spec(step_s), 3, entities=8, days=2)[0], "power_w") for step_s in (300, 3600))
    np.testing.assert_allclose(fine.reshape(8, -1, 12).mean(2), coarse, rtol=1e-5)


@pytest.mark.parametrize("made", ["days", "minutes"])
def test_readings_are_what_sensors_could_say(made: str, request: pytest.FixtureRequest) -> None:
    panel, topology = request.getfixturevalue(made)
    assert panel.entities == topology.entities
    for name in PAST:
        said = values(panel, name)
        unheard = np.isnan(said).all(1)
        assert not np.isnan(said[~unheard]).any(), "a sensor is there or is not"
        assert (said[~unheard] >= SIGNALS[name].low).all()
        assert (said[~unheard] <= SIGNALS[name].high).all()
    limits = topology.table["power_limit_w"].to_numpy()
    assert 0 < np.isnan(limits).sum() < len(limits) / 2
    # Noise alone can lift a reading above what is rated.
    assert not (values(panel, "power_w") > 1.1 * limits[:, None]).any()


def test_every_level_but_a_die_is_there_and_sums_of_more_machines_move_less(days: tuple[Panel, Topology]) -> None:
    panel, topology = days
    levels = topology.table["level"].to_numpy()
    assert set(levels) == set(LEVELS[1:])
    power = values(panel, "power_w")
    hourly = power.reshape(len(power), -1, 12).mean(2)
    moves = np.abs(np.diff(hourly, axis=1)).mean(1) / hourly.mean(1)
    of = [np.median(moves[levels == level]) for level in ("server", "rack", "hall")]
    assert of[0] > 1.5 * of[1]
    assert of[1] > 1.5 * of[2]


def test_fleets_live_by_the_week_and_servers_do_not(days: tuple[Panel, Topology]) -> None:
    panel, topology = days
    levels = topology.table["level"].to_numpy()
    power = values(panel, "power_w").reshape(-1, 2, 7 * 288)
    weeks = power[np.isin(levels, ["site", "fleet"])]
    alike = [np.corrcoef(first, second)[0, 1] for first, second in weeks]
    assert np.median(alike) > 0.8
    assert np.median([np.corrcoef(*each)[0, 1] for each in power[levels == "server"]]) < 0.3
    other = [np.corrcoef(first, np.roll(second, 144))[0, 1] for first, second in weeks]
    assert np.median(alike) > np.median(other) + 0.3


def test_a_temperature_seen_by_the_second_mostly_stays_or_goes_on(minutes: tuple[Panel, Topology]) -> None:
    temperature = values(minutes[0], "temperature_c")
    temperature = temperature[~np.isnan(temperature).any(1)]
    every = temperature[:, ::40]  # ten minutes
    moves = np.abs(np.diff(every, axis=1))
    assert (moves < 0.5).mean() > 0.5
    assert np.quantile(moves, 0.95) > 1.0


def test_heat_comes_of_load_and_never_cools_below_the_inlet(minutes: tuple[Panel, Topology]) -> None:
    panel, _ = minutes
    power, temperature, inlet = (values(panel, name) for name in PAST[:3])
    told = ~np.isnan(power + temperature + inlet).any(1)
    assert told.sum() > 10
    assert (temperature - inlet)[told].min() > -2.0, "noise and digits of two sensors"
    hours = [part[told].reshape(told.sum(), -1, 240).mean(2) for part in (power, temperature - inlet)]
    alike = [np.corrcoef(load, rise)[0, 1] for load, rise in zip(*hours, strict=True) if load.std() > 1.0]
    assert np.median(alike) > 0.9


def test_servers_that_few_share_idle_for_days_and_tell_of_their_jobs() -> None:
    panel, topology = drawn(spec(3600), seed=5, entities=48, days=42, kind="shared")
    assert set(topology.table["level"]) == {"server"}
    power, temperature, _, counted = (values(panel, name) for name in PAST)
    told = ~np.isnan(power).any(1)
    low = power[told].min(1, keepdims=True)
    idle = power[told] < 1.1 * low
    assert 0.2 < idle.mean() < 0.8
    for long, share in ((48, 0.4), (7 * 24, 0.2)):
        windows = np.lib.stride_tricks.sliding_window_view(idle, long, axis=1)
        assert windows.min(axis=2).max(axis=1).mean() > share, f"so many idle for {long} hours"
    assert np.median(power[told].max(1) / low[:, 0]) > 2.5
    both = told & ~np.isnan(counted).any(1)
    assert np.median([np.corrcoef(*each)[0, 1] for each in zip(power[both], counted[both], strict=True)]) > 0.8
    known = ~np.isnan(temperature).any(1)
    assert known.mean() > 0.75
    assert np.median(np.ptp(temperature[known], axis=1)) > 12.0


def test_weekly_fleets_have_weeks_alike_and_days_that_differ() -> None:
    power = values(drawn(spec(3600), seed=5, entities=48, days=28, kind="weekly")[0], "power_w")
    days = power[~np.isnan(power).any(1)].reshape(-1, 28, 24)
    week = [np.corrcoef(each[7:].ravel(), each[:-7].ravel())[0, 1] for each in days]
    day = [np.corrcoef(each[1:].ravel(), each[:-1].ravel())[0, 1] for each in days]
    assert np.median(week) > 0.9
    assert np.median(day) < np.median(week) - 0.1


@pytest.mark.parametrize(("kind", "least", "most"), [("held", 0.8, 3.0), ("any", -0.5, 0.7)])
def test_who_holds_a_load_goes_on_warming_up(kind: str, least: float, most: float) -> None:
    temperature = values(drawn(spec(15), seed=5, entities=64, days=1, kind=kind)[0], "temperature_c")
    newest = temperature[:, 13:-24]
    rose = newest - temperature[:, 3:-34]
    went_on = temperature[:, 37:] - newest
    assert least < went_on[rose > 2].mean() < most


def test_a_load_is_held_for_as_long_as_jobs_are_and_few_fans_are_set() -> None:
    load, flow = held(np.random.default_rng(5), entities=200, steps=4000, step_s=15)
    assert load.min() >= 0
    assert load.max() <= 1
    changes = (np.abs(np.diff(load)) > 0.1).sum(1)
    assert 1 <= np.median(changes) <= 80
    set_fans = (flow != 1).any(1)
    assert 0.05 < set_fans.mean() < 0.4
    assert flow[set_fans].max() > 1.2 * flow[set_fans].min()


def test_kinds_of_one_seed_have_nothing_to_do_with_each_other() -> None:
    power = [values(drawn(spec(3600), 1, 8, 2, kind)[0], "power_w") for kind in KINDS]
    for one, other in pairwise(power):
        assert not np.array_equal(one, other, equal_nan=True)


def test_who_holds_a_load_draws_power_for_what_heats_nothing_too() -> None:
    panel = drawn(spec(15), seed=5, entities=64, days=1, kind="held")[0]
    power, _, _, counted = (values(panel, name) for name in PAST)
    told = ~np.isnan(power + counted).any(1)
    idle = power[told].min(1) / power[told].max(1)
    busy = counted[told].min(1) / counted[told].max(1)
    assert np.median(idle) > np.median(busy) + 0.15
    assert (idle < 0.3).any(), "some hardly draw any"


def test_fans_that_hold_a_temperature_bring_it_back() -> None:
    machines = Heat(
        rise_k=(40.0, 40.1), inlet_drift_k=(1e-3, 2e-3), fans=1.0, stages_s=(FAST,) * 3, controls=1.0, slower=True
    )
    load = np.ones((32, 1000))
    load[:, :400] = 0.3
    rises = warmed(np.random.default_rng(5), machines, load, 15, None)[0]
    held = rises.argmax(1)
    came_back = rises.max(1) - rises[:, -1]
    assert (held[came_back > 5] < 600).all()
    assert (came_back > 5).mean() > 0.3


def test_who_has_less_air_takes_longer_to_get_warm() -> None:
    machines = Heat(rise_k=(20.0, 20.1), inlet_drift_k=(1e-3, 2e-3), fans=0.0, stages_s=(FAST,) * 3)
    load = np.ones((16, 400))
    load[:, :200] = 0.2
    flow = np.full_like(load, 0.5)
    flow[:, 0] = 0.49  # set, so that nothing follows

    def half_way(slower: bool) -> float:
        rises = warmed(np.random.default_rng(5), replace(machines, slower=slower), load, 15, flow)[0][:, 200:]
        risen = (rises - rises[:, :1]) / (rises[:, -1:] - rises[:, :1])
        return float((risen < 0.5).sum(1).mean())

    assert half_way(slower=True) > 1.4 * half_way(slower=False)
