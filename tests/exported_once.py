"""Exports that are made once: of a small run they take longer than all else, and give the same for the same weights."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx_ir
import torch


def remembering(export: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """`torch.onnx.export`, which leaves what it gave in `folder` and finds it there, whichever process left it."""

    def exported(graph: torch.nn.Module, arguments: Sequence[torch.Tensor], **options: Any) -> Any:
        digest = hashlib.sha256(repr((graph, options)).encode())
        for tensor in (*graph.state_dict().values(), *arguments):
            digest.update(repr((tensor.shape, tensor.dtype)).encode())
            digest.update(tensor.detach().contiguous().numpy().tobytes())
        kept = folder / f"{digest.hexdigest()}.onnx"
        if not kept.exists():
            program = export(graph, arguments, **options)
            folder.mkdir(parents=True, exist_ok=True)
            part = kept.with_suffix(f".{os.getpid()}.part")
            onnx_ir.save(program.model, part)
            part.rename(kept)
        return torch.onnx.ONNXProgram(onnx_ir.load(kept), None)

    return exported
