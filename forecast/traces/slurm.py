"""Slurm's accounting as a schedule: what it knew of each job on each node, and when.

Accounting tells neither where nor when a queued job will start, so a job is there from its start on: with the end that
its time limit promises until it ended, whatever its true end was. A limit that was changed later is taken as it was
in the end; nothing tells when it changed. Of maintenance, reservations tell ahead.
"""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import lru_cache
from itertools import islice

import polars as pl

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.schedule import MAINTENANCE
from forecast.contracts.tables import JOB_SCHEDULE, UTC, listed
from forecast.traces.settings import SlurmSpec
from forecast.traces.times import utc
from forecast.traces.trace import parse_utc

#: Fields of `sacct` that are read.
FIELDS = ("JobID", "State", "Start", "End", "Timelimit", "NodeList", "AllocTRES")

#: A job without a limit is taken to last so long.
_UNLIMITED_S = 365 * 86_400

#: One list names no more hosts: what a few letters of it stand for multiplies.
_MOST_HOSTS = 100_000

_NOTHING = ("Unknown", "None", "N/A", "(null)", "")
_GPUS = re.compile(r"gres/gpu(?::([^=,]+))?=(\d+)")
_HOSTS = re.compile(r"(?:[^,\[]|\[[^\]]*(?:\]|$))+")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


def accounting(raw: pl.LazyFrame, slurm: SlurmSpec, time_zone: str | None, where: str) -> pl.LazyFrame:
    """Jobs as contract JOB_SCHEDULE.

    Args:
        raw: the table that `sacct --parsable2` printed, every column text.
        time_zone: of its times, which carry none; with `SLURM_TIME_FORMAT=%Y-%m-%dT%H:%M:%S%z` they do.

    Raises:
        DataError: a field is missing, or a time limit or list of nodes that cannot be read.
    """
    found = raw.collect_schema()
    absent = [name for name in FIELDS if name not in found]
    if len(absent) == len(FIELDS):
        raise DataError(f"{where}: is not what sacct --parsable2 prints: its first line is {listed(found)}.")
    if absent:
        raise DataError(f"{where}: sacct printed no {', '.join(absent)}, only {listed(found)}; name it in --format.")
    told = raw.with_columns(pl.when(~pl.col(name).is_in(_NOTHING)).then(name).alias(name) for name in FIELDS)
    whole = told.filter(~pl.col("JobID").str.contains(".", literal=True), pl.col("Start").is_not_null())
    jobs = whole.with_columns(
        start=utc(whole, "Start", time_zone, where),
        end=utc(whole, "End", time_zone, where),
        limit_s=_each("Timelimit", lambda text: limit_s(text, where), pl.Float64),
        nodes=_each("NodeList", lambda text: expand_hosts(text, where), pl.List(pl.String)),
        power_w=_each("AllocTRES", lambda text: planned_w(text, slurm), pl.Float64),
    ).with_columns(power_w=pl.col("power_w") / pl.col("nodes").list.len())
    placed = jobs.filter(pl.col("start").is_not_null()).explode("nodes").filter(pl.col("nodes").is_not_null())
    limit = pl.duration(seconds=pl.col("limit_s").fill_null(_UNLIMITED_S))
    ended = placed.filter(pl.col("end").is_not_null())
    a_second = timedelta(seconds=1)
    return pl.concat(
        [
            _rows(placed, slurm, pl.lit("running"), pl.col("start") + limit, pl.col("start")),
            _rows(
                ended,
                slurm,
                pl.col("State").str.extract(r"^(\w+)").str.to_lowercase().fill_null("done"),
                pl.max_horizontal("end", pl.col("start") + a_second),
                pl.max_horizontal("end", pl.col("start") + a_second),
            ),
        ]
    )


def _rows(jobs: pl.LazyFrame, slurm: SlurmSpec, status: pl.Expr, end: pl.Expr, seen: pl.Expr) -> pl.LazyFrame:
    delay = timedelta(seconds=slurm.delay_s)
    return jobs.select(
        job_id="JobID",
        entity_id=_entity(pl.col("nodes"), slurm),
        kind=pl.lit("slurm"),
        status=status,
        start_time="start",
        end_time=end,
        planned_power_w="power_w",
        available_at=(seen + delay).cast(UTC),
    )


def reservations(text: str, slurm: SlurmSpec, time_zone: str | None, where: str) -> pl.LazyFrame:
    """Maintenance as contract JOB_SCHEDULE, from what `scontrol show reservation` printed (with `--oneliner` or not).

    Raises:
        ConfigError: nobody said when it was printed.
    """
    if slurm.reservations_known_at is None:
        raise ConfigError("slurm.reservations needs slurm.reservations_known_at: the time at which they were printed.")
    blocks = [dict(re.findall(r"(\w+)=(\S+)", block)) for block in re.split(r"(?=ReservationName=)", text)]
    windows = [block for block in blocks if "MAINT" in block.get("Flags", "").split(",")]
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "name": pl.String,
        "start": pl.String,
        "end": pl.String,
        "nodes": pl.List(pl.String),
    }
    rows = [
        (block["ReservationName"], block.get("StartTime"), block.get("EndTime"), expand_hosts(block["Nodes"], where))
        for block in windows
        if block.get("Nodes") not in {None, *_NOTHING}
    ]
    table = pl.LazyFrame(rows, schema, orient="row")
    return (
        table.with_columns(start=utc(table, "start", time_zone, where), end=utc(table, "end", time_zone, where))
        .explode("nodes")
        .select(
            job_id="name",
            entity_id=_entity(pl.col("nodes"), slurm),
            kind=pl.lit(MAINTENANCE),
            status=pl.lit("reserved"),
            start_time="start",
            end_time="end",
            planned_power_w=pl.lit(0.0),
            available_at=pl.lit(
                parse_utc(slurm.reservations_known_at, "source.jobs.slurm.reservations_known_at"), dtype=UTC
            ),
        )
        .select(list(JOB_SCHEDULE.required))
    )


def _entity(node: pl.Expr, slurm: SlurmSpec) -> pl.Expr:
    before, found, after = slurm.entity.partition("{node}")
    if not found:
        raise ConfigError(f"slurm.entity={slurm.entity!r} does not hold {{node}}.")
    return pl.concat_str(pl.lit(before), node, pl.lit(after))


def _each(column: str, read: Callable[[str], object], kind: pl.DataType | type[pl.DataType]) -> pl.Expr:
    """What `read` makes of each text of a column; each different one is read once."""

    def all_of(texts: pl.Series) -> pl.Series:
        known = {text: read(text) for text in texts.drop_nulls().unique()}
        return pl.Series([known.get(text) for text in texts], dtype=kind)

    return pl.col(column).map_batches(all_of, return_dtype=kind, is_elementwise=True)


def limit_s(text: str, where: str = "Timelimit") -> float | None:
    """Seconds of a time limit as Slurm writes it, `[days-][hours:]minutes:seconds`; None for no limit.

    >>> limit_s("1-02:00:00")
    93600.0
    """
    if text in {"UNLIMITED", "Partition_Limit"}:
        return None
    parts = _LIMIT.fullmatch(text)
    if parts is None:
        raise DataError(f"{where}: time limit {text!r} is not [days-][hours:]minutes:seconds.")
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def planned_w(tres: str, slurm: SlurmSpec) -> float | None:
    """What a job draws by its trackable resources (`cpu=8,gres/gpu=4,gres/gpu:h100=4,node=1`); None if unknown."""
    counts = {kind: int(count) for kind, count in _GPUS.findall(tres)}
    typed = {kind: count for kind, count in counts.items() if kind}
    gpus = typed or ({"default": counts[""]} if "" in counts else {})
    if any(count and kind not in slurm.power_per_gpu_w for kind, count in gpus.items()):
        return None
    cpus = re.search(r"(?:^|,)cpu=(\d+)", tres)
    of_cpus = slurm.power_per_cpu_w * int(cpus[1]) if cpus else 0.0
    return of_cpus + sum(slurm.power_per_gpu_w[kind] * count for kind, count in gpus.items() if count)


@lru_cache(maxsize=10_000)
def expand_hosts(text: str, where: str = "NodeList") -> list[str]:
    """Names of a host list such as `gpu[01-03,07],login`, in its order.

    >>> expand_hosts("a[08-10]b,c")
    ['a08b', 'a09b', 'a10b', 'c']
    """
    if text == "None assigned":
        return []
    every = (name for item in _HOSTS.findall(text) for name in _expanded(item, where))
    names = list(islice(every, _MOST_HOSTS + 1))
    if len(names) > _MOST_HOSTS:
        raise DataError(f"{where}: {text[:100]!r} names more than {_MOST_HOSTS:,} hosts.")
    return names


def _expanded(item: str, where: str) -> Iterator[str]:
    before, bracket, rest = item.partition("[")
    if not bracket:
        yield item
        return
    inside, closed, after = rest.partition("]")
    if not closed:
        raise DataError(f"{where}: the list of hosts {item!r} lacks a ].")
    for part in inside.split(","):
        for number in _numbers(part, where):
            yield from (f"{before}{number}{tail}" for tail in _expanded(after, where))


def _numbers(part: str, where: str) -> Iterator[str]:
    found = _RANGE.fullmatch(part)
    if found is None:
        raise DataError(f"{where}: {part!r} is no range of host numbers.")
    low, high = found[1], found[2] or found[1]
    return (str(number).zfill(len(low)) for number in range(int(low), int(high) + 1))
