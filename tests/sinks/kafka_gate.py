"""What the brokers within librdkafka lack, put before one of them: encryption, and users who log in.

A gate takes connections, speaks TLS, checks a user by SCRAM-SHA-512 (RFC 5802) in Kafka's requests for it, and only
then hands on what comes, in both directions.
"""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
import threading
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import BinaryIO

#: Numbers of Kafka's requests and errors (https://kafka.apache.org/protocol).
_HANDSHAKE, _VERSIONS, _AUTHENTICATE = 17, 18, 36
_UNSUPPORTED, _REFUSED = 35, 58

_MECHANISM, _ROUNDS = b"SCRAM-SHA-512", 4096


class Gate(ThreadingTCPServer):
    """A gate before the broker at a port of the loopback.

    Args:
        behind: the broker's port.
        certificate: and its key: what it shows; None speaks plainly.
        user: and password: who may pass; None lets in everybody.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, behind: int, certificate: tuple[Path, Path] | None = None, user: tuple[str, str] | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.behind, self.user = behind, user
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        self.passed = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, *_: object) -> None:
        """Whoever does not get through is told so by his own client."""

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Passage(StreamRequestHandler):
    """One connection."""

    server: Gate
    wbufsize = -1

    def setup(self) -> None:
        if self.server.context is not None:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        with (
            suppress(OSError, EOFError),
            socket.create_connection(("127.0.0.1", self.server.behind)) as broker,
            broker.makefile("rwb") as behind,
        ):
            if self.server.user is not None and not self._is_let_in(behind):
                return
            self.server.passed += 1
            back = threading.Thread(target=self._answer, args=(behind,), daemon=True)
            back.start()
            while True:
                _send(behind, _frame(self.rfile))

    def _answer(self, behind: BinaryIO) -> None:
        """Hand on answers, in which the gate's port stands for the broker's."""
        true, told = (b"127.0.0.1" + struct.pack(">i", port) for port in (self.server.behind, self.server.port))
        with suppress(OSError, EOFError, ValueError):
            while True:
                _send(self.wfile, _frame(behind).replace(true, told))

    def _is_let_in(self, behind: BinaryIO) -> bool:
        """Answer what comes before one has logged in; whether one has."""
        login = Login(*(self.server.user or ("", "")))
        while True:
            asked = _frame(self.rfile)
            kind, version, number = struct.unpack_from(">hhi", asked)
            body = asked[10 + max(struct.unpack_from(">h", asked, 8)[0], 0) :]  # after the client's name
            if kind == _VERSIONS and version > 0:  # a client then asks in the first form, which is easily added to
                told = struct.pack(">hi", _UNSUPPORTED, 0)
            elif kind == _VERSIONS:
                _send(behind, asked)
                plain = _frame(behind)
                count = struct.unpack_from(">i", plain, 6)[0] + 2
                told = plain[4:6] + struct.pack(">i", count) + plain[10:]
                told += struct.pack(">hhhhhh", _HANDSHAKE, 0, 1, _AUTHENTICATE, 0, 0)
            elif kind == _HANDSHAKE:
                told = struct.pack(">hih", 0, 1, len(_MECHANISM)) + _MECHANISM
            else:
                answer = login.answer(body[4:].decode())
                why = b"" if answer else b"who is this?"
                told = struct.pack(">hh", 0 if answer else _REFUSED, len(why) or -1) + why
                told += struct.pack(">i", len(answer)) + answer
            _send(self.wfile, struct.pack(">i", number) + told)
            if kind == _AUTHENTICATE and (login.is_done or not answer):
                return login.is_done


class Login:
    """The server's side of SCRAM-SHA-512, of one who wants in."""

    def __init__(self, user: str, password: str) -> None:
        self._user, self.is_done = user, False
        self._salt, self._nonce = os.urandom(16), base64.b64encode(os.urandom(18)).decode()
        self._salted = hashlib.pbkdf2_hmac("sha512", password.encode(), self._salt, _ROUNDS)
        self._first = self._second = ""

    def answer(self, said: str) -> bytes:
        """What to say to that; nothing where it is wrong."""
        if not self._first:
            self._first = said.removeprefix("n,,")
            fields = _fields(self._first)
            if fields["n"] != self._user:
                return b""
            self._second = f"r={fields['r']}{self._nonce},s={base64.b64encode(self._salt).decode()},i={_ROUNDS}"
            return self._second.encode()
        before, _, proof = said.rpartition(",p=")
        signed = f"{self._first},{self._second},{before}".encode()
        stored = hashlib.sha512(_keyed(self._salted, b"Client Key")).digest()
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), _keyed(stored, signed), strict=True))
        self.is_done = hashlib.sha512(key).digest() == stored and _fields(before)["r"].endswith(self._nonce)
        if not self.is_done:
            return b""
        return b"v=" + base64.b64encode(_keyed(_keyed(self._salted, b"Server Key"), signed))


def _fields(said: str) -> dict[str, str]:
    return dict(field.split("=", 1) for field in said.split(","))  # type: ignore[misc]


def _keyed(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha512")


def _frame(stream: BinaryIO) -> bytes:
    """A message without its length."""
    size = stream.read(4)
    if len(size) < 4:
        raise EOFError
    return stream.read(struct.unpack(">i", size)[0])


def _send(stream: BinaryIO, content: bytes) -> None:
    stream.write(struct.pack(">i", len(content)) + content)
    stream.flush()
