"""A machine that is short of disk or memory: seen before the work, or got along with."""

import errno
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from forecast.contracts.errors import ConfigError, TransientError
from forecast.retrain.config import JobConfig
from forecast.retrain.stages import Stages

_Made = TypeVar("_Made")

#: What PyTorch calls a lack of memory, or a GPU that is gone, where it has no class for it.
_LACKS = ("DefaultCPUAllocator", "CUDA error", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def check_folders(folders: Mapping[str, Path]) -> None:
    """See that no file lies where a folder is to be; those that are not there yet are made when they are needed.

    Args:
        folders: by the setting that says where they are.

    Raises:
        ConfigError: naming the setting and the file.
    """
    for key, folder in folders.items():
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not there.is_dir():
            raise ConfigError(f"{key}: {there} is a file where a folder is needed; name another.")


def check_space(folders: Iterable[Path], free_gb: float) -> None:
    """See that the filesystems of `folders`, which may not be there yet, have `free_gb` left each.

    Raises:
        OSError: one has less (ENOSPC).
    """
    for folder in folders:
        there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
        left_gb = shutil.disk_usage(there).free / 1e9
        if left_gb < free_gb:
            text = f"{left_gb:.2f} GB are free, less than free_gb={free_gb:g}; make room, or set another folder"
            raise OSError(errno.ENOSPC, text, str(folder))


def with_less(config: JobConfig, make: Callable[[JobConfig], _Made], stages: Stages) -> _Made:
    """What `make` makes: where memory or the GPU fails it, once more with half the batch, and then on the CPU.

    Raises:
        TransientError: it failed all the same.
    """
    done = stages.done
    for attempt, how in _attempts(config):
        try:
            return make(attempt)
        except Exception as error:
            if not _lacking(error):
                raise
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
        stages.back_to(done)
        stages.say(f"{said}; {how}")
    raise TransientError(f"out of memory or without its GPU: {said}; free some, or lower training.batch.")


def _attempts(config: JobConfig) -> Iterator[tuple[JobConfig, str]]:
    """Settings to try, each with what comes after it."""
    less = replace(config, training=replace(config.training, batch=max(config.training.batch // 2, 1)))
    yield config, f"once more with training.batch={less.training.batch}."
    if config.trainer.accelerator == "cpu":
        yield less, "given up."
        return
    yield less, "once more on the CPU."
    yield replace(config, trainer=replace(config.trainer, accelerator="cpu", precision="32-true")), "given up."


def _lacking(error: Exception) -> bool:
    said = isinstance(error, RuntimeError) and any(lack in str(error) for lack in _LACKS)
    return said or isinstance(error, MemoryError | torch.OutOfMemoryError)
