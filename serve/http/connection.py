"""One TCP connection: what a client may take in time and bytes before a route hears of it, and after it answered."""

import asyncio
import json
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from secrets import token_hex
from typing import Any, NoReturn, cast

from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serve.http.admission import TURNED_AWAY
from serve.http.state import State
from serve.settings import Limits

#: Of what came, the parser is given so much at a time: what it makes nothing of is then known to within this.
_PIECE_BYTES = 16 * 1024

_LONG = (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers are too long.")


def connection_class(state: State) -> type[asyncio.Protocol]:
    """The protocol that holds clients to the limits of a server."""
    return type("Connection", (_Connection,), {"state": state, "limits": state.settings.limits})


class _Connection(HttpToolsProtocol):
    """uvicorn's connection, with a clock for headers, body and reading, and bounds on headers and pipelining.

    A request that there is no room for is turned away from here, at a fraction of what a task and a route would take:
    its body is read and dropped, and the connection stays.
    """

    state: State
    limits: Limits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._due: tuple[float, Callable[[], None]] | None = None  # what to wait for if this turn does not bring it
        self._stalled: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._unheard_bytes = 0  # that came since the parser last made something of any
        self._refusal: tuple[HTTPStatus, str] | None = None
        self._turned_away: tuple[RequestResponseCycle, str] | None = None  # whose body is still to come, and why
        self._dropped_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.transport.set_write_buffer_limits(0)  # whatever waits for the client to read is on the clock
        if len(self.connections) > self.limits.connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections.")
        else:
            self._wait(self.limits.header_s, self._headers_are_late)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        for at in range(0, len(data), _PIECE_BYTES):
            if self.transport.is_closing():
                return
            piece = data[at : at + _PIECE_BYTES]
            self._unheard_bytes += len(piece)
            super().data_received(piece)
            if self._unheard_bytes > self.limits.header_bytes:
                self._refuse(*_LONG)
        if self._due is not None:
            self._wait(*self._due)
            self._due = None
        if self._timer is None and self.timeout_keep_alive_task is None and self.cycle.response_complete:
            self._wait(self.limits.header_s, self._headers_are_late)  # neither a request nor quiet: an empty line, say

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()  # that began in this turn, where the request before was turned away
        self._head_bytes = self._unheard_bytes = 0
        self._due = self.limits.header_s, self._headers_are_late

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= self.limits.pipelined:
            self._stop(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once on one connection.")
        self._due = self.limits.body_s, self._body_is_late
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unheard_bytes = 0
        if self._turned_away is None:
            super().on_body(body)
            return
        self._dropped_bytes += len(body)
        if self._dropped_bytes > self.limits.body_bytes:
            self._stop(HTTPStatus.SERVICE_UNAVAILABLE, self._turned_away[1])

    def on_message_complete(self) -> None:
        self._unheard_bytes, self._due = 0, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._turned_away is None:
            self.state.admission.has_come(self.scope)
            super().on_message_complete()
        else:
            self._turn_away(*self._turned_away)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def send_400_response(self, msg: str) -> None:
        status, reason = self._refusal or (HTTPStatus.BAD_REQUEST, "this is no HTTP request.")
        self._refuse(status, reason)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        reason = self.state.admission.refusal(cycle.scope)
        if reason is None:
            super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]
        elif self.flow.write_paused or cycle.waiting_for_100_continue or cycle.scope["method"] == "HEAD":
            cast("dict[str, Any]", cycle.scope)[TURNED_AWAY] = reason
            super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]
        elif cycle is self.cycle and cycle.more_body:
            self._turned_away, self._dropped_bytes = (cycle, reason), 0
        else:
            self._turn_away(cycle, reason)

    def _turn_away(self, cycle: RequestResponseCycle, reason: str) -> None:
        """Answer a request that has come and was not let in."""
        self._turned_away = None
        cycle.response_started = cycle.response_complete = True
        self.transport.write(_busy(reason, cycle.keep_alive) % token_hex(8).encode())
        self.state.metrics.answered.labels("none", cycle.scope["method"], 503).inc()
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _count(self, size: int) -> None:
        """Count what the parser made of a head, or of the trailers of a body in chunks."""
        self._unheard_bytes = 0
        self._head_bytes += size
        if self._head_bytes > self.limits.header_bytes:
            self._stop(*_LONG)

    def _stop(self, status: HTTPStatus, reason: str) -> NoReturn:
        """Refuse from within the parser, which then asks for `send_400_response`."""
        self._refusal = status, reason
        raise ValueError(reason)

    def _wait(self, seconds: float, late: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, late)

    def _headers_are_late(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "headers took too long.")
        else:
            self.transport.abort()

    def _body_is_late(self) -> None:
        if self.cycle.response_started:
            self.transport.abort()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the body took too long.")

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Answer without asking a route, and hang up."""
        self.transport.write(_answer(status, reason, "connection: close\r\n"))
        self.transport.close()


@lru_cache(16)
def _busy(reason: str, keep_alive: bool) -> bytes:
    """503, with a place for the request's id."""
    more = "" if keep_alive else "connection: close\r\n"
    return _answer(HTTPStatus.SERVICE_UNAVAILABLE, reason, f"x-request-id: %s\r\n{more}")


def _answer(status: HTTPStatus, reason: str, more: str) -> bytes:
    again = "retry-after: 1\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else ""
    body = json.dumps({"error": reason}).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{more}{again}\r\n"
    )
    return head.encode() + body
