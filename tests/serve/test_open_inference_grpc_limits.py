"""What our server promises over gRPC beyond the protocol: codes, keys, bounds, deadlines, an end that loses nobody."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from fleets import SPEC
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from loopback import wait_until
from running import Process, Running, running
from smoke_run import ROOT
from test_open_inference_grpc import MISTAKES, Target, arrays, asked, raw, typed
from tritonclient.grpc import service_pb2 as messages

from forecast.contracts.errors import ConfigError
from forecast.windows.arrays import Inputs
from serve.__main__ import main
from serve.grpc.messages import DESCRIPTORS
from serve.http.keys import SCOPES, add_key
from serve.settings import HttpSettings, Limits

LIMITS = Limits(body_bytes=256 * 1024, body_s=0.3, write_s=0.3, header_bytes=8192)


@pytest.fixture(scope="module")
def server(shared_registry: Path) -> Iterator[Running]:
    with running(shared_registry, limits=LIMITS, grpc=True) as server:
        yield server


@contextmanager
def client(server: Running) -> Iterator[Target]:
    target = Target(f"127.0.0.1:{server.grpc_port}", "day-ahead")
    try:
        yield target
    finally:
        target.close()


@pytest.fixture
def target(server: Running) -> Iterator[Target]:
    """A client; whatever it sends, the next call is served."""
    with client(server) as target:
        yield target
        assert target.call("ModelInfer", raw(target, target.tensors(1)))


def test_the_messages_are_those_of_tritons_client() -> None:
    """Every field of ours has the number, type and label that it has there, and no method another form."""
    ours = FileDescriptorSet.FromString((ROOT / "serve" / "grpc" / DESCRIPTORS).read_bytes()).file[0]
    theirs = messages.DESCRIPTOR
    for message in ours.message_type:
        other = theirs.message_types_by_name[message.name]
        for mine, its in [(message, other)] + [
            (one, other.nested_types_by_name[one.name]) for one in message.nested_type
        ]:
            for field in mine.field:
                its_field = its.fields_by_name[field.name]
                assert (field.number, field.type) == (its_field.number, its_field.type), (mine.name, field.name)
                assert (field.label == field.LABEL_REPEATED) == its_field.is_repeated
    service = theirs.services_by_name[ours.service[0].name]
    for method in ours.service[0].method:
        assert method.input_type == f".{service.methods_by_name[method.name].input_type.full_name}"
        assert method.output_type == f".{service.methods_by_name[method.name].output_type.full_name}"


def test_the_descriptors_are_those_of_the_proto(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc")
    source, made = ROOT / "serve" / "grpc" / "open_inference.proto", tmp_path / DESCRIPTORS
    assert protoc.main(["protoc", f"-I{source.parent}", f"--descriptor_set_out={made}", source.name]) == 0
    assert made.read_bytes() == source.with_name(DESCRIPTORS).read_bytes()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_clients_mistake_is_never_called_ours(target: Target, mistake: str) -> None:
    request = raw(target, target.tensors(1))
    MISTAKES[mistake](request)
    with pytest.raises(grpc.RpcError) as refusal:
        target.call("ModelInfer", request)
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.details()


def test_what_there_is_not_is_not_found(target: Target) -> None:
    for name, version in (("nobody", ""), ("day-ahead", "never")):
        told = {"name": name, "version": version}
        assert target.code_of("ModelReady", messages.ModelReadyRequest(**told)) == grpc.StatusCode.NOT_FOUND
        assert target.code_of("ModelMetadata", messages.ModelMetadataRequest(**told)) == grpc.StatusCode.NOT_FOUND
        infer = raw(target, target.tensors(1))
        infer.model_name, infer.model_version = name, version
        assert target.code_of("ModelInfer", infer) == grpc.StatusCode.NOT_FOUND


def test_it_gives_what_the_graph_gives(server: Running, target: Target) -> None:
    tensors = target.tensors(4)
    told = arrays(target.call("ModelInfer", raw(target, tensors)))
    outputs = server.engine.live("day-ahead").bundle.session.run(Inputs(**tensors))
    assert told.keys() == outputs._asdict().keys()
    for name, array in outputs._asdict().items():
        np.testing.assert_array_equal(told[name], array)


@pytest.mark.parametrize("form", [raw, typed])
def test_unknown_values_are_nan_and_infinite_ones_are_refused(
    target: Target, form: Callable[[Target, dict[str, np.ndarray]], messages.ModelInferRequest]
) -> None:
    tensors = target.tensors(1)
    tensors["static"][0, 0] = np.nan  # no limit: no headroom
    told = arrays(target.call("ModelInfer", form(target, tensors)))
    assert np.isnan(told["headroom"]).any()
    assert not np.isnan(told["quantiles"]).any()
    tensors["past"][0, 0, 0] = np.inf
    assert target.code_of("ModelInfer", form(target, tensors)) == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("rows", [2**31, 2**62, 2**63 - 1])
def test_a_shape_is_multiplied_before_anything_is_made_of_it(target: Target, rows: int) -> None:
    request = raw(target, target.tensors(1))
    request.inputs[0].shape[0] = rows
    assert target.code_of("ModelInfer", request) == grpc.StatusCode.INVALID_ARGUMENT


def test_tensors_and_dimensions_are_bounded(target: Target) -> None:
    many = messages.ModelInferRequest(model_name="day-ahead")
    many.inputs.extend(messages.ModelInferRequest.InferInputTensor(name=f"input{at}") for at in range(17))
    deep = raw(target, target.tensors(1))
    deep.inputs[0].shape[:] = [1] * 9
    for request in (many, deep):
        assert target.code_of("ModelInfer", request) == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("parameter", ["shared_memory_region", "classification"])
def test_parameters_that_would_change_the_answer_are_refused(target: Target, parameter: str) -> None:
    request = raw(target, target.tensors(1))
    request.inputs[0].parameters[parameter].string_param = "x"
    assert target.code_of("ModelInfer", request) == grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_that_is_too_large_is_not_taken(target: Target) -> None:
    rows = LIMITS.body_bytes // (4 * len(SPEC.past) * SPEC.context_steps) + 1
    assert target.code_of("ModelInfer", raw(target, target.tensors(rows))) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_message_that_is_compressed_is_not_taken(target: Target) -> None:
    code = target.code_of("ModelInfer", raw(target, target.tensors(1)), compression=grpc.Compression.Gzip)
    assert code == grpc.StatusCode.UNIMPLEMENTED


def test_metadata_is_bounded(target: Target) -> None:
    metadata = [("x-long", "y" * 2 * LIMITS.header_bytes)]
    code = target.code_of("ServerMetadata", messages.ServerMetadataRequest(), metadata=metadata)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("content", [b"\xff\xff", b"\x0a\xff", b"day-ahead"])
def test_what_is_no_message_is_refused(target: Target, content: bytes) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        target.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(content, timeout=30)
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_call_without_a_message_is_refused(target: Target) -> None:
    call = target.channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.RpcError) as refusal:
        call(iter(()), timeout=30)
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_that_never_comes_is_given_up(target: Target) -> None:
    done = threading.Event()

    def never() -> Iterator[bytes]:
        done.wait(20)
        yield from ()

    with pytest.raises(grpc.RpcError) as refusal:
        target.channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")(never(), timeout=20)
    done.set()
    assert refusal.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "message" in str(refusal.value.details())


def test_a_deadline_among_the_parameters_is_kept(target: Target) -> None:
    request = raw(target, target.tensors(1))
    request.parameters["timeout"].int64_param = 1
    assert target.code_of("ModelInfer", request) == grpc.StatusCode.DEADLINE_EXCEEDED
    request.parameters["timeout"].int64_param = -1
    assert target.code_of("ModelInfer", request) == grpc.StatusCode.INVALID_ARGUMENT


def test_what_clients_do_not_read_is_bounded_and_forgotten_when_they_leave(server: Running, target: Target) -> None:
    large = raw(target, target.tensors(190))
    small_window = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=small_window) as deaf:
        ask = deaf.stream_stream("/inference.GRPCInferenceService/ModelInfer")
        unread = [ask(iter([large.SerializeToString()])) for _ in range(60)]
        wait_until(lambda: refusal_of(target, large) == grpc.StatusCode.UNAVAILABLE, "no more is taken")
        assert not any(call.done() and call.code() == grpc.StatusCode.OK for call in unread)
    wait_until(lambda: refusal_of(target, large) is None, "it is forgotten")


def test_more_connections_than_the_limit_are_not_taken(registry: Path) -> None:
    own = [("grpc.use_local_subchannel_pool", 1)]  # or the channels of one process would share a connection
    with running(registry, limits=Limits(connections=2), grpc=True) as server, ExitStack() as closing:
        address = f"127.0.0.1:{server.grpc_port}"
        channels = [closing.enter_context(grpc.insecure_channel(address, options=own)) for _ in range(3)]
        first, second, third = (one.unary_unary("/inference.GRPCInferenceService/ServerLive") for one in channels)
        assert first(b"", timeout=30) == second(b"", timeout=30) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as refusal:
            third(b"", timeout=30)
        assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE


def refusal_of(target: Target, request: messages.ModelInferRequest) -> grpc.StatusCode | None:
    try:
        target.call("ModelInfer", request)
    except grpc.RpcError as error:
        return error.code()
    return None


@contextmanager
def busy(server: Running) -> Iterator[None]:
    """No thread is free for inference."""
    go = threading.Event()
    for _ in range(server.state.settings.workers):
        server.state.batcher._pool.submit(go.wait, 30)
    try:
        yield
    finally:
        go.set()


def test_the_clients_deadline_is_the_calls(server: Running, target: Target) -> None:
    request = raw(target, target.tensors(1))
    with busy(server):
        assert target.code_of("ModelInfer", request, timeout=0.2) == grpc.StatusCode.DEADLINE_EXCEEDED


def test_more_than_may_wait_is_told_to_come_back(registry: Path) -> None:
    with running(registry, limits=Limits(queue=1), grpc=True) as server, client(server) as target:
        request = raw(target, target.tensors(1))
        with ThreadPoolExecutor(8) as pool:
            with busy(server):
                calls = [pool.submit(target.call, "ModelInfer", request) for _ in range(8)]
                wait_until(lambda: any(call.done() for call in calls), "some are refused")
                (refused, *_) = [call.exception() for call in calls if call.done()]
            assert any(call.exception() is None for call in calls)
        assert isinstance(refused, grpc.RpcError)
        assert refused.code() == grpc.StatusCode.UNAVAILABLE
        assert dict(refused.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"


def test_more_calls_than_the_limit_are_told_to_come_back_but_probes_are_answered(registry: Path) -> None:
    with running(registry, limits=Limits(requests=0), grpc=True) as server, client(server) as target:
        request = messages.ServerMetadataRequest()
        assert target.code_of("ServerMetadata", request) == grpc.StatusCode.UNAVAILABLE
        assert target.client.is_server_live()
        assert target.client.is_server_ready()


def test_every_method_but_the_probes_takes_a_key_that_may_infer(registry: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    tokens = {scope: add_key(file, scope, [scope]) for scope in SCOPES}
    with running(registry, keys=file, grpc=True) as server, client(server) as target:
        assert target.client.is_server_live()
        assert target.client.is_server_ready()
        for method in ("ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer"):
            request = getattr(messages, f"{method}Request")()
            for metadata in ((), (("authorization", "Bearer fc_wrong"),), (("authorization", tokens["infer"]),)):
                assert target.code_of(method, request, metadata=metadata) == grpc.StatusCode.UNAUTHENTICATED
            for scope in set(SCOPES) - {"infer"}:
                metadata = (("authorization", f"Bearer {tokens[scope]}"),)
                assert target.code_of(method, request, metadata=metadata) == grpc.StatusCode.PERMISSION_DENIED
        headers = {"authorization": f"Bearer {tokens['infer']}"}
        told = target.client.get_model_metadata("day-ahead", headers=headers)
        tensors = {one.name: np.ones([2, *one.shape[1:]], np.float32) for one in told.inputs}
        assert target.client.infer("day-ahead", asked(tensors), headers=headers).as_numpy("quantiles").shape[0] == 2


def test_calls_are_counted(server: Running, target: Target) -> None:
    target.code_of("ModelReady", messages.ModelReadyRequest(name="nobody"))
    target.code_of("ModelInfer", messages.ModelInferRequest(model_name="nobody"))
    told = server.ask("GET", "/metrics").body.decode()
    assert 'fleetcast_grpc_requests_total{code="NOT_FOUND",method="ModelReady"}' in told
    assert 'fleetcast_grpc_request_seconds_count{method="ModelInfer"}' in told


def test_what_is_our_own_mistake_has_an_id_and_no_inside(
    server: Running, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("secret")

    request = raw(target, target.tensors(1))
    with monkeypatch.context() as patch:
        patch.setattr(server.state.batcher, "run", broken)
        with pytest.raises(grpc.RpcError) as failure:
            target.call("ModelInfer", request)
    assert failure.value.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in failure.value.details()
    assert dict(failure.value.trailing_metadata())["x-request-id"] in failure.value.details()


def test_a_call_in_flight_is_answered_and_then_no_other(registry: Path) -> None:
    with running(registry, grpc=True) as server, client(server) as target:
        request = raw(target, target.tensors(1))
        with ThreadPoolExecutor(1) as pool, busy(server):
            call = pool.submit(target.call, "ModelInfer", request)
            wait_until(lambda: bool(server.state.batcher._running), "it is in flight")
            server.state.draining = True
            assert not target.client.is_server_ready()
            assert not target.client.is_model_ready("day-ahead")
            server.server.should_exit = True
            wait_until(lambda: target_refuses(server), "no new call is taken")
            assert not call.done()
        assert arrays(call.result(20))["quantiles"].shape[0] == 1


def target_refuses(server: Running) -> bool:
    with client(server) as other:
        try:
            other.call("ServerLive", messages.ServerLiveRequest(), timeout=2)
        except grpc.RpcError as error:
            return error.code() == grpc.StatusCode.UNAVAILABLE
    return False


def test_the_command_serves_and_ends(registry: Path) -> None:
    process = Process(registry, "--grpc-port", "0")
    try:
        wait_until(lambda: bool(process.of("listening for gRPC")), "it listens")
        address = str(process.of("listening for gRPC")[0]["address"])
        with triton.InferenceServerClient(address) as probe:
            wait_until(probe.is_server_ready, "it is ready")
        process.process.terminate()
        assert process.ended() == 0
    finally:
        process.process.kill()


def test_a_second_signal_waits_for_nobody(registry: Path) -> None:
    process = Process(registry, "--grpc-port", "0")
    done = threading.Event()

    def never() -> Iterator[bytes]:
        done.wait(60)
        yield from ()

    try:
        wait_until(lambda: bool(process.of("listening for gRPC")), "it listens")
        with grpc.insecure_channel(str(process.of("listening for gRPC")[0]["address"])) as channel:
            grpc.channel_ready_future(channel).result(30)
            call = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer").future(never(), timeout=60)
            for signals in (1, 2):
                process.process.terminate()
                wait_until(lambda: bool(process.of("draining")), f"signal {signals} is heard")
            assert process.ended() == 0
            assert call.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    finally:
        done.set()
        process.process.kill()


def test_an_address_that_is_taken_is_one_line(
    server: Running, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = str(server.grpc_port)
    assert main(["run", "--registry", str(registry), "--port", "0", "--grpc-port", taken]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert taken in error
    assert "gRPC" in error


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="70000"):
        HttpSettings(grpc_port=70_000)
