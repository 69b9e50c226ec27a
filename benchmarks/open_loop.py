"""Requests at a fixed rate, whatever becomes of those before: latency counts from when one was due.

A client that waits for an answer before it asks again measures a stall of the server once, and none of the requests
that would have come meanwhile.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
import numpy as np

from benchmarks.infer_requests import INFER, UNBOUNDED

QUANTILES = (0.5, 0.99, 0.999)

#: A timer of the event loop is late by a millisecond; the last of them is waited for by looking at the clock.
_SPIN_S = 0.0015


@dataclass
class Answers:
    """What came of requests.

    Attributes:
        rate: requests per second that were due, on average.
        seconds: from when the first was due until the last was answered.
        latency_s: of each that was answered with 200, from when it was due.
        others: the status of each other; 0 where the connection broke.
        hinted: of those with 503, how many said when to come again.
    """

    rate: float
    seconds: float = 0.0
    latency_s: list[float] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    hinted: int = 0

    @property
    def goodput(self) -> float:
        """Answers with 200 per second."""
        return len(self.latency_s) / self.seconds

    def figures(self) -> dict[str, Any]:
        """Rates, percentiles in milliseconds, and what else was answered."""
        at = np.quantile(self.latency_s, QUANTILES) * 1000 if self.latency_s else [float("nan")] * len(QUANTILES)
        told = {f"p{100 * level:g}_ms": round(float(value), 2) for level, value in zip(QUANTILES, at, strict=True)}
        others = {str(status): self.others.count(status) for status in sorted(set(self.others))}
        return {"rate": round(self.rate, 1), "answered_per_s": round(self.goodput, 1), **told, "others": others}


class Client(Protocol):
    """Asks one server."""

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """The status and the head of the answer to a request, whose body is read and dropped."""

    async def close(self) -> None:
        """Hang up."""


class HttpClient:
    """Connections to one server that are kept, as many as there are requests at once."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.partition(":")
        self._port = int(port)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"\r\ntransfer-encoding: chunked" in head:
                while size := int(await reader.readline(), 16):
                    await reader.readexactly(size + 2)
                await reader.readline()
            else:
                length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head[9:12]), head

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


class GrpcClient:
    """A channel for inference; what HTTP has no number for has gRPC's own."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=UNBOUNDED)
        self._infer = self._channel.unary_unary(INFER)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        try:
            await self._infer(request)
        except grpc.aio.AioRpcError as error:
            return error.code().value[0], b""
        return 200, b""

    async def close(self) -> None:
        await self._channel.close()


async def at_rate(connect: Callable[[], Client], requests: Sequence[bytes], rate: float, seconds: float) -> Answers:
    """Send `requests` round and round as a Poisson process of `rate` per second."""
    answers, client = Answers(rate), connect()
    random = np.random.default_rng(0)
    due = np.cumsum(random.exponential(1 / rate, round(rate * seconds)))

    async def one(request: bytes, at: float) -> None:
        try:
            status, head = await client.ask(request)
        except (OSError, asyncio.IncompleteReadError):
            answers.others.append(0)
            return
        if status == 200:
            answers.latency_s.append(time.perf_counter() - at)
        else:
            answers.others.append(status)
            answers.hinted += status == 503 and b"retry-after:" in head

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for count, after in enumerate(due):
            at = begin + float(after)
            if (left := at - time.perf_counter() - _SPIN_S) > 0:
                await asyncio.sleep(left)
            while time.perf_counter() < at:
                await asyncio.sleep(0)
            group.create_task(one(requests[count % len(requests)], at))
    answers.seconds = time.perf_counter() - begin
    await client.close()
    return answers


async def at_most(address: str, request: bytes, clients: int, seconds: float) -> float:
    """Answers with 200 per second, where `clients` each ask again as soon as they were answered."""
    client, begin, answered = HttpClient(address), time.perf_counter(), 0

    async def again() -> None:
        nonlocal answered
        while time.perf_counter() < begin + seconds:
            status, _ = await client.ask(request)
            answered += status == 200

    await asyncio.gather(*(again() for _ in range(clients)))
    took_s = time.perf_counter() - begin  # the last answers come after the time is up
    await client.close()
    return answered / took_s
