"""The schedule as it was known: who would draw how much and when, and between which times that was believed."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.schedule import CAP, LIVE, MAINTENANCE, PLAN
from forecast.contracts.topology import Topology

Ints = NDArray[np.int64]

#: What a schedule tells, in the order of `Promises.covariate`.
SCHEDULE_NAMES = ("scheduled_power_w", "maintenance", "planned_power_w", "power_cap_w", "planned_fan_speed_rpm")
_SCHEDULED, _MAINTENANCE, _PLANNED, _CAP, _FAN = range(5)

#: The one that is of jobs.
SCHEDULED = SCHEDULE_NAMES[_SCHEDULED]

#: Powers are kept in whole milliwatts (and fan speeds in thousandths of their unit), so that sums are exact in whatever
#: order they are taken.
MILLI = 1000

#: Shares and chances are whole numbers of this part, for the same reason.
ONE = 2**20

#: Rows that are load by themselves, not a window or something imposed.
IS_JOB = ~pl.col("kind").is_in([MAINTENANCE, PLAN, CAP])

FOREVER = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, eq=False)
class Promises:
    """Stretches of time with a load, window or cap, and the times between which each was believed; arrays `[R]`.

    Attributes:
        covariate: index into `SCHEDULE_NAMES`.
        entity: index in topology order.
        start_s, end_s: the stretch, seconds since 1970.
        known_from_s, known_until_s: believed at t where known_from_s <= t < known_until_s.
        amount: mW, or thousandths of rpm; leaves out of service, for a window.
        count: rows of which a step wants to know that they are there: plans and caps, and jobs of unknown power.
        leaves: `[N]`, leaves of each entity; 1 for a leaf.
        since_s: nothing was known of any job before.
    """

    covariate: Ints
    entity: Ints
    start_s: Ints
    end_s: Ints
    known_from_s: Ints
    known_until_s: Ints
    amount: Ints
    count: Ints
    leaves: Ints
    since_s: int


def promises(jobs: pl.LazyFrame, topology: Topology) -> Promises:
    """Contract JOB_SCHEDULE as stretches, rolled up the tree.

    A job counts for the entities it is listed on and once for each above; list it on the entities that run it, not on
    their parents too. A window on an entity covers all below it. Plans and caps stay with their entity.
    """
    code = {entity: index for index, entity in enumerate(topology.entities)}
    known, since_s = believed(jobs, code)
    above = above_of(topology, code)
    parts = [
        _jobs(known.filter(IS_JOB), above),
        _windows(known.filter(pl.col("kind") == MAINTENANCE), above, _leaves(topology, code)),
        *(_imposed(known.filter(pl.col("kind") == kind), what) for kind, what in ((PLAN, _PLANNED), (CAP, _CAP))),
        _part(known.filter(kind=PLAN).drop_nulls("fan"), _FAN, "entity", pl.col("fan"), pl.lit(1)),
    ]
    table = pl.concat(parts)
    arrays = {name: table[name].to_numpy().astype(np.int64) for name in table.columns}
    return Promises(**arrays, leaves=leaves_of(topology, code), since_s=since_s)


#: Columns of every part, in the order of `Promises`.
TIMES = ("start_s", "end_s", "known_from_s", "known_until_s")


def believed(jobs: pl.LazyFrame, code: dict[str, int]) -> tuple[pl.DataFrame, int]:
    """Live rows with the times between which each was the newest of its key, and the first time of any row.

    `next_status` and `next_end_s` are of the row that superseded it; null where none did.
    """
    key = ["job_id", "entity"]
    has_fan = "planned_fan_speed_rpm" in jobs.collect_schema()
    fan = pl.col("planned_fan_speed_rpm").cast(pl.Float64) if has_fan else pl.lit(None, pl.Float64)
    rows = (
        jobs.filter(pl.col("available_at").is_not_null())
        .select(
            "job_id",
            pl.col("kind").fill_null(""),
            "status",
            entity=pl.col("entity_id").replace_strict(code, default=None, return_dtype=pl.Int64),
            start_s=pl.col("start_time").dt.epoch("s"),
            end_s=pl.col("end_time").dt.epoch("s"),
            available_at="available_at",
            known_from_s=second_known(),
            milliwatts=(pl.col("planned_power_w").cast(pl.Float64) * MILLI).round(),
            fan=pl.when(fan.is_finite()).then((fan * MILLI).round()).cast(pl.Int64),
        )
        .collect()
    )
    since_s = FOREVER if rows.is_empty() else int(rows["known_from_s"].min())  # type: ignore[arg-type]
    ours = rows.filter(pl.col("entity").is_not_null()).with_columns(pl.col("job_id").rank("dense"))
    same_key = pl.all_horizontal(pl.col(name) == pl.col(name).shift(-1) for name in key).fill_null(value=False)
    until = pl.when(same_key).then(pl.col("known_from_s").shift(-1)).otherwise(FOREVER)
    live = (
        ours.sort(*key, "available_at", maintain_order=True)
        .with_columns(
            known_until_s=until,
            next_status=pl.when(same_key).then(pl.col("status").shift(-1)),
            next_end_s=pl.when(same_key).then(pl.col("end_s").shift(-1)),
        )
        .filter(
            pl.col("status").is_in(LIVE) & pl.col("start_s").is_not_null(),
            pl.col("end_s") > pl.max_horizontal("start_s", "known_from_s"),
            pl.col("known_until_s") > pl.col("known_from_s"),
        )
    )
    unknown = ~pl.col("milliwatts").is_finite().fill_null(value=False)
    return live.with_columns(
        unknown=unknown.cast(pl.Int64),
        milliwatts=pl.when(unknown).then(0.0).otherwise("milliwatts").cast(pl.Int64),
    ), since_s


def second_known() -> pl.Expr:
    """The first whole second, since 1970, at which a row was known."""
    return -(-pl.col("available_at").dt.epoch("us")).floordiv(1_000_000)


def above_of(topology: Topology, code: dict[str, int]) -> pl.DataFrame:
    """Every (entity, over): each entity with itself and all above it."""
    parent = {code[entity]: None if above is None else code[above]
              for entity, above in topology.table.select("entity_id", "parent_id").iter_rows()}  # fmt: skip
    pairs = []
    for entity in parent:
        over: int | None = entity
        while over is not None:
            pairs.append((entity, over))
            over = parent[over]
    return pl.DataFrame(pairs, schema={"entity": pl.Int64, "over": pl.Int64}, orient="row")


def leaves_of(topology: Topology, code: dict[str, int]) -> Ints:
    """`[N]`, leaves of each entity; 1 for a leaf."""
    leaves = above_of(topology, code).join(_leaves(topology, code), on="entity").group_by("over").len()
    count = np.ones(len(code), np.int64)
    count[leaves["over"].to_numpy()] = leaves["len"].to_numpy()
    return count


def _leaves(topology: Topology, code: dict[str, int]) -> pl.DataFrame:
    parents = set(topology.table["parent_id"])
    return pl.DataFrame(
        {"entity": [index for entity, index in code.items() if entity not in parents]}, schema={"entity": pl.Int64}
    )


def _jobs(rows: pl.DataFrame, above: pl.DataFrame) -> pl.DataFrame:
    """Jobs on their entities and all above; what one job has on several entities below becomes one stretch."""
    same = ("job_id", "over", *TIMES)
    lifted = rows.join(above, on="entity").group_by(same).agg(pl.col("milliwatts", "unknown").sum())
    return _part(lifted, _SCHEDULED, "over", pl.col("milliwatts"), pl.col("unknown"))


def _windows(rows: pl.DataFrame, above: pl.DataFrame, leaves: pl.DataFrame) -> pl.DataFrame:
    """Leaves out of service, on themselves and everything above them."""
    below = above.join(leaves, on="entity").rename({"entity": "leaf"})
    struck = rows.join(below, left_on="entity", right_on="over").unique(["job_id", "leaf", *TIMES])
    lifted = struck.join(above, left_on="leaf", right_on="entity").group_by("job_id", "over", *TIMES).len()
    return _part(lifted, _MAINTENANCE, "over", pl.col("len"), pl.lit(0))


def _imposed(rows: pl.DataFrame, covariate: int) -> pl.DataFrame:
    return _part(rows.filter(pl.col("unknown") == 0), covariate, "entity", pl.col("milliwatts"), pl.lit(1))


def _part(rows: pl.DataFrame, covariate: int, entity: str, amount: pl.Expr, count: pl.Expr) -> pl.DataFrame:
    return rows.select(
        covariate=pl.lit(covariate, pl.Int64),
        entity=pl.col(entity),
        **{name: pl.col(name) for name in TIMES},
        amount=amount.cast(pl.Int64),
        count=count.cast(pl.Int64),
    )
