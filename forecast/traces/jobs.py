"""Job schedules in files: a table with a mapping, or what Slurm prints."""

import polars as pl

from forecast.contracts.errors import DataError
from forecast.contracts.tables import JOB_SCHEDULE
from forecast.contracts.version import key_of
from forecast.traces.readers import collected, find_files, scan
from forecast.traces.settings import JobsSpec
from forecast.traces.slurm import accounting, reservations
from forecast.traces.tables import mapped


def read_jobs(spec: JobsSpec) -> pl.LazyFrame:
    """Contract JOB_SCHEDULE from files, in memory.

    Raises:
        DataError: no such file, a damaged one, or a column that is missing.
        ConfigError: a setting that names what does not exist.
    """
    if spec.slurm is not None:
        parts = [accounting(_printed(spec.path), spec.slurm, spec.time_zone, spec.path)]
        if spec.slurm.reservations is not None:
            for file in find_files(spec.slurm.reservations):
                printed = file.local.read_text(errors="replace")
                parts.append(reservations(printed, spec.slurm, spec.time_zone, file.name))
        return collected(JOB_SCHEDULE.check_schema(pl.concat(parts), spec.path), spec.path)
    raw = scan(find_files(spec.path), hold=True)
    if not spec.columns:
        JOB_SCHEDULE.check_names(raw.collect_schema(), spec.path)
    known = {**JOB_SCHEDULE.required, **JOB_SCHEDULE.optional}
    table = mapped(raw, known, spec.columns, spec.units, spec.time_zone, spec.path)
    return collected(JOB_SCHEDULE.check_schema(table, spec.path), spec.path)


def jobs_key(spec: JobsSpec) -> str:
    """Changes whenever the files do."""
    reserved = spec.slurm.reservations if spec.slurm is not None else None
    files = [*find_files(spec.path), *(find_files(reserved) if reserved else [])]
    return key_of([file.key for file in files])


def _printed(path: str) -> pl.LazyFrame:
    """What `--parsable2` printed: text between upright lines, a header first."""
    try:
        printed = pl.concat(
            pl.scan_csv(
                file.content(),
                separator="|",
                quote_char=None,
                infer_schema=False,
                truncate_ragged_lines=True,
                encoding="utf8-lossy",
            )
            for file in find_files(path)
        )
        printed.collect_schema()  # an empty file is told here, by its name
        return printed
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: is not what sacct --parsable2 prints: {str(error).splitlines()[0]}") from error
