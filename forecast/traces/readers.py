"""Files to one lazy table: Parquet in place, text as text, and a clear no to what would end badly."""

import codecs
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import get_ident
from typing import TypeVar

import polars as pl

from forecast.contracts.errors import DataError
from forecast.contracts.version import key_of
from forecast.traces.footer import FooterError, Group, read_footer
from forecast.traces.places import File, find, local_file, shown, temporary_folder

T = TypeVar("T")

READERS = {".parquet": "parquet", ".csv": ",", ".tsv": "\t", ".txt": "\t"}

#: What a reader decodes at once must fit: a row group of a million rows with thirty numbers takes 240 MB.
LARGEST_GROUP = 2 << 30

#: Beyond this size a table must have some content: telemetry shrinks 5 to 50 times in Parquet, never a thousandfold.
LARGEST_BLANK = 4 << 30
_DENSEST = 1000

_HEAD_BYTES = 1 << 16
_AT_ONCE = 16
_CONTENTS = {
    b"PAR1": "is Parquet by its content; let its name end in .parquet",
    b"PK\x03\x04": "is a spreadsheet or zip archive by its content; export it as CSV",
    b"\x1f\x8b": "is compressed (gzip) by its content; unpack it",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd) by its content; unpack it",
    codecs.BOM_UTF32_LE: "is UTF-32 by its byte-order mark; convert it, e.g. iconv -f UTF-32 -t UTF-8",
    codecs.BOM_UTF32_BE: "is UTF-32 by its byte-order mark; convert it, e.g. iconv -f UTF-32 -t UTF-8",
}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def find_files(path: str, options: Mapping[str, str] | None = None) -> list[File]:
    """The files a path, folder, glob or URL stands for, sorted by it.

    Args:
        path, options: as of `forecast.traces.places.find`.

    Raises:
        DataError: none found, several kinds, or a kind that is not read.
        ConfigError: a kind of URL that needs a package which is not installed.
    """
    files = find(path, options)
    kinds = {file.suffix for file in files}
    if len(kinds) > 1 or not kinds <= set(READERS):
        named = ", ".join(sorted(kind or "a file without ending" for kind in kinds))
        raise DataError(f"{shown(path)}: cannot read {named}; one kind of {', '.join(READERS)} is read.")
    return files


def scan(files: Sequence[File], *, hold: bool = False) -> pl.LazyFrame:
    """The files as one lazy table with the columns of the first, and the partition keys of their folders as text.

    Text stays text: types are the mapping's business, and a trailer line is no number. Of a key that is a column too,
    the column counts.

    Args:
        files: of one kind.
        hold: take their bytes into memory now. Otherwise they are mapped, and to shorten one while it is read ends
            the process: what people write over is held, where it is small.

    Raises:
        DataError: a file that is empty, not what its name says, or without a column of the first one.
    """
    first, *others = _each(partial(_opened, hold=hold), files)
    expected = first.collect_schema()
    for file, other in zip(files[1:], others, strict=True):
        found = other.collect_schema()
        for name, dtype in expected.items():
            if found.get(name) != dtype:
                what = found.get(name, "absent")
                raise DataError(f"{file.name}: column {name} is {what}, but {dtype} in {files[0].name}.")
    if files[0].suffix == ".parquet" and not hold:  # one scan of many files is faster than many scans
        return _scan_parquet(files, expected)
    keys = _partitions(files, expected)
    frames = zip(files, [first, *others], strict=True)
    return pl.concat(
        frame.select(expected.names()).with_columns(pl.lit(file.hive[key]).alias(key) for key in keys)
        for file, frame in frames
    )


def collected(table: pl.LazyFrame, where: str) -> pl.LazyFrame:
    """The table in memory: every look at it finds the same, whatever becomes of its files, and none parses it again.

    Raises:
        DataError: it cannot be read to its end.
    """
    try:
        return table.collect().lazy()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{where}: cannot be read: {str(error).splitlines()[0]}") from error


def check_expansion(files: Sequence[File], columns: Mapping[str, pl.DataType]) -> None:
    """Refuse Parquet that would take more memory than a table of its size can mean, told from footers alone.

    Runs and dictionaries hide how far a page expands, so rows times the width of what is needed counts too.

    Args:
        files: opened before.
        columns: those that will be read, with their types.

    Raises:
        DataError: naming the file and how far it expands.
    """
    widths = {name: _width(dtype) for name, dtype in columns.items()}
    if files[0].suffix != ".parquet":
        return
    for file, groups in zip(files, _each(footer, files), strict=True):
        sizes = [_decoded(group, widths) for group in groups]
        if max(sizes, default=0) > LARGEST_GROUP:
            raise DataError(
                f"{file.name}: a row group of {max(sizes) / 1e9:,.1f} GB when decoded, in a file of "
                f"{file.size / 1e6:,.3f} MB; rewrite it in row groups of a million rows."
            )
        if sum(sizes) > max(LARGEST_BLANK, _DENSEST * file.size):
            raise DataError(
                f"{file.name}: {sum(sizes) / 1e9:,.1f} GB when decoded, in a file of {file.size / 1e6:,.3f} MB: "
                f"no telemetry is that empty."
            )


def footer(file: File) -> list[Group]:
    """The row groups of a Parquet file.

    Raises:
        DataError: a footer that is none.
    """
    try:
        return read_footer(file)
    except FooterError as error:
        raise DataError(f"{file.name}: cannot be read as parquet: {error}.") from error


def is_appendable(file: File) -> bool:
    """Whether new lines may stand at its end: text, in an encoding whose lines end in a byte."""
    return file.suffix != ".parquet" and not file.read(0, 2).startswith(_UTF16)


def end_of_lines(file: File) -> int:
    """Bytes of text up to the end of its last whole line."""
    end = file.size
    while end > 0:
        start = max(end - _HEAD_BYTES, 0)
        if (at := file.read(start, end).rfind(b"\n")) >= 0:
            return start + at + 1
        end = start
    return 0


def excerpt(file: File, start: int, end: int) -> File:
    """A file with the first line of text and what stands in `[start, end)`, for a while."""
    folders = [f"{key}={value}" for key, value in file.hive.items()]
    copy = temporary_folder().joinpath("excerpts", key_of(file.url), *folders, f"{start}{file.suffix}")
    copy.parent.mkdir(parents=True, exist_ok=True)
    head = file.read(0, _HEAD_BYTES).partition(b"\n")[0] + b"\n"
    with copy.open("wb") as stream:
        if start:
            stream.write(head)
        while start < end:
            block = file.read(start, min(start + _HEAD_BYTES, end))
            stream.write(block)
            start += len(block)
    return replace(local_file(copy), name=file.name)


def _each(look: Callable[[File], T], files: Sequence[File]) -> list[T]:
    """What `look` finds in each file; in several remote ones at once, as each is a wait for an answer."""
    if files[0].remote is None:
        return [look(file) for file in files]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(look, files))


def _decoded(group: Group, widths: dict[str, int]) -> int:
    """Bytes of memory for the columns of `widths`; nested ones go by their first name."""
    pages = sum(chunk.size for name, chunk in group.chunks.items() if name.split(".")[0] in widths)
    return max(pages, group.rows * sum(widths.values()))


def _width(dtype: pl.DataType) -> int:
    """Bytes per value in memory, where numbers become 64-bit floats; of text the view, as pages hold its letters."""
    return 8 if dtype.is_numeric() or dtype.is_temporal() else 16


def _opened(file: File, *, hold: bool) -> pl.LazyFrame:
    """One file without its partition keys."""
    content = file.content() if hold else None
    if content == b"" or (file.size == 0 and file.remote is None):
        raise DataError(f"{file.name}: cannot be read as {file.suffix[1:]}: it is empty.")
    try:
        if file.suffix != ".parquet":
            frame = _scan_text(file, content)
        else:
            frame = _scan_parquet([file], None) if content is None else pl.scan_parquet(content)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{file.name}: cannot be read as {file.suffix[1:]}: {reason}") from error
    return frame


def _scan_parquet(files: Sequence[File], expected: pl.Schema | None) -> pl.LazyFrame:
    """The files, with partition keys if `expected`, their schema, is known."""
    keys = [] if expected is None else _partitions(files, expected)
    known = {} if expected is None else expected
    return pl.scan_parquet(
        [file.in_place for file in files],
        glob=False,
        hive_partitioning=bool(keys),
        hive_schema={key: known.get(key, pl.String()) for key in files[0].hive} if keys else None,
        extra_columns="ignore",
        storage_options=dict(files[0].remote.options) if files[0].remote and files[0].remote.polars else None,
    )


def _partitions(files: Sequence[File], expected: pl.Schema) -> list[str]:
    """Partition keys that are no columns, where every file has the same ones."""
    alike = all(file.hive.keys() == files[0].hive.keys() for file in files)
    return [key for key in files[0].hive if key not in expected] if alike else []


def _scan_text(file: File, content: bytes | None) -> pl.LazyFrame:
    """Text, of `content` where it is held."""
    separator = READERS[file.suffix]
    head = file.read(0, _HEAD_BYTES) if content is None else content[:_HEAD_BYTES]
    _check_head(file, head, separator)
    return pl.scan_csv(
        _utf8(file, content) if head.startswith(_UTF16) else content or file.local,
        separator=separator,
        infer_schema=False,
        truncate_ragged_lines=True,
        encoding="utf8-lossy",
        glob=False,
    )


def _check_head(file: File, head: bytes, separator: str) -> None:
    for magic, what in _CONTENTS.items():
        if head.startswith(magic):
            raise DataError(f"{file.name}: {what}.")
    if head.startswith(_UTF16):
        return
    if b"\0" in head:
        raise DataError(
            f"{file.name}: holds zero bytes, so it is no UTF-8 text; if it is UTF-16 without a byte-order mark, "
            f"convert it, e.g. iconv -f UTF-16LE -t UTF-8."
        )
    header = head.split(b"\n", 1)[0].decode("utf-8", "replace")
    for other, name in ((";", "semicolons"), (",", "commas"), ("\t", "tabs")):
        if separator not in header and other in header:
            wanted = "commas" if separator == "," else "tabs"
            raise DataError(f"{file.name}: its columns are separated by {name}; {file.suffix} takes {wanted}.")


def _utf8(file: File, content: bytes | None) -> str | bytes:
    """Text whose byte-order mark says UTF-16, in UTF-8: the path of a copy, or `content` itself where it is held."""
    try:
        return _decoded_copy(file) if content is None else content.decode("utf-16").encode()
    except UnicodeError as error:
        raise DataError(f"{file.name}: is UTF-16 by its byte-order mark but not in its content.") from error


def _decoded_copy(file: File) -> str:
    copy = file.decoded
    if copy.exists():
        return str(copy)
    part = copy.with_name(f"{copy.name}.{get_ident()}")  # others may want the same copy now
    with (
        file.local.open(encoding="utf-16", newline="") as text,
        part.open("w", encoding="utf-8", newline="") as out,
    ):
        while block := text.read(1 << 20):
            out.write(block)
    part.replace(copy)
    return str(copy)
