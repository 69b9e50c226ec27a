"""An outlet as the server runs it, and somebody who is told of problems and counts."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from serve.sinks.outlet import Outlet, SinkMetrics
from serve.sinks.sink import Sink


class Desk:
    """Who is told of problems, and what is counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = SinkMetrics(self.registry)
        self.problems: dict[str, str | None] = {}
        self.told: set[str] = set()

    def report(self, where: str, problem: str | None) -> None:
        self.problems[where] = problem
        self.told |= {problem} - {None}  # type: ignore[arg-type]

    def count(self, outlet: Outlet, what: str) -> float:
        return self.registry.get_sample_value(f"fleetcast_sink_{what}", {"sink": outlet.name}) or 0.0


@contextmanager
def outlet(sink: Sink, desk: Desk) -> Iterator[Outlet]:
    made = Outlet(sink, desk.metrics, desk.report, pause_s=0.01)
    made.start()
    try:
        yield made
    finally:
        made.stop()
