"""The guard before every route: who asks, how much at once, what comes in and goes out, and what is told of it.

A route behind it sees a body that is whole, decompressed and within bounds, and may raise any `RefusedError`.
"""

import asyncio
import logging
import time
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.http.access import scope_of
from serve.http.admission import TURNED_AWAY, Admission
from serve.http.answers import failed, refused
from serve.http.bodies import LEAST_BYTES, accepted, deflate, inflate
from serve.http.keys import check_key
from serve.http.state import State
from serve.refusals import RefusedError, TooLargeError, UnavailableError

log = logging.getLogger(__name__)

#: Work on this many bytes is done on another thread: it would keep everybody else waiting for milliseconds.
_LARGE_BYTES = 64 * 1024

#: Of an answer, so much is handed on at a time: the rest waits here until the client has read that.
_PIECE_BYTES = 256 * 1024

#: Bodies that are held at once, all together, as a multiple of the largest one.
_BODIES = 16


class _GoneError(Exception):
    """The client hung up."""


class Guard:
    """ASGI around the application.

    Args:
        app: the rooms.
        state: of the server.
    """

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state = app, state
        self._limits = state.settings.limits
        self._held = state.admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # the same answer; the connection keeps its body (RFC 9110 §9.3.2)
        scope["request_id"] = uuid4().hex[:16]
        answer = _Answer(scope, send, self._held)
        began = time.perf_counter()
        self._held.requests += 1
        self._state.metrics.in_flight.set(self._held.requests)
        try:
            await self._pass(scope, receive, answer)
        except RefusedError as error:
            await refused(error)(scope, receive, answer.send)
        except _GoneError:
            pass
        except Exception:
            log.exception("failure", extra={"request": scope["request_id"]})
            if not answer.started:
                await failed(scope["request_id"])(scope, receive, answer.send)
        finally:
            self._held.requests -= 1
            self._state.metrics.in_flight.set(self._held.requests)
            self._tell(scope, answer.status, time.perf_counter() - began)

    async def _pass(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if TURNED_AWAY in scope:
            raise UnavailableError(scope[TURNED_AWAY])
        headers = Headers(scope=scope)
        check_key(self._state.keys, headers.get("authorization", ""), scope_of(scope["path"]))
        body = await self._body(headers, receive)
        try:
            if (reason := self._held.no_room(scope)) is not None:
                raise UnavailableError(reason)
            await self._app(scope, _given(body, receive), answer.send)
        finally:
            self._held.body_bytes -= len(body)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """The request's body, decompressed; it counts as held until whoever asked has it no more."""
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            return b""
        largest, parts, size = self._limits.body_bytes, [], 0
        if (told := headers.get("content-length", "0")).isdecimal() and int(told) > largest:
            raise TooLargeError(f"the body is larger than {largest} bytes.")
        try:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _GoneError
                part, more = message.get("body", b""), message.get("more_body", False)
                parts.append(part)
                size += len(part)
                self._held.body_bytes += len(part)
                if size > largest:
                    raise TooLargeError(f"the body is larger than {largest} bytes.")
                if self._held.body_bytes > _BODIES * largest:
                    raise UnavailableError("too many large bodies at once.")
            content = b"".join(parts)
            if coding := headers.get("content-encoding", "").lower():
                content = await asyncio.to_thread(inflate, content, coding, largest)
        except BaseException:
            self._held.body_bytes -= size
            raise
        self._held.body_bytes += len(content) - size
        return content

    def _tell(self, scope: Scope, status: int, took_s: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._state.metrics.answered.labels(route, scope["method"], status).inc()
        self._state.metrics.latency.labels(route).observe(took_s)
        log.debug(
            "request",
            extra={
                "request": scope["request_id"],
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "ms": round(took_s * 1000, 3),
            },
        )


class _Answer:
    """What goes out: marked with the request's id, compressed where the client takes it, no faster than it reads."""

    def __init__(self, scope: Scope, send: Send, held: Admission) -> None:
        self.started, self.status = False, 499  # as nginx logs a client that left
        self._scope, self._send, self._held = scope, send, held
        self._coding = accepted(Headers(scope=scope).get("accept-encoding", ""))
        self._head: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            MutableHeaders(raw=message["headers"])["x-request-id"] = self._scope["request_id"]
            self._head = message
            return
        if self._head is not None:
            await self._begin(self._head, message)
            self._head = None
        await self._pour(message.get("body", b""), more=message.get("more_body", False))

    async def _begin(self, head: Message, first: Message) -> None:
        headers, body = MutableHeaders(raw=head["headers"]), first.get("body", b"")
        whole = not first.get("more_body", False)
        if self._coding and whole and len(body) >= LEAST_BYTES and "content-encoding" not in headers:
            if len(body) > _LARGE_BYTES:
                first["body"] = await asyncio.to_thread(deflate, body, self._coding)
            else:
                first["body"] = deflate(body, self._coding)
            headers["content-encoding"] = self._coding
            headers["content-length"] = str(len(first["body"]))
            headers.add_vary_header("Accept-Encoding")
        await self._send(head)

    async def _pour(self, body: bytes, *, more: bool) -> None:
        """Hand on a body piece by piece; each waits until the client has read those before, or is cut off."""
        self._held.unread_bytes += len(body)
        try:
            for at in range(0, max(len(body), 1), _PIECE_BYTES):
                piece, end = body[at : at + _PIECE_BYTES], at + _PIECE_BYTES
                await self._send({"type": "http.response.body", "body": piece, "more_body": more or end < len(body)})
        finally:
            self._held.unread_bytes -= len(body)


def _given(body: bytes, receive: Receive) -> Receive:
    """A body that was read already, then what else comes."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
