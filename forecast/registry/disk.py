"""Waiting until the disk has it: what a registry relies on after a power cut."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Flush one file, or the list of names in one folder.

    Raises:
        OSError: the disk refused.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush every file in `folder`, then every folder from the innermost out.

    Raises:
        OSError: the disk refused.
    """
    for path, _, files in os.walk(folder, topdown=False):
        for file in files:
            sync(Path(path, file))
        sync(Path(path))
