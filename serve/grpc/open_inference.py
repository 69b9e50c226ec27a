"""The Open Inference Protocol, version 2, over gRPC: `inference.GRPCInferenceService`.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from forecast.bundle.interface import DATATYPE, PLATFORM, inputs_of, outputs_of
from forecast.bundle.session import OUTPUTS, Outputs
from forecast.contracts.specs import ForecastSpec
from forecast.windows.arrays import Floats
from serve.grpc.messages import (
    Message,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
    parsed,
)
from serve.http.state import State
from serve.inference.requests import (
    LARGE_BYTES,
    InferRequest,
    check_datatype,
    check_names,
    check_output,
    check_supported,
    input_of,
    timeout_s,
)
from serve.inference.tensors import WIRE, checked_shape, elements, from_bytes, inputs_from
from serve.refusals import BadRequestError
from serve.settings import Limits

#: From a message, and the seconds in which the client wants the answer, to the answer.
Method = Callable[[bytes, float], Awaitable[bytes]]

#: What stands before the length of each raw output (protobuf: the field, and that a length follows).
_RAW = bytes([ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number << 3 | 2])


def methods(state: State) -> dict[str, Method]:
    """The methods of the service by name."""
    limits = state.settings.limits

    async def server_live(_: bytes, __: float) -> bytes:
        return _bytes(ServerLiveResponse(live=True))

    async def server_ready(_: bytes, __: float) -> bytes:
        return _bytes(ServerReadyResponse(ready=state.is_ready))

    async def server_metadata(_: bytes, __: float) -> bytes:
        return _bytes(ServerMetadataResponse(name="fleetcast", version=version("fleetcast")))

    async def model_ready(content: bytes, _: float) -> bytes:
        asked = parsed(ModelReadyRequest, content)
        state.served(asked.name, asked.version or None)
        return _bytes(ModelReadyResponse(ready=not state.draining))

    async def model_metadata(content: bytes, _: float) -> bytes:
        asked = parsed(ModelMetadataRequest, content)
        manifest = state.served(asked.name, asked.version or None).manifest
        told = ModelMetadataResponse(
            name=asked.name,
            versions=[manifest.bundle_id],
            platform=PLATFORM,
            inputs=[tensor.to_dict() for tensor in inputs_of(manifest.spec)],
            outputs=[tensor.to_dict() for tensor in outputs_of(manifest.spec)],
        )
        return _bytes(told)

    async def model_infer(content: bytes, left_s: float) -> bytes:
        told = parsed(ModelInferRequest, content)
        is_large = len(content) > LARGE_BYTES and not told.raw_input_contents
        bundle = state.served(told.model_name, told.model_version or None)
        spec = bundle.manifest.spec
        asked = await asyncio.to_thread(request, told, spec, limits) if is_large else request(told, spec, limits)
        within_s = min(left_s, asked.timeout_s, limits.deadline_s)
        outputs = await state.batcher.run(bundle.session, asked.inputs, within_s)
        return answer(told.model_name, bundle.manifest.bundle_id, asked, outputs)

    return {
        "ServerLive": server_live,
        "ServerReady": server_ready,
        "ServerMetadata": server_metadata,
        "ModelReady": model_ready,
        "ModelMetadata": model_metadata,
        "ModelInfer": model_infer,
    }


def request(told: Message, spec: ForecastSpec, limits: Limits) -> InferRequest:
    """Make a request of a `ModelInferRequest`.

    Its outputs go out as bytes where its inputs came as bytes.

    Raises:
        BadRequestError: it means nothing to this graph.
    """
    parameters = _parameters(told, "the request")
    names = [one.name for one in told.outputs]
    check_names("outputs", names, limits)
    for one in told.outputs:
        check_output(one.name, spec)
        _parameters(one, one.name)
    tensors = _tensors(told, spec, limits)
    is_raw = bool(told.raw_input_contents)
    outputs = [(name, is_raw) for name in names or OUTPUTS]
    return InferRequest(told.id or None, inputs_from(tensors, spec), outputs, timeout_s(parameters))


def answer(name: str, version: str, asked: InferRequest, outputs: Outputs) -> bytes:
    """What came of it as a `ModelInferResponse`, in the form that was asked for.

    Raw outputs are written behind the message's other fields as they stand in memory: copied once.
    """
    told = ModelInferResponse(model_name=name, model_version=version, id=asked.id or "")
    raw: list[bytes | memoryview] = []
    for output, is_raw in asked.outputs:
        array = getattr(outputs, output)
        one = told.outputs.add(name=output, datatype=DATATYPE, shape=array.shape)
        if is_raw:
            content = np.ascontiguousarray(array, WIRE)
            raw += [_RAW, _varint(content.nbytes), content.data.cast("B")]
        else:
            one.contents.fp32_contents.extend(array.ravel().tolist())
    return b"".join([_bytes(told), *raw])


def _bytes(told: Message) -> bytes:
    content: bytes = told.SerializeToString()
    return content


def _varint(number: int) -> bytes:
    """A whole number, seven bits a byte, the lowest first (protobuf's encoding)."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def _tensors(told: Message, spec: ForecastSpec, limits: Limits) -> dict[str, Floats]:
    """The inputs by name; where any is raw, all are."""
    check_names("inputs", [one.name for one in told.inputs], limits)
    raw: list[bytes | None] = list(told.raw_input_contents)
    if raw and len(raw) != len(told.inputs):
        raise BadRequestError(f"{len(raw)} raw_input_contents for {len(told.inputs)} inputs.")
    pairs = zip(told.inputs, raw or [None] * len(told.inputs), strict=True)
    return {one.name: _tensor(one, content, spec, limits) for one, content in pairs}


def _tensor(one: Message, raw: bytes | None, spec: ForecastSpec, limits: Limits) -> Floats:
    described = input_of(one.name, spec)
    check_datatype(one.name, one.datatype)
    _parameters(one, one.name)
    shape = checked_shape(one.name, list(one.shape), limits.dims)
    size = elements(described, shape, limits.body_bytes) * WIRE.itemsize
    if raw is not None and one.HasField("contents"):
        raise BadRequestError(f"{one.name} has both contents and raw_input_contents.")
    content = np.array(one.contents.fp32_contents, WIRE).tobytes() if raw is None else raw
    if len(content) != size:
        count = len(content) // WIRE.itemsize
        raise BadRequestError(f"{one.name} has {count} values of {DATATYPE}; its shape takes {size // WIRE.itemsize}.")
    return from_bytes(one.name, memoryview(content), shape)


def _parameters(told: Message, where: str) -> Mapping[str, Any]:
    chosen = {name: one.WhichOneof("parameter_choice") for name, one in told.parameters.items()}
    parameters = {name: getattr(told.parameters[name], choice) for name, choice in chosen.items() if choice}
    check_supported(parameters, where)
    return parameters
