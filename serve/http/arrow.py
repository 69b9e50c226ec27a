"""Telemetry out of an Arrow IPC stream, read by hand: nothing that the stream says of itself is believed.

A reader that is made for files of one's own takes lengths and places on trust: one wrong byte, and it asks for 2^60
bytes, which ends the process. Telemetry takes few of Arrow's types; here each length is checked before it is used.

A stream is a sequence of messages: a marker, the length of a flatbuffer, the flatbuffer, a body. Fields of its tables
go by their numbers in Arrow's `Message.fbs` and `Schema.fbs`; bodies are laid out as in "Arrow Columnar Format".
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.tables import UTC
from serve.http.flatbuffer import DamagedError, Table, decoded, unpacked
from serve.refusals import BadRequestError

#: Bytes of an entity's name: there may be one for every few bytes of a stream, all the same ones.
LONGEST_NAME = 256

_MARKER = 0xFFFFFFFF

#: Of `Message`, and what its header may be.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_SCHEMA, _DICTIONARY_BATCH, _RECORD_BATCH = 1, 2, 3

#: Of `Schema`, `Field` and `DictionaryEncoding`.
_ENDIANNESS, _FIELDS = 0, 1
_NAME, _TYPE_TYPE, _TYPE, _DICTIONARY = 0, 2, 3, 4
_DICTIONARY_ID, _INDEX_TYPE = 0, 1

#: Of `DictionaryBatch` and `RecordBatch`.
_BATCH_ID, _DATA, _IS_DELTA = 0, 1, 2
_LENGTH, _NODES, _BUFFERS, _COMPRESSION, _VARIADIC_COUNTS = 0, 1, 2, 3, 4

#: Of the union `Type`; the offsets of its texts; its floats; and of its timestamps the zone, and the ticks: µs in one,
#: or, negative, how many of them are 1 µs.
_NULL, _INT, _FLOATING_POINT, _UTF8, _TIMESTAMP, _LARGE_UTF8, _UTF8_VIEW = 1, 2, 3, 5, 10, 20, 24
_OFFSETS = {_UTF8: "<i4", _LARGE_UTF8: "<i8"}
_FLOATS = ("<f2", "<f4", "<f8")
_ZONE, _TICKS_US = 1, (1_000_000, 1000, 1, -1000)

#: A text of at most so many bytes lies in its view.
_INLINE = 12

_NO_STREAM = "telemetry is no little-endian Arrow IPC stream; write one with e.g. pyarrow.ipc.new_stream."

Known = NDArray[np.bool_]
#: Values of a column over a batch, and which of them are not null.
Values = tuple[NDArray[Any] | list[str], Known]


def read_stream(content: bytes, check: Callable[[Sequence[str]], None]) -> pl.DataFrame:
    """The rows of a stream: `time` in UTC, `entity_id` as text, and other columns as numbers.

    Args:
        content: not compressed within.
        check: refuses names of columns.

    Raises:
        BadRequestError: saying what to send instead.
    """
    try:
        messages = _messages(content)
        kind, schema, _ = next(messages, (None, None, None))
        if schema is None or kind != _SCHEMA or schema.number(_ENDIANNESS, "<h"):
            raise BadRequestError(_NO_STREAM)
        columns = [_column(field) for field in schema.inners(_FIELDS)]
        check([column.name for column in columns])
        parts = _batches(messages, columns)
    except DamagedError as error:
        raise BadRequestError("telemetry's Arrow IPC stream is cut short, or says wrong lengths.") from error
    return pl.DataFrame([column.series(values) for column, values in zip(columns, parts, strict=True)])


class _Batch:
    """A `RecordBatch`, whose columns are read one after the other.

    Args:
        table: what it says of itself.
        body: its buffers.
        texts: of each dictionary.
    """

    def __init__(self, table: Table, body: memoryview, texts: dict[int, list[str]]) -> None:
        self.rows, self.texts, self._body = table.number(_LENGTH, "<q"), texts, body
        if not 0 <= self.rows <= len(table.content):
            raise BadRequestError("telemetry claims more rows than it has bytes.")
        if table.has(_COMPRESSION):
            raise BadRequestError("telemetry is compressed within the Arrow stream; compress the request instead.")
        self._nodes = iter(table.structs(_NODES, "<qq"))
        self._buffers = iter(table.structs(_BUFFERS, "<qq"))
        self._variadic = iter(table.structs(_VARIADIC_COUNTS, "<q"))

    def begin(self) -> None:
        """Go to the next column."""
        length, _ = next(self._nodes, (-1, 0))
        if length != self.rows:
            raise DamagedError

    def known(self) -> Known:
        """Which rows are not null, as the next buffer says."""
        bits = self.buffer()
        if not bits:
            return np.ones(self.rows, np.bool_)
        if 8 * len(bits) < self.rows:
            raise DamagedError
        return np.unpackbits(np.frombuffer(bits, np.uint8), count=self.rows, bitorder="little").astype(np.bool_)

    def numbers(self, kind: str, more: int = 0) -> NDArray[Any]:
        """The next buffer: a number for each row, and `more`; none where there are no rows."""
        content, size = self.buffer(), (self.rows + more) * np.dtype(kind).itemsize
        if not self.rows:
            return np.empty(0, kind)
        if len(content) < size:
            raise DamagedError
        return np.frombuffer(content[:size], kind)

    def buffer(self) -> memoryview:
        at, size = next(self._buffers, (-1, 0))
        if at < 0 or size < 0 or at + size > len(self._body):
            raise DamagedError
        return self._body[at : at + size]

    def variadic(self) -> list[memoryview]:
        """The further buffers of a column of views."""
        (count,) = next(self._variadic, (0,))
        return [self.buffer() for _ in range(count)]


Read = Callable[[_Batch], Values]


@dataclass(frozen=True)
class _Column:
    """A column of the stream.

    Attributes:
        name: of it.
        dtype: that it is given.
        read: its values in the next column of a batch.
        dictionary: the number of the one that it goes by, and what reads that; None where it holds its own values.
    """

    name: str
    dtype: pl.DataType | type[pl.DataType]
    read: Read
    dictionary: tuple[int, Read] | None = None

    def series(self, parts: Sequence[Values]) -> pl.Series:
        """The batches one after the other."""
        known = np.concatenate([np.empty(0, np.bool_), *(there for _, there in parts)])
        if self.dtype == pl.String:
            told = pl.Series(self.name, [text for values, _ in parts for text in values], dtype=pl.String)
        else:
            told = pl.Series(self.name, np.concatenate([np.empty(0, np.int8), *(values for values, _ in parts)]))
        told = told.cast(self.dtype)
        return told if known.all() else told.set(pl.Series(~known), None)


def _column(field: Table) -> _Column:
    """How a column is read, by its name and type.

    Raises:
        BadRequestError: it is of a type that is not taken.
    """
    name, kind, of = field.text(_NAME), field.number(_TYPE_TYPE, "<B"), field.inner(_TYPE)
    if name == "entity_id" and (kind in _OFFSETS or kind == _UTF8_VIEW):
        texts = _views if kind == _UTF8_VIEW else _texts(_OFFSETS[kind])
        if not field.has(_DICTIONARY):
            return _Column(name, pl.String(), texts)
        encoding = field.inner(_DICTIONARY)
        number = encoding.number(_DICTIONARY_ID, "<q")
        index = _integer(encoding.inner(_INDEX_TYPE)) if encoding.has(_INDEX_TYPE) else "<i4"
        return _Column(name, pl.String(), _pointed(number, index), (number, texts))
    if name == "time" and kind == _TIMESTAMP:
        if not of.text(_ZONE):
            raise BadRequestError("telemetry's times have no zone; send timestamps in UTC that say so.")
        return _Column(name, UTC, _times(_one_of(_TICKS_US, of.number(0, "<h"))))
    if name not in {"time", "entity_id"} and not field.has(_DICTIONARY):
        if kind == _INT:
            return _Column(name, pl.Float64(), _plain(_integer(of)))
        if kind == _FLOATING_POINT:
            return _Column(name, pl.Float64(), _plain(_one_of(_FLOATS, of.number(0, "<h"))))
        if kind == _NULL:
            return _Column(name, pl.Float64(), _nothing)
    raise BadRequestError(
        f"column {name} is of an Arrow type that is not read; send time as timestamps, entity_id as text, and numbers."
    )


def _messages(content: bytes) -> Iterator[tuple[int, Table, memoryview]]:
    """The type, the header and the body of each message."""
    at = 0
    while at < len(content):
        marker, size = unpacked("<Ii", content, at)
        if marker != _MARKER or size < 0:
            raise BadRequestError(_NO_STREAM)
        if size == 0:
            return
        message = Table(content, at + 8 + unpacked("<I", content, at + 8)[0])
        begin, length = at + 8 + size, message.number(_BODY_LENGTH, "<q")
        at = begin + length
        if length < 0 or at > len(content):
            raise DamagedError
        yield message.number(_HEADER_TYPE, "<B"), message.inner(_HEADER), memoryview(content)[begin:at]


def _batches(messages: Iterator[tuple[int, Table, memoryview]], columns: Sequence[_Column]) -> list[list[Values]]:
    """What each batch has of each column."""
    parts: list[list[Values]] = [[] for _ in columns]
    plain = dict(column.dictionary for column in columns if column.dictionary is not None)
    texts: dict[int, list[str]] = {}
    for kind, header, body in messages:
        if kind == _RECORD_BATCH:
            batch = _Batch(header, body, texts)
            for column, values in zip(columns, parts, strict=True):
                batch.begin()
                values.append(column.read(batch))
        elif kind == _DICTIONARY_BATCH and (number := header.number(_BATCH_ID, "<q")) in plain:
            batch = _Batch(header.inner(_DATA), body, texts)
            batch.begin()
            told, known = plain[number](batch)
            if not known.all():
                raise DamagedError
            if not header.number(_IS_DELTA, "<B"):
                texts[number] = []
            texts.setdefault(number, []).extend(told)
        else:
            raise DamagedError
    return parts


def _plain(kind: str) -> Read:
    def read(batch: _Batch) -> Values:
        known = batch.known()
        return batch.numbers(kind), known

    return read


def _nothing(batch: _Batch) -> Values:
    return np.zeros(batch.rows), np.zeros(batch.rows, np.bool_)


def _times(ticks_us: int) -> Read:
    """Whole µs; a time too far away for them is null."""

    def read(batch: _Batch) -> Values:
        known, told = batch.known(), batch.numbers("<i8")
        if ticks_us < 0:
            return told // -ticks_us, known
        most = np.iinfo(np.int64).max // ticks_us
        return told * ticks_us, known & (told >= -most) & (told <= most)

    return read


def _texts(offsets: str) -> Read:
    """Texts one after the other."""

    def read(batch: _Batch) -> Values:
        known, edges, content = batch.known(), batch.numbers(offsets, 1), batch.buffer()
        if len(edges) and (edges[0] < 0 or edges[-1] > len(content) or (edges[1:] < edges[:-1]).any()):
            raise DamagedError
        return [_name(content[begin:end]) for begin, end in pairwise(edges.tolist())], known

    return read


def _views(batch: _Batch) -> Values:
    """Texts in their views, or where those say."""
    known, views = batch.known(), batch.numbers("V16")
    inline, others, texts = memoryview(views.tobytes()), batch.variadic(), []
    places = views.view("<i4").reshape(-1, 4).tolist()
    for row, (size, _, buffer, begin) in enumerate(places):
        if size <= _INLINE:
            begin, content = 16 * row + 4, inline  # noqa: PLW2901
        else:
            content = _one_of(others, buffer)
        if size < 0 or begin < 0 or begin + size > len(content):
            raise DamagedError
        texts.append(_name(content[begin : begin + size]))
    return texts, known


def _pointed(dictionary: int, index: str) -> Read:
    """Texts of a dictionary."""

    def read(batch: _Batch) -> Values:
        known, texts = batch.known(), batch.texts.get(dictionary, [])
        places = np.where(known, batch.numbers(index), 0)
        if known.any() and not (int(places.min()) >= 0 and int(places.max()) < len(texts)):
            raise DamagedError
        return [texts[place] if there else "" for place, there in zip(places.tolist(), known, strict=True)], known

    return read


def _name(content: memoryview) -> str:
    if len(content) > LONGEST_NAME:
        raise BadRequestError(f"telemetry has an entity_id of {len(content)} bytes; {LONGEST_NAME} is the most.")
    return decoded(content)


def _integer(of: Table) -> str:
    """The type of an `Int`."""
    bits = of.number(0, "<i")
    if bits not in {8, 16, 32, 64}:
        raise DamagedError
    return f"<{'i' if of.number(1, '<B') else 'u'}{bits // 8}"


def _one_of(known: Sequence[Any], place: int) -> Any:
    if not 0 <= place < len(known):
        raise DamagedError
    return known[place]
