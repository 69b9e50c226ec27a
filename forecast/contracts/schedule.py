"""The words of JOB_SCHEDULE: which rows are work still to do, and which are no jobs at all."""

from collections.abc import Iterator

import polars as pl

#: With one of these a row means load (or a window) to come; any other status (done, failed, cancelled) means none.
LIVE = ("running", "queued", "reserved")

#: `kind` of a window in which the entity and all below it are out of service.
MAINTENANCE = "maintenance"

#: `kind` of a row whose `planned_power_w` is imposed on the entity: a load to follow, or a cap to stay below. A plan's
#: `planned_fan_speed_rpm`, if it has one, is imposed too. Every other kind is a job.
PLAN, CAP = "plan", "cap"

#: Every `kind` that is no job.
IMPOSED = (PLAN, CAP, MAINTENANCE)

#: As people write them: with capitals, or a space that nobody sees.
KIND, STATUS = (pl.col(name).fill_null("").str.strip_chars().str.to_lowercase() for name in ("kind", "status"))

#: Words of schedulers for what is to come, which mean nothing here.
_LIKE_LIVE = (*LIVE, "active", "pending", "scheduled", "started", "submitted", "waiting")

#: Words for plans and windows that are over, or taken back. Of jobs, schedulers have too many.
_OVER = ("cancelled", "canceled", "done", "completed", "ended", "expired", "failed", "over", "rejected", "withdrawn")

#: Rows whose status counts for nothing, and was hardly meant to.
STRANGE_STATUS = ~pl.col("status").fill_null("").is_in(LIVE) & (
    STATUS.is_in(_LIKE_LIVE) | (KIND.is_in(IMPOSED) & ~STATUS.is_in(_OVER))
)


def strange_words(rows: pl.LazyFrame) -> Iterator[str]:
    """Words of JOB_SCHEDULE that mean another thing than they seem to; each line goes on from the schedule's name."""
    for (status,) in rows.filter(STRANGE_STATUS).select(pl.col("status").unique().sort()).collect().iter_rows():
        yield f"has rows of status {status!r}, which count for nothing; what is to come is {', '.join(LIVE)}"
    misspelt = rows.filter(pl.col("status").is_in(LIVE), KIND.is_in(IMPOSED), ~pl.col("kind").is_in(IMPOSED))
    for kind, word in misspelt.select("kind", word=KIND).unique().sort("kind").collect().iter_rows():
        yield f"has rows of kind {kind!r}, which count as jobs; the word is {word!r}"
