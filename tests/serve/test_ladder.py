"""The fallback ladder: who speaks for an entity as its data grows old; and that it never claims to know more then."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fleets import NOW, SPEC, fleet, telemetry, write_bundle
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from forecast.bundle.load import Bundle, load
from forecast.bundle.session import Outputs
from forecast.contracts.tables import forecast_table
from serve.engine.issued import RUNGS, Issued
from serve.engine.ladder import LAST_GOOD, MODEL, SAFE_BOUND, SEASONAL, TRAINING, Ladder
from serve.engine.live import Live

TOPOLOGY = fleet()
ROWS = telemetry(TOPOLOGY)
STEP = timedelta(seconds=SPEC.step_s)
SERVER = TOPOLOGY.entities.index("server-1")
USUAL = {
    "power_w": {"server": [0.2, 0.25, 0.5, 0.75, 0.8], "server/air": [0.1, 0.2, 0.5, 0.8, 0.95]},
    "temperature_c": {"server": [0.3, 0.35, 0.6, 0.8, 0.9]},
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(write_bundle(tmp_path_factory.mktemp("bundle") / "k1", "k1", TOPOLOGY))


@pytest.fixture
def live(bundle: Bundle) -> Live:
    live = Live("day-ahead", bundle, 3600.0)
    live.take(ROWS, NOW)
    return live


def sources(issued: Issued, entity: str = "server-1") -> list[str]:
    return issued.table().filter(entity_id=entity).sort("valid_time")["source"].to_list()


def width(issued: Issued, entity: int = SERVER) -> np.ndarray:
    """Of each central interval, `[T, Q // 2, H]`."""
    quantiles = issued.forecast.outputs.quantiles[entity]
    return (quantiles[:, ::-1] - quantiles)[:, : quantiles.shape[1] // 2]


def test_on_fresh_data_the_model_speaks_for_everyone(live: Live) -> None:
    issued = live.issue(NOW)
    assert issued.time == NOW
    assert not issued.falls_back()
    assert set(issued.forecast.source) == {"model"}


def test_data_may_be_two_steps_old_and_no_older(live: Live) -> None:
    assert set(live.issue(NOW + 2 * STEP).forecast.source) == {"model"}
    assert live.issue(NOW + 3 * STEP).falls_back()


def test_a_source_that_died_is_followed_down_the_ladder(live: Live) -> None:
    live.issue(NOW)
    horizon = SPEC.horizon_steps
    for late in (3, 5, horizon - 1):
        issued = live.issue(NOW + late * STEP)
        assert issued.time == NOW + late * STEP
        assert sources(issued) == ["last_good"] * (horizon - late) + ["seasonal"] * late
        assert set(issued.forecast.status) == {"stale"}
        assert set(issued.forecast.data_time) == {NOW}
    assert sources(live.issue(NOW + horizon * STEP)) == ["seasonal"] * horizon
    assert sources(live.issue(NOW + timedelta(days=30))) == ["safe_bound"] * horizon


def test_what_was_last_said_of_a_time_is_said_again(live: Live) -> None:
    good = live.issue(NOW)
    shifted = live.issue(NOW + 4 * STEP)
    np.testing.assert_array_equal(shifted.forecast.outputs.quantiles[..., :4], good.forecast.outputs.quantiles[..., 4:])


def test_intervals_never_narrow_on_the_way_down(live: Live) -> None:
    said = {NOW + step * STEP: width(live.issue(NOW))[..., step] for step in range(SPEC.horizon_steps)}
    widest = width(live.issue(NOW)).max(axis=-1)
    for late in range(3, 3 * SPEC.horizon_steps):
        issued = live.issue(NOW + late * STEP)
        for step in range(SPEC.horizon_steps):
            valid, now = issued.time + step * STEP, width(issued)[..., step]
            assert (now >= said.get(valid, widest) - 1e-3).all(), (late, step)
            said[valid] = now


def test_a_start_in_an_outage_says_what_would_have_been_said_before_it(live: Live, bundle: Bundle) -> None:
    live.issue(NOW)
    started = Live("day-ahead", bundle, 3600.0)
    started.take(ROWS, NOW)
    for late in (5, SPEC.horizon_steps):
        ran, came = live.issue(NOW + late * STEP), started.issue(NOW + late * STEP)
        assert sources(came) == sources(ran)
        np.testing.assert_array_equal(came.forecast.outputs.quantiles, ran.forecast.outputs.quantiles)


def test_who_was_silent_from_the_start_is_not_told_surer_than_the_model_would(bundle: Bundle) -> None:
    live = Live("day-ahead", bundle, 3600.0)
    gone = (pl.col("entity_id") == "server-1") & (pl.col("time") >= NOW - 5 * STEP)
    live.take(ROWS.filter(~gone), NOW)
    issued = live.issue(NOW)
    assert "model" not in sources(issued)
    model = live.predictor.at(live.ring.panel(), live.ring.step(NOW) - live.ring.step(live.ring.first_time)).outputs
    quantiles = model.quantiles[SERVER]
    told = (quantiles[:, ::-1] - quantiles)[:, : quantiles.shape[1] // 2]
    assert (width(issued) >= told - 1e-3).all()


def test_one_silent_server_falls_back_alone(bundle: Bundle) -> None:
    live = Live("day-ahead", bundle, 3600.0)
    silent = (pl.col("entity_id") == "server-1") & (pl.col("time") >= NOW)
    for hours in (0, 2):
        until = NOW + timedelta(hours=hours)
        live.take(telemetry(TOPOLOGY, until, hours=80).filter(~silent), until)
        issued = live.issue(until)
    assert set(sources(issued)) == {"seasonal"}
    others = [name for name in TOPOLOGY.entities if name.startswith("server") and name != "server-1"]
    assert {source for name in others for source in sources(issued, name)} == {"model"}
    assert issued.falls_back()
    assert not issued.falls_back(np.array([TOPOLOGY.entities.index(name) for name in others]))


def test_without_a_word_ever_it_is_what_the_training_saw_or_else_the_bound(bundle: Bundle) -> None:
    live = Live("day-ahead", bundle, 3600.0)
    outputs = live.issue(NOW).forecast.outputs
    assert sources(live.issue(NOW)) == ["safe_bound"] * SPEC.horizon_steps
    np.testing.assert_array_equal(outputs.quantiles[SERVER, 0, :, 0], [0, 0, 1000, 1000, 1000])
    assert (outputs.headroom == 0).all()
    assert np.isnan(outputs.exceedance).all()
    ladder = Ladder(SPEC, TOPOLOGY, "k1", USUAL)
    nobody = np.zeros((len(TOPOLOGY.entities), 2), bool)
    fallen = ladder.descend(None, nobody, 0, live.ring.targets)
    by_sku = {
        name: fallen.outputs.quantiles[TOPOLOGY.entities.index(name), 0, :, 0] for name in ("server-0", "server-1")
    }
    np.testing.assert_allclose(by_sku["server-0"], np.array(USUAL["power_w"]["server/air"]) * 1000, rtol=1e-6)
    np.testing.assert_allclose(by_sku["server-1"], np.array(USUAL["power_w"]["server"]) * 1000, rtol=1e-6)
    rungs = {name: {RUNGS[rung] for rung in fallen.rung[at]} for at, name in enumerate(TOPOLOGY.entities)}
    assert rungs["server-0"] == {"training"}
    assert rungs["rack-0"] == {"safe_bound"}


@given(
    quantiles=arrays.arrays(np.float32, (1, 2, 5, 8), elements=st.floats(0, 900, width=32)),
    history=arrays.arrays(np.float32, (2, 1, 192), elements=st.floats(0, 900, width=32) | st.just(float("nan"))),
    late=st.integers(0, 12),
    usual=st.booleans(),
)
def test_whatever_was_said_and_seen_intervals_do_not_narrow_nor_cross(
    quantiles: np.ndarray, history: np.ndarray, late: int, usual: bool
) -> None:
    quantiles = np.sort(quantiles, axis=2)
    entity = TOPOLOGY.table.filter(entity_id="server-1").with_columns(parent_id=pl.lit(None, pl.String))
    topology = type(TOPOLOGY)(entity)
    ladder = Ladder(SPEC, topology, "k1", USUAL if usual else None)
    good, bad = np.ones((1, 2), bool), np.zeros((1, 2), bool)
    outputs = Outputs(quantiles, quantiles, quantiles[:, :, 0])
    assert (ladder.descend(outputs, good, 0, lambda: history).rung == MODEL).all()
    fallen = ladder.descend(None, bad, late, lambda: history)
    after = fallen.outputs.quantiles
    assert (np.diff(after, axis=2) >= 0).all()
    spread, before = after - after[:, :, ::-1], quantiles - quantiles[:, :, ::-1]
    shifted = spread[..., fallen.rung[0] == LAST_GOOD][:, :, 3:]
    assert (np.diff(shifted, axis=-1) >= -0.01).all()  # what grows old does not grow surer
    below_safe = fallen.rung[0] != SAFE_BOUND  # which is as wide as there is: nothing to the limit
    for step in np.flatnonzero(below_safe):
        least = before[..., step + late] if step + late < 8 else before.max(axis=-1)
        assert (spread[..., step][:, :, 3:] >= least[:, :, 3:] - 0.01).all()
    assert set(np.unique(fallen.rung)) <= {LAST_GOOD, SEASONAL, TRAINING, SAFE_BOUND}


def test_rows_on_every_rung_keep_the_contract(live: Live) -> None:
    live.issue(NOW)
    for late in (0, 5, 20, 5000):
        table = live.issue(NOW + late * STEP).table()
        forecast_table(SPEC).check(table.lazy(), "issued")
        assert table.columns == live.issue(NOW + late * STEP).forecast.table().columns
        assert len(table) == len(TOPOLOGY.entities) * SPEC.horizon_steps


def test_rows_say_which_bundle_made_them(bundle: Bundle, tmp_path: Path, live: Live) -> None:
    live.issue(NOW)
    live.swap(load(write_bundle(tmp_path / "k2", "k2", TOPOLOGY, shift=5.0)), NOW)
    table = live.issue(NOW + 5 * STEP).table().filter(entity_id="server-1")
    assert table.filter(source="last_good")["bundle_id"].unique().to_list() == ["k1"]
    assert table.filter(source="seasonal")["bundle_id"].unique().to_list() == ["k2"]


def test_some_entities_only(live: Live) -> None:
    issued = live.issue(NOW)
    places = np.array([SERVER, 0])
    chosen = issued.table(places)
    assert chosen["entity_id"].unique(maintain_order=True).to_list() == [TOPOLOGY.entities[at] for at in places]
    whole = issued.table()
    assert chosen.filter(entity_id="server-1").equals(whole.filter(entity_id="server-1"))


def test_nothing_new_is_not_forecast_again(live: Live) -> None:
    first = live.issue(NOW)
    assert live.issue(NOW + timedelta(seconds=20)) is first
    assert live.issue(NOW, anew=True) is not first
    assert live.is_due(NOW + STEP)
    assert not live.is_due(NOW)


def test_a_step_that_is_not_over_does_not_count(live: Live) -> None:
    at: datetime = NOW + STEP / 2
    live.take(telemetry(TOPOLOGY, at), at)
    assert live.issue(at).time == NOW
