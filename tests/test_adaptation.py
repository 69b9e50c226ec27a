"""Online adaptation on streams that drift: it recovers what the intervals promise, and counts nothing twice."""

from datetime import timedelta
from pathlib import Path
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import before, topology_of
from smoke_run import Smoke

from forecast.adaptation import Adaptation, between_sides
from forecast.bundle.load import load
from forecast.contracts.errors import DataError
from forecast.contracts.specs import SHIFTS, SIDES, STATIC, ForecastSpec
from forecast.features.gridded import Floats
from forecast.predictor import Predictor
from forecast.windows.panel import panel_of

LEVELS = (0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99)
HORIZON, STEP_S, ENTITIES = 24, 3600, 4
SPEC = ForecastSpec(
    step_s=STEP_S,
    context_steps=24,
    horizon_steps=HORIZON,
    targets=("power_w",),
    past=("power_w",),
    quantile_levels=LEVELS,
    static=(*STATIC, *SHIFTS),
)
FLEET = topology_of(["server"] * ENTITIES)
NORMAL = np.array([NormalDist().inv_cdf(level) for level in LEVELS])


def fresh(bundle_id: str = "one") -> Adaptation:
    return Adaptation(SPEC, FLEET, bundle_id)


class Stream:
    """Normal outcomes of a mean and deviation per step, and a forecaster that believes in 0 and 1."""

    def __init__(self, steps: int, mean: float, deviation: float, seed: int = 0) -> None:
        self.values = np.random.default_rng(seed).normal(mean, deviation, (steps, 1, ENTITIES)).astype(np.float32)

    def observed(self, now: int, late: int = 0, missing: np.ndarray | None = None):  # type: ignore[no-untyped-def]
        """What is known at step `now` when labels come `late` steps late."""

        def at(begin_s: int) -> Floats:
            step = begin_s // STEP_S
            known = step + 1 + late <= now and (missing is None or not missing[step])
            return self.values[step] if known else np.full((1, ENTITIES), np.nan, np.float32)

        return at

    def issue(self, state: Adaptation) -> Floats:
        """Quantiles `[N, T, Q, H]` as the graph would shift them."""
        scores = NORMAL + state.shifts() @ between_sides(LEVELS)
        return np.repeat(scores[..., None], HORIZON, -1).astype(np.float32)

    def run(self, state: Adaptation, first: int = 0, last: int | None = None, **how: object) -> np.ndarray:
        """Coverage of the central 80 % per origin."""
        inside = []
        for now in range(first, len(self.values) - HORIZON if last is None else last):
            state.learn(now * STEP_S, self.observed(now, **how))  # type: ignore[arg-type]
            quantiles = self.issue(state)
            state.remember(now * STEP_S, quantiles)
            came = self.values[now : now + HORIZON, 0].T
            low, high = (quantiles[:, 0, LEVELS.index(level)] for level in (0.1, 0.9))
            inside.append(((low < came) & (came <= high)).mean())
        return np.array(inside)


@pytest.mark.parametrize(
    ("mean", "deviation", "late"), [(0.0, 1.5, 0), (0.0, 0.7, 0), (0.5, 1.0, 0), (-0.4, 1.3, 0), (0.5, 1.0, HORIZON)]
)
def test_coverage_recovers_from_drift(mean: float, deviation: float, late: int) -> None:
    covered = Stream(900, mean, deviation).run(fresh(), late=late)
    assert abs(covered[:5].mean() - 0.8) > 0.04
    assert covered[500:].mean() == pytest.approx(0.8, abs=0.02)


def test_a_calibrated_forecast_stays_as_it_is() -> None:
    state = fresh()
    covered = Stream(700, 0.0, 1.0).run(state)
    assert covered[100:].mean() == pytest.approx(0.8, abs=0.02)
    assert np.abs(state.shifts()[:, :, 1:3]).max() < 0.2


def test_no_stream_runs_away_with_it() -> None:
    state = fresh()
    Stream(400, 1e6, 1.0).run(state)
    assert state.shifts()[0, 0, 2:].tolist() == [1.0, 2.0]
    assert (state.shifts()[0, 0, :2] <= [2.0, 1.0]).all()
    assert (np.diff(NORMAL + state.shifts()[0, 0] @ between_sides(LEVELS)) > -1).all()


def test_what_was_learnt_is_not_learnt_again() -> None:
    stream, once, often = Stream(200, 0.5, 1.0), fresh(), fresh()
    stream.run(once, last=120)
    for now in range(120):
        for _ in range(3):
            often.learn(now * STEP_S, stream.observed(now))
            often.remember(now * STEP_S, stream.issue(often))
    assert np.array_equal(once.shifts(), often.shifts())


def test_labels_that_come_late_teach_the_same() -> None:
    """A day of labels that all come at its end, and one whose labels come hour by hour."""
    stream = Stream(300, 0.5, 1.0)
    gap = np.zeros(300, bool)
    gap[60:80] = True
    prompt, late = fresh(), fresh()
    stream.run(prompt, last=120)
    stream.run(late, last=100, missing=gap)
    stream.run(late, first=100, last=120)
    assert late.shifts() == pytest.approx(prompt.shifts(), abs=0.1)
    assert np.abs(prompt.shifts()).max() > 0.2


def test_labels_that_never_come_are_forgotten() -> None:
    state = fresh()
    Stream(300, 0.5, 1.0).run(state, missing=np.ones(300, bool))
    assert not state.shifts().any()
    assert len(state._issued) <= 2 * HORIZON + 1


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_the_order_in_which_labels_come_at_once_is_nothing(seed: int) -> None:
    """Entities in another order give the same shifts."""
    stream, other = Stream(100, 0.5, 1.0, seed), Stream(100, 0.5, 1.0, seed)
    other.values = other.values[:, :, np.random.default_rng(seed).permutation(ENTITIES)]
    first, second = fresh(), fresh()
    stream.run(first), other.run(second)
    assert first.shifts() == pytest.approx(second.shifts(), abs=1e-6)


def test_a_forecast_for_the_past_teaches_nothing() -> None:
    stream, state = Stream(200, 0.5, 1.0), fresh()
    stream.run(state, last=100)
    shifts = state.shifts()
    assert not state.follows(50 * STEP_S)
    state.learn(50 * STEP_S, stream.observed(200))
    state.remember(50 * STEP_S, stream.issue(state))
    assert np.array_equal(state.shifts(), shifts)


def test_it_goes_on_after_a_restart_as_if_there_was_none(tmp_path: Path) -> None:
    stream, whole, part = Stream(200, 0.5, 1.0), fresh(), fresh()
    stream.run(whole, last=120)
    stream.run(part, last=60)
    part.save(tmp_path / "state.npz")
    resumed = Adaptation.load(tmp_path / "state.npz", SPEC, FLEET, "one")
    stream.run(resumed, first=60, last=120)
    assert np.array_equal(resumed.shifts(), whole.shifts())
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_another_bundle_begins_anew(tmp_path: Path) -> None:
    state = fresh()
    Stream(100, 0.5, 1.0).run(state)
    state.save(tmp_path / "state.npz")
    assert not Adaptation.load(tmp_path / "state.npz", SPEC, FLEET, "two").shifts().any()
    assert not Adaptation.load(tmp_path / "absent.npz", SPEC, FLEET, "one").shifts().any()


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_damaged_state_is_said_so(content: bytes | None, tmp_path: Path) -> None:
    path, state = tmp_path / "state.npz", fresh()
    Stream(100, 0.5, 1.0).run(state)
    state.save(path)
    path.write_bytes(path.read_bytes()[:-2000] if content is None else content)
    with pytest.raises(DataError, match="delete it to begin anew") as refusal:
        Adaptation.load(path, SPEC, FLEET, "one")
    assert "pickle" not in str(refusal.value)


def test_between_its_sides_a_level_moves_in_proportion_and_the_median_stays() -> None:
    moves = between_sides(LEVELS)
    assert moves.shape == (len(SIDES), len(LEVELS))
    assert moves[:, LEVELS.index(0.5)].tolist() == [0.0] * 4
    assert moves[:, LEVELS.index(0.9)].tolist() == [0.0, 0.0, 1.0, 0.0]
    assert moves[2, LEVELS.index(0.7)] == pytest.approx(NormalDist().inv_cdf(0.7) / NormalDist().inv_cdf(0.9))
    assert between_sides((0.1, 0.5, 0.9)).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_the_predictor_adapts_and_sees_nothing_early(smoke: Smoke) -> None:
    """Noise from the last origin on changes no bit of any forecast; what came before it does."""
    bundle = load(smoke.bundle)
    spec, topology = bundle.manifest.spec, bundle.manifest.topology
    telemetry = pl.read_parquet(smoke.fleet / "telemetry")
    panel = panel_of(telemetry.lazy(), topology, spec)
    origins = range(panel.steps - 60, panel.steps - 12)
    adapted = Predictor(bundle, adaptation=Adaptation(spec, topology, "x"))
    blind = Predictor(bundle, adaptation=Adaptation(spec, topology, "x"))
    for origin in origins:
        found = adapted.at(panel, origin)
        expected = blind.at(before(panel, origin), origin)
        assert all(np.array_equal(*pair, equal_nan=True) for pair in zip(found.outputs, expected.outputs, strict=True))
    plain = Predictor(bundle).at(panel, origins[-1])
    assert not np.array_equal(found.outputs.quantiles, plain.outputs.quantiles)
    again = adapted.at(panel, origins[-1])
    assert np.array_equal(found.outputs.quantiles, again.outputs.quantiles)
    assert (np.diff(found.outputs.quantiles, axis=2) >= 0).all()
    earlier = adapted.at(panel, origins[0])
    assert np.array_equal(earlier.outputs.quantiles, Predictor(bundle).at(panel, origins[0]).outputs.quantiles)
    assert found.time - earlier.time == timedelta(seconds=spec.step_s * (len(origins) - 1))
