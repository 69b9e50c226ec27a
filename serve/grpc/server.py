"""The port that gRPC is spoken on, beside HTTP and on its event loop."""

import logging

import grpc

from forecast.contracts.errors import ConfigError
from serve.grpc.guard import Guard
from serve.http.state import State
from serve.settings import HttpSettings

log = logging.getLogger(__name__)

#: Bit 0 alone: messages are taken and sent as they are. Floats hardly shrink, and no bomb can be unpacked.
_UNCOMPRESSED = 1


class GrpcServer:
    """The service on a port of its own; `serve.http.server.Server` starts and ends it.

    Args:
        state: of the server.
        port: 0 takes a free one.

    Attributes:
        port: that it listens on, once started.
    """

    def __init__(self, state: State, port: int) -> None:
        self._state, self.port = state, port
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the address cannot be had.
        """
        settings = self._state.settings
        self._server = grpc.aio.server(handlers=[Guard(self._state)], options=_options(settings))
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            self.port = self._server.add_insecure_port(f"{host}:{self.port}")
        except RuntimeError as error:
            raise ConfigError(f"{settings.host} port {self.port}: gRPC cannot listen there; choose another.") from error
        await self._server.start()
        log.info("listening for gRPC", extra={"address": f"{host}:{self.port}"})

    async def stop(self, drain_s: float) -> None:
        """Take no new call, let those in flight end within `drain_s`, and cancel what is left then."""
        if self._server is not None:
            await self._server.stop(drain_s)


def _options(settings: HttpSettings) -> list[tuple[str, int]]:
    """The limits, as gRPC's core names them (grpc/impl/channel_arg_names.h)."""
    limits = settings.limits
    return [
        ("grpc.so_reuseport", 0),  # or a port that is taken would be shared
        ("grpc.max_receive_message_length", limits.body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.compression_enabled_algorithms_bitset", _UNCOMPRESSED),
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_bytes),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.server_handshake_timeout_ms", round(limits.header_s * 1000)),
        ("grpc.max_connection_idle_ms", limits.keep_alive_s * 1000),
    ]
