"""API keys: random, shown once, kept as hashes; several are valid at a time, each for its scopes."""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forecast.contracts.errors import ConfigError
from serve.refusals import ForbiddenError, UnknownKeyError

#: What a key may be good for: reading forecasts, running the graph, sending telemetry, and looking at metrics.
SCOPES = ("read", "infer", "push", "metrics")

_NAME = re.compile(r"[a-z0-9_.-]{1,64}")
_PREFIX = "fc_"


@dataclass(frozen=True)
class Key:
    """One key, as it is kept.

    Attributes:
        name: who uses it.
        sha256: of the key: as it is 256 random bits, nothing slower is called for.
        scopes: of `SCOPES`.
    """

    name: str
    sha256: str
    scopes: frozenset[str]


class Keys:
    """The keys of a file, read again when it changes: a key is added or withdrawn while the server runs.

    Args:
        path: JSON, a list of `{"name", "sha256", "scopes"}`.

    Raises:
        ConfigError: the file is not there, or not of that form.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._stat()
        self._keys = read_keys(path)

    def find(self, token: str) -> Key | None:
        """The key that `token` is, None if it is none of them; every key is compared, in constant time."""
        self._refresh()
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    def _refresh(self) -> None:
        try:
            stamp = self._stat()
            if stamp != self._stamp:
                self._keys, self._stamp = read_keys(self._path), stamp
        except ConfigError:
            return  # the keys that were good stay so while the file is being replaced

    def _stat(self) -> tuple[int, int]:
        try:
            stat = self._path.stat()
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}; `python -m serve key NAME` makes a key.") from error
        return stat.st_mtime_ns, stat.st_ino


def check_key(keys: Keys | None, authorization: str, scope: str | None) -> None:
    """Let in whoever may ask.

    Args:
        keys: None lets in everybody.
        authorization: as of the header, or gRPC's metadata: `Bearer KEY`.
        scope: what is asked takes it; None is open to all.

    Raises:
        UnknownKeyError: no key, or none that is known.
        ForbiddenError: a key without the scope.
    """
    if scope is None or keys is None:
        return
    kind, _, token = authorization.partition(" ")
    key = keys.find(token.strip()) if kind.lower() == "bearer" else None
    if key is None:
        raise UnknownKeyError("send a key that is known here, as authorization: Bearer KEY.")
    if scope not in key.scopes:
        raise ForbiddenError(f"the key of {key.name} has no scope {scope}.")


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        ConfigError: it cannot be read, or is not of its form.
    """
    try:
        listed = json.loads(path.read_text())
        if not isinstance(listed, list):
            raise TypeError(f"{type(listed).__name__} at the top")
        keys = tuple(Key(entry["name"], entry["sha256"], frozenset(entry["scopes"])) for entry in listed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: no list of name, sha256 and scopes ({type(error).__name__}: {error}).") from error
    for key in keys:
        if not _NAME.fullmatch(key.name) or not re.fullmatch(r"[0-9a-f]{64}", key.sha256):
            raise ConfigError(f"{path}: key {key.name!r} needs a name of a-z, 0-9, '_', '.', '-' and a SHA-256.")
        _check_scopes(key.scopes, path)
    return keys


def add_key(path: Path, name: str, scopes: Sequence[str]) -> str:
    """Make a key, append it to the file (made if need be, for its owner alone), and return it: it is not kept.

    Raises:
        ConfigError: a name that is taken or none, an unknown scope, or a file of another form or that cannot be
            written.
    """
    _check_scopes(scopes, path)
    keys = read_keys(path) if path.exists() else ()
    if not _NAME.fullmatch(name) or name in {key.name for key in keys}:
        raise ConfigError(f"{path}: {name!r} is taken already, or not of a-z, 0-9, '_', '.', '-'.")
    token = _PREFIX + secrets.token_urlsafe(32)
    made = Key(name, hashlib.sha256(token.encode()).hexdigest(), frozenset(scopes))
    listed = [{"name": key.name, "sha256": key.sha256, "scopes": sorted(key.scopes)} for key in (*keys, made)]
    part = path.with_name(f".{path.name}.part")
    try:
        part.touch(mode=0o600)
        part.write_text(json.dumps(listed, indent=1) + "\n")
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}).") from error
    return token


def _check_scopes(scopes: Sequence[str] | frozenset[str], path: Path) -> None:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise ConfigError(f"{path}: scopes {unknown or 'none'}; choose of {', '.join(SCOPES)}.")
