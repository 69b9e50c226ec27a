"""A published bundle in the layout of Triton's model repositories: `NAME/config.pbtxt`, `NAME/VERSION/model.onnx`.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_repository.md
"""

import os
import shutil
from pathlib import Path

from forecast.bundle.interface import DATATYPE, PLATFORM, Described, inputs_of, outputs_of
from forecast.bundle.load import load
from forecast.bundle.manifest import Manifest
from forecast.bundle.session import MODEL
from forecast.disk import make_folder, sync, write_whole

CONFIG = "config.pbtxt"

#: So many windows may run together; more in one call gain nothing (`forecast.bundle.session`).
_LARGEST_BATCH = 256


def export(version: Path, folder: Path) -> str:
    """Put a verified bundle into a model repository, as the version of the forecast's model that is served.

    It has the next number. A graph that is there already is not copied again.

    Args:
        version: folder of the bundle.
        folder: of the model repository, made where missing.

    Returns:
        A line that says what is there now.

    Raises:
        BundleError: the bundle is not what was published.
        OSError: the disk refused.
    """
    bundle = load(version)
    manifest, graph = bundle.manifest, (bundle.folder / MODEL).read_bytes()
    model = folder / manifest.name
    make_folder(model)
    there = _versions(model)
    same = [number for number in there if (model / str(number) / MODEL).read_bytes() == graph]
    number = same[-1] if same else max(there, default=0) + 1
    if not same:
        _add(model, number, graph)
    write_whole(model / CONFIG, lambda file: file.write(config(manifest, number).encode()))
    return f"{manifest.name}: {manifest.bundle_id} is version {number} of {model}{' already' if same else ''}"


def config(manifest: Manifest, number: int) -> str:
    """The text of `config.pbtxt`, a `ModelConfig` that serves version `number` and no other.

    All inputs and outputs have the batch in front, of any size, so that Triton may run requests together; that
    dimension is not named.
    """
    return "".join(
        [
            f'name: "{manifest.name}"\n',
            f'platform: "{PLATFORM}"\n',
            f"max_batch_size: {_LARGEST_BATCH}\n",
            *(_tensor("input", tensor) for tensor in inputs_of(manifest.spec)),
            *(_tensor("output", tensor) for tensor in outputs_of(manifest.spec)),
            "dynamic_batching {}\n",
            f"version_policy {{\n  specific {{ versions: [{number}] }}\n}}\n",
        ]
    )


def _tensor(kind: str, tensor: Described) -> str:
    dims = ", ".join(map(str, tensor.shape[1:]))
    return f'{kind} {{\n  name: "{tensor.name}"\n  data_type: TYPE_{DATATYPE}\n  dims: [{dims}]\n}}\n'


def _versions(model: Path) -> list[int]:
    """The numbers of those that are whole, lowest first."""
    return sorted(int(path.parent.name) for path in model.glob(f"[1-9]*/{MODEL}") if path.parent.name.isdecimal())


def _add(model: Path, number: int, graph: bytes) -> None:
    part = model / f".{number}.{os.getpid()}.part"  # a name that Triton looks past
    part.mkdir()
    try:
        write_whole(part / MODEL, lambda file: file.write(graph))
        part.rename(model / str(number))
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync(model)
