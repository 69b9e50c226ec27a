"""From raw telemetry to forecast rows: nothing from the forecast time on is seen, and bad input is said so."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import before
from smoke_run import Smoke

from forecast.bundle.load import load
from forecast.contracts.errors import DataError
from forecast.contracts.signals import SIGNALS
from forecast.contracts.tables import percentile
from forecast.predictor import Forecast, Predictor
from forecast.windows.panel import Panel, panel_of

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def predictor(smoke: Smoke) -> Predictor:
    return Predictor(load(smoke.bundle))


@pytest.fixture(scope="module")
def telemetry(smoke: Smoke) -> pl.DataFrame:
    """The whole record, beyond what was trained on."""
    wanted = ["time", "entity_id", *(name for name in SIGNALS if name != "cooling_power_w")]
    return pl.read_parquet(smoke.fleet / "telemetry").select(wanted)


@pytest.fixture(scope="module")
def end(telemetry: pl.DataFrame) -> datetime:
    """The end of the record: a whole hour."""
    newest: Any = telemetry["time"].max()
    return (newest + HOUR).replace(minute=0)


@pytest.fixture(scope="module")
def at(end: datetime) -> datetime:
    """A forecast time with a day of telemetry after it."""
    return end - 24 * HOUR


def identical(first: Forecast, second: Forecast) -> bool:
    """Bit for bit, provenance included."""
    same = all(np.array_equal(*pair, equal_nan=True) for pair in zip(first.outputs, second.outputs, strict=True))
    provenance = ("time", "source", "status", "data_time")
    return same and all(getattr(first, name) == getattr(second, name) for name in provenance)


def noisy(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The same rows with every signal replaced by possible nonsense."""
    random = np.random.default_rng(seed)
    ranges = {"power_w": (0, 50_000), "temperature_c": (0, 120), "inlet_c": (0, 60), "utilization_ratio": (0, 1)}
    noise = [pl.Series(name, random.uniform(*span, len(rows)).astype(np.float32)) for name, span in ranges.items()]
    return rows.with_columns(noise)


def status_of(predictor: Predictor, forecast: Forecast, entity: str) -> tuple[str, str, datetime | None]:
    row = predictor.topology.entities.index(entity)
    return forecast.status[row], forecast.source[row], forecast.data_time[row]


def apart_from(predictor: Predictor, entity: str) -> list[int]:
    """The servers of other racks: a rack without a meter is the sum of its servers."""
    table = predictor.topology.table
    rack = table.row(by_predicate=pl.col("entity_id") == entity, named=True)["parent_id"]
    others = [row for row, (parent, level) in enumerate(table.select("parent_id", "level").iter_rows())
              if level == "server" and parent != rack]  # fmt: skip
    assert others
    return others


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), hours=st.integers(1, 90))
def test_no_peeking_at_raw_telemetry(
    predictor: Predictor, telemetry: pl.DataFrame, end: datetime, seed: int, hours: int
) -> None:
    """Everything from the forecast time on is replaced by noise, dropped, or added to: the forecast is the same."""
    at = end - hours * HOUR
    before, after = telemetry.filter(pl.col("time") < at), telemetry.filter(pl.col("time") >= at)
    expected = predictor.forecast(telemetry.lazy(), at)
    later = after.with_columns(pl.col("time") + timedelta(minutes=7))
    futures = {
        "noise": noisy(after, seed),
        "dropped": after.clear(),
        "shuffled": after.sample(fraction=1.0, shuffle=True, seed=seed),
        "extra": pl.concat([after, noisy(later, seed)]),
        "repeats that disagree": pl.concat([after, noisy(after, seed)]),
        "strangers": pl.concat([after, noisy(after, seed).with_columns(entity_id=pl.lit("stranger"))]),
    }
    for name, future in futures.items():
        assert identical(predictor.forecast(pl.concat([before, future]).lazy(), at), expected), name


def test_the_probe_finds_what_comes_before(predictor: Predictor, telemetry: pl.DataFrame, at: datetime) -> None:
    hour_before = (pl.col("time") >= at - HOUR) & (pl.col("time") < at)
    changed = pl.concat([telemetry.filter(~hour_before), noisy(telemetry.filter(hour_before), 0)])
    assert not identical(predictor.forecast(changed.lazy(), at), predictor.forecast(telemetry.lazy(), at))


def test_no_peeking_within_a_step_that_has_begun(predictor: Predictor, telemetry: pl.DataFrame, at: datetime) -> None:
    """Asked at half past, the forecast is that of the full hour: samples of the hour that runs are not a mean of it."""
    at_half = predictor.forecast(telemetry.lazy(), at + timedelta(minutes=30))
    assert identical(at_half, predictor.forecast(telemetry.lazy(), at))


@pytest.fixture(scope="module")
def panel(predictor: Predictor, telemetry: pl.DataFrame) -> Panel:
    spec, topology = predictor.spec, predictor.topology
    return panel_of(telemetry.lazy(), topology, spec)


@pytest.mark.parametrize("value", [np.nan, 0.0, 1e6])
def test_no_peeking_at_a_panel(predictor: Predictor, panel: Panel, value: float) -> None:
    origin = panel.steps - 30
    changed = panel.chunks[0].copy()
    changed[:, :, origin:] = value
    other = Panel(panel.start, panel.step_s, panel.channels, panel.entities, (changed,))
    assert identical(predictor.at(other, origin), predictor.at(panel, origin))
    assert identical(predictor.at(before(panel, origin), origin), predictor.at(panel, origin))


def test_raw_telemetry_and_the_panel_of_training_give_the_same_forecast(
    predictor: Predictor, telemetry: pl.DataFrame, panel: Panel, at: datetime
) -> None:
    assert identical(predictor.forecast(telemetry.lazy(), at), predictor.at(panel, panel.step(at)))


def test_the_order_of_rows_does_not_matter(predictor: Predictor, telemetry: pl.DataFrame, at: datetime) -> None:
    recent = telemetry.filter(pl.col("time") >= at - 200 * HOUR)
    shuffled = recent.sample(fraction=1.0, shuffle=True, seed=1)
    first, second = (predictor.forecast(rows.lazy(), at).outputs for rows in (recent, shuffled))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)  # sums of floats in another order


def test_by_default_it_forecasts_from_the_newest_complete_step(
    predictor: Predictor, telemetry: pl.DataFrame, end: datetime
) -> None:
    assert predictor.forecast(telemetry.lazy()).time == end
    until = end - 5 * HOUR
    assert predictor.forecast(telemetry.filter(pl.col("time") < until).lazy()).time == until


def test_a_step_that_one_server_alone_reported_is_not_complete(
    predictor: Predictor, telemetry: pl.DataFrame, at: datetime
) -> None:
    ahead = (
        (pl.col("time") >= at) & (pl.col("time") < at + HOUR) & (pl.col("entity_id") == predictor.topology.entities[0])
    )
    assert predictor.forecast(telemetry.filter((pl.col("time") < at) | ahead).lazy()).time == at


def test_fresh_telemetry_is_ok(predictor: Predictor, telemetry: pl.DataFrame, at: datetime) -> None:
    forecast = predictor.forecast(telemetry.lazy(), at)
    assert set(forecast.status) == {"ok"}
    assert set(forecast.source) == {"model"}
    assert set(forecast.data_time) == {at}


@pytest.mark.parametrize(
    ("age_h", "status"), [(0, "ok"), (1, "ok"), (2, "ok"), (3, "stale"), (24, "stale"), (90, "stale")]
)
def test_telemetry_that_stopped_is_stale_once_older_than_two_steps(
    predictor: Predictor, telemetry: pl.DataFrame, at: datetime, age_h: int, status: str
) -> None:
    stopped = telemetry.filter(pl.col("time") < at - age_h * HOUR)
    forecast = predictor.forecast(stopped.lazy(), at)
    assert forecast.time == at
    assert set(forecast.status) == {status}
    assert set(forecast.data_time) == {at - age_h * HOUR}
    assert set(forecast.source) == {"model"}


def test_telemetry_older_than_the_context_is_no_data(
    predictor: Predictor, telemetry: pl.DataFrame, at: datetime
) -> None:
    stopped = telemetry.filter(pl.col("time") < at - (predictor.spec.context_steps + 1) * HOUR)
    forecast = predictor.forecast(stopped.lazy(), at)
    assert set(forecast.status) == {"no_data"}
    assert set(forecast.source) == {"safe_bound"}
    assert set(forecast.data_time) == {None}


def test_one_silent_server_is_labelled_by_itself(predictor: Predictor, telemetry: pl.DataFrame, at: datetime) -> None:
    silent, other = predictor.topology.entities[:2]
    rows = telemetry.filter((pl.col("entity_id") != silent) | (pl.col("time") < at - 6 * HOUR))
    forecast = predictor.forecast(rows.lazy(), at)
    assert status_of(predictor, forecast, silent) == ("stale", "model", at - 6 * HOUR)
    assert status_of(predictor, forecast, other) == ("ok", "model", at)


def test_a_context_observed_less_than_half_is_sparse(
    predictor: Predictor, telemetry: pl.DataFrame, at: datetime
) -> None:
    kept = {0: "ok", 1: "sparse"}
    for index, (entity, step_h) in enumerate(zip(predictor.topology.entities[:2], (2, 3), strict=True)):
        hours = (pl.lit(at) - pl.col("time") - timedelta(microseconds=1)).dt.total_hours()
        rows = telemetry.filter((pl.col("entity_id") != entity) | (hours % step_h == 0))
        assert status_of(predictor, predictor.forecast(rows.lazy(), at), entity)[0] == kept[index]


@pytest.mark.parametrize(("history_h", "status"), [(1, "new"), (24, "new"), (72, "new"), (73, "ok"), (96, "ok")])
def test_an_entity_that_appeared_in_the_last_three_quarters_of_the_context_is_new(
    predictor: Predictor, telemetry: pl.DataFrame, at: datetime, history_h: int, status: str
) -> None:
    """It has a forecast of the model from its first hour on, and other racks keep theirs to the bit."""
    newcomer = predictor.topology.entities[1]
    elsewhere = apart_from(predictor, newcomer)
    rows = telemetry.filter((pl.col("entity_id") != newcomer) | (pl.col("time") >= at - history_h * HOUR))
    whole, forecast = predictor.forecast(telemetry.lazy(), at), predictor.forecast(rows.lazy(), at)
    assert status_of(predictor, forecast, newcomer) == (status, "model", at)
    for found, expected in zip(forecast.outputs, whole.outputs, strict=True):
        assert np.isfinite(found[1]).all()
        assert np.array_equal(found[elsewhere], expected[elsewhere])
    assert (np.diff(forecast.outputs.quantiles[1], axis=1) >= 0).all()
    assert (forecast.outputs.quantiles[1, 0, -1] > forecast.outputs.quantiles[1, 0, 0]).all()


def test_what_is_told_of_a_newcomer_sees_nothing_of_the_future(
    predictor: Predictor, telemetry: pl.DataFrame, at: datetime
) -> None:
    newcomer = predictor.topology.entities[1]
    rows = telemetry.filter((pl.col("entity_id") != newcomer) | (pl.col("time") >= at - 24 * HOUR))
    before, after = rows.filter(pl.col("time") < at), rows.filter(pl.col("time") >= at)
    changed = pl.concat([before, noisy(after, 3)])
    assert identical(predictor.forecast(changed.lazy(), at), predictor.forecast(rows.lazy(), at))


def test_an_entity_that_left_is_stale_then_has_its_bound_and_the_other_racks_notice_nothing(
    predictor: Predictor, telemetry: pl.DataFrame, at: datetime
) -> None:
    removed = predictor.topology.entities[0]
    elsewhere = apart_from(predictor, removed)
    expected = predictor.forecast(telemetry.lazy(), at).outputs
    for absent_h, status, source in ((25, "stale", "model"), (96, "no_data", "safe_bound")):
        rows = telemetry.filter((pl.col("entity_id") != removed) | (pl.col("time") < at - absent_h * HOUR))
        forecast = predictor.forecast(rows.lazy(), at)
        assert status_of(predictor, forecast, removed)[:2] == (status, source)
        for found, other in zip(forecast.outputs, expected, strict=True):
            assert np.array_equal(found[elsewhere], other[elsewhere])


def test_an_entity_that_never_reported_gets_its_safe_bound(
    predictor: Predictor, telemetry: pl.DataFrame, at: datetime
) -> None:
    absent = predictor.topology.entities[0]
    forecast = predictor.forecast(telemetry.filter(pl.col("entity_id") != absent).lazy(), at)
    assert status_of(predictor, forecast, absent) == ("no_data", "safe_bound", None)
    rows = forecast.table().filter(entity_id=absent)
    limits = predictor.topology.table.row(by_predicate=pl.col("entity_id") == absent, named=True)
    for target, headroom, limit in (
        ("power_w", "power_headroom_w", "power_limit_w"),
        ("temperature_c", "thermal_headroom_c", "temperature_limit_c"),
    ):
        for level in predictor.spec.quantile_levels:
            assert rows[percentile(target, level)].unique().to_list() == [pytest.approx(limits[limit])]
            assert rows[percentile(headroom, level)].unique().to_list() == [0.0]
        assert rows[f"{target}_exceedance"].null_count() == len(rows)
    present = forecast.table().filter(pl.col("source") == "model")
    assert present["power_w_exceedance"].null_count() == 0


def test_a_target_that_never_reported_gets_its_bound_and_the_other_its_forecast(
    predictor: Predictor, telemetry: pl.DataFrame, at: datetime
) -> None:
    blind = predictor.topology.entities[0]
    hidden = pl.when(pl.col("entity_id") != blind).then(pl.col("temperature_c")).alias("temperature_c")
    forecast = predictor.forecast(telemetry.with_columns(hidden).lazy(), at)
    row = predictor.topology.entities.index(blind)
    assert forecast.source[row] == "safe_bound"
    limit = predictor.topology.table["temperature_limit_c"][row]
    assert (forecast.outputs.quantiles[row, 1] == np.float32(limit)).all()
    assert (forecast.outputs.headroom[row, 1] == 0).all()
    assert len(np.unique(forecast.outputs.quantiles[row, 0])) > 5
    assert np.isfinite(forecast.outputs.exceedance[row, 0]).all()


def test_quantiles_ascend_and_headroom_is_what_they_leave(
    predictor: Predictor, telemetry: pl.DataFrame, at: datetime
) -> None:
    outputs = predictor.forecast(telemetry.lazy(), at).outputs
    assert (np.diff(outputs.quantiles, axis=2) >= 0).all()
    limits = predictor.topology.table.select("power_limit_w", "temperature_limit_c").to_numpy()[..., None, None]
    np.testing.assert_allclose(outputs.headroom, limits - outputs.quantiles[:, :, ::-1], rtol=1e-4, atol=0.5)
    assert ((outputs.exceedance >= 0) & (outputs.exceedance <= 1)).all()


def test_the_table_keeps_the_forecast_contract(predictor: Predictor, telemetry: pl.DataFrame, at: datetime) -> None:
    forecast, spec = predictor.forecast(telemetry.lazy(), at), predictor.spec
    table = forecast.table()
    assert table.columns == [
        "forecast_time",
        "valid_time",
        "entity_id",
        "level",
        *(percentile("power_w", level) for level in spec.quantile_levels),
        *(percentile("power_headroom_w", level) for level in spec.quantile_levels),
        "power_w_exceedance",
        *(percentile("temperature_c", level) for level in spec.quantile_levels),
        *(percentile("thermal_headroom_c", level) for level in spec.quantile_levels),
        "temperature_c_exceedance",
        "bundle_id",
        "data_time",
        "source",
        "status",
    ]
    assert len(table) == len(predictor.topology.entities) * spec.horizon_steps
    assert table["entity_id"].unique(maintain_order=True).to_list() == list(predictor.topology.entities)
    for _, rows in table.group_by("entity_id"):
        assert rows["valid_time"].to_list() == [at + step * HOUR for step in range(spec.horizon_steps)]
    assert table["forecast_time"].unique().to_list() == [at]
    assert table["bundle_id"].unique().to_list() == [predictor.bundle.manifest.bundle_id]
    levels = dict(predictor.topology.table.select("entity_id", "level").iter_rows())
    assert all(level == levels[entity] for entity, level in table.select("entity_id", "level").iter_rows())


def test_the_table_puts_every_number_in_its_place(predictor: Predictor, telemetry: pl.DataFrame, at: datetime) -> None:
    forecast = predictor.forecast(telemetry.lazy(), at)
    table = forecast.table()
    entity, step = 3, 5
    row = table.row(entity * predictor.spec.horizon_steps + step, named=True)
    assert row["entity_id"] == predictor.topology.entities[entity]
    assert row["valid_time"] == at + step * HOUR
    for index, (target, headroom) in enumerate(
        (("power_w", "power_headroom_w"), ("temperature_c", "thermal_headroom_c"))
    ):
        for q, level in enumerate(predictor.spec.quantile_levels):
            assert row[percentile(target, level)] == forecast.outputs.quantiles[entity, index, q, step]
            assert row[percentile(headroom, level)] == forecast.outputs.headroom[entity, index, q, step]
        assert row[f"{target}_exceedance"] == forecast.outputs.exceedance[entity, index, step]


@pytest.mark.parametrize(
    ("level", "name"), [(0.01, "power_w_p1"), (0.5, "power_w_p50"), (0.95, "power_w_p95"), (0.999, "power_w_p99.9")]
)
def test_names_of_quantile_columns(level: float, name: str) -> None:
    assert percentile("power_w", level) == name


def test_entities_outside_the_tree_are_left_out(predictor: Predictor, telemetry: pl.DataFrame, at: datetime) -> None:
    stranger = telemetry.with_columns(entity_id=pl.lit("stranger"), power_w=pl.lit(1e6, pl.Float32))
    forecast = predictor.forecast(pl.concat([telemetry, stranger]).lazy(), at)
    assert identical(forecast, predictor.forecast(telemetry.lazy(), at))


def test_strangers_alone_are_refused_by_name(predictor: Predictor, telemetry: pl.DataFrame, at: datetime) -> None:
    with pytest.raises(DataError, match=r"no rows of known entities .*; it has 'stranger', the bundle '"):
        predictor.forecast(telemetry.with_columns(entity_id=pl.lit("stranger")).lazy(), at)


def test_a_stranger_whose_clock_is_ahead_does_not_hide_the_fleet(
    predictor: Predictor, telemetry: pl.DataFrame, end: datetime
) -> None:
    stranger = telemetry.head(1).with_columns(entity_id=pl.lit("stranger"), time=pl.lit(end + timedelta(days=400)))
    forecast = predictor.forecast(pl.concat([telemetry, stranger]).lazy())
    assert forecast.time == end
    assert set(forecast.status) == {"ok"}


def test_no_rows_before_the_forecast_time_are_refused(predictor: Predictor, telemetry: pl.DataFrame) -> None:
    first: Any = telemetry["time"].min()
    with pytest.raises(DataError, match=r"here: no rows of known entities before \d{4}-\d\d-\d\d \d\d:\d\d UTC\.$"):
        predictor.forecast(telemetry.lazy(), first, where="here")
    with pytest.raises(DataError, match="here: no rows of known entities"):
        predictor.forecast(telemetry.clear().lazy(), where="here")


def test_a_missing_channel_is_refused_by_name(predictor: Predictor, telemetry: pl.DataFrame, at: datetime) -> None:
    with pytest.raises(DataError, match=r"here: no column inlet_c, which this forecast needs; .*(window\.past)"):
        predictor.forecast(telemetry.drop("inlet_c").lazy(), at, where="here")


def test_kilowatts_are_refused(predictor: Predictor, telemetry: pl.DataFrame, at: datetime) -> None:
    with pytest.raises(DataError, match="kW"):
        predictor.forecast(telemetry.with_columns(pl.col("power_w") / 1000).lazy(), at)
