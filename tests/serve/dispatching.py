"""Reads of the dispatch API."""

from typing import Any
from urllib.parse import urlencode

from running import Reply, Running

BASE = "/v1/forecasts/day-ahead"


def get(server: Running, path: str = "", accept: str | None = None, **query: Any) -> Reply:
    told = urlencode({name.strip("_"): value for name, value in query.items()}, doseq=True)
    headers = {} if accept is None else {"accept": accept}
    return server.ask("GET", f"{BASE}{path}" + (f"?{told}" if told else ""), headers=headers)


def rows(server: Running, path: str = "", **query: Any) -> list[dict[str, Any]]:
    reply = get(server, path, **query)
    assert reply.status == 200, reply.body
    return list(reply.json["rows"])
