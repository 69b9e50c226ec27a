"""What a hostile client may send to the server's process, and what it may leave unread: docs/serving_faults.md."""

import contextlib
import gzip
import json
import re
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacked import FORECAST, INFER, Attacked, attacked, posted, refusal
from loopback import wait_until
from protocol_client import binary

MIB = 1024**2

#: What the process may grow by, whatever was sent to it; what a request takes is given back, or used again.
GROWTH_BYTES = 250 * MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked(tmp_path_factory.mktemp("attacked"), "--log", "debug", "--drain-s", "1") as server:
        server.assert_unharmed()
        before = server.resident_bytes
        yield server
        assert server.resident_bytes - before < GROWTH_BYTES
        assert all("level" in line for line in server.process.events), "each line of the log is JSON"


@pytest.fixture(autouse=True)
def unharmed(server: Attacked) -> Iterator[None]:
    yield
    server.assert_unharmed()


SMUGGLED = {
    "a length and chunks": "content-length: 4\r\ntransfer-encoding: chunked",
    "chunks and a length": "transfer-encoding: chunked\r\ncontent-length: 4",
    "two lengths": "content-length: 4\r\ncontent-length: 5",
    "a length with a sign": "content-length: +4",
    "a negative length": "content-length: -4",
    "a length beyond 64 bits": f"content-length: {'9' * 40}",
    "an unknown coding": "transfer-encoding: xchunked",
    "chunks that are not last": "transfer-encoding: chunked, identity",
    "a space before the colon": "transfer-encoding : chunked",
    "a folded header": "x: y\r\n transfer-encoding: chunked",
    "a bare carriage return": "x: y\rtransfer-encoding: chunked",
    "a zero byte": "x: \0",
    "an escape": "x: \x1b[31m",
}


@pytest.mark.parametrize("head", SMUGGLED.values(), ids=SMUGGLED)
def test_two_readings_of_where_a_body_ends_are_none(server: Attacked, head: str) -> None:
    """The second request, which only one of two readers sees, is not answered."""
    begin = f"POST {INFER} HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n".encode()
    assert refusal(server.raw(begin + b"0\r\n\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"), 400)


NO_HTTP = {
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 3,
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "an unknown method": b"FETCH /v2 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a tunnel": b"CONNECT elsewhere.example:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a path that is not ASCII": b"GET /v2/\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    "a query that is not ASCII": b"GET /v2?\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    "lines without carriage returns": b"GET /v2 HTTP/1.1\nhost: x\n\n",
}


@pytest.mark.parametrize("noise", NO_HTTP.values(), ids=NO_HTTP)
def test_another_protocol_is_refused(server: Attacked, noise: bytes) -> None:
    assert refusal(server.raw(noise), 400)


ODD = {
    "a host that is none": (b"GET /nowhere HTTP/1.1\r\nhost: [\r\n", 404),
    "a host in bytes": (b"GET /nowhere HTTP/1.1\r\nhost: \xff\xfe\r\n", 404),
    "all places": (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n", 404),
    "another way": (b"PROPFIND /v2 HTTP/1.1\r\nhost: x\r\n", 405),
    "bytes in a name": (b"GET /v2/models/%ff%00 HTTP/1.1\r\nhost: x\r\n", 404),
    "a name that climbs": (b"GET /v2/models/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nhost: x\r\n", 404),
    "a file that climbs": (b"GET /board/..%2f__main__.py HTTP/1.1\r\nhost: x\r\n", 404),
    "half a letter": (b"GET /v1/forecasts/day-ahead?entity=%ed%a0%80 HTTP/1.1\r\nhost: x\r\n", 404),
}


@pytest.mark.parametrize(("head", "status"), ODD.values(), ids=ODD)
def test_odd_heads_get_a_plain_answer(server: Attacked, head: bytes, status: int) -> None:
    assert refusal(server.raw(head + b"connection: close\r\n\r\n"), status)


def test_an_upgrade_is_not_made(server: Attacked) -> None:
    """h2c and WebSocket are declined by answering as if they had not been asked for (RFC 9110 §7.8)."""
    for kind in ("h2c", "websocket"):
        assert server.ask("GET", "/v2", headers={"connection": "Upgrade", "upgrade": kind}).status == 200


NO_JSON = {
    "not a number": b'{"plans": [{"entity_id": "server-0", "power_w": [NaN, Infinity, -Infinity]}]}',
    "deep lists": b"[" * 200_000,
    "deep objects": b'{"plans":' * 100_000,
    "a long number": b'{"plans": [{"entity_id": "server-0", "power_w": [' + b"9" * 100_000 + b"]}]}",
    "a large number": b'{"plans": [{"entity_id": "server-0", "power_w": [1' + b"0" * 400 + b"]}]}",
    "half a letter": b'{"plans": [{"entity_id": "\\ud800", "power_w": {"\\udc00": 1}}], "\\ud800": 1}',
    "bytes": b'{"plans": "\xff\xfe"}',
    "UTF-16": '{"plans": []}'.encode("utf-16"),
    "nothing": b"",
    "control characters": b'{"\\u001b[31m\\n": "\\u0000"}',
    "a name a megabyte long": b'{"' + b"n" * MIB + b'": 1}',
}


@pytest.mark.parametrize("path", [INFER, f"{FORECAST}/what-if", f"{FORECAST}/placements", "/v1/telemetry"])
@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_hostile_json_is_the_clients_mistake(server: Attacked, path: str, body: bytes) -> None:
    reply = server.ask("POST", path, body, {"content-type": "application/json"})
    assert reply.status == 400
    assert len(reply.error) < 1000
    assert reply.error.isprintable()


def test_a_body_without_end_is_cut(server: Attacked) -> None:
    chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
    answer = server.raw(posted(INFER, transfer_encoding="chunked"), *[chunk] * 64)
    assert not answer or "8388608" in refusal(answer, 413)  # a reset may overtake the answer, as we are still sending


@pytest.mark.parametrize("before", [b"1;", b"0\r\nx: "], ids=["extension of a chunk", "trailer"])
def test_a_line_without_end_after_the_head_is_cut(server: Attacked, before: bytes) -> None:
    before_bytes = server.resident_bytes
    answer = server.raw(posted(INFER, before, transfer_encoding="chunked"), *[b"e" * MIB] * 64)
    assert not answer or refusal(answer, 431)
    assert server.resident_bytes - before_bytes < 32 * MIB


def test_trailers_count_as_headers(server: Attacked) -> None:
    many = b"".join(b"x-%d: y\r\n" % at for at in range(10_000))
    assert "headers" in refusal(server.raw(posted(INFER, b"0\r\n" + many + b"\r\n", transfer_encoding="chunked")), 431)


def test_a_million_chunks_of_a_byte_are_one_body(server: Attacked) -> None:
    chunks = b"1\r\n \r\n" * MIB + b"0\r\n\r\n"
    answer = server.raw(posted(INFER, chunks, transfer_encoding="chunked", connection="close"))
    assert "JSON" in refusal(answer, 400)


BOMBS = {
    "gzip": ("gzip", gzip.compress(bytes(256 * MIB), 1), 413),
    "deflate": ("deflate", zlib.compress(bytes(256 * MIB), 1), 413),
    "gzip within gzip": ("gzip", gzip.compress(gzip.compress(bytes(64 * MIB))), 400),
    "gzip twice": ("gzip, gzip", gzip.compress(gzip.compress(bytes(64 * MIB))), 415),
    "gzip of nothing, again and again": ("gzip", gzip.compress(b"") * 300_000, 400),
    "gzip of a byte, again and again": ("gzip", gzip.compress(b" ") * 300_000, 400),
}


@pytest.mark.parametrize(("coding", "bomb", "status"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_not_unpacked_by_the_process(server: Attacked, coding: str, bomb: bytes, status: int) -> None:
    before = server.resident_bytes
    reply = server.ask("POST", INFER, bomb, {"content-encoding": coding})
    assert reply.status == status
    assert server.resident_bytes - before < 64 * MIB


@pytest.mark.parametrize("rows", [2**31, 2**62, 2**64 - 1, 10**30])
def test_a_shape_that_overflows_is_refused(server: Attacked, rows: int) -> None:
    tensors = server.target.tensors(1)
    for body, headers in (binary(tensors), (json.dumps(server.target.request(1)).encode(), {})):
        grown = re.sub(rb'"shape": \[1,', b'"shape": [%d,' % rows, body)
        if headers:
            headers["inference-header-content-length"] = str(len(grown) - sum(one.nbytes for one in tensors.values()))
        assert server.ask("POST", INFER, grown, headers).status == 400


def test_requests_sent_ahead_are_answered_in_order(server: Attacked) -> None:
    requests = [json.dumps(server.target.request(1) | {"id": str(at)}).encode() for at in range(16)]
    head = posted(INFER, requests[0], content_length=str(len(requests[0])))
    rest = [posted(INFER, body, content_length=str(len(body))) for body in requests[1:-1]]
    last = posted(INFER, requests[-1], content_length=str(len(requests[-1])), connection="close")
    answers = server.raw(head + b"".join(rest) + last)
    assert [int(at) for at in re.findall(rb'"id":"(\d+)"', answers)] == list(range(16))


def test_too_many_requests_sent_ahead_are_told_to_wait(server: Attacked) -> None:
    before = server.resident_bytes
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        client.setblocking(False)
        client.send(b"GET /v2 HTTP/1.1\r\n\r\n" * 10_000)
    answer = server.raw(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
    for client in clients:
        client.close()
    assert not answer or ("connection" in refusal(answer, 503) and b"retry-after: 1" in answer)
    assert server.resident_bytes - before < 32 * MIB


def test_what_came_from_outside_does_not_break_the_log(server: Attacked) -> None:
    server.raw(b"GET /v2/models/%0a%7b%22level%22%3a%22error%22%7d%1b[31m HTTP/1.1\r\nconnection: close\r\n\r\n")
    server.ask("GET", "/v2", headers={"authorization": "Bearer fc_secret", "cookie": "secret"})
    path = '/v2/models/\n{"level":"error"}\x1b[31m'  # one field of one line
    logged = server.process.of
    wait_until(lambda: {path, "/v2"} <= {str(line["path"]) for line in logged("request")}, "both are logged")
    assert "secret" not in json.dumps(server.process.events)


def test_who_neither_sends_nor_reads_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with attacked(tmp_path, "--drain-s", "1") as server:
        half, deaf = server.connect(), server.connect(4096)
        half.sendall(posted(INFER, b"{", content_length="100"))
        body, headers = binary(server.target.tensors(5000))
        request = posted(INFER, body, content_length=str(len(body)), **headers)
        threading.Thread(target=_send, args=(deaf, request * 4), daemon=True).start()
        server.assert_unharmed()  # and `attacked` that it ends with 0
    half.close()
    deaf.close()


def _send(client: socket.socket, message: bytes) -> None:
    with contextlib.suppress(OSError):
        client.sendall(message)
