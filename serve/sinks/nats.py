"""Forecasts over NATS: JetStream stores each under `PREFIX.FORECAST.ENTITY`, once.

Events are structured, which every version of the binding knows. `Nats-Msg-Id` is the event's id, by which JetStream
lets nothing in twice.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error, NoServersError
from nats.js import JetStreamContext
from nats.js.api import PubAck, StreamConfig
from nats.js.errors import NotFoundError

from serve.engine.issued import Issued
from serve.sinks.messages import STRUCTURED, Message, messages, route
from serve.sinks.sink import STALL_S, Sink, SinkError, trust

#: Messages on their way at once.
_WINDOW = 500

#: Seconds that a stream of our making remembers ids: longer than an outlet pauses.
_REMEMBERED_S = 600.0


class NatsSink(Sink):
    """One message for each entity, acknowledged by a stream.

    Where none takes the subjects, one is made that keeps the newest message of each.
    """

    def write(self, issued: Issued) -> None:
        try:
            asyncio.run(self._write(issued))
        except (Error, TimeoutError) as error:
            raise SinkError(f"NATS: {error or type(error).__name__}") from error

    async def _write(self, issued: Issued) -> None:
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection = await self._connected(lost)
        try:
            stream = connection.jetstream(timeout=STALL_S, publish_async_max_pending=_WINDOW)
            await _ensure_stream(stream, route(".", self.address.path))
            waiting = messages(issued, self.address.levels)
            while batch := list(islice(waiting, _WINDOW)):
                await _acknowledged(await self._sent(stream, issued.name, batch), lost)
        finally:
            await connection.close()

    async def _connected(self, lost: "asyncio.Future[str]") -> Client:
        """A connection that says in `lost` when it is no more."""
        address = self.address
        heard: list[Exception] = []

        async def hear(error: Exception) -> None:
            heard.append(error)

        async def close() -> None:
            if not lost.done():
                lost.set_result(f"the server is gone: {heard[-1] if heard else 'it ended the connection'}")

        try:
            return await nats.connect(
                f"nats://{f'[{address.host}]' if ':' in address.host else address.host}:{address.port}",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=STALL_S,
                error_cb=hear,
                closed_cb=close,
                user=address.user,
                password=address.password,
                tls=trust(address),
            )
        except NoServersError as error:
            raise SinkError(str(heard[-1] if heard else error)) from error

    async def _sent(self, stream: JetStreamContext, name: str, batch: list[Message]) -> list[asyncio.Future[PubAck]]:
        return [
            await stream.publish_async(
                route(".", self.address.path, name, message.entity_id),
                message.structured,
                headers={"Nats-Msg-Id": message.id, "content-type": STRUCTURED},
            )
            for message in batch
        ]


async def _ensure_stream(stream: JetStreamContext, prefix: str) -> None:
    """Have somebody who takes the subjects below the prefix."""
    subjects = f"{prefix}.>"
    try:
        await stream.find_stream_name_by_subject(subjects)
    except NotFoundError:
        name = prefix.replace(".", "-").upper()
        await stream.add_stream(
            StreamConfig(name=name, subjects=[subjects], max_msgs_per_subject=1, duplicate_window=_REMEMBERED_S)
        )


async def _acknowledged(sent: list["asyncio.Future[PubAck]"], lost: "asyncio.Future[str]") -> None:
    """Wait until each message is stored.

    Raises:
        SinkError: one is refused, or the server is gone or says nothing.
    """
    stored = asyncio.gather(*sent, return_exceptions=True)
    either: list[asyncio.Future[Any]] = [stored, lost]
    await asyncio.wait(either, timeout=STALL_S, return_when=asyncio.FIRST_COMPLETED)
    if not stored.done():
        stored.cancel()
        with suppress(asyncio.CancelledError):
            await stored
        raise SinkError(lost.result() if lost.done() else f"the server has acknowledged nothing for {STALL_S:g} s.")
    for error in _failures(stored.result()):
        raise SinkError(f"the server refuses: {error}")


def _failures(results: list[PubAck | BaseException]) -> Iterator[BaseException]:
    return (one for one in results if isinstance(one, BaseException))
