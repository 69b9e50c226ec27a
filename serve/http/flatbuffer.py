"""Tables of a flatbuffer, read without trust: a place that lies outside is an error, whatever it was meant to be."""

import struct
from dataclasses import dataclass


class DamagedError(Exception):
    """What was read is no flatbuffer, or cut short."""


@dataclass(frozen=True)
class Table:
    """A table: where its fields lie is told by a list of offsets, by number.

    Attributes:
        content: what it lies in.
        at: where it begins.
    """

    content: bytes
    at: int

    def has(self, field: int) -> bool:
        return self._place(field) > 0

    def number(self, field: int, form: str) -> int:
        """A number of a form of `struct`; 0 where it is left out."""
        at = self._place(field)
        return unpacked(form, self.content, at)[0] if at else 0

    def inner(self, field: int) -> "Table":
        """A table that it points to.

        Raises:
            DamagedError: to none.
        """
        at = self._place(field)
        if not at:
            raise DamagedError
        return self._pointed(at)

    def inners(self, field: int) -> "list[Table]":
        """The tables of a list; none where it is left out."""
        at, count = self._listed(field, 4)
        return [self._pointed(at + 4 * one) for one in range(count)]

    def structs(self, field: int, form: str) -> list[tuple[int, ...]]:
        """The structs, or numbers, of a list; none where it is left out."""
        size = struct.calcsize(form)
        at, count = self._listed(field, size)
        return [unpacked(form, self.content, at + size * one) for one in range(count)]

    def text(self, field: int) -> str:
        """A string; empty where it is left out."""
        at, count = self._listed(field, 1)
        return decoded(self.content[at : at + count])

    def _pointed(self, at: int) -> "Table":
        return Table(self.content, at + unpacked("<I", self.content, at)[0])

    def _listed(self, field: int, size: int) -> tuple[int, int]:
        """Where the parts of a list begin, and how many there are."""
        at = self._place(field)
        if not at:
            return 0, 0
        at += unpacked("<I", self.content, at)[0]
        count = unpacked("<I", self.content, at)[0]
        if at + 4 + count * size > len(self.content):
            raise DamagedError
        return at + 4, count

    def _place(self, field: int) -> int:
        """Where a field lies; 0 where it is left out."""
        offsets = self.at - unpacked("<i", self.content, self.at)[0]
        if 4 + 2 * field >= unpacked("<H", self.content, offsets)[0]:
            return 0
        offset = unpacked("<H", self.content, offsets + 4 + 2 * field)[0]
        return self.at + offset if offset else 0


def unpacked(form: str, content: bytes, at: int) -> tuple[int, ...]:
    """Numbers at a place.

    Raises:
        DamagedError: it lies outside.
    """
    if not 0 <= at <= len(content) - struct.calcsize(form):
        raise DamagedError
    return struct.unpack_from(form, content, at)


def decoded(content: bytes | memoryview) -> str:
    """UTF-8.

    Raises:
        DamagedError: it is not.
    """
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise DamagedError from error
