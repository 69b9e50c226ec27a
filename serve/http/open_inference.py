"""The Open Inference Protocol, version 2, over REST, with the binary tensor extension.

https://github.com/kserve/open-inference-protocol and Triton's extension_binary_data: a JSON object, then the bytes of
those tensors that say `binary_data_size`, in order; `Inference-Header-Content-Length` tells where the object ends.
"""

import asyncio
from importlib.metadata import version
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from forecast.bundle.interface import DATATYPE, PLATFORM, Described, inputs_of, outputs_of
from forecast.bundle.load import Bundle
from forecast.bundle.session import OUTPUTS, Outputs
from forecast.contracts.specs import ForecastSpec
from forecast.windows.arrays import Floats
from serve.http.answers import InParts, Json, refusal
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
from serve.inference.tensors import WIRE, checked_shape, elements, from_bytes, from_numbers, inputs_from
from serve.refusals import BadRequestError, TooLargeError
from serve.settings import Limits

HEADER = "inference-header-content-length"


def router(state: State) -> APIRouter:
    """The routes under `/v2`."""
    routes = APIRouter(prefix="/v2", include_in_schema=False)
    engine, limits = state.engine, state.settings.limits

    @routes.get("")
    async def server_metadata() -> Json:
        told = {"name": "fleetcast", "version": version("fleetcast"), "extensions": ["binary_tensor_data"]}
        return Json(told)

    @routes.get("/health/live")
    async def live() -> Json:
        return Json({"live": True})

    @routes.get("/health/ready")
    async def ready() -> Json:
        return Json({"ready": state.is_ready}, 200 if state.is_ready else 503)

    @routes.get("/models/{name}")
    @routes.get("/models/{name}/versions/{wanted}")
    async def model_metadata(name: str, wanted: str | None = None) -> Json:
        bundle = state.served(name, wanted)
        return Json(_described(name, bundle))

    @routes.get("/models/{name}/ready")
    @routes.get("/models/{name}/versions/{wanted}/ready")
    async def model_ready(name: str, wanted: str | None = None) -> Response:
        state.served(name, wanted)
        if state.draining:
            return refusal(503, "the server is about to end.")
        return Json({"name": name, "ready": True})

    @routes.post("/models/{name}/infer")
    @routes.post("/models/{name}/versions/{wanted}/infer")
    async def infer(request: Request, name: str, wanted: str | None = None) -> Response:
        bundle = state.served(name, wanted)
        spec, body = bundle.manifest.spec, await request.body()
        header = request.headers.get(HEADER)
        if header is None and len(body) > LARGE_BYTES:
            asked = await asyncio.to_thread(parse, body, header, spec, limits)
        else:
            asked = parse(body, header, spec, limits)
        outputs = await state.batcher.run(bundle.session, asked.inputs, min(asked.timeout_s, limits.deadline_s))
        return answer(name, bundle.manifest.bundle_id, asked, outputs)

    @routes.post("/repository/index")
    async def index() -> Json:
        versions = {name: engine.live(name).bundle.manifest.bundle_id for name in engine.names}
        return Json([{"name": name, "version": of, "state": "READY", "reason": ""} for name, of in versions.items()])

    return routes


def parse(body: bytes, header: str | None, spec: ForecastSpec, limits: Limits) -> InferRequest:
    """Make a request of a body.

    Args:
        body: decompressed.
        header: length of its JSON as told by the client; None where all of it is JSON.
        spec: of the graph.
        limits: see there.

    Raises:
        BadRequestError: it means nothing, or not to this graph.
        TooLargeError: its JSON is longer than what is taken before binary tensors.
    """
    length = _header_length(header, body, limits)
    told = _object(body[:length])
    request_id = told.get("id")
    if not isinstance(request_id, str | None):
        raise BadRequestError("id must be a string.")
    parameters = _parameters(told, "the request")
    tensors = _tensors(told, memoryview(body)[length:], spec, limits)
    return InferRequest(
        request_id,
        inputs_from(tensors, spec),
        _wanted(told, bool(parameters.get("binary_data_output", False)), spec, limits),
        timeout_s(parameters),
    )


def answer(name: str, version: str, asked: InferRequest, outputs: Outputs) -> Response:
    """What came of it, in the form that was asked for."""
    listed: list[dict[str, Any]] = []
    tail: list[memoryview] = []
    for output, binary in asked.outputs:
        array = getattr(outputs, output)
        one: dict[str, Any] = {"name": output, "datatype": DATATYPE, "shape": list(array.shape)}
        if binary:
            content = np.ascontiguousarray(array, WIRE)
            one["parameters"] = {"binary_data_size": content.nbytes}
            tail.append(content.data.cast("B"))
        else:
            one["data"] = array.ravel()
        listed.append(one)
    told = {"model_name": name, "model_version": version, "outputs": listed}
    if asked.id is not None:
        told["id"] = asked.id
    if not tail:
        return Json(told)
    head = orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)
    return InParts([head, *tail], {HEADER: str(len(head))}, "application/octet-stream")


def _described(name: str, bundle: Bundle) -> dict[str, Any]:
    spec = bundle.manifest.spec
    return {
        "name": name,
        "versions": [bundle.manifest.bundle_id],
        "platform": PLATFORM,
        "inputs": [tensor.to_dict() for tensor in inputs_of(spec)],
        "outputs": [tensor.to_dict() for tensor in outputs_of(spec)],
    }


def _header_length(header: str | None, body: bytes, limits: Limits) -> int:
    if header is None:
        return len(body)
    if not header.isdecimal() or len(header) > 9 or int(header) > len(body):
        raise BadRequestError(f"{HEADER} must be a length within the body's {len(body)} bytes.")
    if int(header) > limits.json_bytes:
        raise TooLargeError(f"the JSON before the tensors is larger than {limits.json_bytes} bytes.")
    return int(header)


def _object(text: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"the body is not JSON ({error}); NaN is written as null.") from error
    if not isinstance(told, dict):
        raise BadRequestError("the body must be a JSON object.")
    return told


def _listed(told: dict[str, Any], what: str, limits: Limits) -> list[dict[str, Any]]:
    listed = told.get(what, [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise BadRequestError(f"{what} must be a list of objects.")
    if not all(isinstance(one.get("name"), str) for one in listed):
        raise BadRequestError(f"{what} must each have a name.")
    check_names(what, [one["name"] for one in listed], limits)
    return listed


def _parameters(told: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = told.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadRequestError(f"parameters of {where} must be an object.")
    check_supported(parameters, where)
    return parameters


def _tensors(told: dict[str, Any], tail: memoryview, spec: ForecastSpec, limits: Limits) -> dict[str, Floats]:
    """The inputs by name; every byte after the JSON is one's."""
    tensors = {}
    for one in _listed(told, "inputs", limits):
        tensors[one["name"]], tail = _tensor(one, input_of(one["name"], spec), tail, limits)
    if len(tail):
        raise BadRequestError(f"{len(tail)} bytes after the tensors belong to none of them.")
    return tensors


def _tensor(one: dict[str, Any], described: Described, tail: memoryview, limits: Limits) -> tuple[Floats, memoryview]:
    """An input, and the bytes that follow it."""
    name = described.name
    check_datatype(name, one.get("datatype"))
    shape = checked_shape(name, one.get("shape"), limits.dims)
    size = elements(described, shape, limits.body_bytes) * WIRE.itemsize
    told = _parameters(one, name).get("binary_data_size")
    if told is None:
        return from_numbers(name, one.get("data"), shape), tail
    if "data" in one:
        raise BadRequestError(f"{name} has both data and binary_data_size.")
    if type(told) is not int or told != size or size > len(tail):
        raise BadRequestError(f"{name} says {told} bytes and {len(tail)} are left; its shape takes {size}.")
    return from_bytes(name, tail[:size], shape), tail[size:]


def _wanted(told: dict[str, Any], binary: bool, spec: ForecastSpec, limits: Limits) -> list[tuple[str, bool]]:
    listed = _listed(told, "outputs", limits) or [{"name": name} for name in OUTPUTS]
    for one in listed:
        check_output(one["name"], spec)
    return [(one["name"], bool(_parameters(one, one["name"]).get("binary_data", binary))) for one in listed]
