"""The process: a socket, uvicorn on it, and an end that loses nobody's answer."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator, Sequence
from typing import Protocol

import uvicorn
from starlette.types import ASGIApp

from forecast.contracts.errors import ConfigError
from serve.http.connection import connection_class
from serve.http.state import State
from serve.settings import HttpSettings

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Beside(Protocol):
    """What listens for another protocol, on the same event loop."""

    async def start(self) -> None:
        """Listen."""

    async def stop(self, drain_s: float) -> None:
        """Take nothing new, and let what is in flight end within `drain_s`; a second time, sooner."""


class Server(uvicorn.Server):
    """uvicorn's server, which on SIGTERM first turns unready, lingers, lets requests in flight end, and then returns.

    Args:
        app: what answers.
        state: told that the server is about to end.
        beside: starts and ends with it.
    """

    def __init__(self, app: ASGIApp, state: State, beside: Sequence[Beside] = ()) -> None:
        settings = state.settings
        super().__init__(
            uvicorn.Config(
                app,
                http=connection_class(state),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=settings.limits.keep_alive_s,
                timeout_graceful_shutdown=max(round(settings.drain_s), 1),
            )
        )
        self._state, self._beside = state, beside
        self._ending: asyncio.Task[None] | None = None
        self._forced: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        for one in self._beside:
            await one.start()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.gather(super().shutdown(sockets), self._stop_beside(self._state.settings.drain_s))

    def end(self) -> None:
        """Begin to end; a second time, end at once."""
        self.should_exit = self.force_exit = self._state.draining
        self._state.draining = True
        if self._ending is None:
            log.info("draining")
            self._ending = asyncio.get_running_loop().create_task(self._linger())
        elif self._forced is None:
            self._forced = asyncio.get_running_loop().create_task(self._stop_beside(0.0))

    async def _linger(self) -> None:
        await asyncio.sleep(self._state.settings.linger_s)
        self.should_exit = True

    async def _stop_beside(self, drain_s: float) -> None:
        await asyncio.gather(*(one.stop(drain_s) for one in self._beside))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals end the server, and not, as uvicorn would have it, the process again afterwards."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: whoever runs it ends it
                loop.add_signal_handler(number, self.end)
        yield


def listen(settings: HttpSettings) -> socket.socket:
    """The socket that the server listens on.

    Raises:
        ConfigError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        sock = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"{settings.host} port {settings.port}: {error.strerror or error}; choose another."
        ) from error
    # Handed on to every connection. asyncio sets it for sockets that say they are TCP, and this one does not: an answer
    # on a connection that is kept alive would wait 40 ms for the client's acknowledgement.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
