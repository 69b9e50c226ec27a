"""A judged bundle into service: copied, hashed, tried in a process of its own, and only then given its name."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forecast.bundle.load import Bundle
from forecast.bundle.manifest import Manifest
from forecast.bundle.trial import trial
from forecast.contracts.errors import BundleError
from forecast.disk import sync_tree
from forecast.registry.contents import VERDICT
from forecast.registry.store import Registry
from forecast.registry.verify import version_problems


def publish_bundle(registry: Registry, bundle: Bundle, verdict: Mapping[str, Any]) -> Path:
    """Publish `bundle` with the gate's verdict on it; return the version's folder.

    Call it inside `with registry.lock():`. Files are on the disk before the manifest that vouches for them, and the
    bundle is tried before it has a name. A version of that key that was damaged since is made anew.

    Raises:
        BundleError: it must not be served, and is not; one line says why.
        OSError: the disk refused; `current` is a complete version all the same.
    """
    staged = registry.staging()
    for name in bundle.manifest.files:
        shutil.copyfile(bundle.folder / name, staged / name)
    (staged / VERDICT).write_text(json.dumps(verdict, indent=1))
    sync_tree(staged)
    bundle.manifest.write(staged)
    copied = Manifest.read(staged).files
    if any(copied[name] != digest for name, digest in bundle.manifest.files.items()):
        raise BundleError(f"{bundle.folder}: a file changed while it was published.")
    try:
        trial(staged)
    except BundleError as error:
        raise BundleError(str(error).replace(f"{staged.resolve()}", "the bundle")) from error
    key = bundle.manifest.bundle_id
    if registry.has(key) and any(version_problems(registry.folder / "versions" / key)):
        registry.delete(registry.folder / "versions" / key)
    return registry.publish(staged, key)
