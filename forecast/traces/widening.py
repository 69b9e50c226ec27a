"""Samples that keep coming as rows of signals: energy waits for its next reading before it is told as power."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl

from forecast.contracts.topology import Topology
from forecast.traces.metrics import MetricSpec, widen

#: A counter's last reading gives a power only with the next one, which is waited for so long.
NEXT_READING = timedelta(hours=1)

_SAMPLE = ["time", "entity_id"]


class Widening:
    """`widen` in instalments, which together say what it would say of all samples at once.

    A row with the newest reading of a counter is kept back until the next reading is there, or no longer to be
    expected; only then is it known what the counter says of it.

    Args:
        metrics, topology: as of `widen`.
    """

    def __init__(self, metrics: Mapping[str, MetricSpec], topology: Topology) -> None:
        self._metrics, self._topology = metrics, topology
        self._counters = [name for name, spec in metrics.items() if spec.kind == "counter"]
        self._waiting: pl.DataFrame | None = None

    def rows(self, samples: pl.DataFrame, until: datetime) -> pl.DataFrame:
        """The rows that `samples` and those that waited make.

        Args:
            samples: as of `widen`, each with a time; of one time all at once. They may come again.
            until: when they end.
        """
        if self._waiting is not None and samples is not self._waiting:
            samples = pl.concat([self._waiting, samples]).unique(maintain_order=True)
        wide = widen(samples.lazy(), self._metrics, self._topology).collect()
        if not self._counters:
            return wide
        readings = samples.filter(pl.col("metric").is_in(self._counters), pl.col("value").is_not_null())
        newest = readings.group_by("entity_id", "metric", "series").agg(pl.col("time").max())
        open_ends = newest.filter(pl.col("time") > until - NEXT_READING).select(_SAMPLE).unique()
        self._waiting = samples.join(open_ends, on=_SAMPLE, how="semi", maintain_order="left")
        return wide.join(open_ends, on=_SAMPLE, how="anti", maintain_order="left")

    def rest(self, until: datetime) -> pl.DataFrame:
        """The rows that waited long enough."""
        return pl.DataFrame() if self._waiting is None else self.rows(self._waiting, until)
