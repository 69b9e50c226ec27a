"""What may happen to a registry after a run has published: a bit that flips, a file cut short, a link gone astray."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from scene import REGISTRY

from forecast.bundle.manifest import NAME as MANIFEST

FILES = ("model.onnx", "golden.npz", "report.html", "gate.json", MANIFEST)


class Harm(NamedTuple):
    """One way to damage a folder.

    Attributes:
        what: is damaged, and how.
        do: does it.
    """

    what: str
    how: str
    do: Callable[[Path], None]


def harms() -> Iterator[Harm]:
    for file in FILES:
        for how, harm in _TO_FILES.items():
            yield Harm(f"current/{file}", how, _to(f"current/{file}", harm))
    yield Harm("current/", "deleted", lambda folder: shutil.rmtree((folder / REGISTRY / "current").resolve()))
    yield Harm("previous/", "deleted", lambda folder: shutil.rmtree((folder / REGISTRY / "previous").resolve()))
    yield Harm(f"previous/{MANIFEST}", "cut short", _to(f"previous/{MANIFEST}", _cut))
    for link in ("current", "previous"):
        for how, place in _TO_LINKS.items():
            yield Harm(link, how, _to(link, place))
    for how, harm in _TO_FILES.items():
        yield Harm("journal.jsonl", how, _to("journal.jsonl", harm))
    for how in ("cut short", "emptied", "deleted"):
        yield Harm("a day of the panel", how, _to_the_last("cache/panels/*/*.npy", _TO_FILES[how]))
        yield Harm("the panel's manifest", how, _to_the_last("cache/panels/*/manifest.json", _TO_FILES[how]))


def _to(path: str, harm: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: harm(folder / REGISTRY / path)


def _to_the_last(pattern: str, harm: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: harm(max(folder.glob(pattern)))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _astray(target: str) -> Callable[[Path], None]:
    def point(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return point


def _file(path: Path) -> None:
    path.unlink()
    path.write_text("no link")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


_TO_FILES = {"a bit flipped": _flip, "cut short": _cut, "zeroed": _zero, "emptied": _empty, "deleted": Path.unlink}
_TO_LINKS = {
    "deleted": Path.unlink,
    "dangling": _astray("versions/nowhere"),
    "to itself": _astray("."),
    "elsewhere": _astray("/tmp"),  # noqa: S108
    "a file": _file,
    "a folder": _folder,
}
