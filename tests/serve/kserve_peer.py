"""A bundle's graph behind KServe's own server, to hold our reading of the protocol against: run by `.venv-kserve`.

    .venv-kserve/bin/python tests/serve/kserve_peer.py MODEL.onnx HTTP_PORT GRPC_PORT

What KServe leaves to a model is here: which tensors it takes, and that they are of its shapes. All else is KServe's.
"""

import sys

import numpy as np
import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput
from kserve.utils.utils import generate_uuid


class Graph(Model):
    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # as ours
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs = {one.name: described(one) for one in self._session.get_inputs()}
        self._outputs = {one.name: described(one) for one in self._session.get_outputs()}
        self.ready = True

    def get_input_types(self) -> list[dict[str, object]]:
        return list(self._inputs.values())

    def get_output_types(self) -> list[dict[str, object]]:
        return list(self._outputs.values())

    def predict(self, payload: InferRequest, headers: object = None) -> InferResponse:
        feeds = {one.name: self._tensor(one) for one in payload.inputs}
        if len(feeds) != len(payload.inputs) or feeds.keys() != self._inputs.keys():
            raise InvalidInput(f"the model takes {', '.join(self._inputs)}, each once.")
        wanted = [one.name for one in payload.request_outputs or ()] or list(self._outputs)
        if unknown := set(wanted) - self._outputs.keys():
            raise InvalidInput(f"no output {', '.join(unknown)}.")
        outputs = []
        for name, array in zip(wanted, self._session.run(wanted, feeds), strict=True):
            one = InferOutput(name, list(array.shape), "FP32")
            one.set_data_from_numpy(array, binary_data=payload.use_binary_outputs)
            outputs.append(one)
        return InferResponse(
            payload.id or generate_uuid(),
            self.name,
            outputs,
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )

    def _tensor(self, one: object) -> np.ndarray:
        if one.name not in self._inputs or one.datatype != "FP32":
            raise InvalidInput(f"no input {one.name} of {one.datatype}.")
        try:
            array = one.as_numpy()
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"{one.name}: {error}") from error
        if list(array.shape[1:]) != self._inputs[one.name]["shape"][1:] or list(array.shape) != list(one.shape):
            raise InvalidInput(f"{one.name} has shape {list(array.shape)}.")
        return array


def described(one: onnxruntime.NodeArg) -> dict[str, object]:
    return {"name": one.name, "datatype": "FP32", "shape": [-1, *one.shape[1:]]}


if __name__ == "__main__":
    model, http_port, grpc_port = sys.argv[1:]
    ModelServer(http_port=int(http_port), grpc_port=int(grpc_port), workers=1).start([Graph("day-ahead", model)])
