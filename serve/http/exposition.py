"""What Prometheus scrapes."""

import asyncio

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from serve.http.state import State


def router(state: State) -> APIRouter:
    """`/metrics`: all collectors of the server's registry."""
    routes = APIRouter(tags=["metrics"])

    @routes.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        content = await asyncio.to_thread(generate_latest, state.metrics.registry)
        return Response(content, media_type=CONTENT_TYPE_LATEST)

    return routes
