"""A registry of published bundles made of files only, for any POSIX filesystem.

    <root>/<name>/versions/<key>/   one complete bundle each
    <root>/<name>/current           relative symlink to the version in service
    <root>/<name>/previous          relative symlink to the one before it
    <root>/<name>/journal.jsonl     what was done, one JSON object a line
    <root>/<name>/.lock             held while something is written
    <root>/<name>/.run              held by a run of the job, from its first moment to its last
    <root>/<name>/.staging-…/       unfinished work, swept by the next holder of the lock

Readers need no lock: `current` changes in one step, and a version never changes once it has its name.

Whoever takes the lock finishes what a dead writer began: `current` is the truth that the journal and `previous` follow.
"""

import errno
import fcntl
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import TextIO
from uuid import uuid4

from forecast.contracts.errors import BundleError, ConfigError, FleetcastError, RegistryLockedError
from forecast.disk import make_folder, sync, sync_tree
from forecast.registry.journal import Journal

_NAME = re.compile(r"[a-z0-9_.-]{1,64}")

#: Actions of the journal that put their version into service.
_SERVING = ("publish", "rollback")

#: Of a wait for the lock: seconds between two tries.
_TRY_EVERY_S = 0.1


class Registry:
    """The published versions of one named forecast.

    Writers work inside `with registry.lock():`; readers call `current` at any time.

    Args:
        root: folder that holds all named forecasts; made by the first writer.
        name: the forecast, say "day-ahead".
        keep: versions retained, newest first; `current` and `previous` stay whatever their age.

    Raises:
        ConfigError: the name is not `[a-z0-9_.-]{1,64}`, or `keep` is below 1.
    """

    def __init__(self, root: Path, name: str, keep: int = 10) -> None:
        if keep < 1:
            raise ConfigError(f"A registry keeps at least 1 version, not {keep}.")
        self.folder = root / _checked(name, "forecast name")
        self._keep = keep
        self._versions = self.folder / "versions"
        self._journal = Journal(self.folder / "journal.jsonl")
        self._locked = False

    @contextmanager
    def lock(self, patience_s: float = 0.0) -> Iterator[None]:
        """Hold the right to write; sweep what a dead writer left behind, and finish what it began.

        The kernel frees the lock when its holder dies, together with any process it forked.

        Args:
            patience_s: how long to wait for somebody who writes; writing takes seconds.

        Raises:
            RegistryLockedError: another run holds it.
            OSError: the disk refused, or the folder is not ours to write.
        """
        with self._held(".lock", patience_s):
            self._locked = True
            try:
                self._sweep()
                self._mend()
                yield
            finally:
                self._sweep(ignore_errors=True)  # what failed is told by whoever failed
                self._locked = False

    @contextmanager
    def run_lock(self) -> Iterator[None]:
        """Be the one run of this forecast that may publish; it takes `lock` too, but only to write.

        Raises:
            RegistryLockedError: another run is at work. There is no waiting.
            OSError: the disk refused, or the folder is not ours to write.
        """
        with self._held(".run"):
            yield

    def clear_links(self, patience_s: float = 0.0) -> list[Path]:
        """Give another name to whatever lies where a link belongs; return where it is now.

        Args:
            patience_s: how long to wait for somebody who writes.

        Raises:
            RegistryLockedError: another run holds the lock.
            OSError: the disk refused.
        """
        cleared = []
        with self._held(".lock", patience_s):
            for name in ("current", "previous"):
                found = self.folder / name
                if found.exists() and not found.is_symlink():
                    cleared.append(found.rename(self.folder / f"{name}.found-{uuid4().hex}"))
        return cleared

    def staging(self) -> Path:
        """Make a fresh folder for a bundle in the making, on the registry's filesystem."""
        self._require_lock()
        # Not tempfile: its folders are private to their owner, and a server may run as another user.
        folder = self.folder / f".staging-{uuid4().hex}"
        folder.mkdir()
        return folder

    def publish(self, staged: Path, key: str) -> Path:
        """Put the bundle in `staged` into service as version `key`; return the version's folder.

        Every step can be the last one before a crash; publishing the same key again then finishes the job. A version
        that exists already is left as it is and `staged` is thrown away.

        Raises:
            ConfigError: the key is not `[a-z0-9_.-]{1,64}`.
            OSError: the disk refused; `current` is a complete version all the same.
        """
        self._require_lock()
        version = self._versions / _checked(key, "version key")
        if version.is_dir():
            shutil.rmtree(staged, ignore_errors=True)
        else:
            sync_tree(staged)
            staged.rename(version)
            sync(self._versions)
        if self.current() != version or not self.has(key):
            self._serve(version, "publish")
        self.prune()
        return version

    def rollback(self, key: str | None = None) -> Path:
        """Put `previous`, or version `key`, back into service; return its folder.

        Raises:
            ConfigError: there is no such version, or nothing to go back to.
            OSError: the disk refused; `current` is a complete version all the same.
        """
        self._require_lock()
        target = self.rollback_target(key)
        self._serve(target, "rollback")
        return target

    def rollback_target(self, key: str | None = None) -> Path:
        """Return the folder that `rollback` would put into service.

        Raises:
            ConfigError: as `rollback`.
        """
        target = self.previous() if key is None else self._versions / _checked(key, "version key")
        if target is None or (key is None and target == self.current()):
            advice = f"name one of {self._listed()}" if self.versions() else "nothing was published yet"
            raise ConfigError(f"{self.folder} has no previous version; {advice}.")
        if not target.is_dir():
            raise ConfigError(f"{self.folder} has no version {target.name}; it has {self._listed()}.")
        return target

    def prune(self) -> list[Path]:
        """Delete the `superfluous` versions; return where they were.

        Raises:
            OSError: the disk refused; no version is left in part.
        """
        self._require_lock()
        superfluous = self.superfluous()
        for version in superfluous:
            self.delete(version)
        return superfluous

    def delete(self, version: Path) -> None:
        """Delete one version, whatever it is good for.

        Raises:
            OSError: the disk refused; the version is whole or gone.
        """
        self._require_lock()
        # Out of `versions` in one step first: a crash must not leave half a bundle under its name.
        trash = self.staging()
        version.rename(trash / version.name)
        self._journal.append("delete", version.name)
        shutil.rmtree(trash)

    def superfluous(self) -> list[Path]:
        """Return the folders of the versions beyond the `keep` newest, but for `current` and `previous`."""
        in_service = (self.current(), self.previous())
        return [version for version in self.versions()[self._keep :] if version not in in_service]

    def current(self) -> Path | None:
        """Return the folder of the version in service; it stays valid while `current` moves on.

        Raises:
            BundleError: `current` is there and no link, which no command of ours leaves behind.
        """
        return self._linked("current")

    def previous(self) -> Path | None:
        return self._linked("previous")

    def versions(self) -> list[Path]:
        """Return the versions' folders, newest first; one whose publishing was cut short comes last."""
        order = {entry["key"]: place for place, entry in enumerate(self.journal()) if entry["action"] == "publish"}
        folders = (folder for folder in self._versions.iterdir() if folder.is_dir()) if self._versions.is_dir() else ()
        return sorted(folders, key=lambda folder: (order.get(folder.name, -1), folder.name), reverse=True)

    def has(self, key: str) -> bool:
        """Whether `key` is here and its publishing came to its end; after a crash half-way it did not."""
        version = self._versions / _checked(key, "version key")
        return version.is_dir() and self._last_action(key) in _SERVING

    def journal(self) -> list[dict[str, str]]:
        """Return what was done, oldest first: `time` (UTC, ISO 8601), `action`, `key`.

        The action is publish, rollback, delete or reject; a rejection also has `champion` ("" for none) and `reason`.
        """
        return self._journal.entries()

    def served(self) -> list[str]:
        """Return the key of the version put into service by each publish and rollback, oldest first."""
        return [entry["key"] for entry in self.journal() if entry["action"] in _SERVING]

    def served_since(self) -> datetime | None:
        """Return when the version in service came into service, UTC; None where nothing ever did."""
        times = [entry["time"] for entry in self.journal() if entry["action"] in _SERVING]
        return datetime.fromisoformat(times[-1]) if times else None

    def reject(self, key: str, champion: str | None, reason: str) -> None:
        """Note that the challenger `key` was judged not good enough to follow `champion`; nothing else changes.

        Args:
            champion: the version in service it was judged against; None where there was none.
            reason: in a line.

        Raises:
            OSError: the disk refused.
        """
        self._require_lock()
        self._journal.append("reject", _checked(key, "version key"), champion=champion or "", reason=reason)

    def rejection(self, key: str, champion: str | None) -> str | None:
        """Return why `key` was rejected when last judged against `champion`; None where it never was."""
        judged = (entry for entry in reversed(self.journal()) if entry["action"] == "reject" and entry["key"] == key)
        return next((entry.get("reason", "") for entry in judged if entry.get("champion") == (champion or "")), None)

    def _serve(self, version: Path, action: str) -> None:
        before = self.current()
        # `previous` first: a crash between the two can then lose no version that was in service.
        if before is not None and before != version and before in self.versions():
            self._link("previous", before)
        self._link("current", version)
        self._journal.append(action, version.name)

    def _link(self, name: str, version: Path) -> None:
        staged = self.staging()
        link = staged / name
        link.symlink_to(version.relative_to(self.folder))  # relative to where it will be, so that a registry can move
        link.replace(self.folder / name)
        sync(self.folder)
        staged.rmdir()

    def _linked(self, name: str) -> Path | None:
        link = self.folder / name
        try:
            return self.folder / link.readlink()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise BundleError(f"{link}: not a link; move it away, then name a version to roll back to.") from error

    def _mend(self) -> None:
        current, previous = self.current(), self.previous()
        if current not in self.versions():
            return  # nothing in service, or nothing of ours: the next publish or rollback ends that
        if previous in self.versions() and self._last_action(previous.name) is None:  # of a journal that was lost
            self._journal.append("publish", previous.name)
        served = self.served()
        if served[-1:] != [current.name]:
            known = self._last_action(current.name) in _SERVING
            self._journal.append("rollback" if known else "publish", current.name)
        if previous == current or previous not in self.versions():
            self._relink_previous([key for key in served if key != current.name and (self._versions / key).is_dir()])

    def _relink_previous(self, served: list[str]) -> None:
        if served:
            self._link("previous", self._versions / served[-1])
        else:
            (self.folder / "previous").unlink(missing_ok=True)

    def _last_action(self, key: str) -> str | None:
        """What was last done with a version; a rejection is of a bundle that became none."""
        done = (entry for entry in reversed(self.journal()) if entry["action"] != "reject")
        return next((entry["action"] for entry in done if entry["key"] == key), None)

    @contextmanager
    def _held(self, name: str, patience_s: float = 0.0) -> Iterator[None]:
        make_folder(self._versions)
        with (self.folder / name).open("a") as file:
            self._take(file, patience_s)
            try:
                yield
            finally:
                # Closing alone would leave the lock to a child that is being born and still holds its copy of the file.
                fcntl.flock(file, fcntl.LOCK_UN)

    def _take(self, file: TextIO, patience_s: float) -> None:
        until = monotonic() + patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if monotonic() >= until:
                    message = f"{self.folder} is locked by another run; try again when it ends."
                    raise RegistryLockedError(message) from error
            sleep(_TRY_EVERY_S)

    def _sweep(self, ignore_errors: bool = False) -> None:
        # Staging is only made under the lock, which is ours now: whoever made these is gone.
        for stale in self.folder.glob(".staging-*"):
            shutil.rmtree(stale, ignore_errors=ignore_errors)

    def _require_lock(self) -> None:
        if not self._locked:
            raise FleetcastError(f"{self.folder} is written only inside `with registry.lock():`.")

    def _listed(self) -> str:
        return ", ".join(version.name for version in self.versions()) or "none yet"


def _checked(name: str, what: str) -> str:
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise ConfigError(f"{what} {name!r} is not 1 to 64 characters of a-z, 0-9, '_', '.' and '-'.")
    return name
