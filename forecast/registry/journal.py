"""A registry's diary: one JSON object a line, appended and never rewritten."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from forecast.disk import sync

_FIELDS = ("time", "action", "key")


class Journal:
    """Lines of `{"time", "action", "key"}` and what else an action tells, oldest first.

    Args:
        path: the file; made by the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, action: str, key: str, **told: str) -> None:
        """Write one line and wait until the disk has it.

        Args:
            told: more fields.

        Raises:
            OSError: the disk refused; the line may be torn, which `entries` overlooks.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = json.dumps({"time": now, "action": action, "key": key, **told})
        new = not self._path.exists()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(self._line_break() + line + "\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync(self._path.parent)

    def entries(self) -> list[dict[str, str]]:
        """Return every whole line; one torn by a crash was never acknowledged, so it is left out.

        `time` of each is ISO 8601 with its zone.
        """
        if not self._path.exists():
            return []
        parsed = (_parsed(line) for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines())
        return [entry for entry in parsed if entry]

    def _line_break(self) -> str:
        """Return a newline where the last write was torn, so that it cannot spoil the next."""
        text = self._path.read_bytes()
        return "" if not text or text.endswith(b"\n") else "\n"


def _parsed(line: str) -> dict[str, str]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    whole = isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in _FIELDS)
    return entry if whole and _is_time(entry["time"]) else {}


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
