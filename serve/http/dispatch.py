"""The dispatch API: what was issued, read and never recomputed, for whoever acts on it."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Header, Query
from pydantic import BaseModel
from starlette.responses import Response

from forecast.contracts.signals import TARGETS
from forecast.contracts.tables import percentile
from serve.dispatch import health
from serve.dispatch.chart import fleet_map
from serve.dispatch.observed import observed
from serve.dispatch.quantiles import basis
from serve.dispatch.room import Part, odds, rooms, tightest
from serve.dispatch.times import span_of
from serve.dispatch.tree import Tree
from serve.engine.issued import Issued
from serve.http import dispatch_forms as forms
from serve.http.answers import Json
from serve.http.forms import BINARY, encoded, form_of
from serve.http.state import State
from serve.refusals import BadRequestError, UnavailableError

Accept = Annotated[str | None, Header(description="application/json, or Arrow IPC or Parquet for many rows")]

#: Cells of an answer that are made while nobody else is served; more are made on another thread.
_FEW = 20_000

#: Answers that are made on other threads at once: they are large.
_AT_ONCE = 2

_TAILS = (
    "linear between the forecast's quantiles, and its graph's own word at an entity's own limit; beyond the outermost "
    "two, exponential at the rate that they imply"
)


def answers(model: type[BaseModel], content: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """What a route answers, for OpenAPI: with a table's other forms in `content`, and refusals."""
    return {
        200: {"model": model, **({} if content is None else {"content": content})},
        "4XX": {"model": forms.Refusal},
        503: {"model": forms.Refusal},
    }


class Desk:
    """What every dispatch route goes by.

    Args:
        state: of the server.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self._large = asyncio.Semaphore(_AT_ONCE)

    def part(self, name: str, asked: forms.Within) -> Part:
        """The part of the newest forecast that is asked for.

        Raises:
            NotFoundError, BadRequestError, UnavailableError: naming the field.
        """
        engine = self.state.engine
        issued = engine.newest(name)
        places = Tree.of(issued.topology).chosen(asked.entity, asked.level, asked.under)
        if not asked.allow_fallback and issued.falls_back(places):
            raise UnavailableError(f"allow_fallback: a fallback speaks for some of the {len(places)} entities.")
        return Part(issued, places, span_of(issued, asked.begin, asked.until), engine.clock())

    async def made(self, work: Callable[[], Response], cells: int) -> Response:
        """Make an answer of so many cells."""
        if cells <= _FEW:
            return work()
        async with self._large:
            return await asyncio.to_thread(work)

    def table(
        self, asked: forms.Listing, accept: str | None, head: dict[str, Any], table: Callable[[], pl.DataFrame]
    ) -> Callable[[], Response]:
        """What makes a table and encodes it.

        Raises:
            NotAcceptableError: in no form that there is.
        """
        form, most = form_of(accept), self.state.settings.limits.rows
        return lambda: encoded(form, head, table(), columns=asked.layout == "columns", most=most)


def router(state: State) -> APIRouter:
    """The routes that read."""
    routes = APIRouter(prefix="/v1/forecasts", tags=["dispatch"])
    desk = Desk(state)
    _add_fleet(routes, desk)
    _add_forecasts(routes, desk)
    return routes


def _add_fleet(routes: APIRouter, desk: Desk) -> None:
    """What there is, how it fares, and all of it at a glance."""
    engine = desk.state.engine

    @routes.get("", responses=answers(forms.Summaries))
    async def forecasts() -> Response:
        """The named forecasts in service."""
        lives = [engine.live(name) for name in engine.names]
        return Json({"forecasts": [health.summary(live, engine.clock()) for live in lives]})

    @routes.get("/{name}/status", responses=answers(forms.Health))
    async def status(name: str) -> Response:
        """How a forecast and its data fare."""
        live = engine.live(name)
        return await asyncio.to_thread(lambda: Json(health.status(engine, live, engine.clock())))

    @routes.get("/{name}/topology", responses=answers(forms.Entities, BINARY))
    async def topology(name: str, asked: Annotated[forms.Listing, Query()], accept: Accept = None) -> Response:
        """The fleet tree: parents, SKUs and limits."""
        bundle = engine.live(name).bundle
        known = bundle.manifest.topology
        places = Tree.of(known).chosen(asked.entity, asked.level, asked.under)
        head = {"forecast": name, "bundle_id": bundle.manifest.bundle_id}
        return await desk.made(desk.table(asked, accept, head, lambda: known.table[places]), 9 * len(places))

    @routes.get("/{name}/map", responses=answers(forms.FleetMap))
    async def chart(name: str, asked: Annotated[forms.RoomAsked, Query()]) -> Response:
        """Headroom and exceedance of the whole fleet in columns, one number per entity."""
        part = desk.part(name, asked)
        targets, tree = _targets(part.issued, asked), Tree.of(part.issued.topology)
        newest = health.newest_of(part.issued)
        head = _head(part) | _sure(part.issued, asked.confidence)
        head |= {"data_time": newest, "age_s": None if newest is None else (part.now - newest).total_seconds()}
        return await desk.made(
            lambda: Json(head | fleet_map(part, tree, targets, asked.confidence)), _cells(part) * len(targets)
        )

    @routes.get("/{name}/observed", responses=answers(forms.Observed, BINARY))
    async def past(name: str, asked: Annotated[forms.ObservedAsked, Query()], accept: Accept = None) -> Response:
        """What was observed before, on the grid of the forecast."""
        issued, live = engine.newest(name), engine.live(name)
        places = Tree.of(issued.topology).chosen(asked.entity, asked.level, asked.under)
        made = desk.table(asked, accept, {"forecast": name}, lambda: observed(live, issued, places, asked.last))
        return await asyncio.to_thread(made)


def _add_forecasts(routes: APIRouter, desk: Desk) -> None:
    """What is forecast, and what it leaves."""

    @routes.get("/{name}", responses=answers(forms.Forecasts, BINARY))
    async def rows(name: str, asked: Annotated[forms.RowsAsked, Query()], accept: Accept = None) -> Response:
        """The forecast: one row per entity and step, every quantile, headroom and exceedance, and their provenance."""
        part = desk.part(name, asked)
        columns = _columns(part.issued, asked)
        made = desk.table(asked, accept, _head(part), lambda: part.rows().select(columns))
        return await desk.made(made, len(part.places) * part.issued.forecast.spec.horizon_steps * len(columns))

    @routes.get("/{name}/headroom", responses=answers(forms.Rooms, BINARY))
    async def headroom(name: str, asked: Annotated[forms.RoomAsked, Query()], accept: Accept = None) -> Response:
        """How much an entity may still take (W) or warm up (°C): the least room that it keeps at every single step."""
        part = desk.part(name, asked)
        targets = _targets(part.issued, asked)
        head = _head(part) | _sure(part.issued, asked.confidence)
        made = desk.table(asked, accept, head, lambda: rooms(part, targets, asked.confidence))
        return await desk.made(made, _cells(part) * len(targets))

    @routes.get("/{name}/tightest", responses=answers(forms.Rooms, BINARY))
    async def ranking(name: str, asked: Annotated[forms.TightestAsked, Query()], accept: Accept = None) -> Response:
        """The entities with the least headroom, as a share of their limit; those without a limit are left out."""
        part = desk.part(name, asked)
        targets = _targets(part.issued, asked)
        head = _head(part) | _sure(part.issued, asked.confidence)
        made = desk.table(asked, accept, head, lambda: tightest(part, targets, asked.confidence, asked.n))
        return await desk.made(made, _cells(part) * len(targets))

    @routes.get("/{name}/exceedance", responses=answers(forms.Odds, BINARY))
    async def exceedance(name: str, asked: Annotated[forms.OddsAsked, Query()], accept: Accept = None) -> Response:
        """The probability of passing a limit, whatever limit, in each step."""
        part = desk.part(name, asked)
        (target,) = _targets(part.issued, asked)

        def made() -> Response:
            table = odds(part, target, asked.limit)
            head = _head(part) | {"target": target, "limit": asked.limit, "tails": _TAILS, "largest": _largest(table)}
            return desk.table(asked, accept, head, lambda: table)()

        return await desk.made(made, _cells(part) * 12)


def _head(part: Part) -> dict[str, Any]:
    forecast = part.issued.forecast
    return {
        "forecast": part.issued.name,
        "bundle_id": forecast.bundle_id,
        "forecast_time": part.issued.time,
        "issued_at": part.issued.issued_at,
        "from": part.span.begin,
        "until": part.span.until,
    }


def _sure(issued: Issued, confidence: float) -> dict[str, Any]:
    return {"confidence": confidence, "basis": basis(issued.forecast.spec.quantile_levels, 1 - confidence)}


def _cells(part: Part) -> int:
    return len(part.places) * (part.span.end - part.span.first)


def _targets(issued: Issued, asked: forms.Within) -> list[str]:
    """The targets that are asked for, in the order of the forecast.

    Raises:
        BadRequestError: one that is not forecast.
    """
    known = issued.forecast.spec.targets
    for target in asked.target:
        if target not in known:
            raise BadRequestError(f"target: {issued.name} does not forecast {target}; it has {', '.join(known)}.")
    return [target for target in known if target in (asked.target or known)]


def _columns(issued: Issued, asked: forms.RowsAsked) -> list[str]:
    """The columns of the forecast's contract with the targets and quantiles that are asked for, in its order.

    Raises:
        BadRequestError: a quantile that it does not have.
    """
    levels = issued.forecast.spec.quantile_levels
    wanted = [round(level, 9) for level in asked.quantile] or levels
    for level in wanted:
        if level not in levels:
            raise BadRequestError(f"quantile: the forecast has no {level:g}; it has {', '.join(map(str, levels))}.")
    columns = ["forecast_time", "valid_time", "entity_id", "level"]
    for target in _targets(issued, asked):
        for label in (target, TARGETS[target].headroom):
            columns += [percentile(label, level) for level in levels if level in wanted]
        columns.append(f"{target}_exceedance")
    return [*columns, "bundle_id", "data_time", "source", "status"]


def _largest(table: pl.DataFrame) -> list[dict[str, Any]]:
    """The step with the largest exceedance of each entity, the likeliest first."""
    known = table.drop_nulls("exceedance").select("entity_id", "valid_time", "exceedance")
    first = known.sort("exceedance", descending=True, maintain_order=True).unique("entity_id", keep="first")
    ordered = first.sort("exceedance", "entity_id", descending=[True, False])
    return ordered.head(100).to_dicts()
