"""Open a bundle, trusting nothing: sizes, hashes, links and golden vectors first."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from forecast.bundle.answer import ANSWER, Answer
from forecast.bundle.golden import GOLDEN, check_golden
from forecast.bundle.manifest import NAME, Manifest, sha256
from forecast.bundle.session import MODEL, Session
from forecast.contracts.errors import BundleError

#: Far above any model of this project (a few MB), far below a machine's memory.
_LARGEST_BYTES = 512 * 1024**2

Opened = TypeVar("Opened")


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle: its manifest and a session that reproduced its golden vectors.

    Attributes:
        answer: the end of the same graph, where it takes plans and was exported apart.
    """

    folder: Path
    manifest: Manifest
    session: Session
    answer: Answer | None = None


def load(folder: Path) -> Bundle:
    """Verify and open the bundle in `folder` (a published version, or a link to one such as `current`).

    Raises:
        BundleError: one line that names the file and what is wrong with it.
    """
    folder = folder.resolve()
    manifest = Manifest.read(folder)
    contents = _verified(folder, manifest)
    session = _opened(folder / MODEL, contents[MODEL], Session)
    answer = _opened(folder / ANSWER, contents[ANSWER], Answer) if ANSWER in contents else None
    check_golden(folder, session, answer)
    return Bundle(folder, manifest, session, answer)


def _opened(path: Path, model: bytes, kind: Callable[[bytes], Opened]) -> Opened:
    try:
        return kind(model)
    except Exception as error:  # the runtime raises several unrelated types
        raise BundleError(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from error


def _verified(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Check every file the manifest lists; return their bytes, the very ones that were hashed."""
    for needed in (MODEL, GOLDEN):
        if needed not in manifest.files:
            raise BundleError(f"{folder}: the manifest does not list {needed}.")
    return {name: verified(folder, name, digest) for name, digest in manifest.files.items()}


def verified(folder: Path, name: str, digest: str) -> bytes:
    """Read a file that the manifest lists.

    Args:
        folder: of the bundle.
        name: as listed.
        digest: its SHA-256, as listed.

    Raises:
        BundleError: it is no plain file of the bundle, too large, or not what was hashed.
    """
    path = folder / name
    if Path(name).name != name or name == NAME:
        raise BundleError(f"{folder}: the manifest lists {name!r}, which is not a file of the bundle.")
    if path.is_symlink() or not path.is_file() or path.stat().st_nlink > 1:
        raise BundleError(f"{path}: missing, or not a plain file with one name; links can change behind our back.")
    if path.stat().st_size > _LARGEST_BYTES:
        raise BundleError(f"{path}: larger than {_LARGEST_BYTES // 1024**2} MiB.")
    content = path.read_bytes()
    if sha256(content) != digest:
        raise BundleError(f"{path}: its SHA-256 is not the manifest's; the file was altered or cut short.")
    return content
