"""Is what was published still what was published? One line for each thing that is wrong."""

import re
from collections.abc import Iterator
from pathlib import Path

from forecast.bundle.load import verified
from forecast.bundle.manifest import NAME, Manifest, is_as_written
from forecast.bundle.trial import trial
from forecast.contracts.errors import BundleError, one_line
from forecast.registry.store import Registry

_LINK = re.compile(r"versions/[a-z0-9_.-]{1,64}")


def registry_problems(registry: Registry) -> Iterator[str]:
    """Say what is wrong with the links and the journal of a named forecast; nothing where all is well."""
    yield from (one_line(problem) for problem in (*_link_problems(registry), *_journal_problems(registry)))


def version_problems(version: Path) -> Iterator[str]:
    """Say what is wrong with a published bundle; nothing where it is what was published and gives its golden vectors.

    The graph runs in a process of its own (`trial`), and only where every file is what was hashed.
    """
    damaged = False
    for problem in file_problems(version):
        damaged = True
        yield one_line(problem)
    if not damaged:
        try:
            trial(version)
        except BundleError as error:
            yield str(error)


def file_problems(version: Path) -> Iterator[str]:
    """Say what is wrong with the files of a published bundle, running nothing of it; nothing where they are whole."""
    try:
        manifest = Manifest.read(version)
    except BundleError as error:
        yield str(error)
        return
    if not is_as_written((version / NAME).read_text()):
        yield f"{version / NAME}: not the text that was written; it was altered."
    if manifest.bundle_id != version.name:
        yield f"{version}: the manifest is of version {manifest.bundle_id}."
    for name, digest in manifest.files.items():
        try:
            verified(version, name, digest)
        except BundleError as error:
            yield str(error)
    for path in sorted(version.iterdir()):
        if path.name not in manifest.files and path.name != NAME:
            yield f"{path}: not listed in the manifest; it came after the bundle was published."


def _link_problems(registry: Registry) -> Iterator[str]:
    for name in ("current", "previous"):
        path = registry.folder / name
        if path.is_symlink():
            target = str(path.readlink())
            if not _LINK.fullmatch(target):
                yield f"{path}: points at {target}, which is not a version of this registry."
            elif not path.is_dir():
                yield f"{path}: points at {target}, which is not there."
        elif path.exists():
            yield f"{path}: not a link."
        elif name == "current" and registry.versions():
            yield f"{registry.folder}: no version is in service; roll back to one, or run the job again."
    current, previous = ((registry.folder / name).resolve() for name in ("current", "previous"))
    if current == previous:
        yield f"{registry.folder}: previous is current; a publish or rollback was cut short, and the next one mends it."


def _journal_problems(registry: Registry) -> Iterator[str]:
    for version in registry.versions():
        if not registry.has(version.name):
            yield f"{version}: the journal does not know it; its publishing did not end, or the journal was altered."
    served, current = registry.served(), registry.folder / "current"
    last = served[-1] if served else "none"
    if current.is_symlink() and current.readlink().name != last:
        yield f"{registry.folder}: {current.readlink().name} is in service, and by the journal {last} should be."
