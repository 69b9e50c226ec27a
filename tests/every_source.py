"""Fifty rows in the form of every kind of source. A new kind is one function here, in `SOURCES`.

The rows are two servers' hourly power and temperature over a day, one row of a stranger, and one without a time.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import fsspec
import polars as pl
from prometheus_server import prometheus
from trees import at

from forecast.simulator.config import RowConfig, SimulatorConfig
from forecast.traces.files import EntitySpec, FileSource
from forecast.traces.long import LongSource
from forecast.traces.metrics import MetricSpec
from forecast.traces.prometheus import PrometheusSource
from forecast.traces.simulated import SimulatedSource
from forecast.traces.trace import Source

FLEET = {"a": EntitySpec(power_limit_w=1000), "b": EntitySpec(power_limit_w=1000)}

#: Samples of the fleet; the 7th temperature was not observed.
ROWS = pl.DataFrame(
    [
        (at(60 * hour), entity, 300.0 + 10 * hour + side, None if hour == 7 else 40.0 + hour)
        for hour in range(24)
        for side, entity in enumerate(FLEET)
    ],
    schema={
        "time": pl.Datetime("us", "UTC"),
        "entity_id": pl.String,
        "power_w": pl.Float64,
        "temperature_c": pl.Float64,
    },
    orient="row",
)
STRAY = pl.DataFrame(
    [(at(600), "stranger", 1.0, 1.0), (None, "a", 1.0, 1.0)], schema=ROWS.schema, orient="row"
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A source that holds the fifty rows.

    Attributes:
        source: configured, in a folder of its own.
        change: makes its content another; gives the source to read then.
        rows: what it should give of entities of its tree; None takes ROWS.
        stray: rows of strangers or without a time that it should leave in.
    """

    source: Source
    change: Callable[[], Source]
    rows: Callable[[], pl.DataFrame] | None = None
    stray: int = len(STRAY)

    @property
    def expected(self) -> pl.DataFrame:
        return ROWS if self.rows is None else self.rows()


def all_rows() -> pl.DataFrame:
    return pl.concat([ROWS, STRAY])


def hive(folder: Path) -> Case:
    """A lake by host and day, which does not write the host into its files."""
    lake = folder / "lake"
    for index, (_, rows) in enumerate(all_rows().group_by("entity_id", pl.col("time").dt.hour() // 12)):
        part = lake / f"host={rows['entity_id'][0]}" / f"half={index}" / "part.parquet"
        part.parent.mkdir(parents=True)
        rows.drop("entity_id").write_parquet(part)
    columns = {"time": "time", "entity_id": "host", "power_w": "power_w", "temperature_c": "temperature_c"}
    source = FileSource(path=str(lake), entities=FLEET, columns=columns)

    def change() -> Source:
        for part in lake.glob("host=b/*/part.parquet"):
            pl.read_parquet(part, hive_partitioning=False).with_columns(pl.col("power_w") + 1).write_parquet(part)
        return source

    return Case(source, change)


def local_csv(folder: Path) -> Case:
    """Two files with other names, kW, °F, local times without a zone, quotes, CRLF and the newest first."""
    local = pl.col("time").dt.convert_time_zone("Etc/GMT+5").dt.strftime("%Y-%m-%d %H:%M:%S")
    rows = all_rows().select(
        local.fill_null("soon").alias("when"),
        pl.col("entity_id").alias("the, host"),
        (pl.col("power_w") / 1000).alias("kw"),
        (pl.col("temperature_c") * 9 / 5 + 32).alias("degf"),
    )  # fmt: skip
    for half in (0, 1):
        of = rows[half * 25 : half * 25 + 25].reverse()
        text = of.write_csv(quote_style="non_numeric", null_value="N/A", line_terminator="\r\n")
        (folder / f"{half}.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    source = FileSource(
        path=str(folder / "*.csv"),
        entities=FLEET,
        columns={"time": "when", "entity_id": "the, host", "power_w": "kw", "temperature_c": "degf"},
        units={"power_w": "kW", "temperature_c": "degF"},
        time_zone="Etc/GMT+5",
    )

    def change() -> Source:
        file = folder / "1.csv"
        file.write_bytes(file.read_bytes().replace(b"0.53,", b"0.54,"))
        return source

    return Case(source, change)


def spreadsheet_tsv(folder: Path) -> Case:
    """What spreadsheets call Unicode text: UTF-16 with tabs; and a trailer, whose ragged lines are no rows."""
    text = ROWS.with_columns(pl.col("time").dt.strftime("%Y-%m-%dT%H:%MZ")).write_csv(separator="\t", null_value="-")
    path = folder / "export.tsv"
    trailer = "(48 rows)\nCompleted\tat\tlast\ttoo\tlate\n"
    path.write_bytes((text + trailer).encode("utf-16"))
    source = FileSource(path=str(path), entities=FLEET)

    def change() -> Source:
        path.write_bytes((text.replace("310.0", "310.5") + trailer).encode("utf-16"))
        return source

    return Case(source, change)


def elsewhere(folder: Path) -> Case:
    """A file that fsspec opens."""
    url = f"memory://{folder.name}/rows.parquet"

    def write(rows: pl.DataFrame) -> Source:
        with fsspec.open(url, "wb") as stream:
            rows.write_parquet(stream)
        return FileSource(path=url, entities=FLEET)

    return Case(write(all_rows()), lambda: write(all_rows().with_columns(pl.col("power_w") + 1)))


def long(folder: Path) -> Case:
    """A row per sensor, in kW and °F, with a sensor that nobody asked for; a row without a time is one per sensor."""
    path = folder / "long.parquet"

    def write(rows: pl.DataFrame) -> Source:
        sensors = rows.select(
            "time", "entity_id", power=pl.col("power_w") / 1000, cpu=pl.col("temperature_c") * 9 / 5 + 32
        )
        sensors.with_columns(fan=4000.0).unpivot(
            index=["time", "entity_id"], variable_name="sensor", value_name="value"
        ).write_parquet(path)
        metrics = {"power": MetricSpec(unit="kW"), "cpu|gpu": MetricSpec("temperature_c", unit="degF")}
        return LongSource(path=str(path), columns={"metric": "sensor"}, entities=FLEET, metrics=metrics)

    return Case(write(all_rows()), lambda: write(all_rows().with_columns(pl.col("power_w") + 1)), stray=1 + 2)


def simulated(folder: Path) -> Case:
    """The embedded fleet, for a day; its record tells what it should give."""
    fleet = SimulatorConfig(days=1, step_s=3600, rows=[RowConfig("hall-a", "cpu-2s", racks=1, servers_per_rack=2)])
    source = SimulatedSource(fleet=fleet, path=str(folder / "fleet"))
    return Case(
        source,
        change=lambda: replace(source, fleet=replace(fleet, seed=1)),
        rows=lambda: pl.read_parquet(folder / "fleet/telemetry/**/*.parquet", hive_partitioning=False).cast(
            {pl.Float32: pl.Float64}
        ),
        stray=0,
    )


def scraped(folder: Path) -> Case:
    """A real Prometheus, gone after the first read: what was fetched is in files."""

    def source(name: str, rows: pl.DataFrame) -> Source:
        url, kept = fetched(rows.write_json())
        shutil.copytree(kept, folder / name)
        return scraped_source(url, folder / name)

    return Case(
        source("as it was", ROWS),
        change=lambda: source("changed", ROWS.with_columns(pl.col("power_w") + 1)),
        stray=0,
    )


@cache
def fetched(rows: str) -> tuple[str, Path]:
    """The URL that a Prometheus with `rows`, JSON, had, and the cache of a source that has read it."""
    folder = Path(tempfile.mkdtemp(prefix="scraped-"))
    atexit.register(shutil.rmtree, folder)
    with prometheus(folder / "server", history=openmetrics(pl.read_json(rows.encode(), schema=ROWS.schema))) as url:
        scraped_source(url, folder / "cache").read()
    return url, folder / "cache"


def openmetrics(rows: pl.DataFrame, *more: str) -> str:
    """Rows, and more lines, as a Prometheus takes them for its past."""
    lines = [
        f'{metric}{{instance="{entity}:9100"}} {value} {time.timestamp()}'
        for signal, metric in {"power_w": "node_power_watts", "temperature_c": "node_heat_celsius"}.items()
        for time, entity, value in rows.select("time", "entity_id", signal).drop_nulls().iter_rows()
    ]
    return "\n".join([*lines, *more, "# EOF", ""])


def scraped_source(url: str, cache_folder: Path) -> PrometheusSource:
    return PrometheusSource(
        url=url,
        cache=str(cache_folder),
        start=at(0).isoformat(),
        until=at(24 * 60).isoformat(),
        metrics={"node_power_watts": MetricSpec(), "node_heat_celsius": MetricSpec(signal="temperature_c")},
        entity={"node_": "{instance:[^:]+}"},
        attempts=1,
    )


SOURCES: tuple[Callable[[Path], Case], ...] = (hive, local_csv, spreadsheet_tsv, elsewhere, long, simulated, scraped)
