"""The dispatch API's questions: what if this load ran here, and which of these places is best for it."""

import asyncio
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query
from starlette.responses import Response

from forecast.bundle.session import Outputs
from serve.dispatch.placement import Placements
from serve.dispatch.plans import Plan, check_apart, check_unit, trajectory
from serve.dispatch.room import Part, rooms
from serve.dispatch.times import span_of
from serve.dispatch.tree import Tree
from serve.dispatch.what_if import Asked, Question
from serve.engine.issued import Issued
from serve.http import dispatch_questions as questions
from serve.http import dispatch_replies as replies
from serve.http.desk import Accept, Desk, answers, cells_of, check_speaker, columns_of, head_of, sure, targets_of
from serve.http.forms import BINARY, records
from serve.http.state import State


def add_what_if(routes: APIRouter, desk: Desk) -> None:
    """Plans that hold together."""
    engine = desk.state.engine

    @routes.post("/{name}/what-if", responses=answers(replies.WhatIf, BINARY))
    async def what_if(
        name: str, told: questions.PlansTold, asked: Annotated[questions.WhatIfAsked, Query()], accept: Accept = None
    ) -> Response:
        """The forecast under plans that hold together: rows of those who have one and of all above them.

        A plan takes the place of an entity's load, or is added to it. Load above it moves by as much. Temperature
        answers as the bundle's graph has it; where it takes no plans, or a fallback speaks, temperature is null from
        the first change on.
        """
        issued = engine.newest(name)
        tree = Tree.of(issued.topology)
        plans = [_plan(one, f"plans.{at}", issued, tree) for at, one in enumerate(told.plans)]
        check_apart(plans, tree)
        question = Question(issued, plans)
        span, columns = span_of(issued, asked.begin, asked.until), columns_of(issued, asked)
        targets = targets_of(issued, asked)
        outputs = await _answered(question.asked, desk.state)

        answer = await asyncio.to_thread(question.answer, outputs, tree)
        check_speaker(answer.issued, None, allow_fallback=asked.allow_fallback)
        part = Part(answer.issued, np.arange(len(answer.plan)), span, engine.clock())
        labels = answer.labels(span.end - span.first)
        head = head_of(part) | sure(issued, asked.confidence)
        head["headroom"] = records(rooms(part, targets, asked.confidence))
        return await desk.table(
            asked,
            accept,
            (cells_of(part), cells_of(part) * len(columns)),
            lambda: part.rows().select(columns).with_columns(**labels),
            lambda _: head,
        )


def add_placements(routes: APIRouter, desk: Desk) -> None:
    """Places that exclude each other."""
    engine = desk.state.engine

    @routes.post("/{name}/placements", responses=answers(replies.Placements, BINARY))
    async def placements(
        name: str,
        told: questions.CandidatesTold,
        asked: Annotated[questions.PlacementsAsked, Query()],
        accept: Accept = None,
    ) -> Response:
        """What each of many places for additional load would leave, each judged alone, over its own time."""
        issued = engine.newest(name)
        tree = Tree.of(issued.topology)
        candidates = [_candidate(one, f"candidates.{at}", issued, tree) for at, one in enumerate(told.candidates)]
        asking = Placements(issued, candidates)
        check_speaker(issued, asking.places, allow_fallback=asked.allow_fallback)
        outputs = await _answered(asking.asked, desk.state)

        part = Part(issued, asking.places, span_of(issued, None, None), engine.clock())
        head = head_of(part) | sure(issued, asked.confidence)
        return await desk.table(
            asked,
            accept,
            (len(candidates), cells_of(part) * len(issued.forecast.spec.quantile_levels)),
            lambda: asking.table(outputs, tree, part, asked.confidence),
            lambda _: head,
        )


async def _answered(asked: Asked | None, state: State) -> Outputs | None:
    """What the graph makes of a question; None where there is nothing to ask it."""
    return None if asked is None else await state.batcher.run(*asked, state.settings.limits.deadline_s)


def _plan(told: questions.PlanTold, field: str, issued: Issued, tree: Tree) -> Plan:
    added = "added_power_w" in told.model_fields_set
    name, values = ("added_power_w", told.added_power_w) if added else ("power_w", told.power_w)
    place = tree.place(told.entity_id, f"{field}.entity_id")
    plan = Plan(place, trajectory(values, issued, f"{field}.{name}", added=added), added)
    check_unit(plan, issued, f"{field}.{name}")
    return plan


def _candidate(told: questions.CandidateTold, field: str, issued: Issued, tree: Tree) -> Plan:
    span = span_of(issued, told.begin, told.until, f"{field}.")
    values = np.full(issued.forecast.spec.horizon_steps, np.nan, np.float32)
    values[span.steps] = told.added_power_w
    return Plan(tree.place(told.entity_id, f"{field}.entity_id"), values, added=True)
