"""Whether a schedule is of today: jobs begin and end, and one that is kept up tells of it."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.schedule import IMPOSED, LIVE
from forecast.features.schedule import FOREVER, Ints, second_known

#: A schedule is believed for so many of its mean gaps between beginnings and ends of jobs after the last of them, and
#: for so many seconds at least: nights and weekends are quieter than the mean.
_GAPS, _LEAST_S = 24, 6 * 3600

#: Fewer of them tell no gap.
_FEWEST = 10


@dataclass(frozen=True, eq=False)
class News:
    """From when on, and until when, what a schedule last told lets it be believed: `[E]` both, seconds since 1970.

    Attributes:
        from_s: ascending.
        until_s: inclusive.
    """

    from_s: Ints
    until_s: Ints

    @classmethod
    def of(cls, jobs: pl.LazyFrame) -> "News":
        """Of contract JOB_SCHEDULE: what was told of beginnings and ends of jobs, once they were past."""
        running, live = pl.col("status") == "running", pl.col("status").is_in(LIVE)
        happened = pl.when(running).then("start_time").when(~live).then("end_time").dt.epoch("s")
        told = (
            jobs.filter(~pl.col("kind").is_in(IMPOSED).fill_null(value=False), pl.col("available_at").is_not_null())
            .select("job_id", "status", happened_s=happened, from_s=second_known())
            .filter(pl.col("happened_s") <= pl.col("from_s"))
            .unique(["job_id", "status"], keep="first", maintain_order=True)
            .sort("from_s", maintain_order=True)
            .collect()
        )
        happened_s = told["happened_s"].to_numpy().astype(np.int64)
        newest_s, oldest_s = np.maximum.accumulate(happened_s), np.minimum.accumulate(happened_s)
        count = np.arange(1, len(told) + 1)
        until_s = newest_s + np.maximum(_LEAST_S, _GAPS * (newest_s - oldest_s) // count)
        return cls(told["from_s"].to_numpy().astype(np.int64), np.where(count < _FEWEST, FOREVER, until_s))

    def believed(self, origin_s: Ints) -> NDArray[np.bool_]:
        """Whether a schedule is believed at some times, as far as was known then; where it told nothing yet, too."""
        last = np.searchsorted(self.from_s, origin_s, side="right") - 1
        until_s = self.until_s[last.clip(0)] if len(self.until_s) else origin_s
        return (last < 0) | (origin_s <= until_s)
