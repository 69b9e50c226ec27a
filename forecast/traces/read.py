"""A source with the schedule and the weather that lie beside it."""

from dataclasses import asdict, replace

import polars as pl

from forecast.contracts.version import key_of
from forecast.traces.jobs import jobs_key, read_jobs
from forecast.traces.readers import find_files
from forecast.traces.trace import Progress, Source, Trace, parse_utc, silent
from forecast.traces.weather import read_weather


def read_trace(source: Source, progress: Progress = silent) -> Trace:
    """Read a source, and its schedule and weather if its settings name any; what became known from `until` on is left.

    Raises:
        DataError: a file is missing or breaks its contract.
        ConfigError: settings that cannot mean anything.
    """
    trace = source.read(progress)
    if source.jobs is not None:
        trace = replace(
            trace, jobs=read_jobs(source.jobs), key=key_of(trace.key, asdict(source.jobs), jobs_key(source.jobs))
        )
    if source.weather is not None:
        content = [file.key for file in find_files(source.weather.path)]
        trace = replace(
            trace, weather=read_weather(source.weather), key=key_of(trace.key, asdict(source.weather), content)
        )
    return replace(trace, jobs=_before(trace.jobs, source.until), weather=_before(trace.weather, source.until))


def _before(table: pl.LazyFrame | None, until: str | None) -> pl.LazyFrame | None:
    if table is None or until is None:
        return table
    return table.filter(pl.col("available_at").is_null() | (pl.col("available_at") < parse_utc(until, "source.until")))
