"""Long files: a row per sensor and time, as IPMI collectors and metric archives write them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.signals import LEVELS
from forecast.contracts.tables import listed
from forecast.contracts.topology import Topology
from forecast.traces.files import FileSource
from forecast.traces.files_pull import Reader
from forecast.traces.metrics import LIMITS, MetricSpec, check_metrics, limits, widen
from forecast.traces.numbers import check_numbers, number
from forecast.traces.places import File
from forecast.traces.readers import check_expansion, scan
from forecast.traces.times import utc
from forecast.traces.trace import checked
from forecast.traces.tree import with_limits
from forecast.traces.widening import Widening

#: Of a metric: what matches its sensors' names, and their labels.
_Pattern = tuple[re.Pattern[str], dict[str, re.Pattern[str]]]

_REQUIRED = ("time", "entity_id", "metric", "value")


@dataclass
class LongSource(FileSource):
    """Measurements in files that name the sensor in each row.

    Attributes:
        columns: `time`, `entity_id`, `metric` (the sensor) and `value` to the file's columns, and any label that
            metrics tell sensors apart by; the first four may be left out where the file has these names.
        metrics: a sensor's name, or a regular expression that matches it wholly, to what it measures.
        measured_at: key of `metrics` to a level: what entities report of their ancestor there, as nodes of a chassis
            do of the power that they share; the readings of all who report it are the ancestor's.
    """

    metrics: dict[str, MetricSpec] = field(default_factory=dict)
    measured_at: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.columns = {**{name: name for name in _REQUIRED}, **self.columns}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], path: str) -> "FileSource":
        metrics = {name: MetricSpec(**spec) for name, spec in mapping["metrics"].items()}
        return super().from_mapping({**mapping, "metrics": metrics}, path)

    def samples(self, topology: Topology) -> pl.LazyFrame:
        """The mapped sensors' samples, in the form that `forecast.traces.metrics.widen` takes.

        Raises:
            DataError: a missing column, no sensor that a metric matches, a zone-less time without `time_zone`.
            ConfigError: metrics that mean nothing, or two that match one sensor.
        """
        return self._samples(scan(self.find()), topology)

    def check(self) -> None:
        self._check_path()
        check_metrics(self.metrics)

    def reader(self, topology: Topology) -> Reader:
        """As of `FileSource.reader`. Sensors that make up one signal of an entity must come in one file, or at once."""
        widening = Widening(self.metrics, topology)
        matched = False

        def read(files: Sequence[File], begin: datetime, end: datetime) -> pl.DataFrame:
            nonlocal matched
            if not files:
                return widening.rest(end)
            raw = scan(files)
            check_expansion(files, self._needed(raw.collect_schema()))
            samples = self._samples(raw, topology, is_part=matched)
            matched = True
            within = samples.filter(pl.col("time").is_between(begin, end, closed="left")).collect()
            return checked(widening.rows(within, end).lazy().filter(*self._in_service()), self.where).collect()

        return read

    def _mapped(self, raw: pl.LazyFrame, topology: Topology) -> pl.LazyFrame:
        wide = widen(self._samples(raw, topology), self.metrics, topology).filter(*self._in_service())
        if not self.measured_at:
            return wide
        # An ancestor's readings come from several reporters, whose order in the file says nothing of lateness.
        shared = topology.table.filter(pl.col("level").is_in(list(self.measured_at.values())))["entity_id"]
        of_many = pl.when(pl.col("entity_id").is_in(shared.implode())).then("time")
        return wide.sort(of_many, maintain_order=True)

    def _samples(self, raw: pl.LazyFrame, topology: Topology, *, is_part: bool = False) -> pl.LazyFrame:
        """As `samples`, of `raw`; a part of the files may be without any mapped sensor."""
        found = raw.collect_schema()
        columns = self._check_found(found)
        check_numbers(raw, [columns["value"]], self.where)
        sensor = {f"_{name}": pl.col(column) for name, column in columns.items() if name not in {"time", "value"}}
        named = raw.select(
            time=utc(raw, columns["time"], self.time_zone, self.where),
            value=number(columns["value"], found[columns["value"]]),
            **sensor,
        )
        labels = [name for name in sensor if name != "_entity_id"]
        series = self._series(named.select(labels).unique().collect(), is_part)
        wanted = pl.col("_metric").is_in(series["_metric"].unique().implode())  # in the scan already, unlike the join
        return (
            named.filter(wanted)
            .join(series.lazy(), on=labels, how="inner", nulls_equal=True, maintain_order="left")
            .with_columns(self._reported(pl.col("_entity_id").cast(pl.String), topology))
            .select("time", "entity_id", "metric", "series", "value")
        )

    def _check_found(self, found: pl.Schema) -> Mapping[str, str]:
        check_metrics(self.metrics)
        if self.units:
            raise ConfigError("units: long files have theirs in `metrics`; move them there.")
        absent = [column for column in self.columns.values() if column not in found]
        if absent:
            raise DataError(f"{self.where}: no column {', '.join(absent)}; found {listed(found)}.")
        unknown = [label for spec in self.metrics.values() for label in spec.labels if label not in self.columns]
        if unknown:
            raise ConfigError(f"metrics tell sensors apart by {unknown[0]!r}, which `columns` does not map.")
        for metric, level in self.measured_at.items():
            if metric not in self.metrics:
                raise ConfigError(f"measured_at names {metric!r}; not in `metrics`.")
            if level not in LEVELS:
                raise ConfigError(f"measured_at.{metric}: unknown level {level!r}; levels are {', '.join(LEVELS)}.")
        return self.columns

    def _series(self, sensors: pl.DataFrame, is_part: bool) -> pl.DataFrame:
        """Each sensor that a metric matches, with the metric and its name as one series of it.

        Args:
            sensors: the distinct sensors with their labels, each under its name with an underscore before it.
        """
        patterns = {name: (_pattern(name), _labelled(name, spec)) for name, spec in self.metrics.items()}
        metric = [self._metric_of(labels, patterns) for labels in sensors.iter_rows(named=True)]
        matched = sensors.with_columns(
            metric=pl.Series(metric, dtype=pl.String),
            series=pl.concat_str(pl.all().cast(pl.String).fill_null(""), separator="|"),
        ).drop_nulls("metric")
        if matched.is_empty() and not is_part:
            there = listed(sensors["_metric"].cast(pl.String).drop_nulls().unique().sort())
            raise DataError(
                f"{self.where}: no sensor in column {self.columns['metric']} is in `metrics`; found {there}."
            )
        return matched

    def _metric_of(self, labels: Mapping[str, Any], patterns: Mapping[str, _Pattern]) -> str | None:
        sensor = str(labels["_metric"])
        found = [
            metric
            for metric, (name, wanted) in patterns.items()
            if name.fullmatch(sensor) and all(_fits(labels[f"_{label}"], text) for label, text in wanted.items())
        ]
        if len(found) > 1:
            raise ConfigError(f"{self.where}: metrics {found[0]!r} and {found[1]!r} both match the sensor {sensor!r}.")
        return found[0] if found else None

    def _reported(self, reporter: pl.Expr, topology: Topology) -> list[pl.Expr]:
        """The entity and series of a sample: an ancestor has a series for each who reports it."""
        entity, series = reporter, pl.col("series")
        for metric, level in self.measured_at.items():
            by = pl.when(pl.col("metric") == metric).then(reporter)
            of = by.replace_strict(_ancestors(topology, level), default=None, return_dtype=pl.String)
            entity = pl.when(pl.col("metric") == metric).then(of).otherwise(entity)
            series = pl.coalesce(pl.concat_str(by, "series", separator="|"), series)
        return [entity.alias("entity_id"), series.alias("series")]

    def _read_topology(self) -> Topology:
        topology = super()._read_topology()
        if not any(spec.signal in LIMITS for spec in self.metrics.values()):
            return topology
        return with_limits(topology, limits(self.samples(topology), self.metrics), self.where)


def source_of(mapping: Mapping[str, Any], path: str) -> FileSource:
    """The source of files in `path` that a bundle's mapping describes."""
    kind = LongSource if "metrics" in mapping else FileSource
    return kind.from_mapping(mapping, path)


def _ancestors(topology: Topology, level: str) -> dict[str, str]:
    """Entity to its ancestor at `level`; an entity of that level is its own."""
    rows = {
        entity: (at, parent)
        for entity, at, parent in topology.table.select("entity_id", "level", "parent_id").iter_rows()
    }
    found = {}
    for start in rows:
        entity: str | None = start
        while entity is not None and rows[entity][0] != level:
            entity = rows[entity][1]
        if entity is not None:
            found[start] = entity
    return found


def _labelled(metric: str, spec: MetricSpec) -> dict[str, re.Pattern[str]]:
    return {label: _pattern(text, f"{metric}.labels.{label}") for label, text in spec.labels.items()}


def _pattern(text: str, where: str = "") -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ConfigError(f"metrics.{where or text}: {text!r} is no regular expression: {error}.") from error


def _fits(label: Any, wanted: re.Pattern[str]) -> bool:
    return wanted.fullmatch("" if label is None else str(label)) is not None
