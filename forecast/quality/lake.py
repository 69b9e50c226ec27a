"""Files with the contract's names and the tree beside them, as a source."""

import re
from pathlib import Path

import polars as pl

from forecast.contracts.errors import DataError
from forecast.contracts.signals import SIGNALS, TARGETS
from forecast.contracts.tables import listed
from forecast.traces.files import EntitySpec, FileSource
from forecast.traces.places import shown
from forecast.traces.readers import find_files, scan
from forecast.traces.trace import Trace

#: A fleet's record, as the simulator leaves it, has telemetry in a folder of this name and the tree beside it.
_TELEMETRY, _TOPOLOGIES = "telemetry", ("topology.parquet", "topology.csv")

_WILD = re.compile(r"[*?\[]")


def lake(path: str, topology: str | None) -> tuple[Trace, tuple[str, ...], tuple[str, ...]]:
    """Telemetry in files; with the signals it has, and those of them that are forecast.

    Args:
        path: a file, a folder, a glob or a URL.
        topology: file of the tree; None looks beside the telemetry and above it; where there is none, every entity
            stands alone.

    Raises:
        DataError: no files, or files that break the contract.
    """
    if (Path(path) / _TELEMETRY).is_dir():
        path = str(Path(path) / _TELEMETRY)
    found = scan(find_files(path)).collect_schema()
    missing = [name for name in ("time", "entity_id") if name not in found]
    signals = tuple(name for name in SIGNALS if name in found)
    if missing or not signals:
        lacks = " and ".join(missing) or "a signal"
        raise DataError(
            f"{shown(path)}: no column for {lacks}; found {listed(found)}. Files of other names are a source: map them "
            f"in a YAML like those in configs/source."
        )
    topology = topology or _beside(path)
    entities = {} if topology else {name: EntitySpec() for name in _names(path)}
    trace = FileSource(path=path, topology=topology, entities=entities).read()
    return trace, signals, tuple(name for name in signals if name in TARGETS)


def _beside(path: str) -> str | None:
    """The tree beside local telemetry, or above it."""
    if "://" in path:
        return None
    folder = Path(_WILD.split(path)[0])
    for above in (folder, *folder.absolute().parents[:2]):
        for name in _TOPOLOGIES:
            if (above / name).is_file():
                return str(above / name)
    return None


def _names(path: str) -> list[str]:
    """Everybody the files name."""
    entity = pl.col("entity_id").cast(pl.String)
    told = scan(find_files(path)).select(entity.unique()).collect(engine="streaming")["entity_id"]
    names = sorted(name for name in told.drop_nulls() if name.strip())
    if not names:
        raise DataError(f"{shown(path)}: no row names an entity; check the column entity_id.")
    return names
