"""What the Open Inference Protocol asks of any server, checked from its text, and from Triton's binary extension.

Nothing here knows how ours is made. `test_open_inference_limits.py` has what we promise beyond it.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import json
import math

import numpy as np
import pytest
import tritonclient.http as triton
from protocol_client import HEADER, Target, Tensors, arrays, binary, plain
from protocol_peers import Peer
from running import Reply
from tritonclient.utils import InferenceServerException


def is_refused(reply: Reply) -> bool:
    """An error status, of which the protocol says no more, and an object with a message."""
    return reply.status >= 400 and isinstance(reply.json.get("error"), str)


@pytest.fixture(scope="session")
def target(peer: Peer) -> Target:
    return Target(peer.http, peer.model)


@pytest.fixture(scope="module")
def client(target: Target) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(target.address)


def asked(tensors: Tensors, *, binary_data: bool = True) -> list[triton.InferInput]:
    inputs = []
    for name, array in tensors.items():
        one = triton.InferInput(name, list(array.shape), "FP32")
        one.set_data_from_numpy(array, binary_data=binary_data)
        inputs.append(one)
    return inputs


def test_it_is_live_and_ready(target: Target) -> None:
    assert target.ask("GET", "/v2/health/live").status == 200
    assert target.ask("GET", "/v2/health/ready").status == 200


def test_it_says_what_it_is(target: Target) -> None:
    told = target.ask("GET", "/v2").json
    assert isinstance(told["name"], str)
    assert isinstance(told["version"], str)
    assert all(isinstance(extension, str) for extension in told["extensions"])


def test_it_says_what_a_model_takes_and_gives(target: Target) -> None:
    told = target.metadata()
    assert told["name"] == target.model
    assert isinstance(told["platform"], str)
    for one in (*told["inputs"], *told["outputs"]):
        assert isinstance(one["name"], str)
        assert one["datatype"] == "FP32"
        assert all(isinstance(size, int) and size >= -1 for size in one["shape"])


def test_a_model_is_ready(target: Target) -> None:
    assert target.ask("GET", f"{target.path}/ready").status == 200


@pytest.mark.parametrize("rest", ["", "/ready"])
def test_an_unknown_model_is_refused(target: Target, rest: str) -> None:
    assert is_refused(target.ask("GET", f"/v2/models/nobody{rest}"))


def test_an_unknown_model_infers_nothing(target: Target) -> None:
    assert is_refused(target.infer(target.request(1), "/v2/models/nobody"))


def test_versions_that_are_told_can_be_asked_for(target: Target) -> None:
    for version in target.metadata().get("versions") or []:
        path = f"{target.path}/versions/{version}"
        assert target.ask("GET", path).json["name"] == target.model
        assert target.ask("GET", f"{path}/ready").status == 200
        assert target.infer(target.request(1), path).json["model_version"] == version


def test_a_version_that_is_not_told_is_refused(target: Target) -> None:
    path = f"{target.path}/versions/never"
    assert is_refused(target.ask("GET", path))
    assert is_refused(target.ask("GET", f"{path}/ready"))
    assert is_refused(target.infer(target.request(1), path))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_inference_gives_every_output_of_the_metadata(target: Target, rows: int) -> None:
    told = target.infer(target.request(rows)).json
    assert told["model_name"] == target.model
    expected = {one["name"]: [rows, *one["shape"][1:]] for one in target.metadata()["outputs"]}
    assert {one["name"]: one["shape"] for one in told["outputs"]} == expected
    for one in told["outputs"]:
        assert one["datatype"] == "FP32"
        assert np.array(one["data"]).size == math.prod(one["shape"])


def test_only_the_outputs_that_are_asked_for(target: Target) -> None:
    names = [one["name"] for one in target.metadata()["outputs"]]
    for wanted in (names[:1], names[::-1]):
        request = target.request(1) | {"outputs": [{"name": name} for name in wanted]}
        assert {one["name"] for one in target.infer(request).json["outputs"]} == set(wanted)


def test_an_id_comes_back(target: Target) -> None:
    assert target.infer(target.request(1) | {"id": "42"}).json["id"] == "42"


def test_data_may_be_nested_or_flat(target: Target) -> None:
    tensors = target.tensors(2)
    flat, nested = (
        arrays(target.infer({"inputs": [plain(name, array, nested=how) for name, array in tensors.items()]}).json)
        for how in (False, True)
    )
    for name, array in flat.items():
        np.testing.assert_array_equal(array, nested[name])


def test_rows_of_a_batch_are_what_each_is_alone(target: Target) -> None:
    tensors = target.tensors(4)
    together = arrays(target.infer({"inputs": [plain(name, array) for name, array in tensors.items()]}).json)
    for row in range(4):
        one = {"inputs": [plain(name, array[row : row + 1]) for name, array in tensors.items()]}
        for name, array in arrays(target.infer(one).json).items():
            np.testing.assert_allclose(together[name][row : row + 1], array, rtol=1e-5)


def test_parameters_that_nobody_defined_do_no_harm(target: Target) -> None:
    request = target.request(1) | {"parameters": {"text": "a", "number": 1.5, "truth": True}}
    assert target.infer(request).status == 200


MISTAKES = {
    "no input": lambda request: request["inputs"].pop(),
    "no inputs": lambda request: request.pop("inputs"),
    "inputs that are no list": lambda request: request.update(inputs="all"),
    "an unknown input": lambda request: request["inputs"][0].update(name="nothing"),
    "an input twice": lambda request: request["inputs"].append(request["inputs"][0]),
    "another datatype": lambda request: request["inputs"][0].update(datatype="INT64"),
    "an unknown datatype": lambda request: request["inputs"][0].update(datatype="FLOAT"),
    "no datatype": lambda request: request["inputs"][0].pop("datatype"),
    "no shape": lambda request: request["inputs"][0].pop("shape"),
    "no data": lambda request: request["inputs"][0].pop("data"),
    "a value too few": lambda request: request["inputs"][0]["data"].pop(),
    "text for a number": lambda request: request["inputs"][0]["data"].__setitem__(0, "1.0"),
    "another shape than the model's": lambda request: request["inputs"][0].update(shape=[1, 1, 1]),
    "a shape too short": lambda request: request["inputs"][0].update(shape=[len(request["inputs"][0]["data"])]),
    "a negative shape": lambda request: request["inputs"][0].update(shape=[-1, 3, 96]),
    "an unknown output": lambda request: request.update(outputs=[{"name": "nothing"}]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_a_reason(target: Target, mistake: str) -> None:
    request = target.request(1)
    MISTAKES[mistake](request)
    assert is_refused(target.infer(request))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_what_is_no_request_is_refused(target: Target, body: bytes) -> None:
    assert is_refused(target.ask("POST", f"{target.path}/infer", body, {"content-type": "application/json"}))


def test_tensors_as_bytes_in_and_numbers_out(target: Target) -> None:
    tensors = target.tensors(3)
    body, headers = binary(tensors)
    reply = target.ask("POST", f"{target.path}/infer", body, headers)
    expected = arrays(target.infer({"inputs": [plain(name, array) for name, array in tensors.items()]}).json)
    for name, array in arrays(reply.json).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-5)


@pytest.mark.parametrize("said", ["of the output", "of all outputs"])
def test_outputs_as_bytes_where_they_are_asked_for_so(target: Target, said: str) -> None:
    first, second, *_ = [one["name"] for one in target.metadata()["outputs"]]
    of_one = said == "of the output"
    outputs = [
        {"name": first, "parameters": {"binary_data": True} if of_one else {}},
        {"name": second, "parameters": {"binary_data": False}},
    ]
    body, headers = binary(target.tensors(2), outputs=outputs, parameters={"binary_data_output": not of_one})
    reply = target.ask("POST", f"{target.path}/infer", body, headers)
    length = int(reply.headers[HEADER])
    told = {one["name"]: one for one in json.loads(reply.body[:length])["outputs"]}
    assert "data" in told[second]
    assert "data" not in told[first]
    size = told[first]["parameters"]["binary_data_size"]
    assert size == 4 * math.prod(told[first]["shape"]) == len(reply.body) - length
    plainly = arrays(target.infer(target.request(2)).json)[first]
    np.testing.assert_allclose(np.frombuffer(reply.body[length:], "<f4"), plainly.ravel(), rtol=1e-5)


@pytest.mark.parametrize(("less", "header"), [(1, None), (4, None), (0, "0"), (0, "999999"), (0, "abc"), (0, "-1")])
def test_bytes_that_do_not_add_up_are_refused(target: Target, less: int, header: str | None) -> None:
    body, headers = binary(target.tensors(1))
    body = body[: len(body) - less]
    if header is not None:
        headers[HEADER] = header
    assert is_refused(target.ask("POST", f"{target.path}/infer", body, headers))


def test_tritons_client_asks_for_metadata(client: triton.InferenceServerClient, target: Target) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(target.model)
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata() == target.ask("GET", "/v2").json
    assert client.get_model_metadata(target.model) == target.metadata()


@pytest.mark.parametrize("rows", [1, 3, 64, 300])
def test_tritons_client_infers_in_bytes(client: triton.InferenceServerClient, target: Target, rows: int) -> None:
    tensors = target.tensors(rows)
    result = client.infer(target.model, asked(tensors), request_id="7")
    assert result.get_response()["id"] == "7"
    for one in target.metadata()["outputs"]:
        assert result.as_numpy(one["name"]).shape == (rows, *one["shape"][1:])


@pytest.mark.parametrize("binary_data", [True, False])
def test_tritons_client_gets_the_same_in_either_form(
    client: triton.InferenceServerClient, target: Target, binary_data: bool
) -> None:
    tensors = target.tensors(2)
    name = target.metadata()["outputs"][0]["name"]
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_data)]
    result = client.infer(target.model, asked(tensors, binary_data=binary_data), outputs=outputs)
    plainly = arrays(target.infer({"inputs": [plain(key, array) for key, array in tensors.items()]}).json)
    np.testing.assert_allclose(result.as_numpy(name), plainly[name], rtol=1e-5)
    assert len(result.get_response()["outputs"]) == 1


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_tritons_client_compresses_both_ways(client: triton.InferenceServerClient, target: Target, coding: str) -> None:
    tensors = target.tensors(16)
    name = target.metadata()["outputs"][0]["name"]
    small = client.infer(
        target.model, asked(tensors), request_compression_algorithm=coding, response_compression_algorithm=coding
    )
    np.testing.assert_array_equal(small.as_numpy(name), client.infer(target.model, asked(tensors)).as_numpy(name))


def test_tritons_client_is_told_why_not(client: triton.InferenceServerClient, target: Target) -> None:
    wrong = {name: array[:, :1] for name, array in target.tensors(1).items()}
    with pytest.raises(InferenceServerException) as refusal:
        client.infer(target.model, asked(wrong))
    assert refusal.value.status().startswith("4")
    assert refusal.value.message()
