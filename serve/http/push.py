"""Telemetry that is pushed: rows in JSON for people and small tools, Arrow IPC for many."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import polars as pl
from fastapi import APIRouter, Request
from pydantic import BaseModel

from forecast.contracts.errors import DataError, one_line
from forecast.contracts.signals import SIGNALS
from forecast.contracts.tables import TELEMETRY
from forecast.contracts.tables import UTC as TIME
from serve.http.answers import REFUSALS
from serve.http.arrow import LONGEST_NAME, read_stream
from serve.http.forms import ARROW
from serve.http.state import State
from serve.refusals import BadRequestError, UnsupportedError

_ROW = {
    "type": "object",
    "required": ["time", "entity_id"],
    "properties": {
        "time": {"type": "string", "format": "date-time"},
        "entity_id": {"type": "string"},
        **{name: {"type": ["number", "null"], "description": signal.unit} for name, signal in SIGNALS.items()},
    },
    "additionalProperties": False,
}
_EXAMPLE = [{"time": "2026-06-01T12:00:00Z", "entity_id": "rack-7/server-3", "power_w": 6310.0, "temperature_c": 61.5}]

#: The body of a push as OpenAPI has it; it is read whole, not row by row.
_DESCRIBED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "array", "items": _ROW}, "example": _EXAMPLE},
            ARROW: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class Accepted(BaseModel):
    """What was taken."""

    rows: int


def router(state: State) -> APIRouter:
    """The routes that telemetry comes in by."""
    routes = APIRouter(prefix="/v1", tags=["telemetry"])

    @routes.post("/telemetry", status_code=202, openapi_extra=_DESCRIBED, responses=REFUSALS)
    async def push(request: Request) -> Accepted:
        """Hand over new samples: one row per entity and time, with any of the signals, in SI units and UTC.

        As JSON an array of objects, as Arrow an IPC stream without compression of its own (the request's body may be
        compressed); times say their zone. The same rows may be sent again. 202: they are taken in within a second, and
        what has no place (unknown entities, times in the future or too old) is counted in the metrics.
        """
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        rows = await asyncio.to_thread(read_rows, kind, await request.body())
        state.engine.push(rows)
        return Accepted(rows=len(rows))

    return routes


def read_rows(kind: str, body: bytes) -> pl.DataFrame:
    """Rows of contract TELEMETRY.

    Raises:
        UnsupportedError: a kind of content that is not read.
        BadRequestError: it is not of its kind, or breaks the contract.
    """
    readers = {"application/json": _from_json, ARROW: _from_arrow}
    if kind not in readers:
        raise UnsupportedError(f"content-type {kind} is not read; {' and '.join(readers)} are.")
    try:
        rows = readers[kind](body)
        TELEMETRY.check_schema(rows.lazy(), "telemetry")
    except (DataError, pl.exceptions.PolarsError, ValueError, TypeError, OverflowError) as error:
        raise BadRequestError(
            f"telemetry: {one_line((str(error).splitlines() or [type(error).__name__])[0])}"
        ) from error
    return rows


def _from_json(body: bytes) -> pl.DataFrame:
    listed = orjson.loads(body)
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise BadRequestError("telemetry must be an array of objects, each a time, an entity_id and signals.")
    told = dict.fromkeys(name for row in listed for name in row)
    _check_columns(list(told))
    times = [_time(row.get("time"), at) for at, row in enumerate(listed)]
    names = [_name(row.get("entity_id"), at) for at, row in enumerate(listed)]
    found = [name for name in SIGNALS if name in told]
    signals = {name: [_number(row.get(name), name, at) for at, row in enumerate(listed)] for name in found}
    kinds: dict[str, Any] = {"time": TIME, "entity_id": pl.String, **dict.fromkeys(found, pl.Float64)}
    return pl.DataFrame({"time": times, "entity_id": names, **signals}, schema=kinds)


def _time(told: object, row: int) -> datetime:
    try:
        time = datetime.fromisoformat(told.upper()) if isinstance(told, str) else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise BadRequestError(f"telemetry: row {row} needs a time with its zone, as 2026-06-01T12:00:00Z.")
    return time.astimezone(UTC)


def _name(told: object, row: int) -> str:
    if not isinstance(told, str) or len(told) > LONGEST_NAME:
        raise BadRequestError(f"telemetry: row {row} needs an entity_id, a text of at most {LONGEST_NAME} letters.")
    return told


def _number(told: object, signal: str, row: int) -> float | None:
    if type(told) not in {int, float, type(None)}:
        raise BadRequestError(f"telemetry: {signal} of row {row} is no number; what was not observed is null.")
    return told  # type: ignore[return-value]


def _from_arrow(body: bytes) -> pl.DataFrame:
    return read_stream(body, _check_columns)


def _check_columns(told: Sequence[str]) -> None:
    if missing := {"time", "entity_id"} - set(told):
        raise BadRequestError(f"telemetry has no {' and no '.join(sorted(missing))}.")
    if unknown := set(told) - {"time", "entity_id", *SIGNALS}:
        raise BadRequestError(f"telemetry has no {sorted(unknown)[0][:64]}; its signals are {', '.join(SIGNALS)}.")
    if len(set(told)) < len(told):
        raise BadRequestError("telemetry has a column twice.")
