"""Waiting until the disk has it, and files that are there whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


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


def make_folder(path: Path) -> None:
    """Make the folder `path` and what it lies in, where missing, and wait until the disk has their names.

    Raises:
        OSError: the disk refused.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        sync(folder.parent)


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file that takes the name `path` when it is complete, replacing what had it.

    Raises:
        OSError: the disk refused; `path` is as it was.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")  # of this process: another may write the same file
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)
