"""A real Prometheus with days of history: fetched in chunks, whole, once, and the same however it was interrupted."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from prometheus_server import Proxy, prometheus, proxy

from forecast.contracts.errors import DataError
from forecast.traces.metrics import MetricSpec
from forecast.traces.prometheus import PrometheusSource
from forecast.traces.tree import TreeSpec

MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = 2

#: One series with more points a day than a range query may give, and many slow ones, each at milliseconds of its own.
FAST_S = 5
SLOW_S = 60
RACKS = 30


def exposed() -> pl.DataFrame:
    """What the server is given: rack power in kW each 5 s, and inlets of 30 racks in °C each minute, jittered."""
    start = MIDNIGHT.timestamp()
    fast = [
        ("pdu_power_kilowatts", "rack-0", start + i * FAST_S, 20 + i % 97 / 8) for i in range(DAYS * 86_400 // FAST_S)
    ]
    slow = [
        ("rack_inlet_celsius", f"rack-{rack}", start + i * SLOW_S + (rack * 37 % 60) / 1e3, 18 + i % 50 / 4)
        for rack in range(RACKS)
        for i in range(DAYS * 86_400 // SLOW_S)
    ]
    return pl.DataFrame([*fast, *slow], schema=["metric", "rack", "second", "value"], orient="row")


def openmetrics(table: pl.DataFrame) -> str:
    lines = []
    for (metric,), rows in table.group_by("metric", maintain_order=True):
        lines.append(f"# TYPE {metric} gauge")
        lines += [f'{name}{{rack="{rack}"}} {value} {at:.3f}' for name, rack, at, value in rows.iter_rows()]
    return "\n".join([*lines, "# EOF", ""])


def telemetry(table: pl.DataFrame) -> pl.DataFrame:
    """The contract's rows that `table` must become."""
    fast, slow = (table.filter(pl.col("metric") == name) for name in ("pdu_power_kilowatts", "rack_inlet_celsius"))
    fast = fast.select("rack", "second", power_w=pl.col("value") * 1e3)
    slow = slow.select("rack", "second", inlet_c="value")
    rows = fast.join(slow, on=["rack", "second"], how="full", coalesce=True)
    time = (pl.col("second") * 1e3).round().cast(pl.Int64).cast(pl.Datetime("ms", "UTC")).dt.cast_time_unit("us")
    return rows.select(time.alias("time"), entity_id="rack", power_w="power_w", inlet_c="inlet_c").sort(
        "time", "entity_id"
    )


@pytest.fixture(scope="module")
def history() -> pl.DataFrame:
    return exposed()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, history: pl.DataFrame) -> Iterator[str]:
    with prometheus(tmp_path_factory.mktemp("prometheus"), history=openmetrics(history)) as url:
        yield url


@pytest.fixture(scope="module")
def whole(server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of a fetch that nothing disturbed."""
    cache = tmp_path_factory.mktemp("whole")
    source(server, cache).read()
    return cache


def source(url: str, cache: Path, **settings: Any) -> PrometheusSource:
    return PrometheusSource(
        **{
            "url": url,
            "cache": str(cache),
            "start": "2026-06-01",
            "until": "2026-06-03",
            "attempts": 1,
            "metrics": {
                "pdu_power_kilowatts": MetricSpec(unit="kW"),
                "rack_inlet_celsius": MetricSpec(signal="inlet_c", unit="degC"),
            },
            "entity": {"": "{rack}"},
            "tree": TreeSpec(level="rack"),
            **settings,
        }
    )


def read(one: PrometheusSource) -> pl.DataFrame:
    return one.read().telemetry.select("time", "entity_id", "power_w", "inlet_c").sort("time", "entity_id").collect()


def queried(server: Proxy) -> list[tuple[datetime, datetime]]:
    """From when to when each query for samples asked, end excluded."""
    spans = []
    for _, path in server.asked:
        asked = {key: values[0] for key, values in parse_qs(urlsplit(path).query).items()}
        if urlsplit(path).path == "/api/v1/query":
            end = datetime.fromtimestamp(float(asked["time"]) + 1e-3, UTC)
            length = int(asked["query"].rpartition("[")[2].removesuffix("ms]"))
            spans.append((end - timedelta(milliseconds=length), end))
    return spans


def files(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def same_samples(cache: Path, other: Path) -> bool:
    """Folders of samples are named after their server too; all else is the same, byte for byte."""
    left, right = (
        {(name.partition("-")[0], Path(name).name): body for name, body in files(one).items()} for one in (cache, other)
    )
    return len(left) == DAYS * 2 and left == right


def test_every_sample_arrives_at_its_own_time_in_si(server: str, history: pl.DataFrame, tmp_path: Path) -> None:
    with proxy(server) as counted:
        found = read(source(counted.url, tmp_path))
    assert_frame_equal(found, telemetry(history))
    spans = queried(counted)
    assert max(end - start for start, end in spans) <= timedelta(days=1)
    assert len(spans) > DAYS * 2, "the many series were not asked for in chunks"
    assert len(spans) < 60


def test_what_is_there_is_not_asked_for_again_and_stays_the_same(server: str, tmp_path: Path) -> None:
    with proxy(server) as counted:
        one_day = source(counted.url, tmp_path, until="2026-06-02").read()
        before = files(tmp_path)
        counted.asked.clear()
        again = source(counted.url, tmp_path, until="2026-06-02").read()
        assert counted.asked == []
        assert files(tmp_path) == before
        assert (again.key, again.parts) == (one_day.key, one_day.parts)

        longer = source(counted.url, tmp_path).read()
        assert min(start for start, _ in queried(counted)) == MIDNIGHT + timedelta(days=1)
        assert longer.parts[:1] == one_day.parts
        assert longer.key != one_day.key
        assert {name: body for name, body in files(tmp_path).items() if name in before} == before


def test_a_day_grows_to_what_it_would_have_been_at_once(server: str, whole: Path, tmp_path: Path) -> None:
    for until in ("2026-06-01T07:13:21", "2026-06-02T13:00:00.5", "2026-06-03"):
        grown = source(server, tmp_path / "grown", until=until).read()
    at_once = source(server, whole).read()
    assert grown.telemetry.collect().equals(at_once.telemetry.collect())
    assert [part.key for part in grown.parts] == [part.key for part in at_once.parts]


@pytest.mark.parametrize("passed", [0, 1, 3, 7])
def test_a_fetch_cut_off_leaves_whole_files_and_is_taken_up(
    server: str, whole: Path, tmp_path: Path, passed: int
) -> None:
    with proxy(server, *[""] * passed, "away") as cut:
        with pytest.raises(DataError, match="no answer after 1 attempt"):
            source(cut.url, tmp_path / "cut").read()
        assert not [name for name in files(tmp_path / "cut") if "partial" in name]
        left = {path: pl.read_parquet(path) for path in (tmp_path / "cut").rglob("*.parquet")}
        source(cut.url, tmp_path / "cut").read()
    assert len(left) < len(list((tmp_path / "cut").rglob("*.parquet")))
    assert same_samples(tmp_path / "cut" / "samples", whole / "samples")


def test_with_a_step_the_last_sample_of_each_comes_at_its_start(
    server: str, history: pl.DataFrame, tmp_path: Path
) -> None:
    found = read(source(server, tmp_path, step_s=300))
    all_rows = telemetry(history)
    last = (
        all_rows.sort("time")
        # A step is open at its start: (t, t + 300 s], as Prometheus' ranges are.
        .with_columns(time=(pl.col("time") - timedelta(microseconds=1)).dt.truncate("5m"))
        .group_by("time", "entity_id")
        .agg(pl.col("power_w", "inlet_c").drop_nulls().last())
        .filter(pl.col("time") >= MIDNIGHT)
        .sort("time", "entity_id")
    )
    assert_frame_equal(found, last)


def test_a_fine_step_stays_below_the_points_that_a_range_query_may_have(
    server: str, history: pl.DataFrame, tmp_path: Path
) -> None:
    power = {"pdu_power_kilowatts": MetricSpec(unit="kW")}
    found = source(server, tmp_path, step_s=FAST_S, metrics=power, until="2026-06-02").read().telemetry.collect()
    assert found.height == 86_400 // FAST_S > 11_000
    shifted = telemetry(history).select(pl.col("time") - timedelta(seconds=FAST_S), "entity_id", "power_w").drop_nulls()
    assert_frame_equal(found, shifted.slice(1, found.height))


def test_a_server_that_finds_a_query_too_large_is_asked_for_less(history: pl.DataFrame, tmp_path: Path) -> None:
    first_day = history.filter(pl.col("second") < MIDNIGHT.timestamp() + 86_400)
    flags = ["--query.max-samples=30000"]
    with prometheus(tmp_path / "small", history=openmetrics(first_day), flags=flags) as url:
        found = read(source(url, tmp_path / "cache", until="2026-06-02"))
    assert_frame_equal(found, telemetry(first_day))


def test_a_server_that_is_busy_and_breaks_off_is_asked_again_when_it_says(
    server: str, history: pl.DataFrame, tmp_path: Path
) -> None:
    with proxy(server, "busy", "cut") as flaky:
        found = read(source(flaky.url, tmp_path / "flaky", attempts=3))
    times = [at for at, _ in flaky.asked]
    assert times[1] - times[0] >= 0.99, "Retry-After says one second"
    assert len({path for _, path in flaky.asked[:3]}) == 1, "the same request three times"
    assert_frame_equal(found, telemetry(history))


def test_a_topology_file_says_who_belongs_to_the_fleet(server: str, whole: Path, tmp_path: Path) -> None:
    file = tmp_path / "racks.csv"
    file.write_text(
        "entity_id,parent_id,level,sku,power_limit_w,temperature_limit_c,site,time_zone\n"
        "rack-0,,rack,air,30000,,site-1,Europe/Helsinki\n"
    )
    trace = source(server, whole, topology=str(file)).read()
    assert trace.topology.entities == ("rack-0",)
    assert trace.telemetry.select(pl.col("entity_id").n_unique()).collect().item() == RACKS


def test_progress_is_told_from_nothing_to_all(server: str, tmp_path: Path) -> None:
    told: list[float] = []
    source(server, tmp_path).read(told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) >= DAYS * 2


def test_no_sample_at_all_says_where_and_when_was_looked(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no samples of any of the 2 metrics from 2020-01-01 to 2020-01-01"):
        source(server, tmp_path, start="2020-01-01", until="2020-01-02").read()
