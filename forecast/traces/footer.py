"""What a Parquet file says of itself at its end: rows, sizes and the range of its times, before a page is read.

The footer is a Thrift struct in the compact protocol; the fields are those of parquet-format's `parquet.thrift`
(FileMetaData, RowGroup, ColumnChunk, ColumnMetaData, Statistics), by their numbers there.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from forecast.traces.places import File

#: A footer beyond this is no footer of telemetry: 10,000 columns in 16 row groups need about 16 MB.
LARGEST_FOOTER = 64 << 20

#: Most footers end within what one request to a store brings at no extra cost.
_TAIL_BYTES = 1 << 16

_MAGIC = b"PAR1"
_INT64 = 2
_DEEPEST = 16
_BOOLEANS = {1: True, 2: False}


class FooterError(ValueError):
    """A footer that is not one."""


@dataclass(frozen=True)
class Chunk:
    """One column of a row group.

    Attributes:
        size: bytes when uncompressed.
        low, high: least and greatest value of 64-bit integers (times are), None where the writer kept none.
    """

    size: int
    low: int | None
    high: int | None


@dataclass(frozen=True)
class Group:
    """A row group: what a reader decodes at once."""

    rows: int
    chunks: Mapping[str, Chunk]


@lru_cache(maxsize=10_000)
def read_footer(file: File) -> list[Group]:
    """The row groups of a Parquet file.

    Raises:
        FooterError: the file has no footer, or one that says nothing.
    """
    tail = file.read(max(file.size - _TAIL_BYTES, 0), file.size)
    if tail[-4:] != _MAGIC:
        raise FooterError("it does not end as Parquet does")
    length = int.from_bytes(tail[-8:-4], "little")
    if length > min(LARGEST_FOOTER, file.size - 12):
        raise FooterError(f"it claims a footer of {length:,} bytes")
    start = file.size - 8 - length
    content = tail[-8 - length : -8] if length + 8 <= len(tail) else file.read(start, file.size - 8)
    try:
        return [_group(group) for group in _Reader(content).struct().get(4, [])]
    except (IndexError, KeyError, TypeError, AttributeError, struct.error, UnicodeDecodeError) as error:
        raise FooterError("its footer is damaged") from error


def _group(group: dict[int, Any]) -> Group:
    metas = [column[3] for column in group[1]]
    return Group(group[3], {".".join(part.decode() for part in meta[3]): _chunk(meta) for meta in metas})


def _chunk(meta: dict[int, Any]) -> Chunk:
    kept = meta.get(12, {})
    low, high = (kept.get(now, kept.get(before)) for now, before in ((6, 2), (5, 1)))
    told = meta[1] == _INT64 and low is not None and high is not None and len(low) == len(high) == 8
    return Chunk(
        size=meta[6],
        low=int.from_bytes(low, "little", signed=True) if told else None,
        high=int.from_bytes(high, "little", signed=True) if told else None,
    )


class _Reader:
    """Thrift's compact protocol, as plain data: a struct is {field number: value}."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at, self.depth = content, 0, 0
        self._kinds: dict[int, Callable[[], Any]] = {
            **dict.fromkeys((1, 2), lambda: self._byte() == 1),
            3: self._byte,
            **dict.fromkeys((4, 5, 6), self._integer),
            7: self._double,
            8: lambda: self._bytes(self._varint()),
            **dict.fromkeys((9, 10), self._list),
            12: self.struct,
        }

    def struct(self) -> dict[int, Any]:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise FooterError("its footer is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._integer()
            fields[number] = _BOOLEANS[kind] if kind in _BOOLEANS else self._value(kind)
        self.depth -= 1
        return fields

    def _value(self, kind: int) -> Any:
        if kind not in self._kinds:
            raise FooterError("its footer holds what no footer holds")
        return self._kinds[kind]()

    def _double(self) -> float:
        found: float = struct.unpack("<d", self._bytes(8))[0]
        return found

    def _list(self) -> list[Any]:
        head = self._byte()
        length = self._varint() if head >> 4 == 15 else head >> 4
        return [self._value(head & 15) for _ in range(length)]

    def _byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1]

    def _bytes(self, length: int) -> bytes:
        found = self.content[self.at : self.at + length]
        if len(found) < length:
            raise IndexError
        self.at += length
        return found

    def _varint(self) -> int:
        value, shift = 0, 0
        while shift < 64:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise FooterError("its footer holds a number of more than 64 bits")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
