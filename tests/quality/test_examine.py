"""What an examination finds, against what the simulator broke and what was broken by hand."""

import re
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import DAYS, Record, examined
from trees import at

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.signals import SIGNALS
from forecast.contracts.specs import ForecastSpec
from forecast.quality.clocks import clocks
from forecast.quality.examine import Asked, examine
from forecast.quality.lake import lake
from forecast.quality.quality import Quality
from forecast.quality.words import FAULTS, sections
from forecast.simulator.faults import FAULTS as INJECTED
from forecast.traces.units import UNITS
from forecast.windows.panel import panel_of
from forecast.windows.store import Store

SERVERS = 16


@pytest.fixture(scope="module")
def fine(clean: Record) -> Quality:
    return examined(clean.folder)


@pytest.fixture(scope="module")
def found(faulty: Record) -> Quality:
    return examined(faulty.folder)


def whole(quality: Quality, signal: str, level: str) -> float | None:
    return next(row.completeness for row in quality.coverage if (row.signal, row.level) == (signal, level))


def moved(quality: Quality, what: str) -> tuple[int, tuple[str, ...]]:
    one = next(one for one in quality.moved if one.what == what)
    return one.entities, tuple(name for name, _ in one.examples)


def test_a_clean_record_has_nothing_wrong_with_it(clean: Record, fine: Quality) -> None:
    assert fine.fit
    assert fine.rows == len(clean.telemetry)
    assert fine.levels == {"server": SERVERS, "rack": 4, "row": 2, "hall": 2, "site": 1}
    assert (fine.start, fine.end) == (datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 8, 23, 55, tzinfo=UTC))
    assert fine.watermark == fine.end
    assert {row.completeness for row in fine.coverage} == {1.0}
    assert {row.interval_s for row in fine.coverage} == {300.0, None}
    assert {row.level for row in fine.coverage if row.signal == "power_w"} == {"server", "rack", "row", "hall", "site"}
    assert sum(fault.steps for fault in fine.faults) < 0.001 * fine.rows
    assert fine.set_aside == fine.facts == fine.tree == ()
    assert [one.entities for one in fine.moved] == [0, 0, 0, 0]
    assert [(unit.signal, unit.fits, unit.elsewhere) for unit in fine.units] == [
        ("power_w", "W", ()),
        ("temperature_c", "°C", ()),
        ("inlet_c", "°C", ()),
    ]
    assert (fine.clocks.judged, fine.clocks.unjudged) == (SERVERS, 0)
    assert fine.clocks.worst == ()
    assert not any("topology lacks" in rule.found for rule in fine.verdict)


@pytest.mark.parametrize(
    "fault", ["duplicate", "conflicting_duplicate", "out_of_order", "skewed_clock", "sentinel", "gap", "stuck_sensor"]
)
def test_whom_a_fault_struck_is_found(faulty: Record, found: Quality, fault: str) -> None:
    struck = faulty.struck(fault)
    if fault == "duplicate":  # where two rows differ in one signal, they often agree in another
        struck |= faulty.struck("conflicting_duplicate")
    count = max(one.entities for one in found.faults if one.fault == fault)
    named = {example.entity_id for one in found.faults if one.fault == fault for example in one.examples}
    assert struck
    assert abs(count - len(struck)) <= max(1, 0.1 * len(struck))
    assert named <= struck
    days = found.faults_by_day[fault]
    assert len(days) == DAYS
    assert sum(days) == sum(one.steps for one in found.faults if one.fault == fault)


def test_an_example_is_in_the_local_time_of_its_site(faulty: Record, found: Quality) -> None:
    first = faulty.truth.filter(fault="sentinel").sort("start_time", "entity_id").row(0, named=True)
    example = next(one for one in found.faults if one.fault == "sentinel").examples[0]
    assert example.start == first["start_time"]
    assert example.start.utcoffset() == timedelta(hours=-5)


def test_who_came_and_went_is_told(moving: Record) -> None:
    found = examined(moving.folder)
    late = moving.truth.filter(pl.col("end_time") - pl.col("start_time") > timedelta(hours=1), fault="new_entity")
    count, named = moved(found, "arrived")
    assert count == late["entity_id"].n_unique() > 0
    assert set(named) <= set(late["entity_id"])
    gone = moving.truth.filter(pl.col("end_time") - pl.col("start_time") >= timedelta(days=1), fault="removed_entity")
    count, named = moved(found, "left")
    assert count == gone["entity_id"].n_unique() > 0
    assert set(named) <= set(gone["entity_id"])


def test_completeness_is_what_counting_rows_gives(clean: Record, tmp_path: Path) -> None:
    """Every third row of each server of a hall is lost, between its first row and its last; not of all at once."""
    place = pl.int_range(pl.len()).over("entity_id") + pl.col("entity_id").rank("dense").cast(pl.Int64)
    rows = clean.telemetry.sort("entity_id", "time").with_columns(at=place)
    rows = rows.with_columns(at=pl.when(pl.col("time").dt.time().is_between(time(3), time(21))).then("at").otherwise(0))
    lost = pl.col("entity_id").str.contains("hall-a.*server") & (pl.col("at") % 3 == 1)
    kept = rows.filter(~lost).drop("at")
    quality = examined(clean.copy(tmp_path / "lossy", kept))
    servers = rows.filter(pl.col("entity_id").str.contains("server"))
    expected = 1 - servers.filter(lost).height / servers.height
    assert whole(quality, "power_w", "server") == pytest.approx(expected, abs=1e-9)
    assert whole(quality, "power_w", "site") == 1.0, "two thirds of a hall and all of the other make a site"
    assert quality.fit


def test_who_left_is_not_waited_for(clean: Record, tmp_path: Path) -> None:
    gone = clean.telemetry.filter(
        ~pl.col("entity_id").str.contains("hall-b.*server") | (pl.col("time") < datetime(2026, 1, 6, tzinfo=UTC))
    )
    quality = examined(clean.copy(tmp_path / "gone", gone))
    assert whole(quality, "power_w", "server") == 1.0
    assert moved(quality, "left")[0] == SERVERS // 2
    assert quality.watermark == quality.end


@pytest.mark.parametrize(("gone", "hours", "fit"), [(3, 36, True), (4, 36, False), (8, 36, False), (8, 23, True)])
def test_a_fleet_of_which_more_than_a_fifth_left_is_not_fit(
    clean: Record, tmp_path: Path, gone: int, hours: int, fit: bool
) -> None:
    """Of sixteen servers, whose racks are not measured, some end that long before the others."""
    servers = clean.telemetry.filter(pl.col("entity_id").str.contains("server"))
    leavers = servers["entity_id"].unique().sort()[:gone].to_list()
    last = datetime(2026, 1, 8, 23, 55, tzinfo=UTC) - timedelta(hours=hours)
    kept = servers.filter(~pl.col("entity_id").is_in(leavers) | (pl.col("time") <= last))
    quality = examined(clean.copy(tmp_path / "gone", kept))
    rule = next(rule for rule in quality.verdict if rule.rule == "the fleet is still there")
    assert rule.passed is fit
    assert rule.found == (f"{gone} of 16 measured entities have left" if hours >= 24 else "nobody has left")
    assert whole(quality, "power_w", "server") == 1.0 or hours < 24, "who left is not expected"


def test_a_fleet_in_kilowatt_is_refused_here_as_by_training(clean: Record, tmp_path: Path, spec: ForecastSpec) -> None:
    path = clean.copy(tmp_path / "kw", clean.telemetry.with_columns(pl.col("power_w") / 1000))
    quality = examined(path)
    assert not quality.fit
    unit = next(rule for rule in quality.reasons if "is in W" in rule.rule)
    assert "fits kW: declare units: {power_w: kW}" in unit.found
    trace, _, _ = lake(str(path), None)
    with pytest.raises(DataError, match="kW"):
        Store(tmp_path / "panel").update(trace, spec, "source")


@pytest.mark.parametrize(
    ("signal", "wrong", "unit"),
    [
        ("power_w", pl.col("power_w") / 1000, "kW"),
        ("power_w", pl.col("power_w") * 1000, "mW"),
        ("temperature_c", pl.col("temperature_c") * 1.8 + 32, "°F"),
        ("inlet_c", pl.col("inlet_c") * 1.8 + 32, "°F"),
    ],
)
def test_a_hall_in_another_unit_for_some_days_is_named(
    clean: Record, tmp_path: Path, signal: str, wrong: pl.Expr, unit: str
) -> None:
    """On the last day, so that most days of the fleet are right."""
    hall = pl.col("entity_id").str.contains("hall-b") & (pl.col("time") >= datetime(2026, 1, 8, tzinfo=UTC))
    mixed = clean.telemetry.with_columns(pl.when(hall).then(wrong).otherwise(signal).alias(signal))
    quality = examined(clean.copy(tmp_path / "mixed", mixed))
    inferred = next(one for one in quality.units if one.signal == signal)
    assert inferred.fits == {"kW": "W", "mW": "W", "°F": "°C"}[unit]
    assert [(one.group, one.unit, [day.day for day in one.days]) for one in inferred.elsewhere] == [
        ("site-1.hall-b", unit, [8])
    ]
    (cell,) = (row[-1] for section in sections(quality) for row in section.rows if "hall-b on 2026-01-08" in row[-1])
    declared = re.search(rf"declare units: {{{signal}: (\w+)}} for it", cell)
    assert declared is not None
    assert declared[1] in UNITS[SIGNALS[signal].unit]


def test_a_steady_skew_is_measured(clean: Record, tmp_path: Path) -> None:
    name = "site-1.hall-a.row-1.rack-01.server-02"
    late = pl.when(pl.col("entity_id") == name).then(pl.col("time") + timedelta(seconds=40)).otherwise("time")
    quality = examined(clean.copy(tmp_path / "skewed", clean.telemetry.with_columns(time=late)))
    assert [entity for entity, _ in quality.clocks.worst] == [name]
    assert quality.clocks.worst[0][1] == pytest.approx(40, abs=300 / 200)
    assert sum(quality.clocks.counts) == SERVERS
    assert {fault.fault for fault in quality.faults if fault.entities} >= {"skewed_clock"}


@given(st.integers(0, 199), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_who_keeps_to_a_place_in_the_step_is_judged_wherever_it_is(place: int, stray: int, seed: int) -> None:
    """Within 4.5 % of a step; who samples at any time has no clock to judge, and who said little has not yet."""
    random = np.random.default_rng(seed)
    drawn = [(place + random.integers(0, stray + 1, 300)) % 200, random.integers(0, 200, 300), np.full(9, place)]
    offsets = np.array([np.bincount(row, minlength=200) for row in drawn])
    found = clocks(offsets, ("steady", "any", "rare"), 300)
    assert (found.judged, found.unjudged, found.worst) == (1, 2, ())
    assert sum(found.counts) == 1


def test_samplers_without_a_phase_have_no_offsets(clean: Record, tmp_path: Path) -> None:
    """Every 4 to 6 minutes, as it comes."""
    random = np.random.default_rng(3)
    times = [int(second) for second in np.cumsum(random.integers(240, 361, 3 * 288))]
    rows = pl.concat(
        pl.DataFrame({"time": [at(0) + timedelta(seconds=second + shift) for second in times]}).with_columns(
            entity_id=pl.lit(name), power_w=pl.Series(random.normal(500, 50, len(times))), temperature_c=40.0
        )
        for name, shift in (("a", 0), ("b", 90), ("c", 210))
    )
    rows.write_parquet(tmp_path / "t.parquet")
    found = examined(tmp_path / "t.parquet")
    assert (found.clocks.judged, found.clocks.unjudged, found.clocks.worst) == (0, 3, ())
    told = next(section for section in sections(found) if section.name == "clocks")
    assert "0 could be judged; 3 could not be judged" in told.nothing


def test_without_nameplates_power_is_not_judged_and_the_report_says_so(clean: Record, tmp_path: Path) -> None:
    clean.telemetry.write_parquet(tmp_path / "alone.parquet")
    quality = examined(tmp_path / "alone.parquet")
    assert quality.fit, "what cannot be judged is no reason"
    power = next(unit for unit in quality.units if unit.signal == "power_w")
    assert power.fits is power.typical is None
    assert power.raw is not None
    assert any("no topology was found" in fact.text for fact in quality.tree)
    assert quality.levels == {"server": clean.telemetry["entity_id"].n_unique()}


def test_rows_that_break_the_contract_are_counted_with_examples(clean: Record, tmp_path: Path) -> None:
    now = datetime(2026, 1, 9, tzinfo=UTC)
    stranger = clean.telemetry.head(3).with_columns(entity_id=pl.lit("who"))
    future = clean.telemetry.head(2).with_columns(time=now + timedelta(days=1))
    timeless = clean.telemetry.head(1).with_columns(time=pl.lit(None, pl.Datetime("us", "UTC")))
    blank = clean.telemetry.head(4).with_columns(
        power_w=pl.lit(2_147_483_632.0), time=pl.col("time").dt.offset_by("7m")
    )
    rows = pl.concat([clean.telemetry, stranger, future, timeless, blank], how="vertical_relaxed")
    quality = examined(clean.copy(tmp_path / "odd", rows), now=now)
    assert {aside.reason: aside.count for aside in quality.set_aside} == {
        "unreadable time": 1,
        "future time": 2,
        "impossible power_w": 4,
    }
    assert "2.14748e+09" in quality.set_aside[-1].examples[0]
    assert (quality.rows, quality.unknown_rows, quality.unknown) == (len(rows), 3, ("who",))
    assert quality.end == datetime(2026, 1, 8, 23, 55, tzinfo=UTC), "the future stretches nothing"
    kept = next(rule for rule in quality.verdict if rule.rule == "rows keep the contract")
    assert kept.found.startswith("7 of ")
    assert kept.found.endswith(
        "rows set aside, whole or a value of them, besides 3 of entities that the topology lacks"
    )


def test_what_no_single_sample_shows(clean: Record, tmp_path: Path) -> None:
    frozen, dead = "site-1.hall-a.row-1.rack-01.server-01", "site-1.hall-b.row-1.rack-01.server-01"
    power = pl.when(pl.col("entity_id") == frozen).then(1234.0).when(pl.col("entity_id") == dead).then(-1.0)
    quality = examined(clean.copy(tmp_path / "odd", clean.telemetry.with_columns(power_w=power.otherwise("power_w"))))
    facts = {fact.text: fact.examples for fact in quality.facts}
    assert facts["Load of which no sample can be believed"] == (dead,)
    constant = "Load that is the same from the first sample to the last"
    stuck = [fault for fault in quality.faults if (fault.fault, fault.signal) == ("stuck_sensor", "power_w")]
    assert facts.get(constant) == (frozen,) or frozen in {one.entity_id for fault in stuck for one in fault.examples}


def test_a_sensor_that_died_or_never_was_is_named_while_its_entity_goes_on(clean: Record, tmp_path: Path) -> None:
    died, never = "site-1.hall-a.row-1.rack-01.server-01", "site-1.hall-b.row-1.rack-01.server-01"
    late = pl.col("time") >= datetime(2026, 1, 7, tzinfo=UTC)
    lost = ((pl.col("entity_id") == died) & late) | (pl.col("entity_id") == never)
    heat = pl.when(~lost).then("temperature_c")
    quality = examined(clean.copy(tmp_path / "odd", clean.telemetry.with_columns(temperature_c=heat)))
    assert {fact.text: fact.examples for fact in quality.facts} == {
        "Temperature that ended a day or more before the last of the same entity": (died,),
        "Temperature that never came, though others of the level tell theirs": (never,),
    }
    assert moved(quality, "left") == moved(quality, "never") == (0, ())


def test_a_fleet_without_power_is_not_taken_for_one_in_kilowatts(clean: Record, tmp_path: Path) -> None:
    quality = examined(clean.copy(tmp_path / "off", clean.telemetry.with_columns(power_w=0.0)))
    power = next(rule for rule in quality.verdict if rule.rule == "Load (power_w) is in W")
    assert (power.passed, power.found) == (None, "cannot be judged: nothing above 0 came")
    assert any(fact.text == "Load that is the same from the first sample to the last" for fact in quality.facts)


def test_a_time_that_is_none_may_be_one_that_clocks_skip(clean: Record, tmp_path: Path) -> None:
    timeless = clean.telemetry.head(1).with_columns(time=pl.lit(None, pl.Datetime("us", "UTC")))
    rows = pl.concat([clean.telemetry, timeless], how="vertical_relaxed")
    told = next(one for one in sections(examined(clean.copy(tmp_path / "x", rows))) if one.name == "set-aside")
    assert told.rows[0][:2] == ("unreadable time, or local in an hour that clocks skip", "1")


@pytest.mark.parametrize("days", [1, 3])
def test_little_memory_finds_the_same(
    faulty: Record, found: Quality, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many days at a time: whatever does not hang on where stretches are cut is the same."""
    monkeypatch.setattr("forecast.windows.stretches._MOST_DAYS", days)
    slowly = examined(faulty.folder)
    for name in ("coverage", "watermark", "moved", "units", "clocks", "facts", "verdict", "set_aside", "tree"):
        assert getattr(slowly, name) == getattr(found, name), name
    fewer = {fault: sum(steps) for fault, steps in slowly.faults_by_day.items()}
    more = {fault: sum(steps) for fault, steps in found.faults_by_day.items()}
    assert fewer.keys() == more.keys()
    for fault, steps in fewer.items():
        assert steps == pytest.approx(more[fault], rel=0.05, abs=5), fault


def test_no_memory_is_a_wrong_setting(clean: Record) -> None:
    with pytest.raises(ConfigError, match="memory_gb"):
        examined(clean.folder, memory_gb=0.1)


def test_progress_grows_to_all(clean: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forecast.windows.stretches._MOST_DAYS", 1)
    trace, signals, targets = lake(str(clean.folder), None)
    shares: list[float] = []
    examine(trace, Asked("x", signals, targets), shares.append)
    assert len(shares) == DAYS
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_every_fault_that_marks_and_the_simulator_know_has_its_words() -> None:
    elsewhere = {"late", "future", "new_entity", "removed_entity", "schema_drift"}
    assert set(FAULTS) == set(INJECTED) - elsewhere


def test_fit_telemetry_makes_a_panel(clean: Record, fine: Quality, spec: ForecastSpec) -> None:
    trace, _, _ = lake(str(clean.folder), None)
    assert fine.fit
    assert panel_of(trace.telemetry, trace.topology, spec).time(0) == fine.start
    assert at(0) > fine.start
