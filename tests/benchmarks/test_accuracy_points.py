"""Task E: windows and scores as its field has them."""

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.accuracy import ett, points
from benchmarks.accuracy.peers.linear import Linear
from benchmarks.accuracy.points import Cut, mean_of
from benchmarks.accuracy.tasks import configured
from forecast.retrain.prepare import prepare
from forecast.retrain.stages import Stages

#: "Repeat" of Zeng et al., "Are Transformers Effective for Time Series Forecasting?" (AAAI 2023), Table 2: MSE, MAE at
#: 96 steps. Their loader drops the last batch: the third decimal may differ.
REPEAT = {"ETTh1": (1.295, 0.713), "ETTm1": (1.214, 0.665)}


@pytest.mark.parametrize("name", ett.SETS)
def test_the_last_value_scores_as_published(name: str, shared_data: Path) -> None:
    z = ett.truth(ett.SETS[name], shared_data / "ett")
    row = points.rows_of(Cut(ett.SETS[name], 96, 96, "test"), z, "naive")[0]
    assert (row["mse"], row["mae"]) == pytest.approx(REPEAT[name], abs=1e-3)


@pytest.mark.parametrize(
    ("name", "horizon", "windows"), [("ETTh1", 96, 2785), ("ETTh1", 720, 2161), ("ETTm1", 96, 11425)]
)
def test_every_window_is_counted(name: str, horizon: int, windows: int) -> None:
    found = ett.SETS[name]
    for part, end in (("test", found.ends[2]), ("validation", found.ends[1])):
        origins = Cut(found, 96, horizon, part).origins
        assert len(origins) == windows
        assert origins[-1] + horizon == end
    assert Cut(found, 96, horizon, "test").origins[0] == found.ends[1]


def test_scores_are_of_the_training_part(shared_data: Path) -> None:
    z = ett.truth(ett.SETS["ETTh1"], shared_data / "ett")
    learnt = z[:, : ett.SETS["ETTh1"].ends[0]]
    np.testing.assert_allclose(learnt.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(learnt.std(1), 1, atol=1e-5)


def test_what_fleetcast_is_told_is_what_is_scored(shared_data: Path, tmp_path: Path) -> None:
    """Neither the map to temperatures nor repair nor gridding changes a value."""
    found = ett.SETS["ETTh1"]
    ett.write(found, shared_data / "ett", tmp_path)
    cut = Cut(found, 96, 96, "test")
    config = configured([*points.settings(cut, tmp_path), f"cache={tmp_path / 'cache'}"])
    prepared = prepare(config, Stages(2))
    panel = prepared.panel
    np.testing.assert_allclose(
        ett.to_z(panel.read(0, panel.steps)[0]), ett.truth(found, shared_data / "ett"), atol=1e-5
    )
    assert (prepared.split.validation[0], prepared.split.test[0], panel.steps) == found.ends


def test_no_method_is_told_what_comes_after_an_origin(shared_data: Path) -> None:
    found = ett.SETS["ETTh1"]
    z = ett.truth(found, shared_data / "ett")
    cut = Cut(found, 96, 24, "test")
    noisy = z.copy()
    noisy[:, cut.origins[0] :] = np.random.default_rng(0).normal(0, 9, noisy[:, cut.origins[0] :].shape)
    for method in (points.repeat, points.seasonal, points.linear):
        first = [next(method(cut, values).told)[1][0] for values in (z, noisy)]
        np.testing.assert_array_equal(*first)


def test_the_mean_of_a_symmetric_distribution_is_its_median() -> None:
    levels = (0.01, 0.1, 0.5, 0.9, 0.99)
    quantiles = np.array([[-4.0], [-1.0], [0.0], [1.0], [4.0]], np.float32) + 7
    np.testing.assert_allclose(mean_of(quantiles, levels), [7.0])


@given(st.floats(-5, 5), st.floats(0.1, 3))
def test_the_mean_of_a_skewed_distribution_is_near(location: float, spread: float) -> None:
    """Against the mean of a log-normal, exp(μ + σ²/2); what lies beyond the outermost levels is cut."""
    levels = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
    quantiles = location + spread * np.exp([0.5 * NormalDist().inv_cdf(level) for level in levels])[:, None]
    told = mean_of(quantiles.astype(np.float32), levels)[0]
    assert told == pytest.approx(location + spread * np.exp(0.125), abs=0.02 * spread)


def test_a_linear_map_is_learnt() -> None:
    random = np.random.default_rng(0)
    series = random.standard_normal((3, 400)).astype(np.float32).cumsum(1)
    model = Linear(12, 4)
    model.fit(series)
    windows = np.lib.stride_tricks.sliding_window_view(series, 16, axis=1).reshape(-1, 16).astype(np.float64)
    past, future = windows[:, :12], windows[:, 12:]
    mean = past.mean(1, keepdims=True)
    inputs = np.concatenate([past - mean, np.ones_like(mean)], axis=1)
    expected = inputs @ np.linalg.lstsq(inputs, future - mean, rcond=None)[0] + mean
    np.testing.assert_allclose(model.forecast(past.astype(np.float32)), expected, atol=0.01)
