"""What of a schedule no forecast follows, or follows and hardly means: a line each, for people."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

import numpy as np
import polars as pl

from forecast.contracts.schedule import CAP, IMPOSED, KIND, LIVE, PLAN, STRANGE_STATUS, strange_words
from forecast.contracts.signals import SIGNALS
from forecast.contracts.specs import PLANS, ForecastSpec
from forecast.contracts.topology import Topology
from forecast.features.units import LIKE_KW
from forecast.windows.ahead import Ahead

#: Covariates of which one must be known, or what a schedule imposes changes nothing.
_HEEDED = {PLAN: tuple(PLANS), CAP: ("power_cap_w",)}


def imposed(jobs: pl.LazyFrame) -> pl.DataFrame:
    """What a schedule (contract JOB_SCHEDULE) last said of each plan, cap and window, and of jobs of strange status."""
    asked = jobs.filter(KIND.is_in(IMPOSED) | STRANGE_STATUS)
    newest = asked.sort("available_at").unique(["job_id", "entity_id"], keep="last")
    return newest.sort("entity_id", "job_id").collect()


def in_force(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of `imposed` that were not taken back."""
    return rows.filter(pl.col("status").is_in(LIVE))


def doubts(rows: pl.DataFrame, topology: Topology) -> Iterator[str]:
    """What is wrong with rows of `imposed` that keep their contract; each line goes on from the schedule's name."""
    yield from strange_words(rows.lazy())
    power = pl.col("planned_power_w").cast(pl.Float64)
    held = in_force(rows).filter(pl.col("kind").is_in([PLAN, CAP])).with_columns(planned_power_w=power)
    for entity in held.filter(~pl.col("entity_id").is_in(topology.entities))["entity_id"].head(1):
        yield f"has plans or caps of entities that the fleet lacks, the first {entity!r}"
    for name, signal in PLANS.items():
        unread = held.filter(pl.col(name).cast(pl.Float64).is_nan()) if name in held.columns else held.clear()
        for entity in unread["entity_id"].head(1):
            yield (
                f"has plans or caps whose {name} is no number and is not followed, the first of {entity!r}; "
                f"write {SIGNALS[signal].unit} alone, like 350.5"
            )
    fans = [pl.col(name).is_null() for name in held.columns if name == "planned_fan_speed_rpm"]
    for entity in held.filter(power.is_null(), pl.all_horizontal(pl.lit(value=True), *fans))["entity_id"].head(1):
        yield f"has plans or caps with neither power nor fan speed, the first of {entity!r}"
    limited = held.join(topology.table.select("entity_id", "power_limit_w"), "entity_id", maintain_order="left")
    tiny = limited.filter((power > 0) & (power <= LIKE_KW * pl.col("power_limit_w")))
    for entity, power_w, limit_w in tiny.select("entity_id", power, "power_limit_w").head(1).iter_rows():
        yield (
            f"has plans or caps that are next to nothing, the first of {entity!r}: {power_w:g} W beside the "
            f"limit of {limit_w:g} W; if it is kW, give W"
        )


def passed_over(rows: pl.DataFrame, spec: ForecastSpec) -> Iterator[str]:
    """What of `imposed` a forecast is not made to look at; each line goes on from the schedule's name."""
    there = in_force(rows)["kind"]
    for kind, names in _HEEDED.items():
        if kind in there and set(names).isdisjoint(spec.future):
            yield f"has {kind}s, which change nothing: the bundle looks at no {' or '.join(names)}"


def entangled(rows: pl.DataFrame, topology: Topology, spec: ForecastSpec, now: datetime) -> Iterator[str]:
    """What following plans of `imposed` at `now` leaves out; each line goes on from the schedule's name.

    Those above a planned entity stay as they were: a graph sees one entity. A server's what-if, which has the rows of
    all at hand, moves them too (`serve/dispatch`).
    """
    until = now + timedelta(seconds=spec.step_s * spec.horizon_steps)
    plans = in_force(rows).filter(
        pl.col("kind") == PLAN,
        pl.col("entity_id").is_in(topology.entities),
        pl.col("planned_power_w").cast(pl.Float64).is_between(0.0, SIGNALS["power_w"].high),
        pl.col("available_at") <= now,
        pl.col("start_time") < until,
        pl.col("end_time") > pl.max_horizontal("start_time", pl.lit(now)),
    )
    if set(PLANS).isdisjoint(spec.future):
        return
    plans = plans.sort("entity_id", "start_time")
    ended = pl.col("end_time").cum_max().shift(1).over("entity_id")
    for entity in plans.filter(pl.col("start_time") < ended)["entity_id"].head(1):
        yield f"has plans that overlap, the first of {entity!r}: their mean is followed, not their sum"
    parents = dict(topology.table.select("entity_id", "parent_id").iter_rows())
    above = ((entity, parents[entity]) for entity in plans["entity_id"])
    planned = {None, *plans["entity_id"]}
    for entity, parent in islice(((one, over) for one, over in above if over not in planned), 1):
        yield f"has plans of {entity!r} and none of {parent!r} above it, which is forecast as if there were none"


def silent(ahead: Ahead, now: datetime) -> Iterator[str]:
    """Whether a schedule is no longer kept up, or comes late; the line goes on from its name."""
    if not ahead.believed(np.array(int(now.timestamp()))):
        yield "tells of no job that began or ended lately; until it does, its jobs count as unknown"


def out_of_reach(rows: pl.DataFrame, now: datetime, until: datetime) -> Iterator[str]:
    """Whether rows of `imposed` have plans or caps, and a forecast from `now` to `until` follows none of them.

    Those that are over are no mistake; the line goes on from the schedule's name.
    """
    held = not_over(in_force(rows).filter(pl.col("kind").is_in([PLAN, CAP])), now)
    held = held.drop_nulls(["available_at", "start_time"])  # those are told as unreadable
    later, beyond = pl.col("available_at") > now, pl.col("start_time") >= until
    if not held.is_empty() and held.filter(~(later | beyond)).is_empty():
        yield (
            f"has plans or caps, none of which this forecast follows: of {len(held):,}, {len(held.filter(later)):,} "
            f"are known only after it is made at {now:%Y-%m-%d %H:%M} UTC (available_at), and "
            f"{len(held.filter(beyond)):,} start when it is over at {until:%Y-%m-%d %H:%M} UTC"
        )


def not_over(rows: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Rows of `imposed` that are not over, whichever way round their times are."""
    over = pl.max_horizontal("start_time", "end_time") <= now
    return rows.filter(~over.fill_null(value=False))


def set_aside(report: pl.DataFrame) -> Iterator[str]:
    """What broke its contract, of `Sifted.report`."""
    for reason, count, examples in report.iter_rows():
        yield f"{count:,} {reason} set aside, the first {examples[0]}"
