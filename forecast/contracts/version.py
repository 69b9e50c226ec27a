"""Which code made a thing: a hash of the sources, so that a cache or a run key never survives an edit."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[1]


@cache
def code_version(*rooms: str) -> str:
    """Twelve hex digits over the Python sources of `rooms` (folders of `forecast/`), or of the whole package."""
    folders = [_PACKAGE / room for room in rooms] or [_PACKAGE]
    digest = hashlib.sha256()
    for source in sorted(path for folder in folders for path in folder.rglob("*.py")):
        digest.update(source.relative_to(_PACKAGE).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def key_of(*parts: Any) -> str:
    """Sixteen hex digits over plain data, the same for the same content in any order of mapping keys."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
