"""What a registry holds, as facts to list: read from manifests and journals, whatever state they are in."""

import difflib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from forecast.bundle.manifest import NAME, Manifest
from forecast.contracts.errors import BundleError, ConfigError
from forecast.registry.store import Registry
from forecast.wording import OURS

#: The gate's verdict, beside a bundle's manifest.
VERDICT = "gate.json"


@dataclass(frozen=True)
class Version:
    """One published bundle.

    Attributes:
        key: its name.
        role: "current", "previous" or "".
        published: when, UTC; None where its publishing did not end.
        watermark: newest telemetry it was made from, UTC.
        wql_ratio: `wql_ratio` of its scores.
        size_bytes: of its files.
        damage: why its manifest cannot be read, in which case the facts from it are None.
    """

    key: str
    role: str
    published: datetime | None
    watermark: datetime | None
    wql_ratio: float | None
    size_bytes: int
    damage: str | None


@dataclass(frozen=True)
class Rejection:
    """A challenger that was not good enough.

    Attributes:
        key: of the run that made it.
        time: when, UTC.
        champion: what it was judged against; None where nothing was in service.
        reason: in a line.
    """

    key: str
    time: datetime | None
    champion: str | None
    reason: str


def forecasts(root: Path) -> list[str]:
    """The names of the forecasts that a registry holds, sorted.

    Raises:
        ConfigError: there is no such folder.
    """
    if not root.is_dir():
        raise ConfigError(f"{root}: no such folder; make one by training, or name the right one.")
    return sorted(folder.parent.name for folder in root.glob("*/versions") if folder.is_dir())


def published(root: Path) -> list[str]:
    """Of `forecasts` those that have a version: a first one that was rejected leaves its journal alone.

    Raises:
        ConfigError: as `forecasts`.
    """
    names = forecasts(root)
    return [
        name for name in names if any((root / name / "versions").iterdir()) or (root / name / "current").is_symlink()
    ]


def opened(root: Path, name: str, keep: int = 1) -> Registry:
    """Return the registry of a forecast that is there.

    Raises:
        ConfigError: no such folder or forecast.
    """
    names = forecasts(root)
    if name in names:
        return Registry(root, name, keep)
    near = difflib.get_close_matches(name, names, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"it holds {', '.join(names) or 'none'}."
    raise ConfigError(f"{root} holds no forecast {name!r}; {meant}")


def version_of(registry: Registry, word: str) -> Path:
    """Return the folder of a version, named by its key, the beginning of one, `current` or `previous`.

    Raises:
        ConfigError: no version has that name, or several begin so.
    """
    if word in {"current", "previous"}:
        folder = registry.current() if word == "current" else registry.previous()
        if folder is None or not folder.is_dir():
            raise ConfigError(f"{registry.folder} has no {word} version.")
        return folder
    keys = [version.name for version in registry.versions()]
    matching = [key for key in keys if key == word] or [key for key in keys if word and key.startswith(word)]
    if len(matching) == 1:
        return registry.folder / "versions" / matching[0]
    wrong = f"several versions that begin with {word!r}" if matching else f"no version {word!r}"
    raise ConfigError(f"{registry.folder} has {wrong}; name one of {', '.join(matching or keys) or 'none'}.")


def versions(registry: Registry) -> list[Version]:
    """The facts of every version, newest first."""
    published = {entry["key"]: entry["time"] for entry in registry.journal() if entry["action"] == "publish"}
    roles = {folder: role for role in ("previous", "current") if (folder := _target(registry, role)) is not None}
    return [_facts(folder, roles.get(folder, ""), published.get(folder.name)) for folder in registry.versions()]


def last_rejection(registry: Registry) -> Rejection | None:
    """The newest rejection, if nothing was put into service since."""
    last = next((entry for entry in reversed(registry.journal()) if entry["action"] != "delete"), None)
    if last is None or last["action"] != "reject":
        return None
    return Rejection(last["key"], _time(last["time"]), last.get("champion") or None, last.get("reason", ""))


def verdict(version: Path) -> dict[str, Any]:
    """The gate's verdict on a version; empty where none was kept."""
    try:
        said = json.loads((version / VERDICT).read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def wql_ratio(scores: Sequence[dict[str, Any]]) -> float | None:
    """Weighted quantile loss relative to the best baseline: the geometric mean over targets and levels.

    None where there are no baselines to compare with.
    """
    ours = {(row["target"], row["level"]): row["wql"] for row in scores if row["method"] == OURS}
    logs = []
    for segment, wql in ours.items():
        rivals = [row["wql"] for row in scores if (row["target"], row["level"]) == segment and row["method"] != OURS]
        rivals = [rival for rival in rivals if rival]
        if rivals and wql:
            logs.append(math.log(wql / min(rivals)))
    return math.exp(sum(logs) / len(logs)) if logs else None


def _target(registry: Registry, role: str) -> Path | None:
    try:
        return registry.current() if role == "current" else registry.previous()
    except BundleError:  # no link: `verify` tells
        return None


def _facts(folder: Path, role: str, published: str | None) -> Version:
    manifest, damage = None, None
    try:
        manifest = Manifest.read(folder)
    except BundleError as error:
        damage = str(error)
    return Version(
        key=folder.name,
        role=role,
        published=_time(published),
        watermark=_time(manifest.training.get("watermark")) if manifest else None,
        wql_ratio=wql_ratio(manifest.scores) if manifest else None,
        size_bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        damage=damage.removeprefix(f"{folder / NAME}: ") if damage else None,
    )


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
