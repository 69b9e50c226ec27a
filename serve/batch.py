"""Telemetry files in, a forecast file out."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import polars as pl

from forecast.adaptation import Adaptation
from forecast.bundle.manifest import Manifest
from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.rules import CLOCK_TOLERANCE
from forecast.contracts.signals import SIGNALS
from forecast.contracts.tables import JOB_SCHEDULE, WEATHER, Table
from forecast.disk import write_whole
from forecast.traces.files import FileSource
from forecast.traces.jobs import read_jobs
from forecast.traces.long import source_of
from forecast.traces.readers import find_files, scan
from forecast.traces.settings import JobsSpec, WeatherSpec, jobs_like, weather_like
from forecast.traces.trace import Source
from forecast.traces.weather import read_weather

#: What a step is judged by reaches back a day, to who was expected the day before.
_DAYS_BEFORE = 2

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
    return files_like(path, manifest).telemetry(manifest.topology)


def files_like(path: str, manifest: Manifest) -> FileSource:
    """The source of the files in `path`; described, and raises, as `read_telemetry`."""
    columns = set(scan(find_files(path)[:1]).collect_schema().names())
    if manifest.source is None or ({"time", "entity_id"} <= columns and columns & SIGNALS.keys()):
        return FileSource(path=path)
    return source_of(manifest.source, path)


def read_recent(source: Source, manifest: Manifest, at: datetime | None) -> pl.LazyFrame:
    """Of a source's telemetry as much as a forecast of the bundle's fleet at `at`, or now, looks at.

    Raises:
        DataError: it cannot be read, or has nothing.
        ConfigError: settings that cannot mean anything.
    """
    if isinstance(source, FileSource):
        return source.telemetry(manifest.topology)  # lazy, and read as far as it is looked at
    pull = source.pull(manifest.topology, timedelta(0))
    newest = at or pull.newest()
    if newest is None:
        raise DataError("the source has no telemetry.")
    end = min(newest + timedelta(seconds=1), datetime.now(UTC) + CLOCK_TOLERANCE)
    days = -(-manifest.spec.context_steps // manifest.spec.day_steps) + _DAYS_BEFORE
    pieces = list(pull.rows(end - timedelta(days=days), end))
    if not pieces:
        raise DataError(f"the source has no telemetry of the {days} days before {end:%Y-%m-%d %H:%M} UTC.")
    return pl.concat(pieces, how="diagonal_relaxed").lazy()


def ahead_of(
    jobs: str | None, weather: str | None, source: Source | None, manifest: Manifest
) -> tuple[JobsSpec | None, WeatherSpec | None]:
    """Where schedule and weather are: in files that are named, else where the source has them.

    Files that lack the contract's columns are taken to be like those that the bundle was trained with.

    Raises:
        DataError: no such file.
    """
    schedule, forecast = (None, None) if source is None else source.ahead()
    if jobs is not None:
        schedule = jobs_like(None if _is(jobs, JOB_SCHEDULE) else manifest.training.get("jobs"), jobs)
    if weather is not None:
        forecast = weather_like(None if _is(weather, WEATHER) else manifest.training.get("weather"), weather)
    return schedule, None if forecast is None else replace(forecast, perfect_forecast_h=0.0)


def read_ahead(
    schedule: JobsSpec | None, weather: WeatherSpec | None
) -> tuple[pl.LazyFrame | None, pl.LazyFrame | None]:
    """What is known ahead.

    Raises:
        DataError: no such file, or one that is not what its settings say.
    """
    return None if schedule is None else read_jobs(schedule), None if weather is None else read_weather(weather)


def _is(path: str, table: Table) -> bool:
    """Whether the files have the contract's columns already."""
    return set(table.required) <= set(scan(find_files(path), hold=True).collect_schema().names())


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
