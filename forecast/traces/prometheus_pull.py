"""What is new at a Prometheus, asked for again and again; nothing of it is kept on disk."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from forecast.contracts.errors import DataError
from forecast.contracts.signals import SIGNALS
from forecast.contracts.topology import Topology
from forecast.traces.metrics import LIMITS
from forecast.traces.prometheus_api import SAMPLES
from forecast.traces.prometheus_lake import SeriesCounts, selector
from forecast.traces.trace import WHOLE_S, checked, floor
from forecast.traces.widening import Widening

if TYPE_CHECKING:
    from forecast.traces.prometheus import PrometheusSource

#: A scrape is there when its target has answered, ten seconds later at most by Prometheus' defaults; before, some of
#: its metrics could be seen without the others.
_SETTLED = timedelta(seconds=15)

#: Remote writers catch up within minutes: so much of what was asked for before is asked for again, each time ...
_OVERLAP = timedelta(minutes=2)

#: ... and so often, all that may still come late.
_AGAIN = timedelta(hours=1)

#: Nothing at all for so long is told: exporters are scraped more often.
_SILENCE = timedelta(minutes=15)

#: Aim of one piece, about 200 MB as rows: beside the ring of a fleet that has so many samples it is small.
_SAMPLES_PER_PIECE = 2_000_000
_LONGEST = timedelta(hours=6)

#: Assumed of what is fetched as it was scraped.
_SCRAPE_S = 15.0


class PrometheusPull:
    """Follows a server for a fleet that is known.

    Each request has one attempt: whoever asks again is the next. A sample is told once, so that one that the server
    gives otherwise later (the last of a step, say) does not contradict itself.

    Args:
        source: its settings; `start`, `until` and `lookback_days` are a trainer's.
        topology: of the fleet, with the limits that margins are left below.
        late: so late a sample may come and still be looked for.

    Raises:
        ConfigError: settings that cannot mean anything, an environment variable unset.
    """

    def __init__(self, source: "PrometheusSource", topology: Topology, late: timedelta) -> None:
        source.check()
        self._source, self._late = source, late
        self._api = replace(source, attempts=1).api()
        self._metrics = {name: spec for name, spec in source.metrics.items() if spec.signal not in LIMITS}
        self._signals = [name for name in SIGNALS if name in {spec.signal for spec in self._metrics.values()}]
        self._widening = Widening(self._metrics, topology)
        self._told_until: datetime | None = None
        self._looked_back: datetime | None = None
        self._told: pl.DataFrame | None = None

    def rows(self, begin: datetime, until: datetime) -> Iterator[pl.DataFrame]:
        """As of `Pull.rows`."""
        end = floor(until - _SETTLED, self._source.step_s)
        since = first = self._since(begin, until)
        found = 0
        while since < end:
            counts = SeriesCounts.at(self._api, self._metrics, since, min(since + _LONGEST, end))
            stop = min(since + self._piece(counts), end)
            samples = self._samples(since, stop, counts)
            fresh = self._fresh(samples, stop)
            if not fresh.is_empty():
                yield fresh
            self._told_until = since = stop
            found += len(samples)
        if not found:
            self._told_until = first  # what is not there yet is waited for
        if not found and end - first >= _SILENCE:
            raise DataError(
                f"{self._source.url}: no samples of any of the {len(self._metrics)} metrics since "
                f"{first:%Y-%m-%dT%H:%M}Z; check source.metrics, and that their exporters are scraped."
            )

    def newest(self) -> datetime | None:
        """Now: a server has no end."""
        return datetime.now(UTC)

    def _since(self, begin: datetime, until: datetime) -> datetime:
        if self._told_until is None:
            self._looked_back = until
            return floor(begin, self._source.step_s)
        since = self._told_until - _OVERLAP
        if self._looked_back is None or until - self._looked_back >= _AGAIN:
            self._looked_back, since = until, floor(since - self._late, WHOLE_S)
        return floor(max(begin, since), self._source.step_s)

    def _piece(self, counts: SeriesCounts) -> timedelta:
        step_s = self._source.step_s
        seconds = _SAMPLES_PER_PIECE * (step_s or _SCRAPE_S) / max(counts.total, 1)
        longest = min(timedelta(seconds=seconds), _LONGEST)
        return max(longest // timedelta(seconds=step_s or 1), 1) * timedelta(seconds=step_s or 1)

    def _samples(self, since: datetime, stop: datetime, counts: SeriesCounts) -> pl.DataFrame:
        """The samples of entities, each with its own."""
        samples = [pl.DataFrame(schema={**SAMPLES, "metric": pl.String})]
        for name, spec in self._metrics.items():
            if counts.of(name):
                chunks = self._api.samples(selector(name, spec), since, stop, self._source.step_s, counts.of(name))
                samples += [chunk.with_columns(metric=pl.lit(name)) for chunk in chunks]
        together = pl.concat(samples)
        there = together.select("metric", "series").unique().sort("metric", "series").iter_rows()
        names = self._source.named({(metric, series): json.loads(series) for metric, series in there})
        return together.join(names.drop_nulls("entity_id"), on=["metric", "series"], how="inner", maintain_order="left")

    def _fresh(self, samples: pl.DataFrame, stop: datetime) -> pl.DataFrame:
        """The rows that these samples make and that were not told."""
        rows = checked(self._widening.rows(samples, stop).lazy(), self._source.url).collect()
        fresh = self._untold(rows)
        told = fresh if self._told is None else pl.concat([self._told, fresh])
        self._told = told.filter(pl.col("time") >= stop - _OVERLAP - timedelta(seconds=self._source.step_s or 0))
        return fresh

    def _untold(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`rows` with the signals that were not told before."""
        if self._told is None or self._told.is_empty():
            return rows
        keys = ["time", "entity_id"]
        together = rows.join(self._told, on=keys, how="left", suffix=" told", maintain_order="left")
        new = [pl.when(pl.col(f"{name} told").is_null()).then(name).alias(name) for name in self._signals]
        fresh = together.select(*keys, *new)
        return fresh.filter(pl.any_horizontal(pl.col(self._signals).is_not_null()))
