"""The same inference request in each form that servers of the Open Inference Protocol read."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPResponse
from typing import Any, Literal

import grpc
import numpy as np
import orjson

from forecast.bundle.interface import DATATYPE
from forecast.bundle.load import Bundle
from forecast.windows.arrays import Inputs
from serve.grpc.messages import SERVICE, ModelInferRequest
from serve.inference.tensors import WIRE

#: HTTP with binary tensors, gRPC with raw ones, HTTP with JSON alone.
Form = Literal["binary", "gRPC", "JSON"]

INFER = f"/{SERVICE}/ModelInfer"

#: A batch's answer is larger than what gRPC takes unless it is told so.
UNBOUNDED = (("grpc.max_receive_message_length", -1),)


def infer_request(form: Form, name: str, bundle: Bundle, rows: int) -> bytes:
    """A request for `rows` windows that asks for its answer in the same form: whole as HTTP, or a message of gRPC."""
    inputs = inputs_of(bundle, rows)
    arrays = [np.ascontiguousarray(array, WIRE) for array in vars(inputs).values()]
    tensors: list[dict[str, Any]] = [
        {"name": one, "datatype": DATATYPE, "shape": list(array.shape)}
        for one, array in zip(vars(inputs), arrays, strict=True)
    ]
    raw = [array.tobytes() for array in arrays]
    if form == "gRPC":
        message: bytes = ModelInferRequest(model_name=name, inputs=tensors, raw_input_contents=raw).SerializeToString()
        return message
    for tensor, array in zip(tensors, arrays, strict=True):
        tensor.update({"data": array.ravel()} if form == "JSON" else {"parameters": {"binary_data_size": array.nbytes}})
    if form == "JSON":
        return _post(name, orjson.dumps({"inputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY), "application/json")
    head = orjson.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}})
    more = f"inference-header-content-length: {len(head)}\r\n"
    return _post(name, b"".join([head, *raw]), "application/octet-stream", more)


def inputs_of(bundle: Bundle, rows: int) -> Inputs:
    """The bundle's golden inputs, again and again."""
    golden = np.load(bundle.folder / "golden.npz")
    names = ("past", "future", "static")
    return Inputs(*(np.resize(golden[name], (rows, *golden[name].shape[1:])) for name in names))


@contextmanager
def caller(form: Form, address: str) -> Iterator[Callable[[bytes], int]]:
    """What sends a request and waits until its whole answer is here, which has so many bytes.

    Raises:
        OSError, grpc.RpcError: on another answer than the one that was asked for.
    """
    if form == "gRPC":
        with grpc.insecure_channel(address, options=UNBOUNDED) as channel:
            ask = channel.unary_unary(INFER)
            yield lambda request: len(ask(request))
        return
    host, _, port = address.partition(":")
    with closing(socket.create_connection((host, int(port)))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield lambda request: _asked(connection, request)


def _asked(connection: socket.socket, request: bytes) -> int:
    connection.sendall(request)
    with HTTPResponse(connection, method="POST") as response:
        response.begin()
        content = response.read()
    if response.status != 200:
        raise OSError(f"{response.status} {content[:200]!r}")
    return len(content)


def _post(name: str, content: bytes, kind: str, more: str = "") -> bytes:
    lines = (
        f"POST /v2/models/{name}/infer HTTP/1.1\r\nhost: benchmark\r\ncontent-type: {kind}\r\n"
        f"{more}content-length: {len(content)}\r\n\r\n"
    )
    return lines.encode() + content
