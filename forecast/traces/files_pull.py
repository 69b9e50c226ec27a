"""What is new in files, asked for again and again: of those that were told before, only the list is looked at."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from forecast.contracts.errors import DataError
from forecast.traces.parts import Range
from forecast.traces.places import File
from forecast.traces.readers import end_of_lines, excerpt, is_appendable
from forecast.traces.trace import WHOLE_S, floor

if TYPE_CHECKING:
    from forecast.traces.files import FileSource

#: Telemetry of some files between two times, in the contract's form; of no files, what waited for more and need not.
Reader = Callable[[Sequence[File], datetime, datetime], pl.DataFrame]

#: History is read in pieces of this length, so that it never lies in memory as rows all at once.
_PIECE = timedelta(days=1)

#: A file that was written anew is read as a whole so often: rows may have come into it that are older than what it had.
_AGAIN = timedelta(hours=1)

#: What a file that is not what its name says, was not written whole, is gone, or was shortened under its reader (which
#: is no `Exception`, and would end the thread that reads) raises.
_UNREADABLE = (DataError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)

#: Bytes before the end of text by which it is known again once it has grown.
_SEAM = 4096


@dataclass(frozen=True)
class _Known:
    """A file that was told.

    Attributes:
        file: as it was.
        span: between which times its samples lie; None where it has none.
        whole_at: when it was last told from the beginning.
        grew: whether it was written anew since then.
        end: bytes that were told of text that may be appended to; else 0.
        seam: hash of what is before `end`.
    """

    file: File
    span: Range | None
    whole_at: datetime
    grew: bool = False
    end: int = 0
    seam: str = ""

    def is_same(self, file: File) -> bool:
        return (self.file.size, self.file.stamp) == (file.size, file.stamp)

    def goes_on_in(self, file: File) -> bool:
        """Whether `file` is this text with more after what was told."""
        return 0 < self.end < file.size and _seam(file, self.end) == self.seam


class _Portion(NamedTuple):
    """What is to be told of a file, by the URL that it is known by, or of an excerpt of it: samples from a time on."""

    url: str
    file: File
    span: Range | None
    since: datetime


class FilesPull:
    """Follows files that come, grow and go.

    A new file is told from the beginning. Parquet that was written anew is told again from its newest sample on, less
    `late`, and as a whole within the hour; text that was appended to, from where it ended, in whole lines. What lies in
    the future of one look is told by a later one. A file that cannot be read keeps none of the others away: it is told
    of when they are through, and tried again by the next look; so is one that has nothing yet.

    Args:
        source: its settings.
        read: reads some of its files.
        late: so much older than a file's newest sample those may be that come into it.
    """

    def __init__(self, source: "FileSource", read: Reader, late: timedelta) -> None:
        self._source, self._read, self._late = source, read, late
        self._known: dict[str, _Known] = {}
        self._told_until: datetime | None = None

    def rows(self, begin: datetime, until: datetime) -> Iterator[pl.DataFrame]:
        """As of `Pull.rows`."""
        look = _Look(self._source, self._late, begin, until, self._told_until or begin)
        try:
            look.at([file for file in self._source.find() if file.size or file.remote], self._known)
            yield from self._pieces(look, until)
            if not (rest := self._read([], until, until)).is_empty():
                yield rest
        finally:
            for file in look.excerpts:
                file.local.unlink()
        for url, old in self._known.items():
            if url not in look.known or not look.known[url].is_same(old.file):
                old.file.forget()
        self._known, self._told_until = look.known, until
        if look.broken is not None:
            raise look.broken

    def newest(self) -> datetime | None:
        """As of `Pull.newest`."""
        return max((span[1] for span in self._source.spans(self._source.find()) if span is not None), default=None)

    def _pieces(self, look: "_Look", until: datetime) -> Iterator[pl.DataFrame]:
        """The portions together, a stretch of time after the other."""
        due = [(one, *one.span) for one in look.portions if one.span is not None and one.span[1] >= one.since]
        begin = min((max(one.since, first) for one, first, _ in due), default=until)
        while begin < until:
            end = min(begin + _PIECE, until)
            together: dict[datetime, list[_Portion]] = {}
            for one, first, last in due:
                if first < end and one.since < end and last >= begin:
                    together.setdefault(max(one.since, begin), []).append(one)
            for since, portions in together.items():
                for rows in self._told(portions, since, end, look):
                    if not rows.is_empty():
                        yield rows
            begin = end

    def _told(
        self, portions: Sequence[_Portion], since: datetime, end: datetime, look: "_Look"
    ) -> Iterator[pl.DataFrame]:
        """Portions at once, or, where one of them cannot be read, one by one without it."""
        try:
            yield self._read([one.file for one in portions], since, end)
        except _UNREADABLE as error:
            if len(portions) == 1:
                look.is_broken(portions[0].file, error)
                look.known.pop(portions[0].url, None)
                return
            for one in portions:
                yield from self._told([one], since, end, look)


class _Look:
    """One look at the files: what is known of each now, and what is to be told of it.

    Args:
        source, late: as of `FilesPull`.
        begin, until: what is wanted.
        told_until: where the look before ended.

    Attributes:
        known: by URL.
        portions: what is to be told.
        excerpts: files that are of no use afterwards.
        broken: why one of the files cannot be read; None where all can.
    """

    def __init__(
        self, source: "FileSource", late: timedelta, begin: datetime, until: datetime, told_until: datetime
    ) -> None:
        self._source, self._late = source, late
        self._begin, self._until, self._told_until = begin, until, max(told_until, begin)
        self.known: dict[str, _Known] = {}
        self.portions: list[_Portion] = []
        self.excerpts: list[File] = []
        self.broken: Exception | None = None

    def at(self, files: Sequence[File], before: Mapping[str, _Known]) -> None:
        """Compare files with what was known `before`."""
        whole, anew = [], []
        for file in files:
            was = before.get(file.url)
            if was is None or (was.grew and self._until - was.whole_at >= _AGAIN):
                whole.append(file)
            elif was.is_same(file) and was.end in {0, file.size}:
                self._tell(was, was.file, was.span, self._told_until)
            elif was.goes_on_in(file):
                self._appended(was, file)
            elif is_appendable(file):
                whole.append(file)
            else:
                anew.append((was, file))
        self._whole(whole)
        self._anew(anew)

    def is_broken(self, file: File, error: Exception | pl.exceptions.PanicException) -> None:
        """Note that a file cannot be read; the first is told of."""
        if not isinstance(error, Exception):
            error = DataError(f"{file.name}: was written over while it was read; write it beside, then rename it.")
        named = error if file.name in str(error) else DataError(f"{file.name}: {error}")
        self.broken = self.broken or named

    def _tell(self, known: _Known, portion: File, span: Range | None, since: datetime) -> None:
        self.known[known.file.url] = known
        self.portions.append(_Portion(known.file.url, portion, span, since))

    def _whole(self, files: Sequence[File]) -> None:
        for file, span in self._spans(files):
            end = end_of_lines(file) if is_appendable(file) else 0
            known = _Known(file, span, self._until, end=end, seam=_seam(file, end))
            is_cut = 0 < end < file.size
            self._tell(known, self._excerpt(file, 0, end) if is_cut else file, span, self._begin)

    def _anew(self, files: Sequence[tuple[_Known, File]]) -> None:
        newest = [was.span[1] for was, _ in files if was.span is not None]
        since = max(floor(min([*newest, self._told_until]) - self._late, WHOLE_S), self._begin)
        before = {file.url: was for was, file in files}
        for file, span in self._spans([file for _, file in files]):
            self._tell(replace(before[file.url], file=file, span=span, grew=True), file, span, since)

    def _appended(self, was: _Known, file: File) -> None:
        """Whole lines; and what stood still since the last look, whether or not its last line has an end."""
        end = file.size if was.is_same(file) else end_of_lines(file)
        if end <= was.end:
            self.known[file.url] = replace(was, file=file)
            return
        tail = self._excerpt(file, was.end, end)
        (span,) = self._source.spans([tail])
        known = replace(was, file=file, span=_joined(was.span, span), end=end, seam=_seam(file, end))
        if self._told_until > self._begin and was.span is not None and was.span[1] >= self._told_until:
            self.portions.append(_Portion(file.url, was.file, was.span, self._told_until))
        self._tell(known, tail, span, self._begin)

    def _spans(self, files: Sequence[File]) -> Iterator[tuple[File, Range | None]]:
        """The files that can be read, each with its span."""
        try:
            yield from zip(files, self._source.spans(files), strict=True)
        except _UNREADABLE as error:
            if len(files) == 1:
                self.is_broken(files[0], error)
                return
            for file in files:
                yield from self._spans([file])

    def _excerpt(self, file: File, start: int, end: int) -> File:
        self.excerpts.append(excerpt(file, start, end))
        return self.excerpts[-1]


def _joined(one: Range | None, other: Range | None) -> Range | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def _seam(file: File, end: int) -> str:
    return hashlib.sha256(file.read(max(end - _SEAM, 0), end)).hexdigest() if end else ""
