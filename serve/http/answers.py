"""Answers in JSON, and what a refusal looks like."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from forecast.contracts.errors import one_line
from serve.refusals import RefusedError


class Json(Response):
    """An answer in JSON, arrays of numpy included; NaN is null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def refusal(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Json:
    """`{"error": ...}`."""
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
