"""What the dispatch routes have in common: who and when is asked for, and how answers go out."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import polars as pl
from fastapi import Header
from pydantic import BaseModel
from starlette.responses import Response

from forecast.contracts.signals import TARGETS
from forecast.contracts.tables import percentile
from serve.dispatch.quantiles import basis
from serve.dispatch.room import Part
from serve.dispatch.times import span_of
from serve.dispatch.tree import Tree
from serve.engine.issued import Issued, Places
from serve.http import dispatch_questions as questions
from serve.http.answers import REFUSALS
from serve.http.forms import check_rows, encoded, form_of
from serve.http.state import State
from serve.refusals import BadRequestError, UnavailableError

Accept = Annotated[str | None, Header(description="application/json, or Arrow IPC or Parquet for many rows")]

#: Cells of an answer that are made while nobody else is served; more are made on another thread.
_FEW = 20_000

#: Answers that are made on other threads at once: they are large.
_AT_ONCE = 2


def answers(model: type[BaseModel], content: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """What a route answers, for OpenAPI: with a table's other forms in `content`, and refusals."""
    return {200: {"model": model, **({} if content is None else {"content": content})}, **REFUSALS}


class Desk:
    """What every dispatch route goes by.

    Args:
        state: of the server.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self._large = asyncio.Semaphore(_AT_ONCE)

    def part(self, name: str, asked: questions.Within) -> Part:
        """The part of the newest forecast that is asked for.

        Raises:
            NotFoundError, BadRequestError, UnavailableError: naming the field.
        """
        engine = self.state.engine
        issued = engine.newest(name)
        places = Tree.of(issued.topology).chosen(asked.entity, asked.level, asked.under)
        check_speaker(issued, places, allow_fallback=asked.allow_fallback)
        return Part(issued, places, span_of(issued, asked.begin, asked.until), engine.clock())

    async def table(
        self,
        asked: questions.Listed,
        accept: str | None,
        size: tuple[int, int],
        table: Callable[[], pl.DataFrame],
        head: Callable[[pl.DataFrame], Mapping[str, Any]],
    ) -> Response:
        """Make a table and encode it.

        Args:
            size: rows that it has, and numbers that are looked at for it.
            table: makes it.
            head: what JSON says before its rows.

        Raises:
            NotAcceptableError, BadRequestError: in no form that there is; more rows than its form takes.
        """
        form = form_of(accept)
        check_rows(form, size[0], self.state.settings.limits.rows)

        def made() -> Response:
            content = table()
            return encoded(form, head(content), content, columns=asked.layout == "columns")

        return await self.made(made, max(size))

    async def made(self, work: Callable[[], Response], cells: int) -> Response:
        """Make an answer of so many numbers."""
        if cells <= _FEW:
            return work()
        async with self._large:
            return await asyncio.to_thread(work)


def head_of(part: Part) -> dict[str, Any]:
    """What a whole answer comes from (`Provenance`)."""
    forecast = part.issued.forecast
    return {
        "forecast": part.issued.name,
        "bundle_id": forecast.bundle_id,
        "forecast_time": part.issued.time,
        "issued_at": part.issued.issued_at,
        "from": part.span.begin,
        "until": part.span.until,
    }


def check_speaker(issued: Issued, places: Places | None, *, allow_fallback: bool) -> None:
    """Refuse an answer in which a fallback speaks for any of the entities (of all, if None), where none is wanted.

    Raises:
        UnavailableError: it does.
    """
    if not allow_fallback and issued.falls_back(places):
        raise UnavailableError("allow_fallback: a fallback speaks for some of the entities.")


def sure(issued: Issued, confidence: float) -> dict[str, Any]:
    """How sure an answer is, and what that rests on."""
    return {"confidence": confidence, "basis": basis(issued.forecast.spec.quantile_levels, 1 - confidence)}


def cells_of(part: Part) -> int:
    """How many numbers a signal has in it."""
    return len(part.places) * (part.span.end - part.span.first)


def targets_of(issued: Issued, asked: questions.Stretch) -> list[str]:
    """The targets that are asked for, in the order of the forecast.

    Raises:
        BadRequestError: one that is not forecast.
    """
    known = issued.forecast.spec.targets
    for target in asked.target:
        if target not in known:
            raise BadRequestError(f"target: {issued.name} does not forecast {target}; it has {', '.join(known)}.")
    return [target for target in known if target in (asked.target or known)]


def columns_of(issued: Issued, asked: questions.QuantilesAsked) -> list[str]:
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
    for target in targets_of(issued, asked):
        for label in (target, TARGETS[target].headroom):
            columns += [percentile(label, level) for level in levels if level in wanted]
        columns.append(f"{target}_exceedance")
    return [*columns, "bundle_id", "data_time", "source", "status"]
