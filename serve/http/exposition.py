"""What Prometheus scrapes."""

import asyncio

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import Response

from serve.gauges import ForecastGauges
from serve.http.state import State


def router(state: State) -> APIRouter:
    """`/metrics`: all collectors of the server's registry, and the newest forecasts."""
    routes = APIRouter(tags=["metrics"])
    forecasts = CollectorRegistry()
    forecasts.register(ForecastGauges(state.engine, state.settings.metrics_level))

    def exposed() -> bytes:
        return generate_latest(state.metrics.registry) + generate_latest(forecasts)

    @routes.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(await asyncio.to_thread(exposed), media_type=CONTENT_TYPE_LATEST)

    return routes
