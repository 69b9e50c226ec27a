"""The general file source: any Parquet, CSV or TSV of measurements, described in YAML.

A public data set is a YAML file that maps its columns, units, time zone, entities and limits; no code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.signals import SIGNALS, TARGETS
from forecast.contracts.tables import TOPOLOGY, listed
from forecast.contracts.topology import Topology
from forecast.contracts.version import code_version, key_of
from forecast.traces.files_pull import FilesPull, Reader
from forecast.traces.numbers import BLANKS, check_numbers, number
from forecast.traces.parts import Range, TimeColumn, parts_of, ranges_by_footer, spans_of
from forecast.traces.places import File, local_file, shown
from forecast.traces.readers import check_expansion, collected, find_files, scan
from forecast.traces.times import representable, utc
from forecast.traces.trace import Progress, Pull, Source, Trace, checked, parse_utc, silent
from forecast.traces.tree import TreeSpec, tree_of
from forecast.traces.units import UNITS

#: A share of the entity's own `power_limit_w`, for data whose capacity is confidential.
FRACTION_OF_LIMIT = "fraction_of_limit"


@dataclass
class EntitySpec:
    """One entity of a file that has no topology of its own.

    Attributes:
        level, sku, parent_id, site: as in the topology.
        power_limit_w, temperature_limit_c: None where unknown.
        time_zone: IANA zone of the site, for the calendar.
        since: samples before this ISO time are not used (a commissioning period, say).
    """

    level: str = "server"
    sku: str = "unknown"
    parent_id: str | None = None
    site: str = "site-1"
    power_limit_w: float | None = None
    temperature_limit_c: float | None = None
    time_zone: str = "UTC"
    since: str | None = None


@dataclass
class FileSource(Source):
    """Measurements in files, mapped to the telemetry contract.

    Attributes:
        path: a file, a glob, or a folder of Parquet, on this machine or as a URL of an object store (s3://, gs://, az://)
            or whatever else fsspec opens.
        storage_options: endpoint, region and credentials of the store, by Polars' names; what is left out comes from
            the environment, where credentials belong.
        columns: contract column to the file's column or to a partition key of its folders (`host=a/x.parquet`); empty
            when the file has the contract's names already.
        units: signal to its unit in the file; signals left out are in SI.
        time_zone: zone of times that carry none; a fixed offset such as Etc/GMT+5 for a clock without daylight saving.
        topology: a Parquet or CSV file with the topology's columns; None takes `tree`, or else `entities`.
        tree: how the entities' names and label columns tell their place, when there is no topology file.
        entities: entity_id to its description, when there is neither; others in the file are left out.
    """

    path: str = ""
    storage_options: dict[str, str] = field(default_factory=dict, repr=False)
    columns: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    time_zone: str | None = None
    topology: str | None = None
    tree: TreeSpec | None = None
    entities: dict[str, EntitySpec] = field(default_factory=dict)

    def read(self, progress: Progress = silent) -> Trace:
        """Map the files to telemetry, lazily.

        Raises:
            DataError: a path without files, a missing or retyped column, a zone-less time without `time_zone`, a file
                that would expand beyond measure.
            ConfigError: an unknown unit or column name in the mapping.
        """
        topology = self._read_topology()
        files = self.find()
        raw = scan(files)
        telemetry = self._checked(files, raw, topology)
        parts = parts_of(files, self._times(raw.collect_schema()), self._entity, list(self.columns.values()))
        tree = topology.table.write_json()
        key = key_of(self.mapping(), tree, [part.key for part in parts], code_version("traces"))
        return Trace(telemetry, topology, key, parts, now=datetime.now(UTC)).before(self.until)

    def telemetry(self, topology: Topology) -> pl.LazyFrame:
        """The files' measurements in the contract's form, those of strangers to `topology` too; raises as `read`."""
        files = self.find()
        return self._checked(files, scan(files), topology)

    def pull(self, topology: Topology, late: timedelta) -> Pull:
        return FilesPull(replace(self, until=None), self.reader(topology), late)

    def check(self) -> None:
        self._check_path()
        self._check_columns(self.columns)
        self._check_units()

    def find(self) -> list[File]:
        """The files that there are now. Raises as `read`."""
        return find_files(self.path, self.storage_options)

    def spans(self, files: Sequence[File]) -> list[Range | None]:
        """Between which times the samples of each file lie; None where it has none. Raises as `read`."""
        if not files:
            return []
        found = scan(files[:1]).collect_schema()
        self._check_found(found)  # before times that may all be of no interest
        return spans_of(files, self._times(found), self._entity)

    def reader(self, topology: Topology) -> Reader:
        """Reads some files between two times, once and in the order of time. It raises as `read`."""

        def read(files: Sequence[File], begin: datetime, end: datetime) -> pl.DataFrame:
            if not files:
                return pl.DataFrame()
            telemetry = self._checked(list(files), scan(files), topology)
            return telemetry.filter(pl.col("time").is_between(begin, end, closed="left")).collect()

        return read

    def _checked(self, files: list[File], raw: pl.LazyFrame, topology: Topology) -> pl.LazyFrame:
        found = raw.collect_schema()
        check_expansion(files, self._needed(found))
        mapped = self._mapped(raw, topology)
        if not all(ranges_by_footer(files, self._times(found))):
            mapped = mapped.with_columns(representable(pl.col("time")))
        return checked(mapped, self.where)

    def mapping(self) -> dict[str, Any]:
        """Everything but where the files are and when they end, as plain data: what a bundle keeps to read its like."""
        elsewhere = {"path", "storage_options", "until", "jobs", "weather", "topology", "tree"}
        return {name: value for name, value in asdict(self).items() if name not in elsewhere}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], path: str) -> "FileSource":
        entities = {name: EntitySpec(**entity) for name, entity in mapping.get("entities", {}).items()}
        return cls(path=path, **{**mapping, "entities": entities})

    @property
    def where(self) -> str:
        """What errors call it."""
        return shown(self.path)

    def _mapped(self, raw: pl.LazyFrame, topology: Topology) -> pl.LazyFrame:
        found = raw.collect_schema()
        columns = self._check_found(found)
        self._check_units()
        signals = {name: column for name, column in columns.items() if name in SIGNALS}
        check_numbers(raw, list(signals.values()), self.where)
        return (
            raw.select(
                time=utc(raw, columns["time"], self.time_zone, self.where),
                entity_id=pl.col(columns["entity_id"]).cast(pl.String),
                **{name: number(column, found[column]) for name, column in signals.items()},
            )
            .filter(*self._in_service())
            .with_columns(self._si(name, topology) for name in signals)
        )

    def _check_found(self, found: pl.Schema) -> Mapping[str, str]:
        """The mapping, after a look at whether these columns hold what it names."""
        columns = self.columns or {name: name for name in ("time", "entity_id", *SIGNALS) if name in found}
        self._check_columns(columns)
        for name in ("time", "entity_id"):
            if name not in columns:
                raise DataError(f"{self.where}: no column for {name}; found {listed(found)}. Map it in `columns`.")
        absent = [column for column in columns.values() if column not in found]
        if absent:
            raise DataError(f"{self.where}: no column {', '.join(absent)}; found {listed(found)}.")
        twice = [column for column in columns.values() if f"{column}_duplicated_0" in found]
        if twice:
            raise DataError(f"{self.where}: two columns are called {twice[0]}; rename one.")
        entity = found[columns["entity_id"]]
        if entity.is_nested() or entity == pl.Binary:
            raise DataError(f"{self.where}: column {columns['entity_id']} is {entity}, expected names.")
        return columns

    def _check_path(self) -> None:
        if not self.path:
            raise ConfigError("source.path is not set; name a file, a glob or a folder of Parquet.")

    def _check_columns(self, columns: Mapping[str, str]) -> None:
        unknown = [name for name in columns if name not in {"time", "entity_id", *SIGNALS}]
        if unknown:
            raise ConfigError(f"columns maps {unknown[0]!r}; the contract has time, entity_id, {', '.join(SIGNALS)}.")

    def _check_units(self) -> None:
        for name, unit in self.units.items():
            if name not in SIGNALS:
                raise ConfigError(f"units names {name!r}; the contract has {', '.join(SIGNALS)}.")
            known = [*UNITS[SIGNALS[name].unit], *([FRACTION_OF_LIMIT] if name in TARGETS else [])]
            if unit not in known:
                raise ConfigError(f"units.{name}={unit!r}; known are {', '.join(known)}.")

    def _si(self, name: str, topology: Topology) -> pl.Expr:
        raw = pl.col(name)
        unit = self.units.get(name)
        if unit is None:
            return raw
        if unit == FRACTION_OF_LIMIT:
            limits = dict(topology.table.select("entity_id", TARGETS[name].limit).iter_rows())
            return raw * pl.col("entity_id").replace_strict(limits, default=None, return_dtype=pl.Float64)
        factor, offset = UNITS[SIGNALS[name].unit][unit]
        return raw * factor + offset

    def _in_service(self) -> list[pl.Expr]:
        """Rows that are not from before their entity's `since`; one without a time or an entity is not."""
        since = {
            name: parse_utc(entity.since, f"source.entities.{name}.since")
            for name, entity in self.entities.items()
            if entity.since
        }
        early = [(pl.col("entity_id") == name) & (pl.col("time") < start) for name, start in since.items()]
        return [~one.fill_null(value=False) for one in early]

    @property
    def _entity(self) -> str:
        return self.columns.get("entity_id", "entity_id")

    def _needed(self, found: pl.Schema) -> dict[str, pl.DataType]:
        """The columns that are read, and their types."""
        names = set(self.columns.values() or ("time", "entity_id", *SIGNALS))
        return {name: dtype for name, dtype in found.items() if name in names}

    def _times(self, found: pl.Schema) -> TimeColumn:
        column = self.columns.get("time", "time")
        return TimeColumn(column, found[column], self.time_zone, self.where)

    def _read_topology(self) -> Topology:
        if self.topology is not None:
            return read_topology(self.topology, self.storage_options)
        if self.tree is not None:
            return tree_of(self._named(self.tree), self.tree, self.where)
        if not self.entities:
            raise ConfigError(
                f"{self.where}: name a `topology` file or list the `entities` of the source, or set `tree`."
            )
        rows = [{"entity_id": name, **asdict(entity)} for name, entity in self.entities.items()]
        return Topology.of(pl.DataFrame(rows, schema=dict(TOPOLOGY.required)), "source.entities")

    def _named(self, tree: TreeSpec) -> pl.DataFrame:
        """The entities of the files, each with its newest labels, as far as rows stand in time order."""
        raw = scan(self.find())
        columns, entity = raw.collect_schema().names(), self._entity
        if entity not in columns:
            raise DataError(f"{self.where}: no column {entity}; found {listed(columns)}.")
        labels = sorted(tree.fields & set(columns) - {"entity_id"})
        entities = raw.group_by(pl.col(entity).cast(pl.String).alias("entity_id")).agg(pl.col(labels).last())
        return entities.sort("entity_id").collect()


def read_topology(path: str, storage_options: Mapping[str, str]) -> Topology:
    """The tree that a Parquet or CSV file holds.

    Raises:
        DataError: no such file, or it breaks the topology's contract.
    """
    files = find_files(path, storage_options)
    raw = scan(files, hold=True)
    check_expansion(files, raw.collect_schema())
    table = _without_blanks(collected(raw, path).collect())
    limits = [name for name in ("power_limit_w", "temperature_limit_c") if name in table.columns]
    try:
        return Topology.of(table.with_columns(pl.col(limits).cast(pl.Float64)), path)
    except pl.exceptions.InvalidOperationError as error:
        raise DataError(f"{path}: a limit is not a number; write W and °C without units.") from error


def _without_blanks(table: pl.DataFrame) -> pl.DataFrame:
    """Text that says "nothing", such as the `""` of a writer that quotes every field, as null; ids are left alone."""
    text = pl.selectors.string() - pl.selectors.by_name("entity_id", require_all=False)
    blank = text.str.strip_chars().str.to_lowercase().is_in(BLANKS)
    return table.with_columns(pl.when(~blank).then(text))


def content_key(files: Sequence[File | Path]) -> str:
    """Changes whenever the content of these files does."""
    return key_of([(local_file(file) if isinstance(file, Path) else file).key for file in files])
