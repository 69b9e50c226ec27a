"""Values against the contracts: what is set aside and why, and that nothing is lost or found twice."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import at

from forecast.contracts.errors import DataError, ExitCode
from forecast.contracts.signals import SIGNALS
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.tables import FAULTS, JOB_SCHEDULE, TELEMETRY, TOPOLOGY, WEATHER, Table, forecast_table

NAN, INF = float("nan"), float("inf")
NOON = at(720)

GOOD: dict[Table, dict[str, Any]] = {
    TELEMETRY: {"time": at(0), "entity_id": "a", "power_w": 300.0, "temperature_c": 50.0, "utilization_ratio": 0.5},
    TOPOLOGY: {
        "entity_id": "a", "parent_id": None, "level": "server", "sku": "x", "power_limit_w": 1.0,
        "temperature_limit_c": None, "site": "here", "time_zone": "UTC", "country": "CH",
    },
    JOB_SCHEDULE: {
        "job_id": "1", "entity_id": "a", "kind": "batch", "status": "running", "start_time": at(0), "end_time": at(60),
        "planned_power_w": 500.0, "available_at": at(-5),
    },
    WEATHER: {
        "site": "here", "issue_time": at(0), "valid_time": at(60), "available_at": at(1), "outdoor_c": 20.0,
        "wet_bulb_c": 15.0,
    },
    FAULTS: {"fault": "gap", "entity_id": "a", "signal": "", "start_time": at(0), "end_time": at(0)},
}  # fmt: skip

BROKEN = [
    (TELEMETRY, {"time": None}, "unreadable time"),
    (TELEMETRY, {"time": datetime(1970, 1, 1, tzinfo=UTC)}, "absurd time"),
    (TELEMETRY, {"time": datetime(9999, 1, 1, tzinfo=UTC)}, "absurd time"),
    (TELEMETRY, {"time": NOON + timedelta(seconds=121)}, "future time"),
    (TELEMETRY, {"entity_id": None}, "no entity_id"),
    (TELEMETRY, {"entity_id": " "}, "no entity_id"),
    (TELEMETRY, {"power_w": NAN}, "unreadable power_w"),
    (TELEMETRY, {"power_w": -1.0}, "impossible power_w"),
    (TELEMETRY, {"power_w": INF}, "impossible power_w"),
    (TELEMETRY, {"temperature_c": 2.0**31}, "impossible temperature_c"),
    (TELEMETRY, {"utilization_ratio": 55.0}, "impossible utilization_ratio"),
    (TOPOLOGY, {"entity_id": ""}, "no entity_id"),
    (TOPOLOGY, {"level": "cabinet"}, "unknown level"),
    (TOPOLOGY, {"power_limit_w": 0.0}, "power_limit_w that is not positive"),
    (TOPOLOGY, {"country": "CHE"}, "country that is not two capital letters"),
    (JOB_SCHEDULE, {"job_id": None}, "no job_id"),
    (JOB_SCHEDULE, {"end_time": at(0)}, "end_time that is not after start_time"),
    (JOB_SCHEDULE, {"end_time": None}, "unreadable end_time"),
    (JOB_SCHEDULE, {"planned_power_w": -1.0}, "impossible planned_power_w"),
    (JOB_SCHEDULE, {"available_at": None}, "unreadable available_at"),
    (JOB_SCHEDULE, {"available_at": NOON + timedelta(hours=1)}, "future available_at"),
    (WEATHER, {"issue_time": at(61), "available_at": at(62)}, "issue_time after valid_time"),
    (WEATHER, {"available_at": at(-1)}, "available_at before issue_time"),
    (WEATHER, {"outdoor_c": 90.0}, "impossible outdoor_c"),
    (WEATHER, {"wet_bulb_c": 20.6}, "wet_bulb_c above outdoor_c"),
    (WEATHER, {"site": None}, "no site"),
    (FAULTS, {"signal": "humidity"}, "unknown signal"),
    (FAULTS, {"end_time": at(-1)}, "end_time before start_time"),
]


def frame_of(table: Table, *rows: dict[str, Any]) -> pl.LazyFrame:
    present = {**table.required, **{name: dtype for name, dtype in table.optional.items() if name in rows[0]}}
    return pl.LazyFrame(list(rows), schema=present)


@pytest.mark.parametrize("table", GOOD, ids=lambda table: table.name)
def test_a_good_row_passes_untouched(table: Table) -> None:
    frame = frame_of(table, GOOD[table])
    assert table.check(frame, "here", NOON) is frame
    assert table.sift(frame, "here", NOON).good.collect().equals(frame.collect())


@pytest.mark.parametrize(("table", "change", "reason"), BROKEN, ids=[f"{t.name}: {r}" for t, _, r in BROKEN])
def test_a_broken_rule_is_named_with_the_row(table: Table, change: dict[str, Any], reason: str) -> None:
    other = {**GOOD[table], "entity_id": "b", "site": "there", "fault": "spike"}
    rows = {name: value for name, value in other.items() if name in GOOD[table]}
    frame = frame_of(table, rows, {**GOOD[table], **change})
    sifted = table.sift(frame, "here", NOON)
    assert sifted.report["count"].to_list() == [1]
    assert sifted.report["reason"].item().startswith(reason)
    with pytest.raises(DataError, match=rf"^here: {table.name} with {reason}.*: 1, the first ") as refusal:
        table.check(frame, "here", NOON)
    assert refusal.value.exit_code == ExitCode.DATA_REFUSED


def test_a_bad_value_costs_the_value_and_a_bad_time_the_row() -> None:
    rows = [{**GOOD[TELEMETRY], "power_w": -1.0}, {**GOOD[TELEMETRY], "time": None, "power_w": -1.0}]
    sifted = TELEMETRY.sift(frame_of(TELEMETRY, *rows), "here")
    assert sifted.good.collect().to_dicts() == [{**GOOD[TELEMETRY], "power_w": None}]
    assert sifted.report.rows() == [
        ("unreadable time", 1, ["entity_id=a time=None"]),
        ("impossible power_w", 1, ["entity_id=a time=2026-03-02T00:00:00+00:00 power_w=-1"]),
    ]


def test_the_future_begins_two_minutes_ahead_and_is_not_judged_without_a_clock() -> None:
    frame = frame_of(TELEMETRY, {**GOOD[TELEMETRY], "time": NOON + timedelta(seconds=120)})
    TELEMETRY.check(frame, "here", NOON)
    TELEMETRY.check(frame.with_columns(pl.col("time").dt.offset_by("1d")), "here")


def test_a_report_counts_all_and_quotes_the_first_three() -> None:
    rows = [{**GOOD[TELEMETRY], "entity_id": f"e{index}", "power_w": -float(index)} for index in range(1, 9)]
    report = TELEMETRY.sift(frame_of(TELEMETRY, *rows), "here").report
    assert report["count"].item() == 8
    assert [text.split()[0] for text in report["examples"].item()] == ["entity_id=e1", "entity_id=e2", "entity_id=e3"]


def test_an_id_with_control_characters_does_not_break_the_line() -> None:
    frame = frame_of(TELEMETRY, {**GOOD[TELEMETRY], "entity_id": "a\n\x1b[31mb", "power_w": -1.0})
    with pytest.raises(DataError) as refusal:
        TELEMETRY.check(frame, "x\n.csv")
    assert str(refusal.value).isprintable()
    assert r"entity_id=a\n\x1b[31mb" in str(refusal.value)


def test_of_a_repeated_key_the_first_good_row_stays() -> None:
    bad, first, second = ({**GOOD[FAULTS], "end_time": at(minutes)} for minutes in (-1, 1, 2))
    sifted = FAULTS.sift(frame_of(FAULTS, bad, first, second), "here")
    assert sifted.good.collect()["end_time"].to_list() == [at(1)]
    assert sifted.report["reason"].to_list() == ["end_time before start_time", "repeated key"]
    assert sifted.report["count"].to_list() == [1, 1]


def test_repeats_of_telemetry_stay_for_the_grid_to_judge() -> None:
    TELEMETRY.check(frame_of(TELEMETRY, GOOD[TELEMETRY], GOOD[TELEMETRY]), "here")


TIMES = st.sampled_from([None, at(0), at(1), at(10_000), datetime(1980, 1, 1, tzinfo=UTC)])
VALUES = st.none() | st.sampled_from([NAN, INF, -INF]) | st.floats(-1e3, 3e9)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"time": TIMES, "entity_id": st.sampled_from([None, "", "a", "b\n"]), **dict.fromkeys(SIGNALS, VALUES)}
    ),
    max_size=12,
)


@given(ROWS, st.none() | st.just(NOON))
def test_what_stays_and_what_is_set_aside_is_all_there_was(rows: list[dict[str, Any]], now: datetime | None) -> None:
    frame = pl.LazyFrame(rows, schema={**TELEMETRY.required, **TELEMETRY.optional})
    sifted = TELEMETRY.sift(frame, "here", now)
    good, counts = sifted.good.collect(), dict(sifted.report.select("reason", "count").iter_rows())
    of_rows = sum(count for reason, count in counts.items() if reason.endswith((" time", " entity_id")))
    assert len(good) + of_rows == len(rows)
    times = pl.col("time").is_in([at(0), at(1), *([at(10_000)] if now is None else [])])
    kept = frame.filter(times, pl.col("entity_id").is_in(["a", "b\n"])).collect()
    for name, signal in SIGNALS.items():
        lost = counts.get(f"unreadable {name}", 0) + counts.get(f"impossible {name}", 0)
        assert good[name].count() + lost == kept[name].count()
        assert good[name].drop_nulls().is_between(signal.low, signal.high).all()
    assert TELEMETRY.sift(sifted.good, "here", now).report.is_empty()
    assert all(count > 0 for count in counts.values())
    assert all(len(texts) == min(count, 3) for _, count, texts in sifted.report.iter_rows())


@given(ROWS)
def test_check_raises_exactly_when_a_sift_reports(rows: list[dict[str, Any]]) -> None:
    frame = pl.LazyFrame(rows, schema={**TELEMETRY.required, **TELEMETRY.optional})
    if TELEMETRY.sift(frame, "here", NOON).report.is_empty():
        assert TELEMETRY.check(frame, "here", NOON) is frame
    else:
        with pytest.raises(DataError, match=r"^here: telemetry with "):
            TELEMETRY.check(frame, "here", NOON)


def forecast_row(spec: ForecastSpec, **change: Any) -> pl.LazyFrame:
    """One good forecast row of `spec`, but for `change`."""
    row: dict[str, Any] = {
        "forecast_time": at(0), "valid_time": at(0), "entity_id": "a", "level": "server", "bundle_id": "x",
        "data_time": None, "source": "model", "status": "ok",
    }  # fmt: skip
    table = forecast_table(spec)
    numbers = {name: None if "headroom" in name else 0.5 for name in table.required if name not in row}
    return pl.LazyFrame([{**row, **numbers, **change}], schema=dict(table.required))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"power_w_p10": 0.6}, "crossing quantiles of power_w"),
        ({"thermal_headroom_c_p5": 2.0, "thermal_headroom_c_p10": 1.0}, "crossing quantiles of thermal_headroom_c"),
        ({"power_w_p95": INF}, "power_w_p95 that is not finite"),
        ({"temperature_c_exceedance": 1.1}, "temperature_c_exceedance that is no probability"),
        ({"forecast_time": at(5)}, "valid_time before forecast_time"),
        ({"data_time": at(5)}, "data_time after forecast_time"),
        ({"source": None}, "no source"),
    ],
)
def test_a_forecast_that_cannot_be_is_refused(spec: ForecastSpec, change: dict[str, Any], reason: str) -> None:
    table = forecast_table(spec)
    table.check(forecast_row(spec), "here")
    with pytest.raises(DataError, match=f"^here: forecast with {reason}: 1, the first entity_id=a"):
        table.check(forecast_row(spec, **change), "here")
