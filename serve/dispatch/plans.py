"""Plans as they are told: a number per step, or values from times on, each held until the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from forecast.contracts.specs import ForecastSpec
from forecast.features.gridded import Floats
from forecast.features.units import LIKE_KW
from serve.dispatch.room import limits
from serve.dispatch.times import moment
from serve.dispatch.tree import Tree
from serve.engine.issued import Issued
from serve.refusals import BadRequestError

POWER = "power_w"

Trajectory = Sequence[float | None] | Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class Plan:
    """What is imposed on an entity.

    Attributes:
        place: of the entity.
        power_w: `[H]`, NaN where nothing is planned.
        added: whether it comes on top of what is forecast, or takes its place.
    """

    place: int
    power_w: Floats
    added: bool


def trajectory(told: Trajectory, issued: Issued, field: str, *, added: bool) -> Floats:
    """A plan on the steps of a forecast, `[H]`: the mean over the part of each step that is planned, NaN where none is.

    Args:
        told: W per step from the forecast time on, or ISO 8601 time to W; null where nothing is planned.
        field: of the request, named in errors.
        added: whether it is added to something: then what is not planned of a step counts as nothing added.

    Raises:
        BadRequestError: more values than steps, a time that is none, or no value within the forecast.
    """
    spec, values = issued.forecast.spec, np.full(issued.forecast.spec.horizon_steps, np.nan)
    if isinstance(told, Mapping):
        planned_s, joules = _held(told, issued.time, spec, field)
        whole = np.full_like(planned_s, spec.step_s) if added else planned_s
        there = planned_s > 0
        values[there] = joules[there] / whole[there]
    elif len(told) > len(values):
        raise BadRequestError(f"{field}: {len(told)} values are more than the {len(values)} steps of the forecast.")
    else:
        values[: len(told)] = [np.nan if value is None else value for value in told]
    if np.isnan(values).all():
        raise BadRequestError(
            f"{field}: nothing is planned within the forecast, which begins at {issued.time:%Y-%m-%dT%H:%MZ}."
        )
    return values.astype(np.float32)


def check_unit(plan: Plan, issued: Issued, field: str) -> None:
    """Refuse a load that is likely in kW and next to nothing in W.

    Args:
        field: of the request, named in the error.

    Raises:
        BadRequestError: it seems so; where no limit is known nothing does.
    """
    limit, most = limits(issued, POWER)[plan.place], np.nanmax(plan.power_w)
    if not plan.added and 0 < most <= LIKE_KW * limit:
        raise BadRequestError(
            f"{field}: {most:g} W at most is next to nothing beside the limit of {limit:g} W; if it is kW, give W."
        )


def check_apart(plans: Sequence[Plan], tree: Tree) -> None:
    """Refuse two plans that speak of the same load.

    Raises:
        BadRequestError: for an entity twice, or for one and another above it.
    """
    names, planned = tree.topology.entities, {plan.place for plan in plans}
    if len(planned) < len(plans):
        raise BadRequestError("plans: an entity has two plans; give one of them.")
    for plan in plans:
        for above in tree.above(plan.place):
            if above in planned:
                raise BadRequestError(
                    f"plans: {names[plan.place]} is a part of {names[above]}, and both have a plan; give one of them."
                )


def _held(told: Mapping[str, float | None], start: datetime, spec: ForecastSpec, field: str) -> tuple[Floats, Floats]:
    """Seconds of each step that are planned, and what is drawn in them, J; `[H]` both."""
    ordered = sorted(((moment(text, start, field), value) for text, value in told.items()), key=lambda pair: pair[0])
    edges_s = np.array([(time - start).total_seconds() for time, _ in ordered] + [np.inf])
    steps_s = np.arange(spec.horizon_steps)[:, None] * float(spec.step_s)
    begin, end = (edge.clip(0, spec.horizon_steps * spec.step_s) for edge in (edges_s[:-1], edges_s[1:]))
    overlap = np.clip(np.minimum(end, steps_s + spec.step_s) - np.maximum(begin, steps_s), 0.0, None)
    watts = np.array([np.nan if value is None else value for _, value in ordered])
    known = ~np.isnan(watts)
    return overlap[:, known].sum(axis=1), overlap[:, known] @ watts[known]
