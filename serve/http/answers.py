"""Answers in JSON and in parts, and what a refusal looks like."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from forecast.contracts.errors import one_line
from serve.http.bodies import accepted
from serve.refusals import RefusedError


class Refusal(BaseModel):
    """Why there is no such answer, in one line."""

    model_config = ConfigDict(extra="forbid")

    error: str


#: How a route may refuse, for OpenAPI.
REFUSALS: dict[int | str, dict[str, Any]] = {"4XX": {"model": Refusal}, 503: {"model": Refusal}}


class Json(Response):
    """An answer in JSON, arrays of numpy included; NaN is null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


class InParts(Response):
    """A body that goes out part by part, and is put together for those alone who take it compressed."""

    def __init__(self, parts: Sequence[bytes | memoryview], headers: Mapping[str, str], media_type: str) -> None:
        self._parts = parts
        size = sum(len(part) for part in parts)
        super().__init__(None, 200, {**headers, "content-length": str(size)}, media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_whole = accepted(Headers(scope=scope).get("accept-encoding", "")) is not None
        parts = [b"".join(self._parts)] if is_whole else self._parts
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for at, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": at < len(parts)})


def refusal(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Json:
    """A `Refusal`."""
    return Json({"error": one_line(reason)}, status, headers)


def failed(request_id: str) -> Json:
    """The answer to what is our own mistake: an id to find it by, and nothing of its inside."""
    return refusal(500, f"internal error {request_id}; the server's log says more.")


def refused(error: RefusedError) -> Json:
    """The answer that an error is."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.hang_up:
        headers["connection"] = "close"
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return refusal(error.status, str(error), headers)
