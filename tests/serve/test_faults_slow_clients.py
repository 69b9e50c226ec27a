"""Clients that send or read as slowly as they can, over real sockets, with limits of a moment: each is cut off."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacked import INFER, posted, refusal
from loopback import wait_until
from protocol_client import Target, binary
from running import Running, running

from serve.http.connection import _Connection
from serve.settings import Limits

LIMITS = Limits(header_s=0.3, body_s=1.0, write_s=0.5, keep_alive_s=1, unread_bytes=4096)


@pytest.fixture(scope="module")
def server(shared_registry: Path) -> Iterator[Running]:
    with running(shared_registry, limits=LIMITS) as server:
        yield server


@pytest.fixture(autouse=True)
def forgotten(server: Running) -> Iterator[None]:
    """Nothing of a client stays, and the next one is served."""
    yield
    wait_until(lambda: not connections(server), "all have left")
    target = Target(server.address, "day-ahead")
    assert target.infer(target.request(1)).status == 200


def connections(server: Running) -> set[_Connection]:
    return server.server.server_state.connections  # type: ignore[return-value]


def unread_bytes(server: Running) -> int:
    """What waits in the process for clients to read."""
    return sum(one.transport.get_write_buffer_size() for one in connections(server) if not one.transport.is_closing())


def connect(server: Running) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(20)
    client.connect(("127.0.0.1", server.port))
    return client


def byte_by_byte(client: socket.socket, message: bytes) -> bytes:
    """Send a byte now and then, until the server says something."""
    pause = threading.Event()
    client.setblocking(False)
    for at in range(len(message)):
        client.send(message[at : at + 1])
        pause.wait(0.02)
        try:
            return client.recv(4096)
        except BlockingIOError:
            continue
    raise AssertionError("it was never cut off")


def test_a_head_byte_by_byte(server: Running) -> None:
    with connect(server) as client:
        assert "headers" in refusal(byte_by_byte(client, b"GET /v2 HTTP/1.1\r\n" + b"x: y\r\n" * 1000), 408)


def test_a_body_byte_by_byte(server: Running) -> None:
    with connect(server) as client:
        client.sendall(posted(INFER, content_length="9000"))
        assert "body" in refusal(byte_by_byte(client, b"{" * 9000), 408)


def test_chunks_byte_by_byte(server: Running) -> None:
    with connect(server) as client:
        client.sendall(posted(INFER, transfer_encoding="chunked"))
        assert "body" in refusal(byte_by_byte(client, b"1\r\n{\r\n" * 1000), 408)


def ask(client: socket.socket) -> None:
    client.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b'{"live":true}'):
        answer += client.recv(4096)


def test_an_empty_line_keeps_no_connection(server: Running) -> None:
    """It is no request, and not quiet either: neither clock must forget it."""
    with connect(server) as client:
        ask(client)
        client.sendall(b"\r\n")
        assert "headers" in refusal(client.recv(4096), 408)


def test_a_connection_that_is_quiet_is_closed(server: Running) -> None:
    with connect(server) as client:
        ask(client)
        assert not client.recv(4096)


def ask_until_something_waits(server: Running, client: socket.socket) -> None:
    """Ask until the machine takes no more of the answers: what remains is a few kilobytes, less than one of them."""
    before = answered(server)
    for asked in range(100):
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n")
        wait_until(lambda until=before + asked: answered(server) > until or waits(server), "it is answered")
        if waits(server):
            return
    raise AssertionError("it takes everything")


def answered(server: Running) -> int:
    return server.server.server_state.total_requests


def waits(server: Running) -> bool:
    return unread_bytes(server) > 0


def test_who_never_reads_is_cut_off_however_little_is_left(server: Running) -> None:
    with connect(server) as client:
        wait_until(lambda: bool(connections(server)), "it is connected")
        ask_until_something_waits(server, client)
        wait_until(lambda: not connections(server), "it is cut off")


def large(server: Running) -> bytes:
    """A request whose answer is more than a socket holds (4 MiB by default)."""
    body, headers = binary(Target(server.address, "day-ahead").tensors(5000))
    return posted(INFER, body, content_length=str(len(body)), **headers)


def test_who_reads_a_byte_at_a_time_is_cut_off(server: Running) -> None:
    request, is_over = large(server), threading.Event()
    with connect(server) as client:
        client.sendall(request)
        wait_until(lambda: waits(server), "an answer waits")
        reader = threading.Thread(target=_read_slowly, args=(client, is_over))
        reader.start()
        wait_until(lambda: not connections(server), "it is cut off")
        is_over.set()
        reader.join()


def _read_slowly(client: socket.socket, is_over: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while client.recv(1) and not is_over.wait(0.01):
            pass


def test_answers_that_nobody_reads_are_bounded(server: Running) -> None:
    request = large(server)
    with connect(server) as deaf:
        deaf.sendall(request)
        wait_until(lambda: waits(server), "an answer waits")
        reply = server.ask("GET", "/v2")
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert "read" in reply.error
        assert server.ask("GET", "/v2/health/ready").status == 200
        wait_until(lambda: server.ask("GET", "/v2").status == 200, "it is cut off, and others are served")
