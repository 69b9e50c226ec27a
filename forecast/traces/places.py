"""Where files are: a path, a folder, a glob, or a URL of an object store or of anything else that fsspec opens.

Object stores (`s3://`, `gs://`, `az://`, ...) are listed through obstore and read by Polars in place, both by the same
`storage_options`. Files of other schemes are fetched to a temporary folder that goes with the process.
"""

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.version import key_of

#: Up to this size every byte counts towards a local file's key.
SMALL_BYTES = 8 << 20

#: Of a larger file the end counts: a Parquet footer tells size, place and range of all that is before it.
_END_BYTES = 1 << 16

_STORES = {"s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss"}
_URL = re.compile(r"^([a-z][a-z0-9+.-]+)://")
_GLOB = re.compile(r"[*?\[]")

#: Options of the connection, which obstore takes apart from those of the store (its ClientConfig).
_CONNECTION = {"allow_http", "allow_invalid_certificates", "connect_timeout", "timeout", "proxy_url", "user_agent"}


@dataclass(frozen=True)
class File:
    """One file, wherever it is.

    Attributes:
        name: path or URL, without what could be a secret; what errors say.
        url: what opens it.
        size: bytes.
        stamp: the time of its last change; of a remote file its etag, where it has one.
        remote: how to reach it, None where it is local.
    """

    name: str
    url: str = field(repr=False)
    size: int
    stamp: str
    remote: "Remote | None" = field(default=None, compare=False)

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.name)[1].lower()  # noqa: PTH122 - of every file of a lake, at every look

    @property
    def hive(self) -> dict[str, str]:
        """Partition keys in its path: `day=2026-01-05/host=a/x.parquet` has day and host."""
        folders = PurePosixPath(self.url).parts[:-1]
        return dict(folder.split("=", 1) for folder in folders if "=" in folder.strip("="))

    @property
    def in_place(self) -> str:
        """What Polars scans: of an object store the URL, else a local path."""
        return self.url if self.remote and self.remote.polars else str(self.local)

    @cached_property
    def local(self) -> Path:
        """The file, or a copy of it in folders of the same partition keys, on this machine."""
        if self.remote is None:
            return Path(self.url)
        folders = [f"{key}={value}" for key, value in self.hive.items()]
        copy = temporary_folder().joinpath(key_of(self.url, self.stamp), *folders, f"copy{self.suffix}")
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            part = copy.with_suffix(".part")
            with reaching(self.name, self.remote.options):
                self.remote.fetch(part)
            part.replace(copy)
        return copy

    @property
    def decoded(self) -> Path:
        """Where its copy in another encoding lies, for whoever makes one."""
        return temporary_folder() / f"{self.key}{self.suffix}"

    def forget(self) -> None:
        """Remove its copies, where there are any: it will not be opened again."""
        if self.remote is not None and "local" in vars(self):
            shutil.rmtree(temporary_folder() / key_of(self.url, self.stamp), ignore_errors=True)
        if "key" in vars(self):
            self.decoded.unlink(missing_ok=True)

    def read(self, start: int, end: int) -> bytes:
        """Bytes `[start, end)`."""
        if self.remote is not None and self.remote.polars:
            with reaching(self.name, self.remote.options):
                return self.remote.read(start, end)
        with self.local.open("rb") as stream:
            stream.seek(start)
            return stream.read(end - start)

    def content(self) -> bytes:
        """All of it, as it is now."""
        if self.remote is not None and self.remote.polars:
            return self.read(0, self.size)
        return self.local.read_bytes()

    @cached_property
    def key(self) -> str:
        """Changes whenever the content does.

        Of a small local file, every byte. Of a larger one, its size, the time of its last change and its end: whoever
        appends or rewrites changes the size or the time, a copy that sets the time back still differs in a Parquet
        footer, and reading a lake through at every run just to see that nothing is new would cost more than the run.
        Of a remote file, what its store vouches for: the etag, else size and time of change.
        """
        if self.remote is not None:
            return self.stamp
        if self.size <= SMALL_BYTES:
            return hashlib.sha256(Path(self.url).read_bytes()).hexdigest()[:16]
        end = self.read(self.size - _END_BYTES, self.size)
        return key_of(self.size, self.stamp, hashlib.sha256(end).hexdigest())


@dataclass(frozen=True)
class Remote:
    """How to reach a remote file: ranges of its bytes, or all of it into a local file; `polars` if Polars can too."""

    read: Callable[[int, int], bytes]
    fetch: Callable[[Path], None]
    polars: bool
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


def find(path: str, options: Mapping[str, str] | None = None) -> list[File]:
    """The files a path, folder, glob or URL stands for, sorted; in folders, all Parquet that is not hidden.

    Args:
        path: of files or folders.
        options: for the store: endpoint, region, credentials; those of the environment where it has none.

    Raises:
        DataError: none found, or not to be reached.
        ConfigError: a kind of URL that needs a package which is not installed.
    """
    scheme = _URL.match(path)
    if not path:
        files = []
    elif scheme is None:
        files = _local(path)
    elif scheme[1] in _STORES:
        files = _in_store(path, options or {})
    else:
        files = _by_fsspec(path, scheme[1], options or {})
    if not files and scheme is None and path and Path(path).is_dir():
        raise DataError(f"{path}: no Parquet in this folder; name CSV or TSV by a glob, such as {Path(path, '*.csv')}.")
    if not files:
        raise DataError(f"{shown(path) or 'source.path'}: no such file or folder of Parquet; check the path.")
    return sorted(files, key=lambda file: file.url)


def local_file(path: Path) -> File:
    """A file of this machine."""
    told = path.stat()
    return File(str(path), str(path), told.st_size, str(told.st_mtime_ns))


def shown(url: str) -> str:
    """A URL without user, password and query, which may be secrets."""
    return re.sub(r"(?<=://)[^/@]*@", "", url).split("?")[0] if _URL.match(url) else url


@cache
def temporary_folder() -> Path:
    """A folder of this process, removed when it ends."""
    folder = tempfile.TemporaryDirectory(prefix="fleetcast-")
    _KEPT.append(folder)
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def _local(path: str) -> list[File]:
    place = Path(path)
    try:
        if place.is_dir():
            return list(_walk(str(place)))
        if place.is_file():
            return [local_file(place)]
        pattern = str(place.relative_to(place.anchor))
        return [local_file(file) for file in Path(place.anchor or ".").glob(pattern) if file.is_file()]
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{error.filename or path}: cannot be opened ({reason}); check its permissions.") from error


def _walk(folder: str) -> Iterator[File]:
    """Parquet files below `folder`; links to folders are not followed, so that none can lead round in a circle."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if _hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            elif entry.name.lower().endswith(".parquet") and (told := _told(entry)) is not None:
                yield File(entry.path, entry.path, told.st_size, str(told.st_mtime_ns))


def _told(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Size and time of a file; None of what is none, or is gone since."""
    try:
        return entry.stat() if entry.is_file() else None
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP}:
            return None
        raise


def _hidden(name: str) -> bool:
    """What writers keep to themselves: `_SUCCESS`, `_temporary`, `.part`."""
    return name.startswith(("_", "."))


def _in_store(path: str, options: Mapping[str, str]) -> list[File]:
    import obstore  # noqa: PLC0415 - local files need no client of object stores

    scheme, rest = path.split("://", 1)
    bucket, _, key = rest.partition("/")
    connection = {name.removeprefix("aws_"): value for name, value in options.items()}
    client: Any = {name: value for name, value in connection.items() if name in _CONNECTION}
    config: Any = {name: value for name, value in options.items() if name.removeprefix("aws_") not in _CONNECTION}
    with reaching(shown(path), options):
        store = obstore.store.from_url(f"{scheme}://{bucket}", config=config, client_options=client)
        listed = [entry for page in obstore.list(store, _prefix(key)) for entry in page]

    def file(entry: Mapping[str, Any]) -> File:
        at, url = entry["path"], f"{scheme}://{bucket}/{entry['path']}"
        remote = Remote(
            read=lambda start, end: bytes(obstore.get_range(store, at, start=start, end=end)),
            fetch=lambda target: _stream(obstore.get(store, at), target),
            polars=True,
            options=options,
        )
        stamp = key_of(entry.get("e_tag") or str(entry["last_modified"]), entry["size"])
        return File(url, url, entry["size"], stamp, remote)

    return [file(entry) for entry in listed if _matches(entry["path"], key)]


def _prefix(key: str) -> str:
    """The folder that a listing starts from: stores list whole path segments only."""
    wild = _GLOB.search(key)
    return key[: wild.start()].rpartition("/")[0] if wild else key.rpartition("/")[0]


def _matches(found: str, key: str) -> bool:
    """Whether `found` is the file, in the folder, or fits the glob `key`."""
    if _GLOB.search(key):
        return re.fullmatch(_pattern(key), found) is not None
    folder = key.rstrip("/") + "/" if key else ""
    inside = PurePosixPath(found.removeprefix(folder)).parts
    parquet = found.startswith(folder) and found.lower().endswith(".parquet") and not any(map(_hidden, inside))
    return found == key or parquet


def _pattern(glob: str) -> str:
    """A regular expression of a glob: `*` and `?` stay within a folder, `**/` is any number of folders."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", glob)
    kept = (piece.replace("[!", "[^") if piece.startswith("[") else re.escape(piece) for piece in pieces)
    return "".join(words.get(piece, other) for piece, other in zip(pieces, kept, strict=True))


def _stream(answer: Any, target: Path) -> None:
    with target.open("wb") as stream:
        for chunk in answer.stream():
            stream.write(chunk)


def _by_fsspec(path: str, scheme: str, options: Mapping[str, str]) -> list[File]:
    import fsspec  # noqa: PLC0415 - local files need none of it

    try:
        system, place = fsspec.core.url_to_fs(path, **options)
    except (ImportError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{shown(path)}: {scheme}:// cannot be opened here ({reason}).") from error
    with reaching(shown(path), options):
        if _GLOB.search(place) and scheme not in {"http", "https"}:
            found = system.glob(place)
        elif system.isdir(place):
            found = [name for name in system.find(place) if _matches(name, place)]
        else:
            found = [place] if system.exists(place) else []
        infos = [(name, system.info(name)) for name in found]

    def file(name: str, info: Mapping[str, Any]) -> File:
        url = system.unstrip_protocol(name)
        told = [info.get(key) for key in ("ETag", "etag", "e_tag", "mtime", "LastModified", "modified", "created")]
        remote = Remote(
            read=lambda start, end: bytes(system.cat_file(name, start, end)),
            fetch=lambda target: system.get_file(name, str(target)),
            polars=False,
            options=options,
        )
        return File(
            shown(url), url, info.get("size") or 0, key_of(info.get("size"), [str(one) for one in told]), remote
        )

    return [file(name, info) for name, info in infos if info.get("type") == "file"]


@contextmanager
def reaching(name: str, options: Mapping[str, str]) -> Iterator[None]:
    """Turn whatever the client of a store raises into one line that holds no credential."""
    try:
        yield
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        for secret in options.values():
            reason = reason.replace(secret, "...") if len(secret) > 3 else reason
        raise DataError(f"{name}: cannot be reached: {reason}") from None
