"""What a schedule imposes and no forecast follows, or follows and hardly means: a line each, for people."""

from collections.abc import Iterator
from datetime import datetime

import polars as pl

from forecast.contracts.schedule import CAP, LIVE, MAINTENANCE, PLAN
from forecast.contracts.topology import Topology
from forecast.features.units import LIKE_KW

_WORDS = (PLAN, CAP, MAINTENANCE)

_KIND = pl.col("kind").str.strip_chars().str.to_lowercase()


def imposes_nothing(jobs: pl.LazyFrame) -> bool:
    """Whether a schedule has plans or caps, and none of them has a status that is in force."""
    imposed = jobs.filter(pl.col("kind").is_in([PLAN, CAP])).select("status").collect()["status"]
    return not imposed.is_empty() and not imposed.is_in(LIVE).any()


def imposed(jobs: pl.LazyFrame) -> pl.DataFrame:
    """What a schedule (contract JOB_SCHEDULE) last said of each plan, cap and window that is in force, and no job."""
    newest = (
        jobs.filter(_KIND.is_in(_WORDS)).sort("available_at").unique(["job_id", "entity_id"], keep="last").collect()
    )
    return newest.filter(pl.col("status").is_in(LIVE)).sort("entity_id", "job_id")


def doubts(rows: pl.DataFrame, topology: Topology) -> Iterator[str]:
    """What is wrong with rows of `imposed` that keep their contract; each line goes on from the schedule's name."""
    misspelt = rows.filter(~pl.col("kind").is_in(_WORDS)).with_columns(word=_KIND)
    for kind, word in misspelt.select("kind", "word").unique(maintain_order=True).iter_rows():
        yield f"has rows of kind {kind!r}, which count as jobs; the word is {word!r}"
    power = pl.col("planned_power_w").cast(pl.Float64)
    held = rows.filter(pl.col("kind").is_in([PLAN, CAP])).with_columns(planned_power_w=power)
    for entity in held.filter(~pl.col("entity_id").is_in(topology.entities))["entity_id"].head(1):
        yield f"has plans or caps of entities that the fleet lacks, the first {entity!r}"
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


def not_over(rows: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Rows of `imposed` that are not over, whichever way round their times are."""
    over = pl.max_horizontal("start_time", "end_time") <= now
    return rows.filter(~over.fill_null(value=False))


def set_aside(report: pl.DataFrame) -> Iterator[str]:
    """What broke its contract, of `Sifted.report`."""
    for reason, count, examples in report.iter_rows():
        yield f"{count:,} {reason} set aside, the first {examples[0]}"
