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
from forecast.features.schedule import IS_JOB, ONE, TIMES, Ints, above_of, believed, leaves_of
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

#: A limit is looked at in so many equal pieces, and those who use it as so many of equal chance.
PIECES, CHANCES = 16, 256

DAY_S = 86_400

#: So many jobs that ran to their limit are believed in beside those that were seen: with few jobs, limits count.
_PRIOR = 4.0

#: A scheduler tells the start of a queued job in whole minutes (Slurm's `bf_resolution` is 60 s).
_MINUTE_S = 60

#: Waits for nobody.
_NOBODY = -1


@dataclass(frozen=True, eq=False)
class Outlook:
    """Jobs with what decides whether they run at a time; arrays `[R]` of rows, `[M]` of what ran.

    Attributes:
        entity: index in topology order.
        start_s, end_s: the promise, seconds since 1970.
        known_from_s, known_until_s: believed at t where known_from_s <= t < known_until_s.
        power, busy: mW, and leaves that are busy.
        unknown: rows whose power nobody told.
        running: 1 where the job runs, 0 where it is to come.
        plan: index of the row's job among the plans.
        plan_start_s, plan_end_s, plan_kind, plan_behind: `[J]`, the promise of a job, its kind, and the plan that it
            waits for; -1 where it waits for none. The last one is of no job.
        survival: `[days, kinds, PIECES + 1]`, chance in `ONE` to run on at the edges of the pieces, by day since 1970.
        used: `[days, kinds, CHANCES]`, share in `ONE` of the limit that a job uses which survives so many others.
        first_day: of both.
        ran: `[4, M]`, entity, start and end of what was running, and mW; `ran_busy [M]` leaves.
        leaves: `[N]`.
        peers: who gets the next job.
        submissions: what was submitted to them.
        since_s: nothing was known of any job before.
    """

    entity: Ints
    start_s: Ints
    end_s: Ints
    known_from_s: Ints
    known_until_s: Ints
    power: Ints
    busy: Ints
    unknown: Ints
    running: Ints
    plan: Ints
    plan_start_s: Ints
    plan_end_s: Ints
    plan_kind: Ints
    plan_behind: Ints
    survival: Ints
    used: Ints
    first_day: int
    ran: Ints
    ran_busy: Ints
    leaves: Ints
    peers: Peers
    submissions: Submissions
    since_s: int


def outlook(jobs: pl.LazyFrame, topology: Topology) -> Outlook:
    """The jobs of contract JOB_SCHEDULE, rolled up the tree as `forecast.features.schedule.promises` does."""
    code = {entity: index for index, entity in enumerate(topology.entities)}
    known, since_s = believed(jobs, code)
    leaves = leaves_of(topology, code)
    rows = known.filter(IS_JOB).with_columns(
        kind=pl.col("kind").rank("dense").cast(pl.Int64) - 1,
        running=(pl.col("status") == "running").cast(pl.Int64),
        busy=pl.Series("leaves", leaves).gather(known.filter(IS_JOB)["entity"]),
    )
    above = above_of(topology, code)
    rows = rows.with_row_index("plan").with_columns(pl.col("plan").cast(pl.Int64))
    peers = Peers.of(topology, above, leaves)
    survival, used, first_day = _curves(rows)
    table = _lifted(rows, above, (*TIMES, "running")).drop("job_id")
    ran = _lifted(_ran(rows), above, ("start_s", "end_s"))
    return Outlook(
        **{name: table[name].to_numpy().astype(np.int64) for name in table.columns},
        **_plans(rows),
        survival=survival,
        used=used,
        first_day=first_day,
        ran=np.stack([ran[name].to_numpy() for name in ("entity", "start_s", "end_s", "power")]).astype(np.int64),
        ran_busy=ran["busy"].to_numpy().astype(np.int64),
        leaves=leaves,
        peers=peers,
        submissions=Submissions.of(rows, peers),
        since_s=since_s,
    )


def _lifted(rows: pl.DataFrame, above: pl.DataFrame, same: tuple[str, ...]) -> pl.DataFrame:
    """Rows on their entities and all above; what one job has on several below becomes one row."""
    return (
        rows.join(above, on="entity")
        .group_by("job_id", pl.col("over").alias("entity"), *same, maintain_order=True)
        .agg(
            power=pl.col("milliwatts").sum(),
            busy=pl.col("busy").sum(),
            unknown=pl.col("unknown").sum(),
            plan=pl.col("plan").min(),
        )
    )


def _ran(rows: pl.DataFrame) -> pl.DataFrame:
    """Stretches in which a job was believed to be running while they passed."""
    begin, end = pl.max_horizontal("start_s", "known_from_s"), pl.min_horizontal("end_s", "known_until_s")
    return rows.filter(pl.col("status") == "running").with_columns(start_s=begin, end_s=end).filter(begin < end)


def _plans(rows: pl.DataFrame) -> dict[str, Ints]:
    """Each row's promise and the plan that it waits for: on one of its entities, believed then, ending as it starts."""
    told = rows.select("job_id", "entity", "plan", *TIMES)
    minute = pl.col("start_s") // _MINUTE_S
    late = pl.concat([told.with_columns(minute=pl.col("end_s") // _MINUTE_S + ahead) for ahead in (0, 1)])
    behind = (
        rows.filter(pl.col("status") != "running")
        .select("job_id", "entity", "start_s", "known_from_s", "known_until_s", minute=minute)
        .join(late, on=["entity", "minute"], suffix="_late")
        .filter(
            pl.col("job_id") != pl.col("job_id_late"),
            pl.col("end_s") <= pl.col("start_s"),
            pl.col("end_s") > pl.col("known_from_s"),
            pl.col("known_from_s_late") <= pl.col("known_from_s"),
            pl.col("known_until_s_late") > pl.col("known_from_s"),
        )
        .sort("job_id_late", "plan")
        .unique(["job_id", "start_s", "known_from_s"], keep="first", maintain_order=True)
        .select("job_id", "start_s", "known_from_s", behind="plan")
    )
    joined = rows.join(behind, on=["job_id", "start_s", "known_from_s"], how="left", maintain_order="left")
    nobody = {"start_s": 0, "end_s": 1, "kind": 0, "behind": _NOBODY}
    return {
        f"plan_{name}": np.append(joined[name].fill_null(_NOBODY).to_numpy(), last).astype(np.int64)
        for name, last in nobody.items()
    }


def _curves(rows: pl.DataFrame) -> tuple[Ints, Ints, int]:
    """Per day and kind, the chance to survive to each edge of the pieces, and what is used of the limit.

    The product-limit estimate (Kaplan and Meier, 1958) over the spells whose end, or change, was known when the day
    began: an end before the limit counts, any other change takes the job out of those at risk.
    """
    spells = rows.filter((pl.col("status") == "running") & pl.col("next_status").is_not_null())
    spells = spells.unique(["job_id", "known_from_s", "start_s", "end_s"], keep="first", maintain_order=True)
    if spells.is_empty():
        kinds = 0 if rows.is_empty() else int(rows["kind"].max()) + 1  # type: ignore[arg-type]
        whole = (1, max(kinds, 1))
        return np.full((*whole, PIECES + 1), ONE, np.int64), np.full((*whole, CHANCES), ONE, np.int64), 0
    ended = ~spells["next_status"].is_in(LIVE).to_numpy()
    begin, end, changed = (spells[name].to_numpy() for name in ("start_s", "end_s", "known_until_s"))
    told_end = spells.select(pl.col("next_end_s").fill_null(pl.col("known_until_s"))).to_series().to_numpy()
    stop = np.where(ended, np.minimum(told_end, changed), changed)
    reached = ((stop - begin) * PIECES // (end - begin)).clip(0, PIECES)
    kind, kinds = spells["kind"].to_numpy(), int(rows["kind"].max()) + 1  # type: ignore[arg-type]
    first_day = int(changed.min()) // DAY_S
    day = changed // DAY_S - first_day + 1
    shape = (int(day.max()) + 1, kinds, PIECES + 1)
    stopped, died = np.zeros(shape), np.zeros(shape)
    np.add.at(stopped, (day, kind, reached), 1.0)
    np.add.at(died, (day, kind, reached), ended * 1.0)
    stopped, died = stopped.cumsum(0), died.cumsum(0)
    at_risk = stopped[..., ::-1].cumsum(-1)[..., ::-1]
    kept = 1 - died[..., :PIECES] / (at_risk[..., :PIECES] + _PRIOR)
    edge = np.concatenate([np.ones((*shape[:2], 1)), kept.cumprod(-1)], axis=-1)
    return (edge * ONE).round().astype(np.int64).clip(1, ONE), _used(edge), first_day


def _used(edge: np.ndarray) -> Ints:
    """The share of the limit to which each of `CHANCES` survives, from the last to the first to end, `[..., CHANCES]`.

    Args:
        edge: `[..., PIECES + 1]`, survival at the edges of the pieces; who survives the last uses all of the limit.
    """
    chance, share = (np.arange(CHANCES) + 0.5) / CHANCES, np.arange(PIECES + 1) / PIECES
    found = np.stack([np.interp(chance, each[::-1], share[::-1]) for each in edge.reshape(-1, PIECES + 1)])
    return (found * ONE).round().astype(np.int64).reshape(*edge.shape[:-1], CHANCES)
