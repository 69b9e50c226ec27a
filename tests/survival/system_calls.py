"""Sees every call that changes a file before the kernel does it, whatever makes it: Python, Rust, C++ or libc itself.

Linux calls it seccomp user notification (`man 2 seccomp`, `man 2 seccomp_unotify`): a process filters its own calls by
number, and another one is asked about those before they happen. That one may let them go on, make them fail, or never
answer. The structures and numbers are those of `linux/seccomp.h`, `linux/filter.h` and `linux/audit.h`.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import select
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_AT_FDCWD = -100
_AT_REMOVEDIR = 0x200

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
#: Return a descriptor that is asked; once it has heard, only what kills ends the wait for its answer (Linux 5.19).
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5
_RET_USER_NOTIF, _RET_ALLOW = 0x7FC00000, 0x7FFF0000
_NOTIF_RECV, _NOTIF_SEND, _FLAG_CONTINUE = 0xC0502100, 0xC0182101, 1
_NOTIF, _RESPONSE = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")

#: Instructions of the classic packet filter: load a word, jump if equal, jump if any bit is set, return.
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
#: Where a filter finds the number of the call, and the lower half of its third argument (on little-endian machines).
_AT_NUMBER, _AT_FLAGS = 0, 16 + 2 * 8

#: Number of the call to install a filter, and by name those that change files; newer machines lack the older names.
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_NUMBERS = {
    "x86_64": {
        "openat": 257, "write": 1, "pwrite64": 18, "writev": 20, "pwritev": 296, "sendfile": 40, "copy_file_range": 326,
        "ftruncate": 77, "truncate": 76, "fallocate": 285, "fsync": 74, "fdatasync": 75,
        "rename": 82, "renameat": 264, "renameat2": 316, "unlink": 87, "unlinkat": 263, "rmdir": 84,
        "mkdir": 83, "mkdirat": 258, "symlink": 88, "symlinkat": 266, "link": 86, "linkat": 265,
    },
    "aarch64": {
        "openat": 56, "write": 64, "pwrite64": 68, "writev": 66, "pwritev": 70, "sendfile": 71, "copy_file_range": 285,
        "ftruncate": 46, "truncate": 45, "fallocate": 47, "fsync": 82, "fdatasync": 83,
        "renameat": 38, "renameat2": 276, "unlinkat": 35, "mkdirat": 34, "symlinkat": 36, "linkat": 37,
    },
}  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def watch_this_process() -> int:
    """From here on this process and its children ask before they change files; return the descriptor that is asked.

    Call it before there is a second thread.

    Raises:
        OSError: the kernel, or who confines this process, does not allow it.
    """
    machine = platform.machine()
    if machine not in _NUMBERS:
        raise OSError(errno.ENOSYS, f"the numbers of system calls on {machine} are not known here")
    code = _program(_NUMBERS[machine])
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    program = _Filter(len(code) // 8, code)
    listener = _libc.syscall(
        _SECCOMP[machine], _SECCOMP_SET_MODE_FILTER, _NEW_LISTENER | _WAIT_KILLABLE, ctypes.byref(program)
    )
    if listener < 0:
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")
    return int(listener)


def _program(numbers: dict[str, int]) -> bytes:
    """Ask about the calls in `numbers`, of opening only where it is to write; allow everything else."""
    step = struct.Struct("=HBBI").pack
    others = [number for name, number in numbers.items() if name != "openat"]
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    lines = [step(_LOAD, 0, 0, _AT_NUMBER)]
    # Jumps are relative: to the last line but one, which asks.
    lines += [step(_EQUAL, len(others) - place + 3, 0, number) for place, number in enumerate(others)]
    lines += [
        step(_EQUAL, 0, 2, numbers["openat"]),
        step(_LOAD, 0, 0, _AT_FLAGS),
        step(_ANY_BIT, 1, 0, writing),
        step(_RETURN, 0, 0, _RET_ALLOW),
        step(_RETURN, 0, 0, _RET_USER_NOTIF),
    ]
    return b"".join(lines)


@dataclass(frozen=True)
class Operation:
    """A change of the disk that is about to happen; paths are relative to the folder that is watched.

    Attributes:
        name: create, open (of what is there, to write), truncate, write, sync, rename, link, symlink, unlink, mkdir,
            rmdir.
        path: what it is done to; of a rename and a link the old name.
        to: the new name of a rename or a link, the text of a symlink.
        offset: of a write, bytes; the new size of a truncate.
        data: of a write.
    """

    name: str
    path: str
    to: str = ""
    offset: int = 0
    data: bytes = b""


class Watched:
    """Operations of a process that called `watch_this_process`, one at a time, each before it happens.

    Going on to the next lets the last one happen, unless it was answered by `refuse`.

    Args:
        listener: what `watch_this_process` returned, received by this process, which owns it now.
        folder: what happens elsewhere is not told.
    """

    def __init__(self, listener: int, folder: Path) -> None:
        self._listener = listener
        self._folder = folder.resolve()
        self._asked: int | None = None

    def __iter__(self) -> Iterator[Operation]:
        while (asked := self._receive()) is not None:
            self._asked, caller, number, arguments = asked
            operation = _Call(caller, arguments, self._folder).operation(number)
            if operation is not None:
                yield operation
            self._answer(0, _FLAG_CONTINUE)

    def refuse(self, error: int) -> None:
        """Let the last operation fail with `error`."""
        self._answer(-error, 0)

    def close(self) -> None:
        """Stop watching: what is asked from now on fails."""
        os.close(self._listener)

    def _receive(self) -> tuple[int, int, int, tuple[int, ...]] | None:
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        while True:
            ((_, event),) = waiting.poll()
            if not event & select.POLLIN:
                return None  # nobody is left who could ask
            buffer = bytearray(_NOTIF.size)
            try:
                fcntl.ioctl(self._listener, _NOTIF_RECV, buffer)
            except FileNotFoundError:
                continue  # died between asking and being heard
            asked, caller, _, number, _, _, *arguments = _NOTIF.unpack(buffer)
            return asked, caller, number, tuple(arguments)

    def _answer(self, error: int, flags: int) -> None:
        if self._asked is None:
            return
        asked, self._asked = self._asked, None
        with contextlib.suppress(FileNotFoundError):  # died meanwhile
            fcntl.ioctl(self._listener, _NOTIF_SEND, _RESPONSE.pack(asked, 0, error, flags))


class _Call:
    """One system call of a thread that waits for an answer: what it would do to the disk below `folder`."""

    def __init__(self, caller: int, arguments: tuple[int, ...], folder: Path) -> None:
        self._process = Path("/proc", str(caller))
        self._arguments = arguments
        self._folder = folder

    def operation(self, number: int) -> Operation | None:
        """None where it changes nothing here."""
        try:
            return _OPERATIONS[_NAMES[number]](self)
        except (FileNotFoundError, ProcessLookupError):  # the call will fail by itself, or who made it is gone
            return None

    def open(self) -> Operation | None:
        path = self._named(0, 1)
        if path is None:
            return None
        there = (self._folder / path).exists()
        if not there and not self._arguments[2] & os.O_CREAT:
            return None
        if there and self._arguments[2] & os.O_TRUNC:
            return Operation("truncate", path)
        return Operation("open" if there else "create", path)

    def write(self) -> Operation | None:
        return self._write(self._position(), self._memory(self._arguments[1], self._arguments[2]))

    def pwrite(self) -> Operation | None:
        return self._write(self._arguments[3], self._memory(self._arguments[1], self._arguments[2]))

    def writev(self) -> Operation | None:
        return self._write(self._position(), self._gathered())

    def pwritev(self) -> Operation | None:
        return self._write(self._arguments[3], self._gathered())

    def sendfile(self) -> Operation | None:
        _, source, offset, count = self._arguments[:4]
        return self._write(self._position(), self._copied(source, offset, count))

    def copy_file_range(self) -> Operation | None:
        source, from_offset, _, to_offset, count = self._arguments[:5]
        place = self._integer(to_offset) if to_offset else self._position(2)
        return self._write(place, self._copied(source, from_offset, count), 2)

    def ftruncate(self) -> Operation | None:
        path = self._opened()
        return None if path is None else Operation("truncate", path, offset=self._arguments[1])

    def truncate(self) -> Operation | None:
        path = self._named(None, 0)
        return None if path is None else Operation("truncate", path, offset=self._arguments[1])

    def fallocate(self) -> Operation | None:
        path, end = self._opened(), self._arguments[2] + self._arguments[3]
        if path is None or self._arguments[1] or (self._folder / path).stat().st_size >= end:
            return None
        return Operation("truncate", path, offset=end)

    def sync(self) -> Operation | None:
        path = self._opened()
        return None if path is None else Operation("sync", path)

    def rename(self) -> Operation | None:
        return self._moved("rename", (None, 0), (None, 1))

    def renameat(self) -> Operation | None:
        return self._moved("rename", (0, 1), (2, 3))

    def link(self) -> Operation | None:
        return self._moved("link", (None, 0), (None, 1))

    def linkat(self) -> Operation | None:
        return self._moved("link", (0, 1), (2, 3))

    def unlink(self) -> Operation | None:
        return self._removed("unlink", self._named(None, 0))

    def rmdir(self) -> Operation | None:
        return self._removed("rmdir", self._named(None, 0))

    def unlinkat(self) -> Operation | None:
        return self._removed("rmdir" if self._arguments[2] & _AT_REMOVEDIR else "unlink", self._named(0, 1))

    def mkdir(self) -> Operation | None:
        return self._made("mkdir", self._named(None, 0))

    def mkdirat(self) -> Operation | None:
        return self._made("mkdir", self._named(0, 1))

    def symlink(self) -> Operation | None:
        return self._made("symlink", self._named(None, 1), self._text(0))

    def symlinkat(self) -> Operation | None:
        return self._made("symlink", self._named(1, 2), self._text(0))

    def _write(self, offset: int, data: bytes, descriptor: int = 0) -> Operation | None:
        path = self._opened(descriptor)
        return Operation("write", path, offset=offset, data=data) if path is not None and data else None

    def _moved(self, name: str, old: tuple[int | None, int], new: tuple[int | None, int]) -> Operation | None:
        path, to = self._named(*old), self._named(*new)
        if path is None or to is None or not os.path.lexists(self._folder / path):
            return None
        return Operation(name, path, to)

    def _removed(self, name: str, path: str | None) -> Operation | None:
        if path is None:
            return None
        there = self._folder / path
        is_folder = stat.S_ISDIR(there.lstat().st_mode)
        if is_folder != (name == "rmdir") or (is_folder and any(there.iterdir())):
            return None
        return Operation(name, path)

    def _made(self, name: str, path: str | None, to: str = "") -> Operation | None:
        if path is None or os.path.lexists(self._folder / path) or not (self._folder / path).parent.is_dir():
            return None
        return Operation(name, path, to)

    def _opened(self, argument: int = 0) -> str | None:
        """The file behind a descriptor, if it is here."""
        return self._inside(str((self._process / "fd" / str(self._arguments[argument])).readlink()))

    def _named(self, folder: int | None, name: int) -> str | None:
        """The file that an argument names, relative to the folder of another, if it is here."""
        descriptor = _AT_FDCWD if folder is None else ctypes.c_int(self._arguments[folder]).value
        start = self._process / ("cwd" if descriptor == _AT_FDCWD else f"fd/{descriptor}")
        path = start.readlink() / self._text(name)
        return self._inside(str(path.parent.resolve() / path.name))

    def _inside(self, path: str) -> str | None:
        within = f"{self._folder}/"
        return path.removeprefix(within) if path.startswith(within) and not path.endswith(" (deleted)") else None

    def _position(self, argument: int = 0) -> int:
        """Where the next write goes."""
        if self._opened(argument) is None:
            return 0
        descriptor = str(self._arguments[argument])
        lines = (self._process / "fdinfo" / descriptor).read_text().splitlines()
        told = dict(line.split(":", 1) for line in lines if ":" in line)
        if int(told["flags"], 8) & os.O_APPEND:
            return (self._process / "fd" / descriptor).stat().st_size
        return int(told["pos"])

    def _copied(self, source: int, offset: int, count: int) -> bytes:
        """What a copy within the kernel would take from `source`."""
        path = self._process / "fd" / str(source)
        told = (self._process / "fdinfo" / str(source)).read_text().split()
        with path.open("rb") as file:
            file.seek(self._integer(offset) if offset else int(told[told.index("pos:") + 1]))
            return file.read(count)

    def _gathered(self) -> bytes:
        vector = struct.iter_unpack("=QQ", self._memory(self._arguments[1], 16 * self._arguments[2]))
        return b"".join(self._memory(address, size) for address, size in vector)

    def _integer(self, address: int) -> int:
        return int.from_bytes(self._memory(address, 8), "little")

    def _text(self, argument: int) -> str:
        """A string that ends with a zero; a page at a time, the next may not be there."""
        address, text = self._arguments[argument], b""
        while b"\0" not in text:
            text += self._memory(address + len(text), 4096 - (address + len(text)) % 4096)
        return os.fsdecode(text.split(b"\0", 1)[0])

    def _memory(self, address: int, size: int) -> bytes:
        with (self._process / "mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(size)


_OPERATIONS: dict[str, Callable[[_Call], Operation | None]] = {
    "openat": _Call.open,
    "write": _Call.write,
    "pwrite64": _Call.pwrite,
    "writev": _Call.writev,
    "pwritev": _Call.pwritev,
    "sendfile": _Call.sendfile,
    "copy_file_range": _Call.copy_file_range,
    "ftruncate": _Call.ftruncate,
    "truncate": _Call.truncate,
    "fallocate": _Call.fallocate,
    "fsync": _Call.sync,
    "fdatasync": _Call.sync,
    "rename": _Call.rename,
    "renameat": _Call.renameat,
    "renameat2": _Call.renameat,
    "unlink": _Call.unlink,
    "unlinkat": _Call.unlinkat,
    "rmdir": _Call.rmdir,
    "mkdir": _Call.mkdir,
    "mkdirat": _Call.mkdirat,
    "symlink": _Call.symlink,
    "symlinkat": _Call.symlinkat,
    "link": _Call.link,
    "linkat": _Call.linkat,
}
_NAMES = {number: name for name, number in _NUMBERS.get(platform.machine(), {}).items()}
