"""A bundle's graph behind MLServer, to hold our speed against: run by `.venv-mlserver`.

    .venv-mlserver/bin/python tests/serve/mlserver_peer.py MODEL.onnx HTTP_PORT GRPC_PORT

As fast as it can be set up: no workers apart, to whom tensors would be pickled, no log of requests, no metrics.
"""

import asyncio
import sys

import onnxruntime
from mlserver import MLModel, MLServer
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse

#: Of a gRPC message: ours.
LARGEST_BYTES = 8 * 1024**2


class Graph(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # as ours
        path = self.settings.parameters.uri
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._outputs = [one.name for one in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feeds = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        arrays = self._session.run(self._outputs, feeds)
        outputs = [NumpyCodec.encode_output(name, array) for name, array in zip(self._outputs, arrays, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)


async def serve(model: str, http_port: int, grpc_port: int) -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=http_port,
        grpc_port=grpc_port,
        grpc_max_message_length=LARGEST_BYTES,
        parallel_workers=0,
        metrics_endpoint=None,
        debug=False,
    )
    graph = ModelSettings(name="day-ahead", implementation=Graph, parameters=ModelParameters(uri=model))
    await MLServer(settings).start([graph])


if __name__ == "__main__":
    model, http_port, grpc_port = sys.argv[1:]
    asyncio.run(serve(model, int(http_port), int(grpc_port)))
