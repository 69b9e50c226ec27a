"""Who is let in, asked as soon as headers are there: turning a request away must cost far less than serving it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from serve.http.access import PROBES
from serve.inference.batching import Batcher
from serve.settings import Limits

#: Where a request's scope has the reason, if it was turned away and the guard is to say so.
TURNED_AWAY = "turned_away"


class Admission:
    """What the server holds at the moment, against what it may.

    A busy event loop hears of many requests in one turn, before the first of them was looked into; so those of this
    turn count too.

    Args:
        limits: see there.
        batcher: whose queue requests for inference wait in.

    Attributes:
        requests: that are being answered.
        body_bytes: of requests, in memory.
        unread_bytes: of answers that clients have yet to read.
    """

    def __init__(self, limits: Limits, batcher: Batcher) -> None:
        self._limits, self._batcher = limits, batcher
        self.requests = self.body_bytes = self.unread_bytes = 0
        self._heads = self._infers = 0
        self._counts = False

    def refusal(self, scope: Mapping[str, Any]) -> str | None:
        """Why a request is not let in, whose headers have just come; None where it is."""
        if scope["path"] in PROBES:
            return None
        if self.requests + self._heads >= self._limits.requests:
            return f"{self._limits.requests} requests are being answered already."
        if self.unread_bytes > self._limits.unread_bytes:
            return f"{self._limits.unread_bytes} bytes of answers are yet to be read."
        if (reason := self.no_room(scope, self._infers)) is not None:
            return reason
        self._count()
        self._heads += 1
        return None

    def no_room(self, scope: Mapping[str, Any], before: int = 0) -> str | None:
        """Why a request would be refused when it was understood, with so many before it; None where there is room."""
        if _infers(scope) and self._batcher.room <= before:
            return f"{self._limits.queue} inference requests wait already."
        return None

    def has_come(self, scope: Mapping[str, Any]) -> None:
        """A request that was let in is here as a whole. Until then it takes nobody's place in the queue."""
        if _infers(scope):
            self._count()
            self._infers += 1

    def _count(self) -> None:
        if not self._counts:
            self._counts = True
            # What this turn brought is looked into in the next one, before that hears of anything new.
            asyncio.get_running_loop().call_soon(self._forget)

    def _forget(self) -> None:
        self._counts, self._heads, self._infers = False, 0, 0


def _infers(scope: Mapping[str, Any]) -> bool:
    path: str = scope["path"]
    return scope["method"] == "POST" and path.endswith("/infer")
