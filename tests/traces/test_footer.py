"""Parquet footers against Polars, which reads the same files through: rows, sizes, ranges; and keys of files."""

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import at, values_of

from forecast.traces.files import EntitySpec, FileSource
from forecast.traces.footer import FooterError, read_footer
from forecast.traces.places import SMALL_BYTES, local_file

CODECS: tuple[Literal["uncompressed", "snappy", "zstd", "gzip", "lz4", "brotli"], ...] = (
    "uncompressed", "snappy", "zstd", "gzip", "lz4", "brotli",
)  # fmt: skip


@given(
    values=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=50),
    codec=st.sampled_from(CODECS),
    group=st.integers(1, 60),
)
def test_a_footer_tells_rows_and_range(
    tmp_path_factory: pytest.TempPathFactory, values: list[int | None], codec: str, group: int
) -> None:
    path = tmp_path_factory.mktemp("footer") / "x.parquet"
    frame = pl.DataFrame({"n": pl.Series(values, dtype=pl.Int64), "text": pl.Series(["é"] * len(values))})
    frame.write_parquet(path, compression=codec, row_group_size=group, statistics=True)  # type: ignore[arg-type]
    groups = read_footer(local_file(path))
    assert sum(one.rows for one in groups) == len(values)
    assert all(set(one.chunks) == {"n", "text"} for one in groups)
    known = [value for value in values if value is not None]
    lows = [one.chunks["n"].low for one in groups if one.chunks["n"].low is not None]
    highs = [one.chunks["n"].high for one in groups if one.chunks["n"].high is not None]
    assert (min(lows, default=None), max(highs, default=None)) == (min(known, default=None), max(known, default=None))
    assert all(one.chunks["text"].low is None for one in groups)


def test_sizes_are_those_before_compression(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": pl.Series(range(100_000), dtype=pl.Float64)})
    frame.write_parquet(tmp_path / "x.parquet", compression="zstd", row_group_size=100_000)
    (group,) = read_footer(local_file(tmp_path / "x.parquet"))
    assert 800_000 <= group.chunks["n"].size < 830_000


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail_in_another_way(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("footer") / "x.parquet"
    path.write_bytes(b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1")
    with suppress(FooterError):
        assert read_footer(local_file(path)) == []


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize(
    ("unit", "zone"), [("ns", "UTC"), ("us", "UTC"), ("ms", "Asia/Kolkata"), ("us", None), ("ms", None)]
)
def test_parts_have_the_range_of_their_samples_with_and_without_statistics(
    tmp_path: Path, unit: Literal["ns", "us", "ms"], zone: str | None, statistics: bool
) -> None:
    local = pl.Series([datetime(2026, 3, 8, 1, 30), datetime(2026, 3, 8, 3, 30), datetime(2026, 11, 1, 1, 30)])
    times = local.dt.replace_time_zone(zone).dt.cast_time_unit(unit)
    frame = pl.DataFrame({"time": times, "entity_id": "a", "power_w": 1.0})
    frame.write_parquet(tmp_path / "x.parquet", statistics=statistics, row_group_size=2)
    source = FileSource(path=str(tmp_path / "x.parquet"), entities={"a": EntitySpec()}, time_zone="America/New_York")
    trace = source.read()
    read = trace.telemetry.collect()["time"]
    assert [(part.first, part.last) for part in trace.parts] == [(read.min(), read.max())]
    if zone is None:
        assert trace.parts[0].first == datetime(2026, 3, 8, 6, 30, tzinfo=UTC)


def test_a_filter_on_time_spares_files_that_it_rules_out(tmp_path: Path) -> None:
    """The pages of the second file are damaged: only who reads them will notice."""
    for day in (1, 2):
        frame = pl.DataFrame({"time": [at(day), at(day + 0.5)], "entity_id": ["a", "b"], "power_w": 1.0})
        frame.write_parquet(tmp_path / f"{day}.parquet", statistics=True)
    content = (tmp_path / "2.parquet").read_bytes()
    (tmp_path / "2.parquet").write_bytes(content[:4] + b"\xff" * 40 + content[44:])
    telemetry = FileSource(path=str(tmp_path), entities={"a": EntitySpec(), "b": EntitySpec()}).read().telemetry
    assert len(values_of(telemetry.filter(pl.col("time") < at(2)))) == 2
    with pytest.raises(pl.exceptions.PolarsError):
        telemetry.collect()


def test_the_key_of_a_small_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"1")
    os.utime(tmp_path / "b", (1, 1))
    keys = [local_file(tmp_path / name).key for name in ("a", "b")]
    (tmp_path / "b").write_bytes(b"2")
    assert keys[0] == keys[1] != local_file(tmp_path / "b").key


@pytest.mark.parametrize("change", ["append", "touch", "end"])
def test_the_key_of_a_large_file_follows_size_time_and_end(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x"
    with path.open("wb") as stream:
        stream.truncate(SMALL_BYTES + 1)
    os.utime(path, ns=(10, 10))
    key = local_file(path).key
    assert local_file(path).key == key
    with path.open("r+b") as stream:
        if change != "touch":
            stream.seek(0 if change == "append" else -1, os.SEEK_END)
            stream.write(b"\1")
    os.utime(path, ns=(11, 11) if change == "touch" else (10, 10))
    assert local_file(path).key != key
