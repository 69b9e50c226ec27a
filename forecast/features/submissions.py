"""What was submitted, when and to whom: jobs that nobody has submitted yet come as these came on the days before."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from forecast.features.peers import Peers
from forecast.features.schedule import FOREVER, Ints

#: A job that had begun so long before it was first told was not submitted then: a record begins with what runs.
_BEGUN_S = 3600


@dataclass(frozen=True, eq=False)
class Submissions:
    """Jobs by the pool of leaves that took them, in order of submission; arrays `[J]`.

    Attributes:
        at_s: first told, seconds since 1970.
        wanted: leaves that it took.
        limit_s, kind: the promise, and the index of its kind.
        power: mW on each leaf, as far as it was told.
        first: `[P + 1]`, where the jobs of each pool of `Peers` begin.
        since_s: `[K]`, when it was first told of each leaf of `Peers` that it takes one of the jobs.
    """

    at_s: Ints
    wanted: Ints
    limit_s: Ints
    kind: Ints
    power: Ints
    first: Ints
    since_s: Ints

    @classmethod
    def of(cls, rows: pl.DataFrame, peers: Peers) -> "Submissions":
        """Of the rows of jobs that `forecast.features.outlook` believes; those on no leaf are left out."""
        places = pl.DataFrame({"entity": peers.leaf, "pool": peers.pool}, schema={"entity": pl.Int64, "pool": pl.Int64})
        job = ["pool", "job_id"]
        on_leaves = rows.join(places, on="entity", maintain_order="left")
        told = (
            on_leaves.filter(pl.col("known_from_s") == pl.col("known_from_s").min().over(job))
            .group_by(job, maintain_order=True)
            .agg(
                pl.col("known_from_s", "start_s", "end_s", "kind").first(),
                wanted=pl.col("entity").n_unique(),
                power=pl.col("milliwatts").filter(pl.col("unknown") == 0).mean().fill_null(0).round(),
            )
            .filter(pl.col("start_s") > pl.col("known_from_s") - _BEGUN_S)
            .sort("pool", "known_from_s", "job_id")
            .with_columns(limit_s=pl.col("end_s") - pl.col("start_s"), at_s="known_from_s")
        )
        first_told = on_leaves.join(told, on=job, how="semi").group_by("entity").agg(pl.col("known_from_s").min())
        since_s = places.join(first_told, on="entity", how="left", maintain_order="left")["known_from_s"]
        arrays = {name: told[name].cast(pl.Int64).to_numpy() for name in ("at_s", "wanted", "limit_s", "kind", "power")}
        pools = np.arange(peers.pool.max(initial=-1) + 2)
        first = np.searchsorted(told["pool"].to_numpy(), pools)
        return cls(**arrays, first=first, since_s=since_s.fill_null(FOREVER).cast(pl.Int64).to_numpy())
