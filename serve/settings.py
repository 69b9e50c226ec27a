"""What can be set of the server, with the defaults of its contract: plain numbers, checked once."""

from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

from forecast.contracts.errors import ConfigError
from forecast.contracts.signals import LEVELS
from forecast.traces.trace import Source

_MIB = 1024**2


@dataclass(frozen=True)
class EngineSettings:
    """What is forecast, from what, and how often.

    Attributes:
        registry: folder of a registry.
        names: forecasts to serve; empty for all that it holds, those that are published later included.
        telemetry: files to read again and again, as of `serve forecast`.
        source: what to read instead; where there is neither, only what is pushed comes in.
        jobs, weather: files of what is known ahead, instead of those that `source` has.
        topology: Parquet or CSV of the fleet as it is today, read again when it changes; None is the bundle's own.
        state: folder that keeps what was learnt from outcomes from one start to the next; None forgets.
        every_s: seconds between two looks at what is new.
        watch_s: seconds between two looks at what is published.
        late_s: so long a sample may come late and still be averaged with the others of its step.
        as_of, speed: play a record: pretend that it is this time when the server starts, and that time runs so much
            faster than the wall's. None is the wall's own.
        trial: open a new bundle in a process of its own before it is let into this one.
    """

    registry: Path
    names: tuple[str, ...] = ()
    telemetry: str | None = None
    source: Source | None = None
    jobs: str | None = None
    weather: str | None = None
    topology: str | None = None
    state: Path | None = None
    every_s: float = 60.0
    watch_s: float = 2.0
    late_s: float = 3600.0
    as_of: datetime | None = None
    speed: float = 1.0
    trial: bool = True

    @property
    def pulls(self) -> bool:
        """Whether telemetry is pulled."""
        return self.telemetry is not None or self.source is not None

    def __post_init__(self) -> None:
        if self.telemetry is not None and self.source is not None:
            raise ConfigError("--telemetry and --source both say where telemetry comes from; give one of them.")
        for name in ("every_s", "watch_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name):g} must be positive.")
        for name in ("late_s", "speed"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}={getattr(self, name):g} must not be negative.")


@dataclass(frozen=True)
class Limits:
    """What one client, and all together, may ask of the server.

    Attributes:
        body_bytes: of a request, as sent and after decompression.
        json_bytes: of the JSON before binary tensors.
        tensors, dims: of an inference request.
        header_bytes: of a request's line and headers.
        header_s, body_s, write_s, keep_alive_s: how long a client may take to send headers, then the body; to read
            what was sent to it; and to ask again.
        connections, requests: at once; more are refused with 503.
        pipelined: requests that one connection sends ahead of the answers; more are refused with 503.
        unread_bytes: of answers that clients have yet to read; beyond it all but probes are refused with 503.
        queue: inference requests that wait for a core; more are refused with 503.
        deadline_s: for an inference request that names none of its own.
        rows: of an answer in JSON; more are given as Arrow or Parquet.
        pushes: batches of telemetry that wait for the engine; more are refused with 503.
    """

    body_bytes: int = 8 * _MIB
    json_bytes: int = 64 * 1024
    tensors: int = 16
    dims: int = 8
    header_bytes: int = 32 * 1024
    header_s: float = 5.0
    body_s: float = 10.0
    write_s: float = 30.0
    keep_alive_s: int = 30
    connections: int = 1000
    requests: int = 200
    pipelined: int = 16
    unread_bytes: int = 512 * _MIB
    queue: int = 64
    deadline_s: float = 30.0
    rows: int = 50_000
    pushes: int = 16


@dataclass(frozen=True)
class HttpSettings:
    """Where the server listens, and to whom.

    Attributes:
        host, port: port 0 takes a free one.
        grpc_port: where gRPC is spoken, likewise; None is nowhere.
        keys: file of API keys (`python -m serve key` makes one); None lets in everybody who reaches the address.
        limits: see there.
        workers: threads that run inference requests.
        batch_rows: requests that wait for the same graph run together, up to so many rows.
        metrics_level: of the fleet tree, from which on `/metrics` has forecasts of each entity.
        linger_s: after SIGTERM, how long to go on answering, not ready, until whoever routes requests here has seen it.
        drain_s: then, how long requests in flight may take to end.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = None
    keys: Path | None = None
    limits: Limits = field(default_factory=Limits)
    workers: int = 2
    batch_rows: int = 256
    metrics_level: str = "rack"
    linger_s: float = 0.0
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        for port in (self.port, self.grpc_port or 0):
            if not 0 <= port <= 65_535:
                raise ConfigError(f"port {port} is none; choose one up to 65535, or 0 for a free one.")
        for name, value in (("linger_s", self.linger_s), ("drain_s", self.drain_s)):
            if not value >= 0:
                raise ConfigError(f"{name}={value:g} must not be negative.")
        if self.limits.body_bytes < 1:
            raise ConfigError(f"body_bytes={self.limits.body_bytes} must be positive.")
        if self.workers < 1:
            raise ConfigError(f"workers={self.workers}; at least one thread must run inference.")
        if self.metrics_level not in LEVELS:
            raise ConfigError(f"metrics_level={self.metrics_level} is no level; there are {', '.join(LEVELS)}.")
        if self.keys is None and not is_loopback(self.host):
            raise ConfigError(
                f"host {self.host} can be reached from elsewhere and nobody would be asked who he is; "
                f"give --keys FILE (python -m serve key makes one), or listen on 127.0.0.1."
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
