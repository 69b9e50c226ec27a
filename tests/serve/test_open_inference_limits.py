"""What a hostile or clumsy client may do, over a real socket: it gets one answer, in bounds, and the next is served."""

import asyncio
import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fleets import SPEC
from loopback import wait_until
from protocol_client import HEADER, Target, binary
from running import Reply, Running, running
from test_open_inference import MISTAKES

from forecast.bundle.session import Outputs, Session
from forecast.windows.arrays import Inputs
from serve.http.bodies import inflate
from serve.inference.batching import Batcher
from serve.metrics import Metrics
from serve.refusals import TooLargeError, TooLateError, UnavailableError
from serve.settings import Limits

LIMITS = Limits(body_bytes=256 * 1024, header_s=0.3, body_s=0.3, write_s=0.3, connections=20)
INFER = "/v2/models/day-ahead/infer"


@pytest.fixture(scope="module")
def server(shared_registry: Path) -> Iterator[Running]:
    with running(shared_registry, limits=LIMITS) as server:
        yield server


@pytest.fixture(autouse=True)
def still_serves(server: Running) -> Iterator[None]:
    """Whatever was sent, the next client is served."""
    yield
    target = Target(server.address, "day-ahead")
    assert target.infer(target.request(1)).status == 200


def raw(server: Running, *parts: bytes, end: bool = False) -> bytes:
    """Send bytes as they are; what comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        received = []
        try:
            for part in parts:
                client.sendall(part)
            if end:
                client.shutdown(socket.SHUT_WR)
            while part := client.recv(65_536):
                received.append(part)
        except ConnectionError:
            pass  # hung up while we were sending
    return b"".join(received)


def refused(answer: bytes, status: int) -> str:
    """The one answer in `answer`, and its message."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
    assert b"connection: close" in head.lower()
    return str(json.loads(body)["error"])


def request(body: bytes, **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"POST {INFER} HTTP/1.1", "host: x", *lines, "", ""]).encode() + body


def test_a_body_that_says_it_is_too_large_is_not_waited_for(server: Running) -> None:
    assert "262144" in refused(raw(server, request(b"", content_length="999999999999")), 413)


def test_an_endless_body_ends_at_the_limit(server: Running) -> None:
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    answer = raw(server, request(b"", transfer_encoding="chunked"), *[chunk] * 200)
    assert not answer or refused(answer, 413)  # a reset may overtake the answer, as we are still sending


def test_many_tiny_chunks_are_one_body(server: Running) -> None:
    body = json.dumps(Target(server.address, "day-ahead").request(1)).encode()
    chunks = b"".join(b"1\r\n" + body[at : at + 1] + b"\r\n" for at in range(len(body))) + b"0\r\n\r\n"
    answer = raw(server, request(chunks, transfer_encoding="chunked", connection="close"))
    assert answer.startswith(b"HTTP/1.1 200 ")


def compressed(server: Running, body: bytes, coding: str) -> Reply:
    return server.ask("POST", INFER, body, {"content-encoding": coding, "content-type": "application/json"})


@pytest.mark.parametrize(("pack", "coding"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")])
def test_a_bomb_is_not_unpacked(server: Running, pack: Callable[[bytes], bytes], coding: str) -> None:
    reply = compressed(server, pack(bytes(64 * 1024**2)), coding)
    assert reply.status == 413
    assert "decompressed" in reply.error


def test_no_more_is_made_of_a_bomb_than_may_come_out() -> None:
    with pytest.raises(TooLargeError):
        inflate(gzip.compress(bytes(100)) * 50, "gzip", 4096)
    assert inflate(gzip.compress(bytes(100)) * 40, "gzip", 4096) == bytes(4000)


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (gzip.compress(b'{"inputs": []}' * 99)[:-9], "gzip", 400),
        (gzip.compress(b"{}") + b"tail", "gzip", 400),
        (b"plain", "gzip", 400),
        (gzip.compress(b"{}"), "deflate", 400),
        (b"{}", "br", 415),
        (b"{}", "gzip, gzip", 415),
    ],
    ids=["cut short", "with a tail", "plain", "another", "unknown", "twice"],  # gzip writes the time
)
def test_a_damaged_or_foreign_compression_is_refused(server: Running, body: bytes, coding: str, status: int) -> None:
    reply = compressed(server, body, coding)
    assert reply.status == status
    assert reply.error


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_clients_mistake_is_never_called_ours(server: Running, mistake: str) -> None:
    target = Target(server.address, "day-ahead")
    body = target.request(1)
    MISTAKES[mistake](body)
    assert 400 <= target.infer(body).status < 500


def test_bytes_that_belong_to_no_tensor_are_refused(server: Running) -> None:
    body, headers = binary(Target(server.address, "day-ahead").tensors(1))
    assert "4 bytes" in server.ask("POST", INFER, body + bytes(4), headers).error


def test_a_version_that_there_is_not_is_not_found(server: Running) -> None:
    for rest in ("", "/ready"):
        assert server.ask("GET", f"/v2/models/day-ahead/versions/never{rest}").status == 404


def test_json_before_tensors_is_bounded(server: Running) -> None:
    body, headers = binary(Target(server.address, "day-ahead").tensors(1), pad="x" * 65_536)
    reply = server.ask("POST", INFER, body, headers)
    assert reply.status == 413
    assert "65536" in reply.error


def test_tensors_and_dimensions_are_bounded(server: Running) -> None:
    one = Target(server.address, "day-ahead").request(1)["inputs"][0]
    many = {"inputs": [{**one, "name": f"input{at}"} for at in range(17)]}
    deep = {"inputs": [{**one, "shape": [1] * 9}]}
    for body, told in ((many, "16"), (deep, "8")):
        reply = server.ask("POST", INFER, json.dumps(body).encode())
        assert reply.status == 400
        assert told in reply.error


@pytest.mark.parametrize("rows", [2**31, 2**62, 2**64 - 1, 10**30])
def test_a_shape_is_multiplied_before_anything_is_made_of_it(server: Running, rows: int) -> None:
    shape = [rows, len(SPEC.past), SPEC.context_steps]
    for tensor in ({"data": []}, {"parameters": {"binary_data_size": 2**62}}):
        one = {"name": "past", "shape": shape, "datatype": "FP32", **tensor}
        reply = server.ask("POST", INFER, json.dumps({"inputs": [one]}).encode())
        assert reply.status == 400
        assert reply.error


def test_infinite_values_are_refused_and_unknown_ones_are_not(server: Running) -> None:
    tensors = Target(server.address, "day-ahead").tensors(2)
    tensors["past"][0, 0, :4] = np.nan
    assert server.ask("POST", INFER, *binary(tensors)).status == 200
    tensors["past"][1, 0, 0] = np.inf
    assert "NaN" in server.ask("POST", INFER, *binary(tensors)).error


def test_unknown_values_are_null_in_json_both_ways(server: Running) -> None:
    target = Target(server.address, "day-ahead")
    told = target.request(1)
    by_name = {one["name"]: one for one in told["inputs"]}
    by_name["static"]["data"][0] = None  # no limit: no headroom
    outputs = {one["name"]: one["data"] for one in target.infer(told).json["outputs"]}
    assert None in outputs["headroom"]
    assert None not in outputs["quantiles"]


def test_deep_json_is_refused(server: Running) -> None:
    assert server.ask("POST", INFER, b"[" * 100_000).status == 400


@pytest.mark.parametrize(
    "head",
    [b"GET /v2 HTTP/1.1\r\nlong: " + b"x" * 60_000 + b"\r\n\r\n", b"GET /" + b"v" * 60_000 + b" HTTP/1.1\r\n\r\n"],
)
def test_long_headers_are_refused(server: Running, head: bytes) -> None:
    assert "headers" in refused(raw(server, head), 431)


def test_many_headers_are_refused_and_headers_that_never_end(server: Running) -> None:
    lines = b"".join(b"x-%d: y\r\n" % at for at in range(10_000))
    assert "headers" in refused(raw(server, b"GET /v2 HTTP/1.1\r\n" + lines + b"\r\n"), 431)
    assert "headers" in refused(raw(server, b"GET /v2 HTTP/1.1\r\nlong: " + b"x" * 60_000), 431)


def test_headers_that_take_too_long_are_given_up(server: Running) -> None:
    for begun in (b"", b"GET /v2 HTTP/1.1\r\nhost: "):
        assert "headers" in refused(raw(server, begun), 408)


def test_a_body_that_takes_too_long_is_given_up(server: Running) -> None:
    assert "body" in refused(raw(server, request(b"{", content_length="100")), 408)


def test_a_client_that_hangs_up_half_way_is_forgotten(server: Running) -> None:
    raw(server, request(b"{", content_length="100"), end=True)
    wait_until(lambda: server.state.metrics.in_flight._value.get() == 0, "nothing is in flight")


def test_a_client_that_does_not_read_is_cut_off(server: Running) -> None:
    body, headers = binary(Target(server.address, "day-ahead").tensors(150))
    head = "\r\n".join(
        [f"POST {INFER} HTTP/1.1", f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    ).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        sender = threading.Thread(target=_send_on_and_on, args=(client, head + body), daemon=True)
        sender.start()
        connections = server.server.server_state.connections
        wait_until(lambda: len(connections) == 1, "it is connected")
        wait_until(lambda: len(connections) == 0, "it is cut off")
    sender.join(20)
    assert not sender.is_alive()


def _send_on_and_on(client: socket.socket, message: bytes) -> None:
    try:
        while True:
            client.sendall(message)
    except OSError:
        pass


def test_more_connections_than_the_limit_are_told_to_come_back(server: Running) -> None:
    wait_until(lambda: not server.server.server_state.connections, "all others have left")
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(LIMITS.connections)]
    try:
        answer = raw(server)
        assert b"retry-after: 1" in answer
        assert "connections" in refused(answer, 503)
    finally:
        for client in held:
            client.close()
    wait_until(lambda: not server.server.server_state.connections, "they have left")


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 3, b"HELP\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_what_is_no_http_is_refused(server: Running, noise: bytes) -> None:
    assert refused(raw(server, noise), 400)


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/v2"), ("GET", INFER), ("GET", "/v2/models/../../etc/passwd")]
)
def test_ways_and_places_that_there_are_not(server: Running, method: str, path: str) -> None:
    reply = server.ask(method, path)
    assert reply.status in {404, 405}
    assert "Traceback" not in reply.error


@pytest.mark.parametrize("action", ["load", "unload"])
def test_no_model_comes_or_goes_by_request(server: Running, action: str) -> None:
    assert server.ask("POST", f"/v2/repository/models/day-ahead/{action}").status == 404
    listed = server.ask("POST", "/v2/repository/index").json
    assert listed == [{"name": "day-ahead", "version": "k1", "state": "READY", "reason": ""}]


def test_a_deadline_that_has_passed_is_told(server: Running) -> None:
    target = Target(server.address, "day-ahead")
    reply = target.infer(target.request(1) | {"parameters": {"timeout": 1}})
    assert reply.status == 504
    assert reply.error


def test_more_requests_than_the_limit_are_told_to_come_back_but_probes_are_answered(registry: Path) -> None:
    with running(registry, limits=Limits(requests=0)) as busy:
        reply = busy.ask("GET", "/v2")
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"
        assert busy.ask("GET", "/v2/health/live").status == 200
        assert busy.ask("GET", "/v2/health/ready").status == 200


class SlowSession(Session):
    """Runs nothing until it is let."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.ran: list[int] = []

    def run(self, inputs: Inputs) -> Outputs:
        assert self.go.wait(20)
        self.ran.append(len(inputs.past))
        return Outputs(inputs.past, inputs.future, inputs.static)


def inputs(rows: int, value: float) -> Inputs:
    return Inputs(*(np.full((rows, 2), value, np.float32) for _ in range(3)))


def test_what_waits_runs_together_and_each_gets_its_own() -> None:
    async def scene() -> None:
        session, batcher = SlowSession(), Batcher(1, 8, 16, Metrics())
        tasks = [asyncio.create_task(batcher.run(session, inputs(rows, rows), 20)) for rows in (1, 2, 3, 4, 5)]
        await asyncio.sleep(0)
        session.go.set()
        for rows, outputs in zip((1, 2, 3, 4, 5), await asyncio.gather(*tasks), strict=True):
            np.testing.assert_array_equal(outputs.quantiles, np.full((rows, 2), rows))
        assert session.ran == [1, 2 + 3, 4, 5]  # no more than 8 rows together, whoever waits longest first
        batcher.close()

    asyncio.run(scene())


def test_a_queue_that_is_full_refuses_and_expired_work_is_never_run() -> None:
    async def scene() -> None:
        session, batcher = SlowSession(), Batcher(1, 8, 2, Metrics())
        running_, waiting = (asyncio.create_task(batcher.run(session, inputs(1, 0.0), 20)) for _ in range(2))
        hasty = asyncio.create_task(batcher.run(session, inputs(1, 0.0), 0.01))
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            await batcher.run(session, inputs(1, 0.0), 20)
        with pytest.raises(TooLateError):
            await hasty
        session.go.set()
        await asyncio.gather(running_, waiting)
        assert session.ran == [1, 1]
        batcher.close()

    asyncio.run(scene())


def test_one_bad_request_does_not_spoil_the_others_of_its_batch(registry: Path, server: Running) -> None:
    """A code outside the vocabulary of a trained graph fails in the runtime; see `hand_made` for graphs that do."""
    session = server.engine.live("day-ahead").bundle.session

    class Picky(SlowSession):
        def run(self, inputs: Inputs) -> Outputs:
            assert self.go.wait(20)
            if (inputs.static < 0).any():
                session.run(Inputs(inputs.past[:, :, None], inputs.future, inputs.static))  # a shape it refuses
            return Outputs(inputs.past, inputs.future, inputs.static)

    async def scene() -> list[object]:
        picky, batcher = Picky(), Batcher(1, 8, 16, Metrics())
        tasks = [asyncio.create_task(batcher.run(picky, inputs(1, value), 20)) for value in (1.0, 2.0, -1.0, 3.0)]
        await asyncio.sleep(0)
        picky.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        batcher.close()
        return answers

    first, second, third, fourth = asyncio.run(scene())
    assert [float(answer.quantiles[0, 0]) for answer in (first, second, fourth)] == [1.0, 2.0, 3.0]
    assert getattr(third, "status", None) == 400


def test_answers_are_compressed_where_the_client_takes_it(server: Running) -> None:
    target = Target(server.address, "day-ahead")
    body = json.dumps(target.request(8)).encode()
    plain = server.ask("POST", INFER, body)
    for coding, unpack in (("gzip", gzip.decompress), ("deflate", zlib.decompress)):
        reply = server.ask("POST", INFER, body, {"accept-encoding": f"br;q=1.0, {coding};q=0.5"})
        assert reply.headers["content-encoding"] == coding
        assert "accept-encoding" in reply.headers["vary"].lower()
        assert unpack(reply.body) == plain.body
    never = server.ask("POST", INFER, body, {"accept-encoding": "gzip;q=0, identity"})
    assert "content-encoding" not in never.headers
    assert HEADER not in never.headers
