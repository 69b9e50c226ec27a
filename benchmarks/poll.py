"""What a look at files costs the server: by what is new in them, whatever the history beside it.

Run as `python -m benchmarks.poll`; writes `benchmarks/results/poll.json`. A lake of Parquet, a folder a day and a file
an hour, has 10,000 entities; a look finds nothing new, a new file, or one written anew, beside 10 days and beside 200.
"""

import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

from benchmarks.machine import cpu, no_arguments, record
from forecast.contracts.topology import Topology
from forecast.traces.files import FileSource
from forecast.traces.trace import Pull

PLACE = Path("var/bench/poll")
ENTITIES = 10_000
HISTORIES_D = (10, 200)
CORES = 2
LOOKS = 7

#: The ring holds so much.
CONTEXT = timedelta(days=3)

#: Milliseconds of a look that finds a new file, beside the long history: a thousandth of the minute between two looks.
GOAL_MS = 60.0
END = datetime(2026, 8, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAMES = [f"server-{at}" for at in range(ENTITIES)]


def main() -> None:
    """Measure, print, and record."""
    no_arguments("benchmarks.poll", __doc__)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    columns = ("nothing new", "a new file", "written anew", "first look")
    print(f"{ENTITIES:,} entities, a file an hour; {CORES} cores of {cpu()}; milliseconds a look")
    print(f"{'days of history':<18}{'files':>8}" + "".join(f"{name:>14}" for name in columns))
    found = {}
    for days in HISTORIES_D:
        found[days] = _measured(days)
        told = "".join(f"{1000 * found[days][name]:>14.1f}" for name in columns)
        print(f"{days:<18}{days * 24:>8,}{told}", flush=True)
    long = 1000 * found[HISTORIES_D[-1]]["a new file"]
    figures = {"new_file_ms": {"value": round(long, 1), "goal": GOAL_MS, "better": "lower"}}
    seconds = {f"{days} days": {name: round(value, 4) for name, value in of.items()} for days, of in found.items()}
    record("poll", CORES, figures, seconds=seconds, load=os.getloadavg()[0])


def _measured(days: int) -> dict[str, float]:
    """Seconds of each kind of look."""
    lake = PLACE / f"{days}d"
    shutil.rmtree(lake, ignore_errors=True)
    for hour in range(days * 24):
        _write(lake, END - HOUR * (hour + 1))
    pull = FileSource(path=str(lake)).pull(_fleet(), HOUR)
    taken = {"first look": [_look(pull, END)[0]], "nothing new": [], "a new file": [], "written anew": []}
    for look in range(LOOKS):
        begin, end = END + HOUR * look, END + HOUR * (look + 1)
        taken["nothing new"].append(_look(pull, begin + HOUR / 4)[0])
        _write(lake, begin, 0.5)
        seconds, rows = _look(pull, begin + HOUR / 2)
        assert rows >= ENTITIES
        taken["a new file"].append(seconds)
        _write(lake, begin)
        seconds, rows = _look(pull, end)
        assert rows >= ENTITIES
        taken["written anew"].append(seconds)
    shutil.rmtree(lake)
    return {name: median(seconds) for name, seconds in taken.items()}


def _look(pull: Pull, until: datetime) -> tuple[float, int]:
    """Seconds of a look, and the rows that it told."""
    began = time.perf_counter()
    rows = sum(len(piece) for piece in pull.rows(until - CONTEXT, until))
    return time.perf_counter() - began, rows


def _write(lake: Path, hour: datetime, share: float = 1.0) -> None:
    """An hour of everybody, a sample each half of it; or only its first `share`."""
    times = [hour + HOUR / 4, hour + HOUR * 3 / 4][: round(2 * share)]
    random = np.random.default_rng(hour.hour)
    rows = pl.DataFrame({"entity_id": NAMES}).join(
        pl.DataFrame({"time": times}, schema={"time": pl.Datetime("us", "UTC")}), how="cross"
    )
    values = random.normal(500, 50, (2, len(rows)))
    path = lake / f"day={hour:%Y-%m-%d}" / f"{hour:%H}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.with_columns(power_w=values[0], temperature_c=values[1] / 10).sort("time").write_parquet(path)


def _fleet() -> Topology:
    table = pl.DataFrame({"entity_id": NAMES})
    same = {
        "parent_id": None,
        "level": "server",
        "sku": "air",
        "power_limit_w": 1e3,
        "temperature_limit_c": 90.0,
        "site": "s",
        "time_zone": "UTC",
    }
    named = table.with_columns(pl.lit(value).alias(name) for name, value in same.items())
    return Topology.of(named.with_columns(pl.col("parent_id").cast(pl.String)))


if __name__ == "__main__":
    main()
