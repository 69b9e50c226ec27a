"""How long jobs run and when the next begin: what past jobs of a schedule tell of those that it promises.

A time limit is an upper bound: jobs end early, and those queued behind them move up. The share of its limit that a job
of a kind uses is counted over the jobs whose end was known, day by day, so that no forecast counts what came later.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from forecast.contracts.schedule import LIVE
from forecast.contracts.topology import Topology
from forecast.features.peers import Peers
from forecast.features.schedule import FOREVER, IS_JOB, ONE, Ints, above_of, believed, leaves_of
from forecast.features.submissions import Submissions

#: What the outlook tells, in this order.
OUTLOOK_NAMES = (
    "expected_power_w",
    "expected_busy_ratio",
    "running_power_w",
    "running_busy_ratio",
    "usual_power_w",
    "usual_busy_ratio",
    "place_ratio",
    "free_peers_ratio",
    "unsubmitted_power_w",
    "unsubmitted_busy_ratio",
)

#: Where its pairs lie: the power of some jobs and the share of the leaves that they hold; and what tells a leaf's turn.
EXPECTED, RUNNING, USUAL, PLACES, UNSUBMITTED = (slice(at, at + 2) for at in range(0, len(OUTLOOK_NAMES), 2))

#: A limit is looked at in so many equal pieces.
PIECES = 16

DAY_S = 86_400

#: So many jobs that ran to their limit are believed in beside those that were seen: with few jobs, limits count.
_PRIOR = 4.0

#: Who asks for longer uses less of it: limits of up to so many hours, and longer ones, are looked at apart.
_UP_TO_H = (4, 8, 16, 32, 64)
SIZES = len(_UP_TO_H) + 1

#: So many days after the last news a piece of a job that ran then may be over.
_QUIET_DAYS = 30

#: Rows whose job had ended when the next came.
_ENDED = pl.col("next_status").is_not_null() & ~pl.col("next_status").is_in(LIVE)

#: So many jobs that ended as all of their kind do are believed in beside those of such limits.
_ALIKE = 10.0


@dataclass(frozen=True, eq=False)
class Outlook:
    """Jobs with what decides whether they run at a time; arrays `[R]` of rows, `[J]` of plans, `[M]` of what ran.

    Attributes:
        entity: that a row is of, index in topology order; rows are sorted by plan.
        power, busy: mW, and leaves that are busy.
        unknown: rows whose power nobody told.
        plan_first: `[J + 1]`, where the rows of a plan begin: a promise of one job for some of its entities.
        plan_start_s, plan_end_s: the promise, seconds since 1970.
        plan_from_s, plan_until_s: believed at t where plan_from_s <= t < plan_until_s.
        plan_kind: of its job, and of how long a limit it has.
        plan_running: 1 where the job runs, 0 where it is to come.
        group: `[N]`, alike for entities whose queues depend on each other; plans are sorted by it, then by start.
        plan_group: likewise.
        survival: `[days, kinds, PIECES + 1]`, chance in `ONE` to run on at the edges of the pieces, by day since 1970.
        first_day: of the first of these days.
        ran: `[4, M]`, entity, start and end of what was running, and mW; `ran_busy [M]` leaves.
        leaves: `[N]`.
        over: `[2, P]`, each entity with itself and all above it.
        peers: who gets the next job.
        submissions: what was submitted to them.
        since_s: nothing was known of any job before.
        whole_s: when the first end of a job was told: a record begins with what runs, not with what ended before.
    """

    entity: Ints
    power: Ints
    busy: Ints
    unknown: Ints
    plan_first: Ints
    plan_start_s: Ints
    plan_end_s: Ints
    plan_from_s: Ints
    plan_until_s: Ints
    plan_kind: Ints
    plan_running: Ints
    group: Ints
    plan_group: Ints
    survival: Ints
    first_day: int
    ran: Ints
    ran_busy: Ints
    leaves: Ints
    over: Ints
    peers: Peers
    submissions: Submissions
    since_s: int
    whole_s: int

    def told_since(self, origin_s: Ints) -> Ints:
        """Since when all jobs are told, as far as was known at `origin_s`."""
        return np.where(origin_s >= self.whole_s, self.whole_s, self.since_s)


def outlook(jobs: pl.LazyFrame, topology: Topology) -> Outlook:
    """The jobs of contract JOB_SCHEDULE, rolled up the tree as `forecast.features.schedule.promises` does."""
    code = {entity: index for index, entity in enumerate(topology.entities)}
    known, since_s = believed(jobs, code)
    leaves = leaves_of(topology, code)
    rows = known.filter(IS_JOB).with_columns(
        kind=(pl.col("kind").rank("dense").cast(pl.Int64) - 1) * SIZES + _size(),
        running=(pl.col("status") == "running").cast(pl.Int64),
        busy=pl.Series("leaves", leaves).gather(known.filter(IS_JOB)["entity"]),
    )
    above = above_of(topology, code)
    peers = Peers.of(topology, above, leaves)
    survival, first_day = _curves(rows)
    ran = _lifted(_ran(rows), above)
    return Outlook(
        **_plans(rows, peers, len(leaves)),
        survival=survival,
        first_day=first_day,
        ran=np.stack([ran[name].to_numpy() for name in ("entity", "start_s", "end_s", "power")]).astype(np.int64),
        ran_busy=ran["busy"].to_numpy().astype(np.int64),
        leaves=leaves,
        over=above.to_numpy().T.astype(np.int64),
        peers=peers,
        submissions=Submissions.of(rows, peers),
        since_s=since_s,
        whole_s=_first_end(rows),
    )


def _size() -> pl.Expr:
    """Which of `SIZES` the limit of a row is of."""
    limit_s = pl.col("end_s") - pl.col("start_s")
    return pl.sum_horizontal((limit_s >= 3600 * hours).cast(pl.Int64) for hours in _UP_TO_H)


def _first_end(rows: pl.DataFrame) -> int:
    return int(rows.filter(_ENDED)["known_until_s"].to_numpy().min(initial=FOREVER))


def _lifted(rows: pl.DataFrame, above: pl.DataFrame) -> pl.DataFrame:
    """Rows on their entities and all above; what one job has on several below becomes one row."""
    same = ("start_s", "end_s")
    return (
        rows.join(above, on="entity")
        .group_by("job_id", pl.col("over").alias("entity"), *same, maintain_order=True)
        .agg(power=pl.col("milliwatts").sum(), busy=pl.col("busy").sum())
    )


def _ran(rows: pl.DataFrame) -> pl.DataFrame:
    """Stretches in which a job was believed to be running while they passed."""
    begin, end = pl.max_horizontal("start_s", "known_from_s"), pl.min_horizontal("end_s", "known_until_s")
    return rows.filter(pl.col("status") == "running").with_columns(start_s=begin, end_s=end).filter(begin < end)


def _plans(rows: pl.DataFrame, peers: Peers, entities: int) -> dict[str, Ints]:
    """Rows by plan, and plans by group and start."""
    group = _groups(rows, peers, entities)
    same = ["group", "start_s", "end_s", "job_id", "known_from_s", "known_until_s", "running"]
    rows = rows.with_columns(group=pl.Series(group).gather(rows["entity"])).sort(*same, "entity")
    plans = rows.group_by(same, maintain_order=True).agg(pl.col("kind").first(), rows=pl.len())
    names = {"start_s": "start_s", "end_s": "end_s", "from_s": "known_from_s", "until_s": "known_until_s",
             "kind": "kind", "running": "running", "group": "group"}  # fmt: skip
    told = {"entity": "entity", "power": "milliwatts", "busy": "busy", "unknown": "unknown"}
    return {
        **{name: rows[column].cast(pl.Int64).to_numpy() for name, column in told.items()},
        **{f"plan_{name}": plans[column].cast(pl.Int64).to_numpy() for name, column in names.items()},
        "plan_first": np.append(0, plans["rows"].to_numpy().cumsum()).astype(np.int64),
        "group": group,
    }


def _groups(rows: pl.DataFrame, peers: Peers, entities: int) -> Ints:
    """`[N]`: peers stand in one queue, and so do entities that one job takes."""
    group = len(peers.leaf) + np.arange(entities)
    group[peers.leaf] = peers.pool
    taken = rows.select(pl.col("job_id").rank("dense"), group=pl.Series(group).gather(rows["entity"])).unique()
    job, of = (taken[name].to_numpy().astype(np.int64) for name in ("job_id", "group"))
    least = np.arange(len(peers.leaf) + entities)
    while True:
        of_job = np.full(job.max(initial=0) + 1, len(least))
        np.minimum.at(of_job, job, least[of])
        joined = least.copy()
        np.minimum.at(joined, of, of_job[job])
        if (joined == least).all():
            return least[group]
        least = joined


def _curves(rows: pl.DataFrame) -> tuple[Ints, int]:
    """Per day and kind, the chance to survive to each edge of the pieces; and the first day.

    The product-limit estimate (Kaplan and Meier, 1958): each piece of a spell counts from the day on which it was known
    that the job came through it, or ended in it.
    """
    kinds = int(rows["kind"].to_numpy().max(initial=0)) // SIZES + 1
    told_s, kind, piece, change = _pieces(rows)
    first_day, last_day = 0, -1
    if len(told_s):
        first_day = int(told_s.min()) // DAY_S
        last_day = int(rows["known_from_s"].to_numpy().max()) // DAY_S + _QUIET_DAYS
    day = told_s // DAY_S + 1 - first_day
    shape = (last_day + 2 - first_day, kinds, SIZES, PIECES)
    soon = day < shape[0]
    where = day[soon], *np.divmod(kind[soon], SIZES), piece[soon]
    seen, over = np.zeros(shape), np.zeros(shape)
    for counted, by in zip((seen, over), change, strict=True):
        np.add.at(counted, where, by[soon])
    seen, over = seen.cumsum(0), over.cumsum(0)
    of_kind = over.sum(2, keepdims=True) / (seen.sum(2, keepdims=True) + _PRIOR)
    kept = (1 - (over + _ALIKE * of_kind) / (seen + _ALIKE)).reshape(len(seen), kinds * SIZES, PIECES)
    edge = np.concatenate([np.ones((*kept.shape[:2], 1)), kept.cumprod(-1)], axis=-1)
    return (edge * ONE).round().astype(np.int64).clip(1, ONE), first_day


def _pieces(rows: pl.DataFrame) -> tuple[Ints, Ints, Ints, Ints]:
    """What was told of pieces of spells, and when: their kind, number, and by how many more `[2]` were seen, and ended.

    A piece is over as its time passes, until the job is told to have ended before. Any other change, as of the limit,
    ends a spell and not the job. A record begins with what runs, and does not tell who ended before: what passed before
    the first end of all is left out.
    """
    spells = rows.filter(pl.col("status") == "running")
    spells = spells.unique(["job_id", "known_from_s", "start_s", "end_s"], keep="first", maintain_order=True)
    ended = spells.select(_ENDED).to_series().to_numpy()[:, None]
    begin, end, told, changed = (
        spells[name].to_numpy()[:, None] for name in ("start_s", "end_s", "known_from_s", "known_until_s")
    )
    told_end = spells.select(pl.col("next_end_s").fill_null(pl.col("known_until_s"))).to_series().to_numpy()
    stop = np.where(ended, np.minimum(told_end[:, None], changed), changed)
    edges = begin + (end - begin) * np.arange(PIECES + 1) // PIECES
    counts = edges[:, :-1] >= changed[ended].min(initial=FOREVER)
    passed = counts & (edges[:, 1:] <= changed)
    died = counts & ended & (edges[:, :-1] <= stop) & (stop < edges[:, 1:])
    wrong = passed & (stop < edges[:, :-1])
    kind, found = spells["kind"].to_numpy(), []
    for which, seen, over in ((passed, 1, 0), (died & passed, 0, 1), (died & ~passed, 1, 1), (wrong, -1, 0)):
        spell, piece = np.nonzero(which)
        told_s = np.maximum(edges[:, 1:], told)[which] if which is passed else changed[spell, 0]
        found.append((told_s, kind[spell], piece, np.full(len(spell), seen), np.full(len(spell), over)))
    told_s, of, number, *change = (np.concatenate(each).astype(np.int64) for each in zip(*found, strict=True))
    return told_s, of, number, np.stack(change)
