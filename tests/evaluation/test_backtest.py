"""The backtest replays the predictor that serves, sees nothing early, and adds up."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from small_fleet import before
from smoke_run import Smoke

from forecast.bundle.load import load
from forecast.evaluation.backtest import OURS, Backtest, backtest
from forecast.evaluation.baselines import Naive
from forecast.evaluation.metrics import Tally
from forecast.evaluation.splits import Split, split
from forecast.predictor import Predictor
from forecast.windows.panel import Panel, panel_of


@pytest.fixture(scope="module")
def predictor(smoke: Smoke) -> Predictor:
    return Predictor(load(smoke.bundle))


@pytest.fixture(scope="module")
def panel(smoke: Smoke, predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Panel:
    trace = smoke.config.source.read(tmp_path_factory.mktemp("unused"))
    return panel_of(trace.telemetry, trace.topology, predictor.spec)


@pytest.fixture(scope="module")
def ranges(smoke: Smoke, predictor: Predictor, panel: Panel) -> Split:
    return split(panel, predictor.spec.horizon_steps, smoke.config.evaluation)


def run(smoke: Smoke, predictor: Predictor, panel: Panel, ranges: Split) -> Backtest:
    return backtest(predictor, panel, ranges, smoke.config.evaluation, lambda *_: None)


def score(tested: Backtest, method: str, target: str = "power_w", level: str = "server") -> dict[str, float]:
    return tested.scores.row(
        by_predicate=(pl.col("method") == method) & (pl.col("target") == target) & (pl.col("level") == level),
        named=True,
    )


def from_step(panel: Panel, step: int, values: np.ndarray | float) -> Panel:
    """The panel with other values from a step on."""
    changed = panel.read(0, panel.steps)
    changed[:, :, step:] = values
    return Panel(panel.start, panel.step_s, panel.channels, panel.entities, (changed,))


def only(ranges: Split, origin: int) -> Split:
    return replace(ranges, origins={origin: ranges.origins[origin]})


def test_ours_is_the_predictors_forecast_at_each_origin(
    smoke: Smoke, predictor: Predictor, panel: Panel, ranges: Split
) -> None:
    spec = predictor.spec
    tally = Tally(len(panel.entities), 2, spec.quantile_levels, np.zeros(spec.horizon_steps, np.int64))
    for origin in ranges.origins:
        actual = panel.read(origin, origin + spec.horizon_steps)[:2].transpose(1, 0, 2)
        quantiles = predictor.at(before(panel, origin), origin).outputs.quantiles
        tally.add(np.arange(len(panel.entities)), actual, quantiles)
    tested = run(smoke, predictor, panel, ranges)
    for index, target in enumerate(spec.targets):
        for level in predictor.topology.levels:
            group = predictor.topology.table["level"].to_numpy() == level
            found = score(tested, OURS, target, level)
            assert found["wql"] == pytest.approx(tally.wql(group, index), rel=1e-9)
            assert found["mae"] == pytest.approx(tally.mae(group, index), rel=1e-9)
            assert found["windows"] == group.sum() * len(ranges.origins)


def test_no_method_sees_what_comes_from_the_origin_on(
    smoke: Smoke, predictor: Predictor, panel: Panel, ranges: Split
) -> None:
    """Where the future is what each method already forecast, its error is zero: so the forecast did not move."""
    spec, origin = predictor.spec, next(iter(ranges.origins))
    median = spec.quantile_levels.index(0.5)
    seasonal = Naive(spec, 24).fit(panel, ranges)
    forecasts = {
        OURS: predictor.at(panel, origin).outputs.quantiles[:, :, median],
        seasonal.name: seasonal.predict(panel, origin)[:, :, median],
    }
    for method, medians in forecasts.items():
        future = np.full((len(panel.channels), len(panel.entities), panel.steps - origin), 7.0, np.float32)
        future[:2, :, : spec.horizon_steps] = medians.transpose(1, 0, 2)
        tested = run(smoke, predictor, from_step(panel, origin, future), only(ranges, origin))
        for target in spec.targets:
            assert score(tested, method, target)["mae"] == pytest.approx(0.0, abs=1e-3)


def test_steps_that_were_not_observed_are_not_scored(
    smoke: Smoke, predictor: Predictor, panel: Panel, ranges: Split
) -> None:
    origin = next(iter(ranges.origins))
    tested = run(smoke, predictor, from_step(panel, origin + 3, np.nan), only(ranges, origin))
    lead = tested.horizon.filter(pl.col("method") == OURS, pl.col("target") == "power_w").sort("lead_h")
    assert lead["lead_h"].to_list() == [step + 0.5 for step in range(12)]
    assert lead["wql"].is_finite().to_list() == [True] * 3 + [False] * 9
    assert score(tested, OURS)["windows"] == 4


def test_every_method_is_scored_on_the_same_windows(
    smoke: Smoke, predictor: Predictor, panel: Panel, ranges: Split
) -> None:
    tested = run(smoke, predictor, panel, ranges)
    assert set(tested.scores["method"]) == {OURS, "persistence", "seasonal_naive_24h"}
    counts = tested.scores.group_by("target", "level").agg(pl.col("windows").n_unique(), pl.len())
    assert set(counts["windows"]) == {1}
    assert set(counts["len"]) == {3}


def test_the_calibration_curve_is_of_ours_and_ascends(
    smoke: Smoke, predictor: Predictor, panel: Panel, ranges: Split
) -> None:
    curve = run(smoke, predictor, panel, ranges).calibration
    for target in predictor.spec.targets:
        rows = curve.filter(target=target)
        assert tuple(rows["nominal"]) == predictor.spec.quantile_levels
        assert rows["observed"].is_sorted()


def test_an_entity_that_was_silent_before_its_test_spoils_no_score(
    smoke: Smoke, predictor: Predictor, panel: Panel, ranges: Split
) -> None:
    origin = next(iter(ranges.origins))
    values = panel.read(0, panel.steps)
    values[:, 0, :origin] = np.nan  # a server that first reports when the test begins
    silent = Panel(panel.start, panel.step_s, panel.channels, panel.entities, (values,))
    tested = run(smoke, predictor, silent, only(ranges, origin))
    assert tested.scores["wql"].is_finite().all()
    assert {score(tested, method)["windows"] for method in (OURS, "persistence", "seasonal_naive_24h")} == {3}


def test_a_target_that_nobody_reported_is_left_out_of_the_scores(
    smoke: Smoke, predictor: Predictor, panel: Panel, ranges: Split
) -> None:
    values = panel.read(0, panel.steps)
    values[1] = np.nan
    cold = Panel(panel.start, panel.step_s, panel.channels, panel.entities, (values,))
    tested = run(smoke, predictor, cold, only(ranges, next(iter(ranges.origins))))
    assert set(tested.scores["target"]) == {"power_w"}
    assert tested.scores["wql"].is_finite().all()


def test_the_scores_of_the_bundle_are_these(smoke: Smoke, predictor: Predictor, panel: Panel, ranges: Split) -> None:
    tested = run(smoke, predictor, panel, ranges)
    kept = pl.DataFrame(predictor.bundle.manifest.scores)
    assert kept.drop("mase").equals(tested.scores.drop("mase"))


def test_how_often_limits_were_passed_is_counted_where_limit_and_outcome_are_known(
    smoke: Smoke, predictor: Predictor, panel: Panel, ranges: Split
) -> None:
    tested = run(smoke, predictor, panel, ranges).exceedance
    spec, table = predictor.spec, predictor.topology.table
    for index, (target, limit) in enumerate((("power_w", "power_limit_w"), ("temperature_c", "temperature_limit_c"))):
        limited = ~np.isnan(table[limit].to_numpy().astype(float))
        came = [panel.read(origin, origin + spec.horizon_steps)[index][limited] for origin in ranges.origins]
        limits = table[limit].to_numpy()[limited][:, None]
        rows = tested.filter(target=target)
        assert rows["count"].sum() == sum(int((~np.isnan(steps)).sum()) for steps in came)
        passed = (rows["observed"] * rows["count"]).sum()
        assert passed == pytest.approx(sum(int((steps > limits).sum()) for steps in came))
        assert rows["brier"].n_unique() == 1
