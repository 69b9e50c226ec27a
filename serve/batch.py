"""Telemetry files in, a forecast file out."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import polars as pl

from forecast.adaptation import Adaptation
from forecast.bundle.manifest import Manifest
from forecast.contracts.errors import ConfigError
from forecast.contracts.schedule import CAP, LIVE, PLAN
from forecast.contracts.signals import SIGNALS
from forecast.contracts.tables import JOB_SCHEDULE, WEATHER, Table
from forecast.disk import write_whole
from forecast.traces.files import FileSource
from forecast.traces.jobs import read_jobs
from forecast.traces.long import source_of
from forecast.traces.readers import find_files, scan
from forecast.traces.settings import jobs_like, weather_like
from forecast.traces.weather import read_weather

_WRITERS: dict[str, Callable[[pl.DataFrame, BinaryIO], None]] = {
    ".parquet": lambda table, file: table.write_parquet(file),
    ".csv": lambda table, file: table.write_csv(file),
}


def read_telemetry(path: str, manifest: Manifest) -> pl.LazyFrame:
    """Telemetry of the bundle's entities.

    Files that have the contract's columns are read as they are; others through the mapping the bundle was trained with.

    Raises:
        DataError: no such file, or neither form fits.
    """
    columns = set(scan(find_files(path)).collect_schema().names())
    if manifest.source is None or ({"time", "entity_id"} <= columns and columns & SIGNALS.keys()):
        source = FileSource(path=path)
    else:
        source = source_of(manifest.source, path)
    return source.telemetry(manifest.topology)


def read_known_ahead(
    jobs: str | None, weather: str | None, manifest: Manifest
) -> tuple[pl.LazyFrame | None, pl.LazyFrame | None]:
    """Schedule and weather; files that lack the contract's columns are read as those the bundle was trained with.

    Raises:
        DataError: no such file, or neither form fits.
    """
    schedule = forecast = None
    if jobs is not None:
        kept = None if _is(jobs, JOB_SCHEDULE) else manifest.training.get("jobs")
        schedule = read_jobs(jobs_like(kept, jobs))
    if weather is not None:
        kept = None if _is(weather, WEATHER) else manifest.training.get("weather")
        forecast = read_weather(weather_like(kept, weather))
    return schedule, forecast


def imposes_nothing(jobs: pl.LazyFrame) -> bool:
    """Whether a schedule has plans or caps, and none of them has a status that is in force."""
    imposed = jobs.filter(pl.col("kind").is_in([PLAN, CAP])).select("status").collect()["status"]
    return not imposed.is_empty() and not imposed.is_in(LIVE).any()


def _is(path: str, table: Table) -> bool:
    """Whether the files have the contract's columns already."""
    return set(table.required) <= set(scan(find_files(path)).collect_schema().names())


def read_adaptation(path: Path | None, manifest: Manifest) -> Adaptation | None:
    """What earlier runs of this bundle left in `path`; fresh where there is nothing, None without a path.

    Raises:
        DataError: the file is damaged.
    """
    return None if path is None else Adaptation.load(path, manifest.spec, manifest.topology, manifest.bundle_id)


def write_adaptation(state: Adaptation, path: Path) -> None:
    """Keep the state for the next run.

    Raises:
        ConfigError: a place that cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        state.save(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror or error}).") from error


def check_out(path: Path) -> None:
    """Refuse an ending that is not written, before any work is done.

    Raises:
        ConfigError: naming the endings that are.
    """
    if path.suffix not in _WRITERS:
        raise ConfigError(
            f"{path}: cannot write {path.suffix or 'a file without ending'}; use {' or '.join(_WRITERS)}."
        )


def write_forecast(table: pl.DataFrame, path: Path) -> None:
    """Write a forecast table so that `path` either is complete or does not change.

    Raises:
        ConfigError: a place that cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: _WRITERS[path.suffix](table, file))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror or error}).") from error
