"""What Prometheus scrapes."""

import asyncio
from functools import lru_cache

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.registry import Collector
from starlette.responses import Response

from serve.engine.issued import Issued
from serve.gauges import ForecastGauges, ServiceGauges, newest
from serve.http.state import State


def router(state: State) -> APIRouter:
    """`/metrics`: all collectors of the server's registry, and the newest forecasts."""
    routes = APIRouter(tags=["metrics"])
    engine, lowest = state.engine, state.settings.metrics_level
    service = ServiceGauges(engine, lowest)

    @lru_cache(maxsize=1)
    def said(forecasts: tuple[Issued, ...]) -> bytes:
        """A fleet of 10,000 has 80,000 lines: they are written once per forecast, not once per scrape."""
        return _text(ForecastGauges(forecasts, lowest))

    def exposed() -> bytes:
        return generate_latest(state.metrics.registry) + _text(service) + said(newest(engine))

    @routes.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(await asyncio.to_thread(exposed), media_type=CONTENT_TYPE_LATEST)

    return routes


def _text(collector: Collector) -> bytes:
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)
