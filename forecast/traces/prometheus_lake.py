"""Samples fetched from a Prometheus, kept in files: one per metric and UTC day, so that each is fetched once."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from forecast.contracts.errors import ConfigError
from forecast.contracts.version import key_of
from forecast.disk import write_whole
from forecast.traces.metrics import MetricSpec
from forecast.traces.prometheus_api import SAMPLES, PrometheusApi
from forecast.traces.trace import Progress, floor

DAY = timedelta(days=1)

#: A sample may reach the server this long after its time: a scrape's timeout is a minute at most as a rule, and remote
#: writers and write-ahead logs catch up within minutes. The last of a fetch is therefore fetched again by the next.
_LATE = timedelta(minutes=10)

_METRIC_NAME = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")

#: In each file's Parquet metadata: up to when it holds all there was, ISO.
_COVERED = "covered_until"


@dataclass(frozen=True)
class SampleLake:
    """Fetched samples of some metrics.

    Attributes:
        root: folder; below it one folder per metric and selector, and in that one file per UTC day.
        api: where they come from.
        metrics: as in `PrometheusSource`.
        step_s: None for samples as scraped.
    """

    root: Path
    api: PrometheusApi
    metrics: Mapping[str, MetricSpec]
    step_s: int | None

    def path(self, metric: str, day: datetime) -> Path:
        key = key_of(self.api.url, selector(metric, self.metrics[metric]), self.step_s)
        return self.root / f"{metric.replace('/', '.')}-{key[:8]}" / f"{day:%Y-%m-%d}.parquet"

    def fetch(self, days: Sequence[datetime], stop: datetime, now: datetime, progress: Progress) -> None:
        """Fetch what is not there yet of `days`, up to `stop`; a file is replaced whole or not at all.

        Raises:
            ConfigError: a name that no metric or label can have.
            DataError: the server refuses or is not there.
        """
        for name, spec in self.metrics.items():
            selector(name, spec)
        for done, day in enumerate(days):
            wanted = floor(min(day + DAY, stop), self.step_s)
            missing = [name for name in self.metrics if self.covered(name, day) < wanted]
            if missing:
                self._fetch_day(missing, day, wanted, now, _share_of(progress, done, len(days)))
        progress(1.0)

    def scan(self, metric: str, day: datetime) -> pl.LazyFrame:
        """The samples of one metric and day, SAMPLES; none where nothing was fetched."""
        path = self.path(metric, day)
        return pl.scan_parquet(path) if path.exists() else pl.LazyFrame(schema=SAMPLES)

    def covered(self, metric: str, day: datetime) -> datetime:
        """Up to when all samples of that day are there that ever will be."""
        path = self.path(metric, day)
        return datetime.fromisoformat(pl.read_parquet_metadata(path)[_COVERED]) if path.exists() else day

    def _fetch_day(self, metrics: list[str], day: datetime, wanted: datetime, now: datetime, tell: Progress) -> None:
        earliest = min(self.covered(name, day) for name in metrics)
        counts = SeriesCounts.at(self.api, metrics, earliest, wanted)
        for done, name in enumerate(metrics):
            start = self.covered(name, day)
            kept = self.scan(name, day).filter(pl.col("time") < start).collect()
            count = counts.of(name)
            new = self.api.samples(selector(name, self.metrics[name]), start, wanted, self.step_s, count)
            samples = pl.concat([kept, *(new if count else [])]).sort("series", "time")
            covered = floor(max(start, min(wanted, now - _LATE)), self.step_s)
            write_parquet(samples, self.path(name, day), {_COVERED: covered.isoformat()})
            tell((done + 1) / len(metrics))


@dataclass(frozen=True)
class SeriesCounts:
    """How many series each metric's name has about a time, in one request instead of many in vain."""

    by_name: Mapping[str, int]

    @classmethod
    def at(cls, api: PrometheusApi, metrics: Iterable[str], start: datetime, end: datetime) -> "SeriesCounts":
        """Those of `metrics` between two times. Raises as `PrometheusApi.samples`."""
        names = sorted({exposed_name(name) for name in metrics})
        found = Counter(
            labels.get("__name__") for labels in api.series(f'{{__name__=~"{"|".join(names)}"}}', start, end)
        )
        return cls({name: found[name] for name in names})

    def of(self, metric: str) -> int:
        return self.by_name[exposed_name(metric)]

    @property
    def total(self) -> int:
        return sum(self.by_name.values())


def exposed_name(metric: str) -> str:
    """A metric's name at the server: `ipmi_temperature_celsius` for the key `ipmi_temperature_celsius/inlet`."""
    return metric.partition("/")[0]


def selector(metric: str, spec: MetricSpec) -> str:
    """The PromQL that selects a metric's series.

    Raises:
        ConfigError: a name that no metric or label can have.
    """
    name = exposed_name(metric)
    if not _METRIC_NAME.fullmatch(name):
        raise ConfigError(f"source.metrics has {metric!r}; a key is a metric's name, or name/which for several of one.")
    for label in spec.labels:
        if not _LABEL_NAME.fullmatch(label):
            raise ConfigError(f"source.metrics.{metric}.labels has {label!r}, which is no label's name.")
    matchers = ",".join(f"{label}=~{json.dumps(pattern)}" for label, pattern in sorted(spec.labels.items()))
    return f"{name}{{{matchers}}}"


def write_parquet(frame: pl.DataFrame, path: Path, metadata: dict[str, str]) -> None:
    """Write a Parquet file that is either there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: frame.write_parquet(file, metadata=metadata))


def _share_of(progress: Progress, done: int, total: int) -> Progress:
    return lambda share: progress((done + share) / total)
