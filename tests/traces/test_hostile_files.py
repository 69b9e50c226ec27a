"""Files made to do harm, by malice or by accident: each is refused in one line, or read as far as it makes sense."""

import codecs
import gzip
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from hostile_parquet import TELEMETRY, Column, repeated
from trees import at, values_of

from forecast.contracts.errors import DataError, ExitCode
from forecast.contracts.tables import TELEMETRY as CONTRACT
from forecast.traces.files import EntitySpec, FileSource
from forecast.traces.trace import Trace

GOOD = pl.DataFrame({"time": [at(0), at(5)], "entity_id": ["a", "a"], "power_w": [1.0, 2.0]})
LINES = "time,entity_id,power_w\n2026-03-02T00:00Z,a,1\n"


def read(path: Path) -> Trace:
    return FileSource(path=str(path), entities={"a": EntitySpec()}, time_zone="UTC").read()


def parquet(path: Path, **columns: object) -> None:
    GOOD.with_columns(**columns).write_parquet(path)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("xl/workbook.xml", LINES)


def damaged_footer(path: Path) -> None:
    content = bytearray(repeated(10))
    content[-20:-8] = b"\xff" * 12
    path.write_bytes(content)


def endless_footer(path: Path) -> None:
    path.write_bytes(b"PAR1" + (2**31 - 1).to_bytes(4, "little") + b"PAR1")


def two_of_a_name(path: Path) -> None:
    path.write_bytes(repeated(10, columns=[*TELEMETRY, TELEMETRY[2]]))


BAD: list[tuple[str, str, Callable[[Path], object]]] = [
    ("x.parquet", "a row group of 68.7 GB when decoded", lambda path: path.write_bytes(repeated(2**31 - 1))),
    ("x.parquet", "64.0 GB when decoded", lambda path: path.write_bytes(repeated(10_000_000, groups=200))),
    ("x.parquet", "a row group of 9.7 GB when dec", lambda path: path.write_bytes(repeated(10, claimed=3 << 30))),
    ("x.parquet", "cannot be read as parquet", damaged_footer),
    ("x.parquet", "cannot be read as parquet", endless_footer),
    ("x.parquet", "cannot be read as parquet", two_of_a_name),
    ("x.parquet", "cannot be read as parquet", lambda path: path.write_bytes(repeated(10)[:-1])),
    ("x.parquet", "cannot be read as parquet: it is empty", lambda path: path.touch()),
    ("x.parquet", "cannot be read as parquet", lambda path: path.write_text(LINES)),
    ("x.csv", "cannot be read as csv: it is empty", lambda path: path.touch()),
    ("x.csv", "is Parquet by its content; let its name end in .parquet", parquet),
    ("x.csv", "is compressed (gzip)", lambda path: path.write_bytes(gzip.compress(LINES.encode()))),
    ("x.csv", "is a spreadsheet or zip archive", archive),
    ("x.csv", "holds zero bytes", lambda path: path.write_bytes(b"\0" * 1000)),
    ("x.csv", "iconv -f UTF-16LE -t UTF-8", lambda path: path.write_bytes(LINES.encode("utf-16-le"))),
    ("x.csv", "is UTF-32 by its byte-order mark", lambda path: path.write_bytes(LINES.encode("utf-32"))),
    ("x.csv", "is UTF-16 by its byte-order", lambda path: path.write_bytes(codecs.BOM_UTF16_LE + b"\0\xd8" * 9 + b"x")),
    ("x.csv", "iconv -f LATIN1 -t UTF-8", lambda path: path.write_bytes(LINES.replace(",a", ",é").encode("latin-1"))),
    ("x.csv", "separated by semicolons; .csv takes commas", lambda path: path.write_text(LINES.replace(",", ";"))),
    ("x.tsv", "separated by commas; .tsv takes tabs", lambda path: path.write_text(LINES)),
    ("x.tsv", "column power_w holds '1,5', with a comma", lambda path: path.write_text(
        LINES.replace(",", "\t").replace("\t1\n", "\t1,5\n"))),
    ("x.csv", "two columns are called power_w", lambda path: path.write_text(LINES.replace("_w", "_w,power_w"))),
    ("x.csv", "no column for time; found c0", lambda path: path.write_text(",".join(f"c{i}" for i in range(10_000)))),
    ("x.parquet", "column power_w is List(", lambda path: parquet(path, power_w=pl.concat_list("power_w"))),
    ("x.parquet", "column power_w is Struct(", lambda path: parquet(path, power_w=pl.struct("power_w"))),
    ("x.parquet", "column power_w is Binary", lambda path: parquet(path, power_w=pl.lit(b"\1"))),
    ("x.parquet", "column power_w is Boolean", lambda path: parquet(path, power_w=pl.lit(value=True))),
    ("x.parquet", "column power_w is Datetime(", lambda path: parquet(path, power_w=pl.col("time"))),
    ("x.parquet", "column entity_id is Struct(", lambda path: parquet(path, entity_id=pl.struct("power_w"))),
    ("x.parquet", "time column time is Float64", lambda path: parquet(path, time=pl.col("power_w"))),
    ("fifo.csv", "no such file", os.mkfifo),
    ("loop.csv", "no such file", lambda path: path.symlink_to(path)),
    ("gone.csv", "no such file", lambda path: path.symlink_to(path.with_name("nothing"))),
    ("new\nline.csv", "no column for time", lambda path: path.write_text("a\x1b[31m,b\n1,2\n")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reason", "write"), BAD, ids=[f"{name}: {reason}" for name, reason, _ in BAD])
def test_a_bad_file_is_refused_in_one_line(
    tmp_path: Path, name: str, reason: str, write: Callable[[Path], object]
) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError) as refusal:
        read(tmp_path / name).telemetry.collect()
    message = str(refusal.value)
    assert reason in message
    assert message.startswith(repr(str(tmp_path / name))[1:-1])
    assert message.isprintable()
    assert len(message) < 1000
    assert refusal.value.exit_code == ExitCode.DATA_REFUSED


_UNDER_LIMIT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
from forecast.contracts.errors import FleetcastError
from forecast.traces.files import EntitySpec, FileSource
try:
    FileSource(path=sys.argv[1], entities={"a": EntitySpec()}, time_zone="UTC").read().telemetry.collect()
except FleetcastError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(("rows", "groups"), [(2**31 - 1, 1), (10_000_000, 200)])
def test_a_small_file_that_would_expand_past_memory_takes_none(tmp_path: Path, rows: int, groups: int) -> None:
    (tmp_path / "x.parquet").write_bytes(repeated(rows, groups))
    assert (tmp_path / "x.parquet").stat().st_size < 60_000
    command = [sys.executable, "-c", _UNDER_LIMIT, str(tmp_path / "x.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (ExitCode.DATA_REFUSED, "")
    assert "GB when decoded, in a file of 0.0" in done.stdout


def test_a_table_of_ten_thousand_columns_is_read_by_those_it_needs(tmp_path: Path) -> None:
    wide = GOOD.with_columns(pl.lit(1.0).alias(f"sensor {index}") for index in range(10_000))
    wide.write_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text(wide.write_csv())
    for name in ("x.parquet", "x.csv"):
        assert values_of(read(tmp_path / name).telemetry) == {("a", 0): 1.0, ("a", 5): 2.0}


def test_a_column_that_would_expand_is_no_matter_where_it_is_not_read(tmp_path: Path) -> None:
    wide = [*TELEMETRY, *(Column(f"c{index}", 5, None, b"\0" * 8) for index in range(30))]
    (tmp_path / "x.parquet").write_bytes(repeated(10_000_000, columns=wide))
    count = read(tmp_path / "x.parquet").telemetry.select(pl.len()).collect(engine="streaming").item()
    assert count == 10_000_000


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", None])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_absurd_times_stay_in_to_be_counted_and_stretch_no_part(
    tmp_path: Path, unit: Literal["ms", "us", "ns"], zone: str | None
) -> None:
    wild = pl.Series([-(2**62), 2**62, 0, None], dtype=pl.Int64).cast(pl.Datetime(unit, zone))
    good = pl.Series([at(0)]).dt.convert_time_zone(zone or "UTC").dt.replace_time_zone(zone).cast(wild.dtype)
    frame = pl.DataFrame({"time": pl.concat([wild, good]), "entity_id": "a", "power_w": 1.0})
    frame.write_parquet(tmp_path / "x.parquet")
    trace = read(tmp_path / "x.parquet")
    sifted = CONTRACT.sift(trace.telemetry, "x")
    assert sifted.report["count"].sum() == len(wild)
    assert set(sifted.report["reason"]) <= {"unreadable time", "absurd time"}
    assert [(part.first, part.last) for part in trace.parts] == [(at(0), at(0))]
    assert sifted.good.collect()["time"].to_list() == [at(0)]


@pytest.mark.parametrize("text", ["0001-01-01T00:00", "9999-12-31T23:59:59", "99999-01-01T00:00", "0000-00-00"])
def test_absurd_times_in_text_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(f"{LINES}{text},a,1\n")
    report = CONTRACT.sift(read(tmp_path / "x.csv").telemetry, "x").report
    assert report["count"].to_list() == [1]


@contextmanager
def nobody() -> Iterator[None]:
    """Without root's privileges, if that is who runs the tests."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("sealed", ["", "day=2"])
def test_a_folder_that_may_not_be_opened(tmp_path: Path, sealed: str) -> None:
    for parent in [tmp_path, *tmp_path.parents[:3]]:
        if parent.name.startswith(("pytest-", "popen-", "test_")):
            parent.chmod(0o755)
    lake = tmp_path / "lake"
    for day in ("day=1", "day=2"):
        (lake / day).mkdir(parents=True)
        GOOD.write_parquet(lake / day / "x.parquet")
    (lake / sealed).chmod(0o000)
    try:
        with nobody(), pytest.raises(DataError, match=r"cannot be opened \(Permission denied\); check") as refusal:
            read(lake)
    finally:
        (lake / sealed).chmod(0o755)
    assert str(refusal.value).startswith(str(lake / sealed))


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    GOOD.write_parquet(tmp_path / "x.parquet")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "loop.parquet").symlink_to(tmp_path / "loop.parquet")
    assert values_of(read(tmp_path).telemetry) == {("a", 0): 1.0, ("a", 5): 2.0}
