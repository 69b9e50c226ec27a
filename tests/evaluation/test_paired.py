"""Sums of two forecasts by day: they add up to the scores, and every outcome belongs to one day."""

import numpy as np
import polars as pl
import pytest
from outside_scores import quantile_score

from forecast.bundle.session import Outputs
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.evaluation.brier import BrierTally
from forecast.evaluation.metrics import Tally
from forecast.evaluation.paired import CHALLENGER, CHAMPION, Paired, PairedTally

ORIGINS = (100, 106, 124)


@pytest.fixture
def topology() -> Topology:
    rows = {"entity_id": ["a", "b", "hall"], "level": ["server", "server", "hall"], "sku": ["x", "y", "mixed"]}
    limits = {"power_limit_w": [1.0, None, 2.0], "temperature_limit_c": [None, 0.5, None]}
    columns = {"parent_id": ["hall", "hall", None], "site": ["s"] * 3, "time_zone": ["UTC"] * 3}
    return Topology.of(pl.DataFrame({**rows, **columns, **limits}))


def forecasts(spec: ForecastSpec, seed: int) -> Outputs:
    random = np.random.default_rng(seed)
    shape = (3, len(spec.targets), len(spec.quantile_levels), spec.horizon_steps)
    quantiles = np.sort(random.normal(size=shape), axis=2).astype(np.float32)
    return Outputs(quantiles, quantiles, random.uniform(size=(3, 2, spec.horizon_steps)).astype(np.float32))


def actual(origin: int, spec: ForecastSpec) -> np.ndarray:
    values = np.random.default_rng(origin).normal(size=(3, 2, spec.horizon_steps)).astype(np.float32)
    values[0, 0, :2] = np.nan
    return values


@pytest.fixture
def paired(spec: ForecastSpec, topology: Topology) -> Paired:
    tally = PairedTally(spec, topology, ORIGINS)
    for origin in ORIGINS:
        tally.add(origin, np.arange(3), actual(origin, spec), (forecasts(spec, 1), forecasts(spec, origin)))
    return tally.result()


def test_over_magnitude_the_losses_are_the_wql(spec: ForecastSpec, paired: Paired) -> None:
    champion, challenger = (Tally(3, 2, spec.quantile_levels, np.zeros(spec.horizon_steps, np.int64)) for _ in range(2))
    for origin in ORIGINS:
        champion.add(np.arange(3), actual(origin, spec), forecasts(spec, 1).quantiles)
        challenger.add(np.arange(3), actual(origin, spec), forecasts(spec, origin).quantiles)
    group = np.array([True, True, False])
    for which, tally in ((CHAMPION, champion), (CHALLENGER, challenger)):
        for target in range(2):
            loss = paired.loss[which][:, group, target].sum() / paired.magnitude[:, group, target].sum()
            assert loss == pytest.approx(tally.wql(group, target), rel=1e-6)


def test_losses_are_twice_the_pinball_loss(spec: ForecastSpec, paired: Paired) -> None:
    levels = [0.1, 0.5, 0.9]
    chosen = [spec.quantile_levels.index(level) for level in levels]
    expected = 0.0
    for origin in ORIGINS:
        quantiles = forecasts(spec, origin).quantiles[1, 1][chosen].T.astype(float)
        scored = [
            quantile_score(actual(origin, spec)[1, 1].astype(float), quantiles[:, at], level)
            for at, level in enumerate(levels)
        ]
        expected += 2 * np.mean(scored, axis=0).sum()
    assert paired.loss[CHALLENGER, :, 1, 1].sum() == pytest.approx(expected, rel=1e-6)


def test_an_outcome_belongs_to_the_day_it_came_on(spec: ForecastSpec, paired: Paired) -> None:
    assert paired.count[:, 1, 0].tolist() == [24, 12], "twice 12 steps on the first day, 12 on the second"
    assert paired.count[:, 0, 0].tolist() == [20, 10], "two of each window were not observed"


def test_a_window_across_midnight_is_divided(spec: ForecastSpec, topology: Topology) -> None:
    tally = PairedTally(spec, topology, [0, 18])
    for origin in (0, 18):
        tally.add(origin, np.array([1]), actual(origin, spec)[[1]], (forecasts(spec, 1), forecasts(spec, 2)))
    assert tally.result().count[:, :, 0].tolist() == [[0, 18, 0], [0, 6, 0]]


def test_squares_are_those_of_the_brier_score_where_a_limit_is_known(spec: ForecastSpec, paired: Paired) -> None:
    tally = BrierTally()
    for origin in ORIGINS:
        values = actual(origin, spec)[0, 0]
        tally.add(
            forecasts(spec, origin).exceedance[0, 0], np.where(np.isnan(values), np.nan, values > 1.0), np.zeros(1)
        )
    squares, count = paired.squares[CHALLENGER, :, 0, 0].sum(), paired.limited[:, 0, 0].sum()
    assert squares / count == pytest.approx(tally.result().score, rel=1e-6)
    assert paired.limited[:, 1, 0].sum() == 0, "nobody knows its limit"


def test_what_the_interval_holds_is_counted(spec: ForecastSpec, paired: Paired) -> None:
    low, high = (spec.quantile_levels.index(level) for level in (0.05, 0.95))
    held = 0
    for origin in ORIGINS:
        quantiles, values = forecasts(spec, origin).quantiles[2, 0], actual(origin, spec)[2, 0]
        held += int(((values > quantiles[low]) & (values <= quantiles[high])).sum())
    assert paired.inside[CHALLENGER, :, 2, 0].sum() == held


def test_days_on_which_nothing_came_can_be_left_out(spec: ForecastSpec, topology: Topology) -> None:
    tally = PairedTally(spec, topology, [0, 240])
    for origin in (0, 240):
        tally.add(origin, np.array([1]), actual(origin, spec)[[1]], (forecasts(spec, 1), forecasts(spec, 2)))
    assert tally.result().days == 11
    assert tally.result().seen().days == 2
    assert tally.result().seen().loss.sum() == tally.result().loss.sum()
