"""Before every method over gRPC: who asks, how much at once, until when, and what is told of it.

As `serve.http.guard` is for HTTP, with the same limits. A message is read only once its sender is let in.
"""

import asyncio
import logging
import math
import time
from functools import partial
from uuid import uuid4

import grpc
from prometheus_client import Counter, Histogram

from forecast.contracts.errors import one_line
from serve.grpc.messages import SERVICE
from serve.grpc.open_inference import methods
from serve.http.keys import check_key
from serve.http.state import State
from serve.metrics import LATENCY_S
from serve.refusals import BadRequestError, RefusedError, TooLateError, UnavailableError

log = logging.getLogger(__name__)

#: Answered however busy the server is, and to everybody.
PROBES = ("ServerLive", "ServerReady")

_SCOPE = "infer"

#: Messages and unread answers that are held at once, all together, as a multiple of the largest message.
_MESSAGES = 16

#: What each status of HTTP is called here.
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

#: When a client may try again, in ms (gRFC A6).
_PUSHBACK = "grpc-retry-pushback-ms"


class Guard(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the method of a call, and answers.

    Args:
        state: of the server.
    """

    def __init__(self, state: State) -> None:
        self._state, self._methods = state, methods(state)
        self._limits = state.settings.limits
        self._requests = self._held_bytes = 0
        of = state.metrics.registry
        self._answered = Counter("fleetcast_grpc_requests", "Calls answered", ["method", "code"], registry=of)
        self._latency = Histogram(
            "fleetcast_grpc_request_seconds", "From call to answer", ["method"], buckets=LATENCY_S, registry=of
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of a call; None where there is no such method.

        On the wire a message each way is a stream of one, and as a stream it is read and written when we choose to.
        """
        service, _, name = handler_call_details.method.removeprefix("/").partition("/")
        if service != SERVICE or name not in self._methods:
            return None
        metadata = dict(handler_call_details.invocation_metadata or ())
        authorization = metadata.get("authorization", "")
        return grpc.stream_stream_rpc_method_handler(partial(self._answer, name, authorization))

    async def _answer(
        self, name: str, authorization: str, _: object, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> None:
        request_id, began, code = uuid4().hex[:16], time.perf_counter(), grpc.StatusCode.CANCELLED
        context.set_trailing_metadata([("x-request-id", request_id)])
        self._requests += 1
        try:
            await self._pass(name, authorization, context)
            code = grpc.StatusCode.OK
        except RefusedError as error:
            code = _CODES[error.status]
            if error.retry_after_s is not None:
                pushback = (_PUSHBACK, str(error.retry_after_s * 1000))
                context.set_trailing_metadata([("x-request-id", request_id), pushback])
            await context.abort(code, one_line(str(error)))
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("failure", extra={"request": request_id})
            await context.abort(code, f"internal error {request_id}; the server's log says more.")
        finally:
            self._requests -= 1
            took_s = time.perf_counter() - began
            self._answered.labels(name, code.name).inc()
            self._latency.labels(name).observe(took_s)
            told = {"request": request_id, "method": name, "code": code.name, "ms": round(took_s * 1000, 3)}
            log.debug("call", extra=told)

    async def _pass(self, name: str, authorization: str, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        method = self._methods[name]
        if name not in PROBES:
            if self._requests > self._limits.requests:
                raise UnavailableError(f"{self._limits.requests} calls are being answered already.")
            check_key(self._state.keys, authorization, _SCOPE)
        content = await self._read(context)
        self._held_bytes += len(content)
        try:
            if self._held_bytes > _MESSAGES * self._limits.body_bytes:
                raise UnavailableError("too many large messages at once.")
            answer = await method(content, _left_s(context))
        finally:
            self._held_bytes -= len(content)
        await self._write(context, answer)

    async def _read(self, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        try:
            async with asyncio.timeout(self._limits.body_s):
                content = await context.read()
        except TimeoutError as error:
            raise TooLateError("the message took too long.") from error
        if not isinstance(content, bytes):
            raise BadRequestError("the call ended without a message.")
        return content

    async def _write(self, context: "grpc.aio.ServicerContext[bytes, bytes]", content: bytes) -> None:
        """Send the answer; it counts as held until the client has read it, though nobody waits for that for long."""
        self._held_bytes += len(content)
        writing = asyncio.ensure_future(context.write(content))
        writing.add_done_callback(partial(self._release, len(content)))
        done, _ = await asyncio.wait([writing], timeout=self._limits.write_s)
        if not done:
            raise TooLateError("reading the answer took too long.")

    def _release(self, size: int, writing: "asyncio.Future[None]") -> None:
        self._held_bytes -= size
        if not writing.cancelled() and (error := writing.exception()) is not None:
            log.debug("answer not sent", extra={"reason": str(error)})


def _left_s(context: "grpc.aio.ServicerContext[bytes, bytes]") -> float:
    """The time until the client's deadline."""
    left_s = context.time_remaining()
    return math.inf if left_s is None else max(left_s, 0.0)
