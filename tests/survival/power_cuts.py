"""What a power cut may leave of a folder, worked out from the operations of one run.

The disk promises this much and no more (POSIX; file systems mostly promise more): what was written to a file is there
for good once that file is synced, a name once the folder that holds it is synced, a rename happens as a whole or not at
all. Until then each change may be there or not, whatever came before or after it. Bytes that are not there leave a file
short, or full of zeros where its length was kept.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from system_calls import Operation


@dataclass(eq=False)
class Node:
    """A file, folder or symlink, whatever its names.

    Attributes:
        kind: file, folder or link.
        source: an old file that is as it was is not held but found here.
        text: of a link.
    """

    kind: str
    source: Path | None = None
    text: str = ""


class Name(NamedTuple):
    """A place in a folder for a name."""

    folder: Node
    name: str


@dataclass(frozen=True, eq=False)
class Change:
    """One change: of names (`gone` no more, `here` from now on) or of the bytes of `node`."""

    node: Node
    gone: Name | None = None
    here: Name | None = None
    offset: int | None = None
    data: bytes = b""

    @property
    def of_names(self) -> bool:
        return self.offset is None

    def kept_by(self, synced: Node) -> bool:
        """Whether syncing a file or folder keeps this for good; a rename is kept with its new name."""
        if not self.of_names:
            return synced is self.node
        place = self.here or self.gone
        return place is not None and synced is place.folder


#: What an operation makes.
_KINDS = {"create": "file", "mkdir": "folder", "symlink": "link"}

#: Which bytes of what was written are there: all, zeros instead, or the first half.
Loss = Callable[[bytes], bytes]


def _whole(data: bytes) -> bytes:
    return data


def _zeroed(data: bytes) -> bytes:
    return bytes(len(data))


def _torn(data: bytes) -> bytes:
    return data[: len(data) // 2]


@dataclass
class Disk:
    """Names and contents; changes apply to it in any selection.

    Attributes:
        names: of each folder.
        contents: of each file that changed.
    """

    root: Node
    names: dict[Node, dict[str, Node]] = field(default_factory=dict)
    contents: dict[Node, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "Disk":
        """A folder as it lies there, which must stay so."""
        disk = cls(Node("folder"))
        disk._read(disk.root, folder)
        return disk

    def _read(self, node: Node, folder: Path) -> None:
        entries = self.names[node] = {}
        for path in sorted(folder.iterdir()):
            if path.is_symlink():
                entries[path.name] = Node("link", text=str(path.readlink()))
            elif path.is_dir():
                entries[path.name] = Node("folder")
                self._read(entries[path.name], path)
            else:
                entries[path.name] = Node("file", path)

    def copy(self) -> "Disk":
        return Disk(self.root, {node: dict(names) for node, names in self.names.items()}, dict(self.contents))

    def find(self, path: str) -> Node:
        node = self.root
        for name in PurePosixPath(path).parts:
            node = self.names.get(node, {})[name]
        return node

    def place(self, path: str) -> Name:
        pure = PurePosixPath(path)
        return Name(self.find(str(pure.parent)), pure.name)

    def apply(self, change: Change, loss: Loss = _whole) -> None:
        if change.offset is not None:
            self._write(change.node, change.offset, change.data, loss)
        if change.gone is not None and self.names.get(change.gone.folder, {}).get(change.gone.name) is change.node:
            del self.names[change.gone.folder][change.gone.name]
        if change.here is not None:
            self.names.setdefault(change.here.folder, {})[change.here.name] = change.node

    def _write(self, node: Node, offset: int, data: bytes, loss: Loss) -> None:
        old = self.content(node)
        if not data:  # a new length
            self.contents[node] = old[:offset].ljust(offset, b"\0")
            return
        there = loss(data)
        if there:
            old = old.ljust(offset, b"\0")
            self.contents[node] = old[:offset] + there + old[offset + len(there) :]

    def content(self, node: Node) -> bytes:
        if node in self.contents:
            return self.contents[node]
        return node.source.read_bytes() if node.source else b""

    def files(self, node: Node | None = None, path: str = "") -> Iterator[tuple[str, Node]]:
        """Everything below `node`, folders before what they hold, by path."""
        for name, found in sorted(self.names.get(node or self.root, {}).items()):
            yield f"{path}{name}", found
            if found.kind == "folder":
                yield from self.files(found, f"{path}{name}/")

    def write(self, folder: Path) -> None:
        """Make `folder` this; old files keep their times."""
        folder.mkdir(parents=True)
        for path, node in self.files():
            where = folder / path
            if node.kind == "folder":
                where.mkdir()
            elif node.kind == "link":
                where.symlink_to(node.text)
            elif node in self.contents:
                where.write_bytes(self.contents[node])
            elif node.source is not None:
                shutil.copy2(node.source, where)
            else:
                where.touch()


@dataclass
class Recording:
    """The changes of one run, in order, with what was synced when.

    Args:
        start: the disk before.

    Attributes:
        places: of each change, the number of its operation.
    """

    start: Disk
    changes: list[Change] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    _kept: list[int | None] = field(default_factory=list)
    _now: Disk = field(init=False)
    _noted: int = 0

    def __post_init__(self) -> None:
        self._now = self.start.copy()

    @property
    def end(self) -> Disk:
        return self._now

    def note(self, operation: Operation) -> None:
        """Take down an operation that happens."""
        self._noted += 1
        if operation.name == "sync":
            self._sync(self._now.find(operation.path) if operation.path else self._now.root)
            return
        change = self._change(operation)
        if change is not None:
            self._now.apply(change)
            self.changes.append(change)
            self.places.append(self._noted - 1)
            self._kept.append(None)

    def _change(self, operation: Operation) -> Change | None:
        disk, path = self._now, operation.path
        match operation.name:
            case "create" | "mkdir" | "symlink":
                return Change(Node(_KINDS[operation.name], text=operation.to), here=disk.place(path))
            case "link" | "rename":
                gone = disk.place(path) if operation.name == "rename" else None
                return Change(disk.find(path), gone=gone, here=disk.place(operation.to))
            case "unlink" | "rmdir":
                return Change(disk.find(path), gone=disk.place(path))
            case "write" | "truncate":
                return Change(disk.find(path), offset=operation.offset, data=operation.data)
        return None

    def _sync(self, node: Node) -> None:
        for place, change in enumerate(self.changes):
            if self._kept[place] is None and change.kept_by(node):
                self._kept[place] = len(self.changes)

    def cuts(self, after: int) -> Iterator[tuple[str, Disk]]:
        """What a power cut may leave after that many changes, each with how it came about.

        Of the changes that no sync kept: none; all names but the bytes missing, zero or torn; the bytes without the
        names; each single change alone; all but each single one.
        """
        pending = [
            change
            for change, kept in zip(self.changes[:after], self._kept, strict=False)
            if kept is None or kept >= after
        ]
        names = [change for change in pending if change.of_names]
        written = [change for change in pending if not change.of_names]
        yield "all lost", self._state(after, pending, [])
        if written:
            yield "bytes lost", self._state(after, pending, names)
            yield "bytes zeroed", self._state(after, pending, pending, _zeroed)
            yield "bytes torn", self._state(after, pending, pending, _torn)
            yield "names lost", self._state(after, pending, written)
        if len(names) > 1:
            for change in names:
                yield "one name alone", self._state(after, pending, [*written, change])
                yield "one name lost", self._state(after, pending, [one for one in pending if one is not change])

    def _state(self, after: int, pending: Sequence[Change], there: Sequence[Change], loss: Loss = _whole) -> Disk:
        doubtful, survived = {id(change) for change in pending}, {id(change) for change in there}
        disk = self.start.copy()
        for change in self.changes[:after]:
            if id(change) not in doubtful:
                disk.apply(change)
            elif id(change) in survived:
                disk.apply(change, loss)
        return disk
