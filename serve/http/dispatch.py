"""The dispatch API: what was issued, read and never recomputed but for plans, for whoever acts on it."""

import asyncio
from typing import Annotated

import orjson
import polars as pl
from fastapi import APIRouter, Query
from starlette.responses import Response

from serve.dispatch import health
from serve.dispatch.chart import fleet_map
from serve.dispatch.observed import observed, steps_back
from serve.dispatch.room import odds, rooms, tightest
from serve.dispatch.tree import Tree
from serve.http import dispatch_questions as questions
from serve.http import dispatch_replies as replies
from serve.http.answers import Json
from serve.http.desk import Accept, Desk, answers, cells_of, columns_of, head_of, sure, targets_of
from serve.http.dispatch_plans import add_placements, add_what_if
from serve.http.forms import BINARY, records
from serve.http.state import State

#: Entities whose largest exceedance is listed apart.
_LISTED = 100

_TAILS = (
    "linear between the forecast's quantiles, and its graph's own word at an entity's own limit; beyond the outermost "
    "two, exponential at the rate that they imply"
)


def router(state: State) -> APIRouter:
    """The routes that read, and those that ask the graph again."""
    routes = APIRouter(prefix="/v1/forecasts", tags=["dispatch"])
    desk = Desk(state)
    _add_fleet(routes, desk)
    _add_forecasts(routes, desk)
    add_what_if(routes, desk)
    add_placements(routes, desk)
    return routes


def _add_fleet(routes: APIRouter, desk: Desk) -> None:
    """What there is, how it fares, and all of it at a glance."""
    engine = desk.state.engine

    @routes.get("", responses=answers(replies.Summaries))
    async def forecasts() -> Response:
        """The named forecasts in service."""
        lives = [engine.live(name) for name in engine.names]
        return Json({"forecasts": [health.summary(live, engine.clock()) for live in lives]})

    @routes.get("/{name}/status", responses=answers(replies.Health))
    async def status(name: str) -> Response:
        """How a forecast and its data fare."""
        live = engine.live(name)
        return await asyncio.to_thread(lambda: Json(health.status(engine, live, engine.clock())))

    @routes.get("/{name}/topology", responses=answers(replies.Entities, BINARY))
    async def topology(name: str, asked: Annotated[questions.Chosen, Query()], accept: Accept = None) -> Response:
        """The fleet tree: parents, SKUs and limits."""
        live = engine.live(name)
        known = live.topology
        places = Tree.of(known).chosen(asked.entity, asked.level, asked.under)
        head = {"forecast": name, "bundle_id": live.bundle.manifest.bundle_id}
        return await desk.table(asked, accept, (len(places), 0), lambda: known.table[places], lambda _: head)

    @routes.get("/{name}/map", responses=answers(replies.FleetMap))
    async def chart(name: str, asked: Annotated[questions.RoomAsked, Query()]) -> Response:
        """Headroom and exceedance of the whole fleet in columns, one number per entity."""
        part = desk.part(name, asked)
        targets, tree = targets_of(part.issued, asked), Tree.of(part.issued.topology)
        newest = health.newest_of(part.issued)
        head = head_of(part) | sure(part.issued, asked.confidence)
        head |= {"data_time": newest, "age_s": None if newest is None else (part.now - newest).total_seconds()}
        return await desk.made(
            lambda: Json(head | fleet_map(part, tree, targets, asked.confidence)), cells_of(part) * len(targets)
        )

    @routes.get("/{name}/observed", responses=answers(replies.Observed, BINARY))
    async def past(name: str, asked: Annotated[questions.ObservedAsked, Query()], accept: Accept = None) -> Response:
        """What was observed before, on the grid of the forecast."""
        issued, live = engine.newest(name), engine.live(name)
        places = Tree.of(issued.topology).chosen(asked.entity, asked.level, asked.under)
        steps = steps_back(asked.last, issued)
        size = (len(places) * steps, len(places) * steps * len(issued.forecast.spec.past))
        head = {"forecast": name}
        return await desk.table(asked, accept, size, lambda: observed(live, issued, places, steps), lambda _: head)


def _add_forecasts(routes: APIRouter, desk: Desk) -> None:
    """What is forecast, and what it leaves."""

    @routes.get("/{name}", responses=answers(replies.Forecasts, BINARY))
    async def rows(name: str, asked: Annotated[questions.RowsAsked, Query()], accept: Accept = None) -> Response:
        """The forecast: one row per entity and step, every quantile, headroom and exceedance, and their provenance."""
        part = desk.part(name, asked)
        columns = columns_of(part.issued, asked)
        size = (cells_of(part), len(part.places) * part.issued.forecast.spec.horizon_steps * len(columns))
        return await desk.table(asked, accept, size, lambda: part.rows().select(columns), lambda _: head_of(part))

    @routes.get("/{name}/headroom", responses=answers(replies.Rooms, BINARY))
    async def headroom(name: str, asked: Annotated[questions.RoomAsked, Query()], accept: Accept = None) -> Response:
        """How much an entity may still take (W) or warm up (°C): the least room that it keeps at every single step."""
        part = desk.part(name, asked)
        targets = targets_of(part.issued, asked)
        head = head_of(part) | sure(part.issued, asked.confidence)
        size = (len(part.places) * len(targets), cells_of(part) * len(targets))
        return await desk.table(asked, accept, size, lambda: rooms(part, targets, asked.confidence), lambda _: head)

    @routes.get("/{name}/tightest", responses=answers(replies.Rooms, BINARY))
    async def ranking(name: str, asked: Annotated[questions.TightestAsked, Query()], accept: Accept = None) -> Response:
        """The entities with the least headroom, as a share of their limit; those without a limit are left out."""
        part = desk.part(name, asked)
        targets = targets_of(part.issued, asked)
        head = head_of(part) | sure(part.issued, asked.confidence)
        size = (min(asked.n, len(part.places)) * len(targets), cells_of(part) * len(targets))
        return await desk.table(
            asked, accept, size, lambda: tightest(part, targets, asked.confidence, asked.n), lambda _: head
        )

    @routes.get("/{name}/exceedance", responses=answers(replies.Odds, BINARY))
    async def exceedance(name: str, asked: Annotated[questions.OddsAsked, Query()], accept: Accept = None) -> Response:
        """The probability of passing a limit, whatever limit, in each step."""
        part = desk.part(name, asked)
        (target,) = targets_of(part.issued, asked)

        head = head_of(part) | {"target": target, "limit": asked.limit, "tails": _TAILS}
        return await desk.table(
            asked,
            accept,
            (cells_of(part), 16 * cells_of(part)),
            lambda: odds(part, target, asked.limit),
            lambda table: head | {"largest": _largest(table)},
        )


def _largest(table: pl.DataFrame) -> orjson.Fragment:
    """The step with the largest exceedance of each entity, the likeliest first."""
    known = table.drop_nulls("exceedance").select("entity_id", "valid_time", "exceedance")
    first = known.sort("exceedance", descending=True, maintain_order=True).unique("entity_id", keep="first")
    ordered = first.sort("exceedance", "entity_id", descending=[True, False])
    return records(ordered.head(_LISTED))
