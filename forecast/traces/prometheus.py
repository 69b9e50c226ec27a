"""A Prometheus server as a source: what was fetched once is kept in files, and only new ranges are asked for."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.signals import LEVELS, SIGNALS
from forecast.contracts.topology import Topology
from forecast.contracts.version import code_version, key_of
from forecast.traces.files import content_key, read_topology
from forecast.traces.metrics import LIMITS, MetricSpec, check_metrics, limits, widen
from forecast.traces.prometheus_api import SAMPLES, PrometheusApi
from forecast.traces.prometheus_lake import DAY, SampleLake, exposed_name, write_parquet
from forecast.traces.prometheus_pull import PrometheusPull
from forecast.traces.templates import check_template, fill
from forecast.traces.trace import Part, Progress, Pull, Source, Trace, checked, parse_utc, silent
from forecast.traces.tree import TreeSpec, tree_of
from forecast.traces.widening import NEXT_READING

_KEY = "key"

#: The labels of each series, by metric and series.
Found = Mapping[tuple[str, str], Mapping[str, str]]


@dataclass
class PrometheusSource(Source):
    """Metrics of a Prometheus server (or of what speaks its API: Thanos, Mimir, VictoriaMetrics).

    Attributes:
        url: of the server's root.
        metrics: a metric's name to what it measures; `name/which` where several entries take their part of one metric
            by `labels`. Ready mappings are in `configs/metrics`.
        entity: the beginning of a metric's name to the template of its entities' ids, the longest that fits counting.
            `{label}` stands for a label's value, `{label:pattern}` for what the regular expression finds in it (its
            first group, if it has one): `{instance:[^:]+}` is `node-1` of `node-1:9100`. A pattern has no braces.
        level: the same for the level of those entities; where nothing fits, `tree.level`.
        topology: a Parquet or CSV file with the topology's columns; None takes `tree`.
        tree: where entities sit, by their series' labels and their ids; limits that a metric reports win.
        start: fetch from this ISO time's UTC day on; None goes `lookback_days` back from `until`, or from now.
        lookback_days: see `start`.
        step_s: None fetches samples as scraped; else the last of each step, where that is too much. Divides a day.
        headers_env: header to the environment variable that holds its value, so that no secret stands in a file:
            `{Authorization: PROMETHEUS_AUTHORIZATION}` with `Bearer …` or `Basic …` in it.
        ca_file: certificates (PEM) to trust instead of the system's.
        timeout_s: for a connection, and between two bytes of an answer.
        attempts: of one request, while the server is busy or away.
        cache: folder of what was fetched: `samples`, and `telemetry` made of them. What reaches the server more than
            ten minutes late, or is backfilled, is seen only when the folder is deleted.
    """

    url: str = ""
    metrics: dict[str, MetricSpec] = field(default_factory=dict)
    entity: dict[str, str] = field(default_factory=dict)
    level: dict[str, str] = field(default_factory=dict)
    topology: str | None = None
    tree: TreeSpec = field(default_factory=TreeSpec)
    start: str | None = None
    lookback_days: int = 90
    step_s: int | None = None
    headers_env: dict[str, str] = field(default_factory=dict)
    ca_file: str | None = None
    timeout_s: float = 30.0
    attempts: int = 6
    cache: str = "var/prometheus"

    def read(self, progress: Progress = silent) -> Trace:
        """Fetch what is new, then read the files.

        Raises:
            ConfigError: settings that cannot mean anything, a label that no series has, an environment variable unset.
            DataError: the server refuses, is not there, or has none of the metrics.
        """
        self.check()
        now = datetime.now(UTC)
        stop = min(parse_utc(self.until, "source.until"), now) if self.until else now
        days = self._days(stop)
        lake = SampleLake(Path(self.cache) / "samples", self.api(), self.metrics, self.step_s)
        lake.fetch(days, stop, now, progress)
        found = self._found(lake, days)
        names = self.named(found)
        topology = self._topology(lake, days, names, found)
        parts = [self._part(lake, day, names, topology) for day in days]
        measured = [name for name in SIGNALS if name in {spec.signal for spec in self.metrics.values()}]
        telemetry = pl.scan_parquet([part.name for part in parts]).select("time", "entity_id", *measured)
        key = key_of(topology.table.write_json(), [part.key for part in parts])
        return Trace(checked(telemetry, self.url), topology, key, tuple(parts)).before(self.until)

    def pull(self, topology: Topology, late: timedelta) -> Pull:
        return PrometheusPull(self, topology, late)

    def check(self) -> None:
        if not self.url:
            raise ConfigError("source.url is not set; give the root of a Prometheus, such as http://localhost:9090.")
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"source.url={self.url!r} must begin with http:// or https://.")
        if "@" in self.url:  # the URL is told in errors
            raise ConfigError("source.url holds a user or password; put them into source.headers_env.Authorization.")
        if not self.metrics:
            raise ConfigError(
                "source.metrics is empty; choose of configs/metrics as in configs/source/prometheus.yaml."
            )
        if self.step_s is not None and (self.step_s <= 0 or 86_400 % self.step_s):
            raise ConfigError(f"source.step_s={self.step_s} does not divide a day.")
        for name in ("timeout_s", "attempts", "lookback_days"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"source.{name}={getattr(self, name)} must be positive.")
        check_metrics(self.metrics)
        for metric in self.metrics:
            check_template(self._template(metric), "source.entity")
            if self._level(metric) not in LEVELS:
                raise ConfigError(f"source.level: {self._level(metric)!r} is no level; levels are {', '.join(LEVELS)}.")
        self.api()

    def _days(self, stop: datetime) -> list[datetime]:
        start = parse_utc(self.start, "source.start") if self.start else stop - timedelta(days=self.lookback_days)
        if start >= stop:
            raise ConfigError(f"source.start={self.start} is not before {stop:%Y-%m-%dT%H:%M}Z, where the data ends.")
        first = start.replace(hour=0, minute=0, second=0, microsecond=0)
        return [first + i * DAY for i in range(-((first - stop) // DAY))]

    def api(self) -> PrometheusApi:
        """The server, with its headers.

        Raises:
            ConfigError: the environment has no variable of the name that is told.
        """
        headers = {}
        for header, variable in self.headers_env.items():
            if variable not in os.environ:
                raise ConfigError(f"source.headers_env.{header}: the environment has no variable {variable}.")
            headers[header] = os.environ[variable]
        return PrometheusApi(self.url, headers, self.ca_file, self.timeout_s, self.attempts)

    def _template(self, metric: str) -> str:
        template = _by_beginning(self.entity, metric)
        if template is None:
            raise ConfigError(f"source.entity has no template for {metric}; add one for the beginning of its name.")
        return template

    def _level(self, metric: str) -> str:
        return _by_beginning(self.level, metric) or self.tree.level

    def _found(self, lake: SampleLake, days: list[datetime]) -> Found:
        """Every series there is."""
        found: dict[tuple[str, str], dict[str, str]] = {}
        for metric in self.metrics:
            series = pl.concat([lake.scan(metric, day).select("series") for day in days]).unique().collect()["series"]
            found.update({(metric, one): json.loads(one) for one in series.sort()})
        if not found:
            raise DataError(
                f"{self.url}: no samples of any of the {len(self.metrics)} metrics from {days[0]:%Y-%m-%d} to "
                f"{days[-1]:%Y-%m-%d}; check source.metrics and source.start."
            )
        return found

    def named(self, found: Found) -> pl.DataFrame:
        """`metric`, `series`, and the `entity_id` that each is of; null where its labels don't tell.

        Raises:
            ConfigError: a metric none of whose series tells.
        """
        rows = [(metric, series, fill(self._template(metric), of)) for (metric, series), of in found.items()]
        table = pl.DataFrame(rows, schema=dict.fromkeys(("metric", "series", "entity_id"), pl.String), orient="row")
        for metric, of in table.group_by("metric", maintain_order=True):
            if of["entity_id"].null_count() == len(of):
                raise ConfigError(
                    f"source.entity: {self._template(str(metric[0]))!r} names no entity of {metric[0]}; its series "
                    f"have labels such as {of['series'][0]}."
                )
        return table

    def _topology(self, lake: SampleLake, days: list[datetime], names: pl.DataFrame, found: Found) -> Topology:
        """One tree of the entities of all levels; of an entity that is another's ancestor too, its own labels count."""
        if self.topology is not None:
            return read_topology(self.topology, {})
        labels: dict[str, dict[str, str]] = {}
        for metric, series, entity in names.drop_nulls().iter_rows():
            labels[entity] = {**found[metric, series], **labels.get(entity, {}), "entity_id": entity}
        columns = ["entity_id", *sorted({name for of in labels.values() for name in of} - {"entity_id"})]
        entities = pl.DataFrame(list(labels.values()), schema=dict.fromkeys(columns, pl.String)).sort("entity_id")
        ranks = [(entity, LEVELS.index(self._level(metric))) for metric, _, entity in names.drop_nulls().iter_rows()]
        lowest = dict(sorted(ranks, reverse=True))
        told = self._limits(lake, days, names)
        tables = []
        for rank in sorted(set(lowest.values()), reverse=True):
            of = entities.filter(pl.col("entity_id").is_in([entity for entity in lowest if lowest[entity] == rank]))
            above = {level: parent for level, parent in self.tree.parents.items() if LEVELS.index(level) > rank}
            tables.append(tree_of(of, replace(self.tree, level=LEVELS[rank], parents=above), self.url, told).table)
        return Topology.of(pl.concat(tables).unique("entity_id", keep="first", maintain_order=True), self.url)

    def _limits(self, lake: SampleLake, days: list[datetime], names: pl.DataFrame) -> pl.DataFrame:
        reporting = [name for name, spec in self.metrics.items() if spec.signal in LIMITS]
        samples = [pl.LazyFrame(schema={**SAMPLES, "metric": pl.String})]
        samples += [lake.scan(name, day).with_columns(metric=pl.lit(name)) for name in reporting for day in days]
        return limits(pl.concat(samples).join(names.lazy(), on=["metric", "series"]), self.metrics)

    def _part(self, lake: SampleLake, day: datetime, names: pl.DataFrame, topology: Topology) -> Part:
        """One day's telemetry as a file, made anew where its samples, the mapping or a limit have changed."""
        path = Path(self.cache) / "telemetry" / f"{day:%Y-%m-%d}.parquet"
        following = day + DAY
        counters = [name for name, spec in self.metrics.items() if spec.kind == "counter"]
        margins = any(spec.kind == "margin" for spec in self.metrics.values())
        key = key_of(
            {name: asdict(spec) for name, spec in self.metrics.items()},
            self.entity,
            topology.table.select("entity_id", "power_limit_w", "temperature_limit_c").write_json()
            if margins
            else None,
            [content_key([lake.path(name, day)]) for name in self.metrics],
            [str(min(lake.covered(name, following), following + NEXT_READING)) for name in counters],
            code_version("traces"),
        )
        if not path.exists() or pl.read_parquet_metadata(path).get(_KEY) != key:
            samples = [lake.scan(name, day).with_columns(metric=pl.lit(name)) for name in self.metrics]
            samples += [
                lake.scan(name, following)
                .filter(pl.col("time") < following + NEXT_READING)
                .with_columns(metric=pl.lit(name))
                for name in counters
            ]
            named = pl.concat(samples).join(names.lazy(), on=["metric", "series"], how="left")
            wide = widen(named, self.metrics, topology).filter(pl.col("time") < following)
            absent = [pl.lit(None, pl.Float64).alias(name) for name in SIGNALS if name not in wide.collect_schema()]
            telemetry = wide.with_columns(absent).select("time", "entity_id", *SIGNALS).sort("time", "entity_id")
            write_parquet(telemetry.collect(), path, {_KEY: key})
        return Part(str(path), content_key([path]), day, following - timedelta(microseconds=1))


def _by_beginning(choices: Mapping[str, str], metric: str) -> str | None:
    """The choice for the longest beginning of the metric's name; None where none fits."""
    fitting = [beginning for beginning in choices if exposed_name(metric).startswith(beginning)]
    return choices[max(fitting, key=len)] if fitting else None
