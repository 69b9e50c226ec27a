"""How far a fit has come, on disk, so that one that was stopped goes on as if it had not been.

Private to the trainer: plain values and tensors, opened as nothing else, and only if their digest is right.
"""

import hashlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from forecast.disk import make_folder, write_whole

#: Bytes of a SHA-256, with which a file begins.
_DIGEST = 32


@dataclass(frozen=True)
class Checkpoints:
    """One file per fit, replaced whole.

    Attributes:
        folder: of one run; made when it is first needed. Beside it lie those of other runs.
        say: told in one line why a file is left alone.
    """

    folder: Path
    say: Callable[[str], object]

    def read(self, fit: str) -> dict[str, Any] | None:
        """What was last written for the fit with the key `fit`; None where that is nothing, or damaged."""
        path = self._path(fit)
        if not path.exists():
            return None
        content = path.read_bytes()
        digest, state = content[:_DIGEST], content[_DIGEST:]
        if digest != _digest(fit, state):
            self.say(f"{path} is damaged or of another fit; training begins anew.")
            return None
        kept: dict[str, Any] = torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)
        return kept

    def write(self, fit: str, state: dict[str, Any]) -> None:
        """Replace what was written for the fit with the key `fit`.

        Raises:
            OSError: the disk refused; what was written before is still there.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        make_folder(self.folder)
        write_whole(self._path(fit), lambda file: file.write(_digest(fit, content) + content))

    def remove(self) -> None:
        """Forget how far the run came: it is over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_others(self) -> None:
        """Forget other runs of the same forecast: their data or settings are no more, and nobody goes on from them."""
        for folder in self.folder.parent.glob("*"):
            if folder != self.folder:
                shutil.rmtree(folder, ignore_errors=True)

    def _path(self, fit: str) -> Path:
        return self.folder / f"{fit}.ckpt"


def _digest(fit: str, content: bytes) -> bytes:
    return hashlib.sha256(fit.encode() + content).digest()
