"""What the Open Inference Protocol asks of any server over gRPC, checked from its text and by Triton's own client.

As `test_open_inference.py` is for HTTP; messages are Triton's, not ours.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
"""

from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from protocol_peers import Peer
from tritonclient.grpc import service_pb2 as messages
from tritonclient.utils import InferenceServerException

Tensors = dict[str, np.ndarray]


class Target:
    """A server under test: Triton's client for what it can do, and bare calls for the rest."""

    def __init__(self, address: str, model: str) -> None:
        self.address, self.model = address, model
        self.client = triton.InferenceServerClient(address)
        self.channel = grpc.insecure_channel(address)

    def call(self, method: str, message: messages.ModelInferRequest, **more: object) -> messages.ModelInferResponse:
        response = getattr(messages, f"{method}Response")
        path = f"/inference.GRPCInferenceService/{method}"
        call = self.channel.unary_unary(path, lambda sent: sent.SerializeToString(), response.FromString)
        return call(message, **{"timeout": 30, **more})

    def code_of(self, method: str, message: messages.ModelInferRequest, **more: object) -> grpc.StatusCode:
        """Why a call is refused; the protocol asks for any code but OK."""
        with pytest.raises(grpc.RpcError) as refusal:
            self.call(method, message, **more)
        return refusal.value.code()

    def metadata(self) -> messages.ModelMetadataResponse:
        return self.client.get_model_metadata(self.model)

    def tensors(self, rows: int, seed: int = 0) -> Tensors:
        random = np.random.default_rng(seed)
        shapes = {one.name: [rows, *one.shape[1:]] for one in self.metadata().inputs}
        return {name: random.uniform(1, 9, shape).astype(np.float32) for name, shape in shapes.items()}

    def close(self) -> None:
        self.client.close()
        self.channel.close()


def raw(target: Target, tensors: Tensors) -> messages.ModelInferRequest:
    """A request whose tensors are bytes."""
    request = messages.ModelInferRequest(model_name=target.model)
    for name, array in tensors.items():
        request.inputs.add(name=name, datatype="FP32", shape=array.shape)
        request.raw_input_contents.append(array.astype("<f4").tobytes())
    return request


def typed(target: Target, tensors: Tensors) -> messages.ModelInferRequest:
    """The same, as lists of numbers."""
    request = messages.ModelInferRequest(model_name=target.model)
    for name, array in tensors.items():
        one = request.inputs.add(name=name, datatype="FP32", shape=array.shape)
        one.contents.fp32_contents.extend(array.ravel().tolist())
    return request


def arrays(response: messages.ModelInferResponse) -> Tensors:
    """The outputs, in whichever form they came; Triton's client reads the raw one only."""
    if response.raw_output_contents:
        return {one.name: triton.InferResult(response).as_numpy(one.name) for one in response.outputs}
    return {one.name: np.array(one.contents.fp32_contents, "f4").reshape(one.shape) for one in response.outputs}


def asked(tensors: Tensors) -> list[triton.InferInput]:
    inputs = []
    for name, array in tensors.items():
        one = triton.InferInput(name, list(array.shape), "FP32")
        one.set_data_from_numpy(array)
        inputs.append(one)
    return inputs


@pytest.fixture(scope="session")
def target(peer: Peer) -> Iterator[Target]:
    target = Target(peer.grpc, peer.model)
    yield target
    target.close()


def test_it_is_live_and_ready(target: Target) -> None:
    assert target.client.is_server_live()
    assert target.client.is_server_ready()
    assert target.client.is_model_ready(target.model)


def test_it_says_what_it_is(target: Target) -> None:
    told = target.client.get_server_metadata()
    assert told.name
    assert told.version


def test_it_says_what_a_model_takes_and_gives(target: Target) -> None:
    told = target.metadata()
    assert told.name == target.model
    assert {one.name for one in told.inputs} == {"past", "future", "static"}
    for one in (*told.inputs, *told.outputs):
        assert one.datatype == "FP32"
        assert one.shape[0] == -1
        assert all(size > 0 for size in one.shape[1:])


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata"])
def test_an_unknown_model_is_refused(target: Target, method: str) -> None:
    request = getattr(messages, f"{method}Request")(name="nobody")
    assert target.code_of(method, request)


def test_an_unknown_model_infers_nothing(target: Target) -> None:
    request = raw(target, target.tensors(1))
    request.model_name = "nobody"
    assert target.code_of("ModelInfer", request)


def test_versions_that_are_told_can_be_asked_for(target: Target) -> None:
    for version in target.metadata().versions:
        assert target.client.is_model_ready(target.model, version)
        assert target.client.get_model_metadata(target.model, version).name == target.model
        result = target.client.infer(target.model, asked(target.tensors(1)), version)
        assert result.get_response().model_version == version


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata"])
def test_a_version_that_is_not_told_is_refused(target: Target, method: str) -> None:
    request = getattr(messages, f"{method}Request")(name=target.model, version="never")
    assert target.code_of(method, request)


@pytest.mark.parametrize("form", [raw, typed])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_inference_gives_every_output_of_the_metadata(
    target: Target, rows: int, form: Callable[[Target, Tensors], messages.ModelInferRequest]
) -> None:
    told = target.call("ModelInfer", form(target, target.tensors(rows)))
    assert told.model_name == target.model
    expected = {one.name: [rows, *one.shape[1:]] for one in target.metadata().outputs}
    assert {one.name: list(one.shape) for one in told.outputs} == expected
    assert {one.datatype for one in told.outputs} == {"FP32"}
    assert len(told.raw_output_contents) in {0, len(told.outputs)}
    assert {name: list(array.shape) for name, array in arrays(told).items()} == expected


def test_either_form_gives_the_same(target: Target) -> None:
    tensors = target.tensors(3)
    as_bytes, as_numbers = (arrays(target.call("ModelInfer", form(target, tensors))) for form in (raw, typed))
    for name, array in as_bytes.items():
        np.testing.assert_array_equal(array, as_numbers[name])


@pytest.mark.parametrize("rows", [1, 3, 64, 300])
def test_tritons_client_infers(target: Target, rows: int) -> None:
    result = target.client.infer(target.model, asked(target.tensors(rows)), request_id="7")
    assert result.get_response().id == "7"
    for one in target.metadata().outputs:
        assert result.as_numpy(one.name).shape == (rows, *one.shape[1:])


def test_rows_of_a_batch_are_what_each_is_alone(target: Target) -> None:
    tensors = target.tensors(4)
    together = target.client.infer(target.model, asked(tensors))
    for row in range(4):
        one = target.client.infer(target.model, asked({name: array[row : row + 1] for name, array in tensors.items()}))
        for output in target.metadata().outputs:
            np.testing.assert_allclose(
                together.as_numpy(output.name)[row : row + 1], one.as_numpy(output.name), rtol=1e-5
            )


def test_only_the_outputs_that_are_asked_for(target: Target) -> None:
    names = [one.name for one in target.metadata().outputs]
    for wanted in (names[:1], names[::-1]):
        outputs = [triton.InferRequestedOutput(name) for name in wanted]
        result = target.client.infer(target.model, asked(target.tensors(1)), outputs=outputs)
        assert {one.name for one in result.get_response().outputs} == set(wanted)


def test_parameters_that_nobody_defined_do_no_harm(target: Target) -> None:
    parameters = {"text": "a", "number": 3, "truth": True}
    assert target.client.infer(target.model, asked(target.tensors(1)), parameters=parameters)


MISTAKES: dict[str, Callable[[messages.ModelInferRequest], object]] = {
    "no input": lambda request: (request.inputs.pop(), request.raw_input_contents.pop()),
    "no inputs": lambda request: (request.ClearField("inputs"), request.ClearField("raw_input_contents")),
    "an unknown input": lambda request: setattr(request.inputs[0], "name", "nothing"),
    "another datatype": lambda request: setattr(request.inputs[0], "datatype", "INT64"),
    "an unknown datatype": lambda request: setattr(request.inputs[0], "datatype", "FLOAT"),
    "no shape": lambda request: request.inputs[0].ClearField("shape"),
    "a negative shape": lambda request: request.inputs[0].shape.__setitem__(0, -1),
    "another shape than the model's": lambda request: request.inputs[0].shape.__setitem__(1, 1),
    "fewer contents than inputs": lambda request: request.raw_input_contents.pop(),
    "raw and typed contents": lambda request: request.inputs[0].contents.fp32_contents.append(1.0),
    "bytes too few": lambda request: request.raw_input_contents.__setitem__(0, b"1234"),
    "half a number": lambda request: request.raw_input_contents.__setitem__(0, b"12345"),
    "an unknown output": lambda request: request.outputs.add(name="nothing"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused(target: Target, mistake: str) -> None:
    request = raw(target, target.tensors(1))
    MISTAKES[mistake](request)
    assert target.code_of("ModelInfer", request)


def test_a_method_that_there_is_not_is_unimplemented(target: Target) -> None:
    call = target.channel.unary_unary("/inference.GRPCInferenceService/ModelDance")
    with pytest.raises(grpc.RpcError) as refusal:
        call(b"", timeout=30)
    assert refusal.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_tritons_client_is_told_why_not(target: Target) -> None:
    wrong = {name: array[:, :1] for name, array in target.tensors(1).items()}
    with pytest.raises(InferenceServerException) as refusal:
        target.client.infer(target.model, asked(wrong))
    assert refusal.value.status().startswith("StatusCode.")
    assert refusal.value.message()
