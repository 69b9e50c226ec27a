"""Parquet files written byte by byte, so that they can claim anything.

Thrift's compact protocol and the fields of parquet-format's `parquet.thrift`; a column is a dictionary of one value and
one data page that repeats it, as often as an `int32` can say, in a run of a few bytes.
"""

from collections.abc import Iterable
from typing import NamedTuple

I32, I64, TEXT, LIST, STRUCT = 5, 6, 8, 9, 12
INT64, DOUBLE, BYTE_ARRAY = 2, 5, 6

Fields = list[tuple[int, int, object]]


class Column(NamedTuple):
    """A column of one value: physical type, converted type (None for none), and the value as Parquet's PLAIN bytes."""

    name: str
    kind: int
    converted: int | None
    value: bytes


#: 2026-03-02 in µs, entity `a`, 1 W.
TELEMETRY = (
    Column("time", INT64, 10, (1_772_409_600_000_000).to_bytes(8, "little")),
    Column("entity_id", BYTE_ARRAY, 0, b"\x01\0\0\0a"),
    Column("power_w", DOUBLE, None, b"\0\0\0\0\0\0\xf0\x3f"),
)


def repeated(rows: int, groups: int = 1, columns: Iterable[Column] = TELEMETRY, claimed: int | None = None) -> bytes:
    """A file of `groups` row groups of `rows` rows each, every row the same.

    Args:
        rows: per group, below 2^31.
        groups: how many.
        columns: of the table.
        claimed: uncompressed size of a column of a group; None is the truth.
    """
    columns, content, described = list(columns), b"PAR1", []
    for _ in range(groups):
        chunks = []
        for column in columns:
            start = len(content)
            pages = (_dictionary(column), _run(rows))
            content += b"".join(pages)
            size = sum(map(len, pages))
            meta: Fields = [
                (1, I32, column.kind), (2, LIST, (I32, [8, 3, 0])), (3, LIST, (TEXT, [column.name])), (4, I32, 0),
                (5, I64, rows), (6, I64, size if claimed is None else claimed), (7, I64, size),
                (9, I64, start + len(pages[0])), (11, I64, start),
            ]  # fmt: skip
            chunks.append([(2, I64, start), (3, STRUCT, meta)])
        described.append([(1, LIST, (STRUCT, chunks)), (2, I64, 100), (3, I64, rows)])
    leaves: list[Fields] = [
        [(1, I32, one.kind), (3, I32, 0), (4, TEXT, one.name)]
        + ([] if one.converted is None else [(6, I32, one.converted)])
        for one in columns
    ]
    schema = [[(4, TEXT, "root"), (5, I32, len(columns))], *leaves]
    footer = _struct(
        [(1, I32, 2), (2, LIST, (STRUCT, schema)), (3, I64, rows * groups), (4, LIST, (STRUCT, described))]
    )
    return content + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _dictionary(column: Column) -> bytes:
    size = len(column.value)
    return (
        _struct([(1, I32, 2), (2, I32, size), (3, I32, size), (7, STRUCT, [(1, I32, 1), (2, I32, 0)])]) + column.value
    )


def _run(rows: int) -> bytes:
    page = b"\x01" + _varint(rows << 1) + b"\0"  # indices of one bit, one run, of index 0
    header: Fields = [(1, I32, rows), (2, I32, 8), (3, I32, 3), (4, I32, 3)]
    return _struct([(1, I32, 0), (2, I32, len(page)), (3, I32, len(page)), (5, STRUCT, header)]) + page


def _struct(fields: Fields) -> bytes:
    out, before = b"", 0
    for number, kind, value in fields:
        out += bytes([(number - before) << 4 | kind]) + _value(kind, value)
        before = number
    return out + b"\0"


def _value(kind: int, value: object) -> bytes:
    if kind == STRUCT:
        return _struct(value)  # type: ignore[arg-type]
    if kind == LIST:
        of, items = value  # type: ignore[misc]
        size = len(items)
        head = bytes([size << 4 | of]) if size < 15 else bytes([0xF0 | of]) + _varint(size)
        return head + b"".join(_value(of, item) for item in items)
    if kind == TEXT:
        return _varint(len(value.encode())) + value.encode()  # type: ignore[attr-defined]
    return _varint((value << 1) ^ (value >> 63))  # type: ignore[operator]


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
