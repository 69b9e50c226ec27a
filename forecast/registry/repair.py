"""Before a run: whatever happened to the version in service, one that is whole takes its place."""

from collections.abc import Callable, Iterator
from pathlib import Path

from forecast.registry.store import Registry
from forecast.registry.verify import file_problems


def restore(registry: Registry, patience_s: float, say: Callable[[str], object]) -> Path | None:
    """Return the version in service; where it is damaged or gone, the last one that is whole comes back first.

    Args:
        registry: of the forecast.
        patience_s: how long to wait for somebody who writes to it.
        say: told in a line of each thing that was put right, or cannot be.

    Raises:
        RegistryLockedError: somebody writes for longer than that.
        OSError: the disk refused.
    """
    for path in registry.clear_links(patience_s):
        say(f"{path} lay where a link belongs.")
    with registry.lock(patience_s):
        current = registry.current()
        if current is None and not registry.versions():
            return None
        problem = next(file_problems(current), None) if current else f"{registry.folder}: no version is in service."
        if problem is None:
            registry.prune()  # as far as a run that was killed did not come
            return current
        whole = next(_whole_versions(registry), None)
        say(f"{problem} {f'{whole.name} comes back into service.' if whole else 'No version is whole.'}")
        return current if whole is None else registry.rollback(whole.name)


def _whole_versions(registry: Registry) -> Iterator[Path]:
    """Versions with every file as it was written, the one last in service first."""
    there = {version.name: version for version in registry.versions()}
    for key in dict.fromkeys([*reversed(registry.served()), *there]):
        if key in there and not any(file_problems(there[key])):
            yield there[key]
