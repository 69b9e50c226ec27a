"""Bodies, compressed and not: what comes in never grows beyond its bound, whatever it was made of."""

import zlib

from serve.refusals import BadRequestError, TooLargeError, UnsupportedError

#: Window bits by content coding: gzip's own header, and zlib's for deflate (RFC 9110 §8.4.1).
CODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

#: Compressed bytes that are looked at at once, and parts that a gzip file may have, each perhaps nothing but a header:
#: what many of them cost grows with their number, and not with its square.
_PIECE_BYTES, _MEMBERS = 64 * 1024, 1000

#: Of speed and size, speed: floats hardly shrink.
_LEVEL = 1

#: Less is not worth the headers.
LEAST_BYTES = 1024


def inflate(content: bytes, coding: str, largest: int) -> bytes:
    """Decompress a body.

    Args:
        content: as received.
        coding: its Content-Encoding.
        largest: bytes that may come out.

    Raises:
        UnsupportedError: a coding that is not read.
        TooLargeError: more than `largest` bytes come out; no more than that were made.
        BadRequestError: damaged, cut short, or in too many parts.
    """
    if coding == "identity":
        return content
    if coding not in CODINGS:
        raise UnsupportedError(f"content-encoding {coding} is not read; {', '.join(CODINGS)} are.")
    parts, left, members = [], largest, 1
    reader = zlib.decompressobj(CODINGS[coding])
    for at in range(0, len(content), _PIECE_BYTES):
        rest = content[at : at + _PIECE_BYTES]
        while rest:
            if reader.eof:
                reader, members = zlib.decompressobj(CODINGS[coding]), members + 1
            if members > _MEMBERS:
                raise BadRequestError(f"the {coding} body has more than {_MEMBERS} parts.")
            try:
                part = reader.decompress(rest, left + 1)
            except zlib.error as error:
                raise BadRequestError(f"the body is not {coding}: {error}.") from error
            left -= len(part)
            if left < 0:
                raise TooLargeError(f"the body is larger than {largest} bytes when decompressed.")
            parts.append(part)
            rest = reader.unused_data  # another member of a gzip file
    if content and not reader.eof:
        raise BadRequestError(f"the {coding} body is cut short.")
    return b"".join(parts)


def deflate(content: bytes, coding: str) -> bytes:
    """Compress a body."""
    writer = zlib.compressobj(_LEVEL, zlib.DEFLATED, CODINGS[coding])
    return writer.compress(content) + writer.flush()


def accepted(header: str) -> str | None:
    """The coding to answer in, of what an Accept-Encoding header takes; None for none."""
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in CODINGS and weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            return coding.strip()
    return None
