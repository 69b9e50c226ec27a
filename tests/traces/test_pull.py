"""What is pulled in instalments is what is read as a whole, for every source; and what was told is not read again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from every_source import FLEET, ROWS, SOURCES, Case, scraped, simulated
from polars.testing import assert_frame_equal
from trees import at, node, tree_of

from forecast.contracts.errors import DataError
from forecast.traces import files, files_pull
from forecast.traces.files import FileSource
from forecast.traces.long import LongSource
from forecast.traces.metrics import MetricSpec
from forecast.traces.readers import scan
from forecast.traces.trace import Pull, Source

LATE = timedelta(hours=1)
TREE = tree_of(*(node(name) for name in FLEET))
BEGIN, END = at(0), at(24 * 60)

#: A Prometheus is gone once its case is made; `test_prometheus_pull.py` follows a living one.
IN_FILES = tuple(make for make in SOURCES if make is not scraped)


@pytest.fixture(params=IN_FILES, ids=lambda make: make.__name__)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    make: Callable[[Path], Case] = request.param
    return make(tmp_path)


def follow(source: Source) -> Pull:
    return source.pull(source.read().topology, LATE)


def told(pull: Pull, until: datetime, begin: datetime = BEGIN) -> pl.DataFrame:
    pieces = list(pull.rows(begin, until))
    return pl.concat(pieces, how="diagonal_relaxed") if pieces else pl.DataFrame(schema=ROWS.schema)


def of_the_fleet(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("entity_id") != "stranger").sort("entity_id", "time")


def assert_rows(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert_frame_equal(
        of_the_fleet(found), of_the_fleet(expected), check_column_order=False, check_dtypes=False, rel_tol=1e-12
    )


def test_instalments_make_up_what_is_read_at_once(case: Case) -> None:
    trace, pull = case.source.read(), follow(case.source)
    first, last = trace.telemetry.select(first=pl.col("time").min(), last=pl.col("time").max()).collect().row(0)
    moments = [first + (last - first) * share for share in (0.2, 0.21, 0.7, 1)]
    parts = [told(pull, moment + timedelta(seconds=1), first) for moment in moments]
    expected = trace.telemetry.drop_nulls("time").collect()
    assert_rows(pl.concat(parts, how="diagonal_relaxed"), expected)
    assert told(pull, last + timedelta(hours=3), first).is_empty()
    assert pull.newest() == last


def test_what_begins_later_is_told_from_there(case: Case) -> None:
    trace = case.source.read()
    last = trace.telemetry.select(pl.col("time").max()).collect().item()
    begin = last - timedelta(hours=2)
    expected = trace.telemetry.filter(pl.col("time").is_between(begin, last)).collect()
    assert_rows(told(follow(case.source), last + timedelta(seconds=1), begin), expected)


@pytest.mark.parametrize("make", [make for make in IN_FILES if make is not simulated])
def test_a_change_of_content_is_told(make: Callable[[Path], Case], tmp_path: Path) -> None:
    case = make(tmp_path)
    pull = follow(case.source)
    before = told(pull, END)
    case.change()
    again = told(pull, END + timedelta(minutes=1)).select(before.columns)
    now = case.source.read().telemetry.drop_nulls("time").collect().select(before.columns)
    recent = now.filter(pl.col("time") >= now["time"].max() - LATE)
    changed = recent.join(before, on=before.columns, how="anti", nulls_equal=True)
    assert changed.join(again, on=before.columns, how="anti", nulls_equal=True).is_empty()
    assert not again.is_empty()


class Reads:
    """Counts the files that are opened to be read, and the rows that come of them."""

    def __init__(self, source: FileSource) -> None:
        self.names: list[str] = []
        self.rows = 0
        read = source.reader(source.read().topology)

        def counted(files: Any, begin: datetime, end: datetime) -> pl.DataFrame:
            found = read(files, begin, end)
            self.names += [Path(file.url).name for file in files]
            self.rows += len(found)
            return found

        self.pull = files_pull.FilesPull(source, counted, LATE)

    def told(self, until: datetime) -> pl.DataFrame:
        self.names, self.rows = [], 0
        return told(self.pull, until)


def write(folder: Path, name: str, first: int, end: int) -> None:
    folder.mkdir(exist_ok=True)
    ROWS.filter(pl.col("time").is_between(at(60 * first), at(60 * end), closed="left")).write_parquet(folder / name)


def test_of_a_lake_only_what_is_new_is_opened(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    for hour in range(20):
        write(lake, f"{hour:02}.parquet", hour, hour + 1)
    reads = Reads(FileSource(path=str(lake), entities=FLEET))
    assert len(reads.told(at(20 * 60))) == 40
    assert reads.told(at(20 * 60 + 1)).is_empty()
    assert reads.names == []
    write(lake, "20.parquet", 20, 21)
    assert_rows(reads.told(at(21 * 60)), ROWS.filter(pl.col("time") == at(20 * 60)))
    assert reads.names == ["20.parquet"]


def test_a_file_of_days_ago_that_comes_late_is_told_as_a_whole(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    write(lake, "late.parquet", 12, 24)
    reads = Reads(FileSource(path=str(lake), entities=FLEET))
    reads.told(END)
    write(lake, "early.parquet", 0, 3)
    assert len(reads.told(END + timedelta(minutes=1))) == 6
    assert reads.names == ["early.parquet"]


def test_parquet_that_is_written_anew_is_told_from_its_newest_sample_on_and_whole_within_the_hour(
    tmp_path: Path,
) -> None:
    lake = tmp_path / "lake"
    write(lake, "day.parquet", 3, 12)
    reads = Reads(FileSource(path=str(lake), entities=FLEET))
    reads.told(at(12 * 60))
    write(lake, "day.parquet", 0, 13)
    found = reads.told(at(12 * 60 + 30))
    assert (found["time"].min(), found["time"].max()) == (at(10 * 60), at(12 * 60))
    assert reads.told(at(12 * 60 + 31)).is_empty()
    whole = reads.told(at(13 * 60))
    assert whole["time"].min() == at(0)
    assert reads.told(at(15 * 60)).is_empty()


def test_one_collector_that_lags_behind_the_others_is_caught_up_with(tmp_path: Path) -> None:
    """What is new is judged by the file, not by the newest sample of the fleet."""
    lake = tmp_path / "lake"
    write(lake, "a.parquet", 0, 24)
    write(lake, "b.parquet", 0, 2)
    reads = Reads(FileSource(path=str(lake), entities=FLEET))
    reads.told(END)
    write(lake, "b.parquet", 0, 20)
    found = reads.told(END + timedelta(minutes=1))
    assert (found["time"].min(), found["time"].max()) == (at(0), at(19 * 60))
    assert reads.names == ["b.parquet"]


LINES = [f"2026-06-01T{hour:02}:00:00Z,a,{100 + hour}\n" for hour in range(24)]


def table(text: str) -> list[tuple[int, float]]:
    return [(int(line[11:13]), float(line.split(",")[2])) for line in text.splitlines()]


def hours(rows: pl.DataFrame) -> list[tuple[int, float]]:
    return [(time.hour, power) for time, power in rows.sort("time").select("time", "power_w").iter_rows()]


def test_text_that_is_appended_to_is_read_from_where_it_ended_and_by_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time,entity_id,power_w\n" + "".join(LINES[:10]))
    reads = Reads(FileSource(path=str(path), entities=FLEET))
    day = timedelta(days=1)
    begin = datetime.fromisoformat("2026-06-01T00:00Z")

    def more() -> list[tuple[int, float]]:
        reads.rows = 0
        pieces = list(reads.pull.rows(begin, begin + day))
        return hours(pl.concat(pieces)) if pieces else []

    assert more() == table("".join(LINES[:10]))
    with path.open("a") as file:
        file.write(LINES[10] + LINES[11][:-3])  # as a writer is seen that has not finished: 1 for 111
    assert more() == table(LINES[10])
    with path.open("a") as file:
        file.write(LINES[11][-3:-1])
    assert more() == []  # it grows: its last line may not be whole
    assert more() == table(LINES[11])  # it does not
    with path.open("a") as file:
        file.write("\n" + LINES[12])
    assert more() == table(LINES[12])
    path.write_text("time,entity_id,power_w\n" + "".join(LINES[20:24]))  # another file in its place
    assert more() == table("".join(LINES[20:24]))


def test_text_whose_last_line_is_not_whole_yet_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time,entity_id,power_w\n" + "".join(LINES[:3]) + LINES[3][:-3])
    source = FileSource(path=str(path), entities=FLEET)
    pull = source.pull(source.read().topology, LATE)
    begin, end = (datetime.fromisoformat(f"2026-06-0{day}T00:00Z") for day in (1, 2))
    assert hours(pl.concat(pull.rows(begin, end))) == table("".join(LINES[:3]))
    with path.open("a") as file:
        file.write(LINES[3][-3:])
    assert hours(pl.concat(pull.rows(begin, end))) == table(LINES[3])


def test_energy_in_instalments_is_the_power_of_the_whole(tmp_path: Path) -> None:
    """Readings of a counter and of a thermometer, a file every ten minutes: power is known by the next."""
    random = [17, 23, 11, 29, 31, 13, 19, 37, 41, 43, 7, 5]
    lake = tmp_path / "lake"
    lake.mkdir()
    total = 0.0
    files = []
    for hour, gained in enumerate(random):
        total = 0.0 if hour == 6 else total + gained * 1000.0
        files.append(
            pl.DataFrame(
                {
                    "time": [at(10 * hour)] * 2,
                    "entity_id": ["a", "a"],
                    "metric": ["energy", "heat"],
                    "value": [total, 40.0 + hour],
                }
            )
        )
    metrics = {"energy": MetricSpec(kind="counter", unit="kJ"), "heat": MetricSpec("temperature_c")}
    source = LongSource(path=str(lake), entities=FLEET, metrics=metrics)
    files[0].write_parquet(lake / "00.parquet")
    pull = source.pull(source.read().topology, LATE)
    parts = [told(pull, at(10))]
    for hour, frame in enumerate(files[1:], 1):
        frame.write_parquet(lake / f"{hour:02}.parquet")
        parts.append(told(pull, at(10 * (hour + 1))))
        assert told(pull, at(10 * (hour + 1))).is_empty()
    parts.append(told(pull, at(10 * 12 + 60)))
    assert_rows(pl.concat(parts, how="diagonal_relaxed"), source.read().telemetry.collect())


def test_a_source_that_is_away_for_a_while_goes_on_where_it_was(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    write(lake, "0.parquet", 0, 6)
    reads = Reads(FileSource(path=str(lake), entities=FLEET))
    reads.told(at(6 * 60))
    lake.rename(tmp_path / "away")
    with pytest.raises(DataError, match="no such file"):
        reads.told(at(8 * 60))
    (tmp_path / "away").rename(lake)
    write(lake, "1.parquet", 6, 12)
    assert len(reads.told(at(12 * 60))) == 12
    assert reads.names == ["1.parquet"]


def test_whoever_stops_in_the_midst_is_told_again(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    write(lake, "0.parquet", 0, 24)
    reads = Reads(FileSource(path=str(lake), entities=FLEET))
    pieces = reads.pull.rows(BEGIN, END)
    next(pieces)
    pieces.close()
    assert len(reads.told(END)) == len(ROWS)


def test_a_plain_source_is_followed_by_reading_it_again(tmp_path: Path) -> None:
    """What a new kind of source has before anybody writes it a better pull."""

    class Plain(Source):
        def read(self, progress: Any = None) -> Any:
            return FileSource(path=str(tmp_path / "lake"), entities=FLEET).read()

    write(tmp_path / "lake", "0.parquet", 0, 6)
    plain = Plain(until="2000-01-01")
    pull = plain.pull(plain.read().topology, LATE)
    assert len(told(pull, at(6 * 60))) == 12
    assert pull.newest() == at(5 * 60)
    write(tmp_path / "lake", "1.parquet", 6, 8)
    found = told(pull, at(8 * 60))
    assert (found["time"].min(), found["time"].max()) == (at(5 * 60), at(7 * 60))


def test_a_trainers_end_is_none_of_the_servers(case: Case) -> None:
    trimmed = replace(case.source, until=at(60).isoformat())
    topology = case.source.read().topology
    newest = case.source.pull(topology, LATE).newest()
    assert trimmed.pull(topology, LATE).newest() == newest


def test_a_column_that_is_not_there_is_told_although_no_row_is_of_interest(tmp_path: Path) -> None:
    write(tmp_path / "lake", "0.parquet", 0, 6)
    columns = {"time": "time", "entity_id": "entity_id", "power_w": "kilowatts"}
    pull = FileSource(path=str(tmp_path / "lake"), entities=FLEET, columns=columns).pull(TREE, LATE)
    with pytest.raises(DataError, match="no column kilowatts; found time, entity_id"):
        list(pull.rows(END, END + LATE))


def test_a_file_that_is_shortened_while_it_is_read_is_named_and_keeps_none_of_the_others_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its footer and its pages, where Polars panics."""
    for part in range(2):
        write(tmp_path / "lake", f"{part}.parquet", 6 * part, 6 * part + 6)
    torn = tmp_path / "lake" / "1.parquet"
    whole = torn.read_bytes()
    pull = FileSource(path=str(tmp_path / "lake"), entities=FLEET).pull(TREE, LATE)
    monkeypatch.setattr(files, "scan", lambda found: torn.write_bytes(whole) and scan(found))
    monkeypatch.setattr(files, "check_expansion", lambda *_: torn.write_bytes(b""))  # called once they are open
    rows = pull.rows(BEGIN, END)
    assert_rows(next(rows), ROWS.filter(pl.col("time") < at(6 * 60)))
    with pytest.raises(DataError, match=r"/1\.parquet: was written over while it was read; write it beside"):
        next(rows)
    monkeypatch.undo()
    torn.write_bytes(whole)
    assert_rows(told(pull, END), ROWS.filter(pl.col("time").is_between(at(6 * 60), at(12 * 60), closed="left")))


def test_a_file_that_is_not_whole_keeps_none_of_the_others_away(tmp_path: Path) -> None:
    """Half a Parquet file, an empty one, and one with other columns; each is told of, and read when it is mended."""
    lake = tmp_path / "lake"
    write(lake, "0.parquet", 0, 6)
    reads = Reads(FileSource(path=str(lake), entities=FLEET))
    reads.told(at(6 * 60))
    write(lake, "1.parquet", 6, 7)
    write(lake, "2.parquet", 7, 8)
    whole = (lake / "2.parquet").read_bytes()
    (lake / "2.parquet").write_bytes(whole[:-40])
    (lake / "3.parquet").touch()
    pl.DataFrame({"a": [1]}).write_parquet(lake / "4.parquet")
    rows, said = until_it_breaks(reads.pull, at(8 * 60))
    assert_rows(rows, ROWS.filter(pl.col("time") == at(6 * 60)))
    assert "2.parquet: cannot be read as parquet" in said
    (lake / "2.parquet").write_bytes(whole)
    rows, said = until_it_breaks(reads.pull, at(8 * 60))
    assert_rows(rows, ROWS.filter(pl.col("time") == at(7 * 60)))
    assert "4.parquet: " in said
    assert "no column for time; found a" in said
    (lake / "4.parquet").unlink()
    write(lake, "3.parquet", 8, 9)
    assert_rows(reads.told(at(9 * 60)), ROWS.filter(pl.col("time") == at(8 * 60)))


def until_it_breaks(pull: Pull, until: datetime) -> tuple[pl.DataFrame, str]:
    """What is told before the failure, and what that says."""
    rows = [pl.DataFrame(schema=ROWS.schema)]
    try:
        for piece in pull.rows(BEGIN, until):
            rows.append(piece)  # noqa: PERF402 - what came before the failure counts
    except DataError as error:
        return pl.concat(rows), str(error)
    raise AssertionError("nothing broke")
