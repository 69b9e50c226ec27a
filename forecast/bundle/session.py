"""ONNX Runtime around one graph: arrays in, arrays out, in batches of the size that runs fastest."""

import os
from typing import NamedTuple

import numpy as np
import onnxruntime

from forecast.windows.arrays import Floats, Inputs

MODEL = "model.onnx"
OUTPUTS = ("quantiles", "headroom", "exceedance")

#: One call of 10,000 rows measured up to 1.9 times slower than 256-row pieces, which fit the cache.
CHUNK_ROWS = 256


class Outputs(NamedTuple):
    """What the graph says: `quantiles [B, T, Q, H]`, `headroom [B, T, Q, H]`, `exceedance [B, T, H]`."""

    quantiles: Floats
    headroom: Floats
    exceedance: Floats


class Session:
    """A loaded graph. One thread: a server runs one session per core.

    Args:
        model: the bytes of the ONNX file: those that were verified, whatever happens to the file since.
    """

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Weights outside the file are looked for here, and not in the working directory: nowhere.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, inputs: Inputs) -> Outputs:
        rows = len(inputs.past)
        parts = [self._call(inputs, slice(begin, begin + CHUNK_ROWS)) for begin in range(0, rows, CHUNK_ROWS)]
        if len(parts) == 1:
            return Outputs(*parts[0])
        return Outputs(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _call(self, inputs: Inputs, rows: slice) -> list[Floats]:
        feeds = {"past": inputs.past[rows], "future": inputs.future[rows], "static": inputs.static[rows]}
        arrays: list[Floats] = self._session.run(list(OUTPUTS), feeds)
        return arrays
