"""Sinks from their URLs. What a broker's client is imported by is an extra, needed by those who name that broker."""

from collections.abc import Sequence
from importlib import import_module

from prometheus_client import CollectorRegistry

from forecast.contracts.errors import ConfigError
from serve.sinks.address import Address, parse_address
from serve.sinks.outlet import Outlet, Report, SinkMetrics
from serve.sinks.sink import Sink


def outlets(urls: Sequence[str], registry: CollectorRegistry, report: Report) -> list[Outlet]:
    """An outlet for each URL, not started.

    Raises:
        ConfigError: a URL that means nothing, twice the same, or a client that is not installed.
    """
    sinks = [open_sink(parse_address(url)) for url in urls]
    names = [str(sink.address) for sink in sinks]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--sink {name} is given twice.")
    metrics = SinkMetrics(registry)
    return [Outlet(sink, metrics, report) for sink in sinks]


def open_sink(address: Address) -> Sink:
    """The sink of an address.

    Raises:
        ConfigError: its client is not installed.
    """
    try:
        module = import_module(f"serve.sinks.{address.kind}")
    except ImportError as error:
        raise ConfigError(
            f"--sink {address.kind}: needs its client: pip install 'fleetcast[{address.kind}]'."
        ) from error
    sink: Sink = getattr(module, f"{address.kind.capitalize()}Sink")(address)
    return sink
