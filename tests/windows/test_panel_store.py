"""The panel on disk: whatever comes when, it is what a full rebuild makes, and only what changed is built again."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from small_lake import SPEC, TREE, Stretch, by_day, check_folder, files_in, same, trace_of
from trees import MONDAY, node, tree_of

from forecast.contracts.errors import ConfigError, DataError
from forecast.traces.files import FileSource
from forecast.traces.trace import Part, Trace
from forecast.windows import stretches
from forecast.windows.panel import panel_of
from forecast.windows.store import Store, Updated

#: What happens to a lake: a day more, rows for old days, a file rewritten or dropped, an end that moves.
STRETCHES = st.builds(
    Stretch,
    first_hour=st.integers(-80, 150),
    hours=st.sampled_from([1, 5, 24, 30]),
    servers=st.sampled_from(["abcde", "a", "bd"]),
    seed=st.integers(0, 3),
)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from([1, 7, 24, 60])),
        st.tuples(st.just("put"), st.sampled_from(["day-00", "day-01", "new-1", "new-2"]), STRETCHES),
        st.tuples(st.just("drop"), st.integers(0, 20)),
        st.tuples(st.just("until"), st.none() | st.integers(30, 150)),
    ),
    min_size=1,
    max_size=4,
)


def check_whole(folder: Path, updated: Updated, trace: Trace) -> None:
    """The panel is that of a full rebuild, and that made in memory."""
    check_folder(folder, updated)
    same(updated.panel, panel_of(trace.telemetry, TREE, SPEC))
    with TemporaryDirectory() as fresh:
        rebuilt = Store(Path(fresh)).update(trace, SPEC, "lake")
        assert rebuilt.built == len(rebuilt.days)
        same(updated.panel, rebuilt.panel)


def content(trace: Trace) -> dict[str, list[str]]:
    """Every day to what goes into it: the parts with samples of it or of the day before, by their keys."""
    ranges = [(part.first.date(), part.last.date(), part.key) for part in trace.parts if part.first and part.last]
    day, end = min(first for first, _, _ in ranges), max(last for _, last, _ in ranges)
    days = [day + timedelta(days=index) for index in range((end - day).days + 1)]
    return {
        str(day): sorted(key for first, last, key in ranges if first <= day and last >= day - timedelta(days=1))
        for day in days
    }


def apply(files: dict[str, Stretch], change: tuple[object, ...]) -> None:
    match change:
        case ("append", int(hours)):
            end = max(file.first_hour + file.hours for file in files.values())
            files[f"more-{end}"] = Stretch(end, hours)
        case ("put", str(name), Stretch() as stretch):
            files[name] = stretch
        case ("drop", int(at)) if len(files) > 1:
            del files[sorted(files)[at % len(files)]]


@settings(max_examples=12)
@given(CHANGES, st.sampled_from([1, 2, 16]))
def test_updates_end_where_a_full_rebuild_does(changes: list[tuple[object, ...]], at_once: int) -> None:
    files, until, built = by_day(2), None, dict[str, list[str]]()
    with TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "_MOST_DAYS", at_once)
        for change in [(), *changes]:
            apply(files, change)
            if change[:1] == ("until",):
                until = change[1]
            end = None if until is None else (MONDAY + timedelta(hours=int(str(until)))).isoformat()
            trace = trace_of(files, end)
            if not any(part.first for part in trace.parts):
                continue
            updated = Store(Path(place)).update(trace, SPEC, "lake")
            wanted = content(trace)
            assert [day.day for day in updated.days] == list(wanted)
            assert updated.built == sum(built.get(day) != into for day, into in wanted.items())
            built = wanted
            check_whole(Path(place), updated, trace)


def lake_with(change: Mapping[str, Stretch | None]) -> Trace:
    files = {**by_day(10), **change}
    return trace_of({name: file for name, file in files.items() if file})


@pytest.mark.parametrize(
    ("change", "built", "days"),
    [
        ({}, 0, 10),
        ({"day-10": Stretch(240, 24)}, 1, 11),
        ({"day-10": Stretch(240, 1)}, 1, 11),
        ({"day-12": Stretch(288, 24)}, 3, 13),  # days without rows are days too
        ({"late": Stretch(50, 2, "a")}, 2, 10),  # the third day and the one after it
        ({"late": Stretch(230, 1, "a")}, 1, 10),
        ({"late": Stretch(46, 4, "a")}, 3, 10),  # over midnight
        ({"day-03": Stretch(72, 24, seed=1)}, 2, 10),
        ({"day-09": None}, 0, 9),
        ({"day-00": None}, 1, 9),  # the first day has no day before it
        ({"day-04": None}, 2, 10),
        ({"day--1": Stretch(-24, 24)}, 2, 11),
        ({"day--3": Stretch(-72, 24)}, 3, 13),  # ... nor is the day after a silent one changed
    ],
)
def test_only_days_whose_input_changed_are_built(
    tmp_path: Path, change: dict[str, Stretch | None], built: int, days: int
) -> None:
    Store(tmp_path).update(lake_with({}), SPEC, "lake")
    trace = lake_with(change)
    updated = Store(tmp_path).update(trace, SPEC, "lake")
    assert (updated.built, len(updated.days)) == (built, days)
    check_whole(tmp_path, updated, trace)
    assert Store(tmp_path).update(trace, SPEC, "lake").built == 0


def test_the_content_before_a_step_is_known_by_its_values_alone(tmp_path: Path) -> None:
    """Neither later rows nor another cut into files change it, any earlier value does."""

    def content_before_hour_40(name: str, trace: Trace) -> str:
        return Store(tmp_path / name).update(trace, SPEC, "lake").content(40)

    lake = trace_of(by_day(2))
    one_file = replace(lake, parts=(Part("all", "all", lake.parts[0].first, lake.parts[-1].last),))
    known = content_before_hour_40("lake", lake)
    assert content_before_hour_40("one file", one_file) == known
    assert content_before_hour_40("longer", trace_of({**by_day(2), "late": Stretch(40, 12, "a", 1)})) == known
    assert content_before_hour_40("shorter", trace_of(by_day(2), (MONDAY + timedelta(hours=40)).isoformat())) == known
    assert content_before_hour_40("late", trace_of({**by_day(2), "late": Stretch(39, 1, "a", 1)})) != known
    assert content_before_hour_40("first day", trace_of({**by_day(2), "late": Stretch(3, 1, "a", 1)})) != known
    assert Store(tmp_path / "lake").update(lake, SPEC, "lake").content(39) != known


def test_files_of_days_that_did_not_change_are_not_touched(tmp_path: Path) -> None:
    first = Store(tmp_path).update(lake_with({}), SPEC, "lake")
    stamps = {name: (tmp_path / name).stat().st_mtime_ns for name in files_in(tmp_path) if name.endswith(".npy")}
    held = [np.array(chunk) for chunk in first.panel.chunks]
    Store(tmp_path).update(lake_with({"late": Stretch(50, 2, "a")}), SPEC, "lake")
    kept = files_in(tmp_path) & set(stamps)
    assert len(kept) == 8
    assert all((tmp_path / name).stat().st_mtime_ns == stamps[name] for name in kept)
    for chunk, values in zip(first.panel.chunks, held, strict=True):
        assert isinstance(chunk, np.memmap)
        assert_array_equal(chunk, values, "who mapped a day that was replaced keeps it")


def test_another_tree_channel_or_step_is_another_panel(tmp_path: Path) -> None:
    trace = trace_of(by_day(3))
    Store(tmp_path).update(trace, SPEC, "lake")
    smaller = tree_of(*(node(name) for name in "abc"))
    for other, spec in (
        (replace(trace, topology=smaller), SPEC),
        (trace, replace(SPEC, targets=("power_w",), past=("power_w",))),
        (trace, replace(SPEC, step_s=1800)),
    ):
        updated = Store(tmp_path).update(other, spec, "lake")
        assert updated.built == 3
        same(updated.panel, panel_of(other.telemetry, other.topology, spec))


def test_a_lake_of_parquet_files_is_read_file_by_file(tmp_path: Path) -> None:
    TREE.table.write_parquet(tmp_path / "tree.parquet")

    def write(name: str, stretch: Stretch) -> None:
        path = tmp_path / "lake" / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        stretch.table().write_parquet(path)

    def read() -> Trace:
        return FileSource(path=str(tmp_path / "lake"), topology=str(tmp_path / "tree.parquet")).read()

    def updated() -> Updated:
        trace = read()
        found = Store(tmp_path / "panel").update(trace, SPEC, "lake")
        same(found.panel, panel_of(trace.telemetry, TREE, SPEC))
        return found

    for name, stretch in by_day(4).items():
        write(name, stretch)
    assert updated().built == 4
    write("day-04", Stretch(96, 24))
    assert updated().built == 1
    write("day-01", Stretch(24, 24, seed=3))
    assert updated().built == 2
    write("late", Stretch(3, 2, "b"))
    assert updated().built == 2
    assert updated().built == 0


def test_a_source_that_knows_no_parts_is_built_as_a_whole(tmp_path: Path) -> None:
    trace = replace(trace_of(by_day(3)), parts=())
    assert Store(tmp_path).update(trace, SPEC, "lake").built == 3
    assert Store(tmp_path).update(trace, SPEC, "lake").built == 0
    more = replace(trace_of(by_day(4)), parts=(), key="other")
    updated = Store(tmp_path).update(more, SPEC, "lake")
    assert updated.built == 4
    check_whole(tmp_path, updated, more)


def test_strangers_and_nulls_at_the_ends_change_nothing(tmp_path: Path) -> None:
    """A part may begin days before anybody known says anything."""
    files = by_day(3)
    trace = trace_of({**files, "strangers": Stretch(-30, 150, "xyz")})
    updated = Store(tmp_path).update(trace, SPEC, "lake")
    assert sum(day.unknown_rows for day in updated.days) > 0
    same(updated.panel, panel_of(trace.telemetry, TREE, SPEC))
    same(updated.panel, panel_of(trace_of(files).telemetry, TREE, SPEC))


def test_progress_tells_of_every_stretch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "_MOST_DAYS", 4)
    told: list[float] = []
    Store(tmp_path).update(trace_of(by_day(10)), SPEC, "lake", told.append)
    assert told == [0.4, 0.8, 1.0]


def test_less_memory_is_more_stretches_of_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "_BASE_BYTES", 0)
    trace = trace_of(by_day(10))
    whole = Store(tmp_path / "whole").update(trace, SPEC, "lake").panel
    taken = []
    for exponent in range(30):
        told: list[float] = []
        try:
            updated = Store(tmp_path / str(exponent), 1e-6 * 1.5**exponent).update(trace, SPEC, "lake", told.append)
        except ConfigError:
            continue
        taken.append(len(told))
        same(updated.panel, whole)
    assert taken == sorted(taken, reverse=True)
    assert (taken[0], taken[-1]) == (10, 1)


def test_too_little_memory_names_the_setting_and_how_much_would_do(tmp_path: Path) -> None:
    trace = trace_of(by_day(2))
    with pytest.raises(ConfigError, match=r"^memory_gb=0.1 has no room for a day of 8 entities at 3600 s") as refusal:
        Store(tmp_path, 0.1).update(trace, SPEC, "lake")
    assert "\n" not in str(refusal.value)
    enough = float(str(refusal.value).split("set at least ")[1].split(",")[0])
    assert Store(tmp_path, enough).update(trace, SPEC, "lake").built == 2


def _twice(telemetry: pl.LazyFrame) -> pl.LazyFrame:
    """Each sample with another beside it that contradicts it."""
    return pl.concat([telemetry, telemetry.with_columns(pl.col("power_w", "temperature_c") + 5)])


def test_what_cannot_be_a_panel_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    good = trace_of(by_day(2))
    for broken, why in (
        (good.telemetry.drop("temperature_c"), "no column temperature_c"),
        (good.telemetry.with_columns(temperature_c=pl.lit(float("nan"))), "temperature_c was never observed"),
        (good.telemetry.with_columns(pl.col("power_w") / 1000), "power_w is typically"),
        (_twice(good.telemetry), r"temperature_c was never observed; .* Faults in steps: .*\d conflicting duplicate"),
    ):
        with pytest.raises(DataError, match=f"^lake: {why}"):
            Store(tmp_path).update(replace(good, telemetry=broken, parts=(), key=why), SPEC, "lake")
    updated = Store(tmp_path).update(good, SPEC, "lake")
    check_whole(tmp_path, updated, good)


def test_a_lake_of_strangers_says_how_it_and_the_topology_name_entities(tmp_path: Path) -> None:
    good = trace_of(by_day(2))
    strangers = replace(good, telemetry=good.telemetry.with_columns(pl.col("entity_id").str.to_uppercase()))
    with pytest.raises(
        DataError, match=r"^lake: no rows of known entities .*; it has '[A-E]', the topology 'a'; check"
    ):
        Store(tmp_path).update(strangers, SPEC, "lake")


def test_a_file_with_one_wrong_time_is_no_panel_of_decades(tmp_path: Path) -> None:
    trace = trace_of(by_day(2))
    wrong = pl.LazyFrame({"time": [datetime(2001, 1, 1, tzinfo=UTC)], "entity_id": ["a"], "power_w": [500.0]})
    first = replace(trace.parts[0], first=datetime(2001, 1, 1, tzinfo=UTC))
    telemetry = pl.concat([wrong.cast({"time": pl.Datetime("us", "UTC")}), trace.telemetry], how="diagonal")
    with pytest.raises(DataError, match=r"lake: spans 2001-01-01 .* check its times"):
        Store(tmp_path).update(replace(trace, telemetry=telemetry, parts=(first, trace.parts[1])), SPEC, "lake")


def test_a_stranger_with_a_wrong_time_does_not_stretch_the_panel(tmp_path: Path) -> None:
    trace = trace_of(by_day(2))
    first = replace(trace.parts[0], first=datetime(2001, 1, 1, tzinfo=UTC))
    updated = Store(tmp_path).update(replace(trace, parts=(first, trace.parts[1])), SPEC, "lake")
    assert len(updated.days) == 2
    same(updated.panel, panel_of(trace.telemetry, TREE, SPEC))


def test_years_of_telemetry_with_holes_are_a_panel(tmp_path: Path) -> None:
    files = {f"{day}": Stretch(24 * day, 1, "a") for day in range(0, 420, 10)}
    trace = trace_of(files)
    updated = Store(tmp_path).update(trace, SPEC, "lake")
    assert len(updated.days) == 411
    same(updated.panel, panel_of(trace.telemetry, TREE, SPEC))


@pytest.mark.parametrize("text", ["", "[{", "{}", '[{"day": "2026-03-02"}]', "[3]", "\x00" * 100])
def test_a_manifest_of_another_make_is_no_obstacle(tmp_path: Path, text: str) -> None:
    trace = trace_of(by_day(2))
    Store(tmp_path).update(trace, SPEC, "lake")
    (tmp_path / "manifest.json").write_text(text)
    updated = Store(tmp_path).update(trace, SPEC, "lake")
    assert updated.built == 2
    check_whole(tmp_path, updated, trace)


def test_what_is_yet_to_come_is_refused_until_it_has_come(tmp_path: Path) -> None:
    lake = replace(trace_of(by_day(3)), now=MONDAY + timedelta(days=2, hours=10))
    past = lake.telemetry.filter(pl.col("time") <= MONDAY + timedelta(days=2, hours=10, minutes=2))
    kept = Store(tmp_path).update(lake, SPEC, "lake")
    same(kept.panel, panel_of(past, TREE, SPEC))
    later = Store(tmp_path).update(replace(lake, now=MONDAY + timedelta(days=4)), SPEC, "lake")
    same(later.panel, panel_of(lake.telemetry, TREE, SPEC))
    assert later.built == 1, "the first two days stand"


def test_rows_without_a_place_are_counted(tmp_path: Path) -> None:
    lake = replace(trace_of(by_day(3)), now=MONDAY + timedelta(days=2, hours=10))
    late = lake.telemetry.filter(pl.col("time") > MONDAY + timedelta(days=2, hours=10, minutes=2)).collect().height
    unread = lake.telemetry.head(7).with_columns(time=pl.lit(None, pl.Datetime("us", "UTC")))
    lake = replace(lake, telemetry=pl.concat([lake.telemetry, unread]))
    updated = Store(tmp_path).update(lake, SPEC, "lake")
    assert updated.set_aside == {"with an unreadable time": 7, "from the future": late}
    assert Store(tmp_path).update(lake, SPEC, "lake").set_aside == {}, "nothing was built, nothing is told again"
