"""What an Arrow IPC stream says of itself, before a reader believes it: 8 MiB of it may otherwise ask for terabytes.

A stream is a sequence of messages: a marker, the length of a flatbuffer, the flatbuffer (`Message` of Arrow's
`Message.fbs`), a body. Fields go by their numbers there.
"""

import struct

from serve.refusals import BadRequestError

_MARKER = 0xFFFFFFFF

#: Of `MessageHeader`.
_DICTIONARY, _RECORDS = 2, 3

#: Of `Message`, `DictionaryBatch` and `RecordBatch`.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_DICTIONARY_DATA = 1
_ROWS, _COMPRESSION = 0, 3


def check_stream(content: bytes) -> None:
    """Refuse a stream whose batches are compressed within, or longer than their bytes can be.

    Raises:
        BadRequestError: saying what to send instead; or the stream is none.
    """
    try:
        at = 0
        while (message := _message(content, at)) is not None:
            table, at = message
            _check(content, table)
    except (struct.error, IndexError, OverflowError) as error:
        raise BadRequestError("telemetry is no Arrow IPC stream, or is cut short.") from error


def _message(content: bytes, at: int) -> tuple[int, int] | None:
    """Where the table of the message at `at` lies, and where the next message begins; None at the end."""
    if at == len(content):
        return None
    marker, size = struct.unpack_from("<Ii", content, at)
    if marker != _MARKER or size < 0 or at + 8 + size > len(content):
        raise BadRequestError("telemetry is no Arrow IPC stream; write one with e.g. pyarrow.ipc.new_stream.")
    if size == 0:
        return None
    table = at + 8 + struct.unpack_from("<I", content, at + 8)[0]
    body = _number(content, table, _BODY_LENGTH, "<q")
    after = at + 8 + size + body
    if body < 0 or after > len(content):
        raise BadRequestError("telemetry's Arrow IPC stream is cut short.")
    return table, after


def _check(content: bytes, message: int) -> None:
    kind = _number(content, message, _HEADER_TYPE, "<B")
    if kind not in {_DICTIONARY, _RECORDS}:
        return
    batch = _table(content, message, _HEADER)
    if kind == _DICTIONARY:
        batch = _table(content, batch, _DICTIONARY_DATA)
    if _field(content, batch, _COMPRESSION):
        raise BadRequestError("telemetry is compressed within the Arrow stream; compress the request instead.")
    if not 0 <= _number(content, batch, _ROWS, "<q") <= len(content):
        raise BadRequestError("telemetry claims more rows than it has bytes.")


def _field(content: bytes, table: int, field: int) -> int:
    """Where a field of a flatbuffer's table lies; 0 where it is left out."""
    names = table - struct.unpack_from("<i", content, table)[0]
    if 4 + 2 * field >= struct.unpack_from("<H", content, names)[0]:
        return 0
    offset: int = struct.unpack_from("<H", content, names + 4 + 2 * field)[0]
    return table + offset if offset else 0


def _number(content: bytes, table: int, field: int, form: str) -> int:
    at = _field(content, table, field)
    value: int = struct.unpack_from(form, content, at)[0] if at else 0
    return value


def _table(content: bytes, table: int, field: int) -> int:
    at = _field(content, table, field)
    if not at:
        raise BadRequestError("telemetry is no Arrow IPC stream.")
    inner: int = at + struct.unpack_from("<I", content, at)[0]
    return inner
