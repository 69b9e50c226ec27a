"""The general file source: any Parquet, CSV or TSV of measurements, described in YAML.

A public data set is a YAML file that maps its columns, units, time zone, entities and limits; no code.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.signals import SIGNALS, TARGETS
from forecast.contracts.tables import TOPOLOGY
from forecast.contracts.topology import Topology
from forecast.contracts.version import code_version, key_of
from forecast.traces.times import utc
from forecast.traces.trace import Progress, Source, Trace, checked, parse_utc, silent
from forecast.traces.tree import TreeSpec, tree_of
from forecast.traces.units import UNITS

#: A share of the entity's own `power_limit_w`, for data whose capacity is confidential.
FRACTION_OF_LIMIT = "fraction_of_limit"

_READERS = {".parquet": "parquet", ".csv": ",", ".tsv": "\t", ".txt": "\t"}


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
        path: a file, a glob, or a folder of Parquet (hive-partitioned or not).
        columns: contract column to the file's column; empty when the file has the contract's names already.
        units: signal to its unit in the file; signals left out are in SI.
        time_zone: zone of times that carry none; a fixed offset such as Etc/GMT+5 for a clock without daylight saving.
        topology: a Parquet or CSV file with the topology's columns; None takes `tree`, or else `entities`.
        tree: how the entities' names and label columns tell their place, when there is no topology file.
        entities: entity_id to its description, when there is neither; others in the file are left out.
    """

    path: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    time_zone: str | None = None
    topology: str | None = None
    tree: TreeSpec | None = None
    entities: dict[str, EntitySpec] = field(default_factory=dict)

    def read(self, progress: Progress = silent) -> Trace:
        """Map the files to telemetry, lazily.

        Raises:
            DataError: a path without files, a missing or retyped column, a zone-less time without `time_zone`.
            ConfigError: an unknown unit or column name in the mapping.
        """
        topology = self._read_topology()
        tree = topology.table.write_json()
        key = key_of(self.mapping(), tree, content_key(find_files(self.path)), code_version("traces"))
        return Trace(self.telemetry(topology), topology, key).before(self.until)

    def telemetry(self, topology: Topology) -> pl.LazyFrame:
        """The files' measurements of the entities of `topology`, in the contract's form; raises as `read`."""
        return checked(self._mapped(scan(find_files(self.path)), topology), self.path)

    def mapping(self) -> dict[str, Any]:
        """Everything but where the files are and when they end, as plain data: what a bundle keeps to read its like."""
        elsewhere = {"path", "until", "topology", "tree"}
        return {name: value for name, value in asdict(self).items() if name not in elsewhere}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], path: str) -> "FileSource":
        entities = {name: EntitySpec(**entity) for name, entity in mapping.get("entities", {}).items()}
        return cls(path=path, **{**mapping, "entities": entities})

    def _mapped(self, raw: pl.LazyFrame, topology: Topology) -> pl.LazyFrame:
        found = raw.collect_schema()
        columns = self.columns or {name: name for name in ("time", "entity_id", *SIGNALS) if name in found}
        self._check_mapping(columns, found)
        self._check_units()
        mapped = {name: pl.col(column) for name, column in columns.items()}
        mapped["time"] = utc(raw, columns["time"], self.time_zone, self.path)
        return (
            raw.select(**mapped)
            .with_columns(pl.col("entity_id").cast(pl.String))
            .filter(pl.col("time").is_not_null(), pl.col("entity_id").is_in(topology.entities))
            .filter(self._in_service())
            .with_columns(self._si(name, topology) for name in columns if name in SIGNALS)
        )

    def _check_mapping(self, columns: Mapping[str, str], found: pl.Schema) -> None:
        unknown = [name for name in columns if name not in {"time", "entity_id", *SIGNALS}]
        if unknown:
            raise ConfigError(f"columns maps {unknown[0]!r}; the contract has time, entity_id, {', '.join(SIGNALS)}.")
        for name in ("time", "entity_id"):
            if name not in columns:
                raise DataError(f"{self.path}: no column for {name}; found {', '.join(found)}. Map it in `columns`.")
        absent = [column for column in columns.values() if column not in found]
        if absent:
            raise DataError(f"{self.path}: no column {', '.join(absent)}; found {', '.join(found)}.")

    def _check_units(self) -> None:
        for name, unit in self.units.items():
            if name not in SIGNALS:
                raise ConfigError(f"units names {name!r}; the contract has {', '.join(SIGNALS)}.")
            known = [*UNITS[SIGNALS[name].unit], *([FRACTION_OF_LIMIT] if name in TARGETS else [])]
            if unit not in known:
                raise ConfigError(f"units.{name}={unit!r}; known are {', '.join(known)}.")

    def _si(self, name: str, topology: Topology) -> pl.Expr:
        raw = pl.col(name).cast(pl.Float64, strict=False)
        unit = self.units.get(name)
        if unit is None:
            return raw
        if unit == FRACTION_OF_LIMIT:
            limits = dict(topology.table.select("entity_id", TARGETS[name].limit).iter_rows())
            return raw * pl.col("entity_id").replace_strict(limits, return_dtype=pl.Float64)
        factor, offset = UNITS[SIGNALS[name].unit][unit]
        return raw * factor + offset

    def _in_service(self) -> pl.Expr:
        since = {name: parse_utc(entity.since) for name, entity in self.entities.items() if entity.since}
        started = [(pl.col("entity_id") != name) | (pl.col("time") >= start) for name, start in since.items()]
        return pl.all_horizontal(pl.lit(True), *started)

    def _read_topology(self) -> Topology:
        if self.topology is not None:
            table = scan(find_files(self.topology)).collect()
            limits = [name for name in ("power_limit_w", "temperature_limit_c") if name in table.columns]
            try:
                return Topology.of(table.with_columns(pl.col(limits).cast(pl.Float64)), self.topology)
            except pl.exceptions.InvalidOperationError as error:
                raise DataError(f"{self.topology}: a limit is not a number; write W and °C without units.") from error
        if self.tree is not None:
            return tree_of(self._named(self.tree), self.tree, self.path)
        if not self.entities:
            raise ConfigError(
                f"{self.path}: name a `topology` file or list the `entities` of the source, or set `tree`."
            )
        rows = [{"entity_id": name, **asdict(entity)} for name, entity in self.entities.items()]
        return Topology.of(pl.DataFrame(rows, schema=dict(TOPOLOGY.required)), "source.entities")

    def _named(self, tree: TreeSpec) -> pl.DataFrame:
        """The entities of the files, each with its newest labels, as far as rows stand in time order."""
        raw = scan(find_files(self.path))
        columns = raw.collect_schema().names()
        entity = self.columns.get("entity_id", "entity_id")
        if entity not in columns:
            raise DataError(f"{self.path}: no column {entity}; found {', '.join(columns)}.")
        labels = sorted(tree.fields & set(columns) - {"entity_id"})
        entities = raw.group_by(pl.col(entity).cast(pl.String).alias("entity_id")).agg(pl.col(labels).last())
        return entities.sort("entity_id").collect()


def find_files(path: str) -> list[Path]:
    """The files a path, folder or glob stands for, sorted.

    Raises:
        DataError: none found, or a kind that is not read.
    """
    place = Path(path)
    if not path:
        files = []
    elif place.is_dir():
        files = sorted(place.rglob("*.parquet"))
    elif place.is_file():
        files = [place]
    else:
        files = sorted(Path(place.anchor or ".").glob(str(place.relative_to(place.anchor))))
    if not files:
        raise DataError(f"{path or 'source.path'}: no such file or folder of Parquet; check the path.")
    kinds = {file.suffix.lower() for file in files}
    if len(kinds) > 1 or not kinds <= set(_READERS):
        raise DataError(f"{path}: cannot read {', '.join(sorted(kinds))}; one kind of {', '.join(_READERS)} is read.")
    return files


def scan(files: list[Path]) -> pl.LazyFrame:
    """The files as one lazy table with the columns of the first.

    Text stays text: types are the mapping's business, and a trailer line is no number.

    Raises:
        DataError: a file that is empty, not what its name says, or without a column of the first one.
    """
    first, *others = (_opened(file) for file in files)
    expected = first.collect_schema()
    for file, other in zip(files[1:], others, strict=True):
        found = other.collect_schema()
        for name, dtype in expected.items():
            if found.get(name) != dtype:
                raise DataError(f"{file}: column {name} is {found.get(name, 'absent')}, but {dtype} in {files[0]}.")
    if files[0].suffix.lower() == ".parquet":  # one scan of many files is faster than many scans
        return pl.scan_parquet(files, hive_partitioning=False, extra_columns="ignore")
    return pl.concat([first, *(other.select(expected.names()) for other in others)])


def _opened(file: Path) -> pl.LazyFrame:
    separator = _READERS[file.suffix.lower()]
    try:
        if separator == "parquet":
            frame = pl.scan_parquet(file, hive_partitioning=False)
        else:
            frame = pl.scan_csv(
                file, separator=separator, infer_schema=False, truncate_ragged_lines=True, encoding="utf8-lossy"
            )
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file}: cannot be read as {file.suffix[1:]}: {str(error).splitlines()[0]}") from error
    return frame


def content_key(files: list[Path]) -> str:
    """Changes whenever a byte of the files does."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
