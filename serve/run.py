"""`python -m serve run`: engine and server together, until a signal."""

import gc
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta

import onnxruntime

from forecast.bundle.manifest import Manifest
from forecast.contracts.errors import ConfigError, ExitCode
from forecast.registry.contents import opened, published
from forecast.traces.files import read_topology
from serve.batch import files_like
from serve.engine.clock import Clock, replay, wall
from serve.engine.engine import Engine
from serve.engine.feed import Feed
from serve.http.app import make_app
from serve.http.keys import Keys
from serve.http.server import Beside, Server, listen
from serve.http.state import State
from serve.inference.batching import Batcher
from serve.metrics import Metrics
from serve.settings import EngineSettings, HttpSettings
from serve.sinks.kinds import outlets

log = logging.getLogger(__name__)

#: Whatever less the runtime has to say comes as an exception, and is told in a line of ours.
_FATAL = 4


def run(engine_settings: EngineSettings, http_settings: HttpSettings, sinks: Sequence[str] = ()) -> ExitCode:
    """Serve until SIGTERM or SIGINT, and write each forecast to `sinks` (URLs).

    Raises:
        ConfigError: an address that cannot be had, keys that cannot be read, a sink that means nothing.
        DataError: a topology that is none.
    """
    if engine_settings.source is not None:
        engine_settings.source.check()
    if engine_settings.topology is not None:
        read_topology(engine_settings.topology, {})  # a mistake is told now, and later ones in the log
    onnxruntime.set_default_logger_severity(_FATAL)
    metrics = Metrics()
    keys = None if http_settings.keys is None else Keys(http_settings.keys)
    limits = http_settings.limits
    with ExitStack() as closing:
        sock = closing.enter_context(listen(http_settings))
        engine = Engine(engine_settings, clock_of(engine_settings), metrics, limits.pushes)
        batcher = Batcher(http_settings.workers, http_settings.batch_rows, limits.queue, metrics)
        state = State(engine, metrics, http_settings, keys, batcher)
        server = Server(make_app(state), state, _beside(state))
        closing.callback(batcher.close)
        for outlet in outlets(sinks, metrics.registry, engine.report):
            outlet.start()
            closing.callback(outlet.stop)
            engine.subscribe(outlet.put)
        gc.freeze()  # what is there by now stays: to look at it again takes 50 ms, in which nobody is answered
        engine.start()
        closing.callback(engine.stop)
        feed = Feed(engine)
        feed.start()
        closing.callback(feed.stop)
        host, port = sock.getsockname()[:2]
        log.info("listening", extra={"address": f"http://{f'[{host}]' if ':' in host else host}:{port}"})
        server.run(sockets=[sock])
    log.info("ended")
    return ExitCode.PUBLISHED


def _beside(state: State) -> list[Beside]:
    """What speaks other protocols than HTTP.

    Raises:
        ConfigError: it is wanted and not installed.
    """
    port = state.settings.grpc_port
    if port is None:
        return []
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its core would write lines of its own between ours
    try:
        from serve.grpc.server import GrpcServer  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("--grpc-port needs gRPC: pip install 'fleetcast[grpc]'.") from error
    return [GrpcServer(state, port)]


def clock_of(settings: EngineSettings) -> Clock:
    """The clock that the settings ask for."""
    return wall if settings.as_of is None else replay(settings.as_of, settings.speed)


def newest_of(settings: EngineSettings) -> datetime:
    """The end of the newest step that a record holds: the time to play it from.

    Raises:
        ConfigError: there is no telemetry to look at, or no bundle that says how to read it.
    """
    names = settings.names or published(settings.registry)
    current = opened(settings.registry, names[0]).current() if names else None
    if current is None or not settings.pulls:
        raise ConfigError("--as-of newest needs --telemetry or --source, and a bundle in the registry.")
    manifest = Manifest.read(current)
    source = settings.source or files_like(settings.telemetry or "", manifest)
    newest = source.pull(manifest.topology, timedelta(0)).newest()
    step = timedelta(seconds=manifest.spec.step_s)
    if newest is None:
        raise ConfigError(f"{settings.telemetry or 'the source'}: no telemetry to play.")
    return (
        datetime.fromtimestamp(newest.timestamp() // manifest.spec.step_s * manifest.spec.step_s, newest.tzinfo) + step
    )
