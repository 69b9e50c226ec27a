"""ONNX Runtime around one graph: arrays in, arrays out, in batches of the size that runs fastest."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import onnxruntime

from forecast.windows.arrays import Floats, Inputs

MODEL = "model.onnx"
INPUTS = ("past", "future", "static")
OUTPUTS = ("quantiles", "headroom", "exceedance")

#: What a graph that takes plans tells besides: the quantiles without any, `[B, T, Q, H]`, where `answer.onnx` begins.
MARGINAL = "marginal"

#: What a call costs besides its rows, some 500 operators, is shared by them: 256 rows of ten minutes took 0.85 of the
#: time of 96, and more hardly less. One call of 10,000 rows measured up to 1.9 times slower than pieces that fit the
#: cache.
_MOST_ROWS = 256

#: Where rows are long, fewer do: what a call takes and gives should lie in a core's second-level cache together with
#: what is between; but fewer than these share too little. A week at 5 min, a day ahead: 70 rows took 0.96 of the time
#: of 47; two targets of four signals 64 rows 0.98 of that of 21, and 128 1.14.
_CALL_BYTES, _LEAST_ROWS = 2 * 1024**2, 64


class Outputs(NamedTuple):
    """What the graph says: `quantiles [B, T, Q, H]`, `headroom [B, T, Q, H]`, `exceedance [B, T, H]`."""

    quantiles: Floats
    headroom: Floats
    exceedance: Floats


class Runs(Protocol):
    """Whatever makes forecasts of inputs."""

    def run(self, inputs: Inputs) -> Outputs: ...


class Graph:
    """A loaded graph. One thread: a server runs one call per core.

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
        tensors = [*self._session.get_inputs(), *self._session.get_outputs()]
        row_bytes = sum(4 * math.prod(size for size in one.shape if isinstance(size, int)) for one in tensors)
        self._rows = min(max(_CALL_BYTES // row_bytes, _LEAST_ROWS), _MOST_ROWS)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of all that it tells."""
        return tuple(one.name for one in self._session.get_outputs())

    def sizes(self, name: str) -> list[int]:
        """The shape of an input, but for the batch."""
        (sizes,) = (one.shape[1:] for one in self._session.get_inputs() if one.name == name)
        return list(sizes)

    def call(self, outputs: Sequence[str], feeds: Mapping[str, Floats]) -> list[Floats]:
        """Some of its outputs, of inputs by name with any number of rows."""
        rows = len(next(iter(feeds.values())))
        pieces = [slice(begin, begin + self._rows) for begin in range(0, rows, self._rows)]
        parts: list[list[Floats]] = [
            self._session.run(list(outputs), {name: array[piece] for name, array in feeds.items()}) for piece in pieces
        ]
        return parts[0] if len(parts) == 1 else [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


class Session:
    """The graph of a bundle.

    Args:
        model: as of `Graph`.
    """

    def __init__(self, model: bytes) -> None:
        self._graph = Graph(model)

    def run(self, inputs: Inputs) -> Outputs:
        return Outputs(*self._graph.call(OUTPUTS, vars(inputs)))

    def run_with_marginal(self, inputs: Inputs) -> tuple[Outputs, Floats | None]:
        """The same, and the quantiles without plans `[B, T, Q, H]`; None where the graph does not tell them."""
        if MARGINAL not in self._graph.outputs:
            return self.run(inputs), None
        *outputs, marginal = self._graph.call((*OUTPUTS, MARGINAL), vars(inputs))
        return Outputs(*outputs), marginal
