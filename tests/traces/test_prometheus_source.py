"""A real Prometheus scrapes real endpoints each second; what it was shown comes back as telemetry and a tree."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from wsgiref.simple_server import WSGIServer

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_server import ask, free_port, prometheus, proxy, wait_until
from smoke_run import settings

from forecast.contracts.errors import ConfigError, DataError
from forecast.traces.files import FileSource
from forecast.traces.prometheus import PrometheusSource
from forecast.traces.trace import Trace

BLANK = 2147483632.0
SCRAPES = 4

#: The scrape before which GPU 0's energy counter starts again, as after a reload of the driver.
RESET = 2

#: The scrape at which its temperature is not available.
BLANKED = 1


@dataclass(eq=False)
class Exporter:
    """Shows other values at each scrape; the n-th scrape is known by its n.

    Attributes:
        families: metric name to (label names, rows of label values and the value as a function of n).
        scraped: how often that was so far.
    """

    families: dict[str, tuple[list[str], list[tuple[list[str], "Value"]]]]
    scraped: int = field(default=0)

    def collect(self) -> Iterator[Metric]:
        n = self.scraped
        self.scraped += 1
        for name, (labels, rows) in self.families.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(name.removesuffix("_total"), name, labels=labels)
            for values, value in rows:
                family.add_metric(values, value(n))
            yield family


class Value:
    """first + slope · n, but for exceptions at some n."""

    def __init__(self, first: float, slope: float = 0.0, exceptions: dict[int, float] | None = None) -> None:
        self.first, self.slope, self.exceptions = first, slope, exceptions or {}

    def __call__(self, n: int) -> float:
        return self.exceptions.get(n, self.first + self.slope * n)


class Energy(Value):
    """mJ of a GPU that draws more and more, from nothing again at RESET."""

    def __call__(self, n: int) -> float:
        since = n if n < RESET else n - RESET
        return 5e8 * (n < RESET) + 350e3 * since


GPU = ["gpu", "UUID", "device", "modelName", "Hostname"]
GPU_0 = ["0", "GPU-a", "nvidia0", "NVIDIA H100 80GB HBM3", "node-1"]
GPU_1 = ["1", "GPU-b", "nvidia1", "NVIDIA H100 80GB HBM3", "node-1"]


def exporters() -> dict[str, Exporter]:
    """By the target that Prometheus knows them as."""
    dcgm = Exporter(
        {
            "DCGM_FI_DEV_POWER_USAGE": (GPU, [(GPU_0, Value(300, 1)), (GPU_1, Value(100, 2))]),
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": (GPU, [(GPU_0, Energy(0))]),
            "DCGM_FI_DEV_GPU_TEMP": (GPU, [(GPU_0, Value(50, 1, {BLANKED: BLANK}))]),
            "DCGM_FI_DEV_GPU_TEMP_LIMIT": (GPU, [(GPU_1, Value(57, -1))]),
            "DCGM_FI_DEV_GPU_MAX_OP_TEMP": (GPU, [(GPU_0, Value(87)), (GPU_1, Value(87))]),
            "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": (GPU, [(GPU_0, Value(700)), (GPU_1, Value(650, 0, {1: 500}))]),
            "DCGM_FI_DEV_GPU_UTIL": (GPU, [(GPU_0, Value(0, 1)), (GPU_1, Value(0, 1))]),
            "DCGM_FI_DEV_SM_CLOCK": (GPU, [(GPU_0, Value(1980)), (GPU_1, Value(1980))]),
        }
    )
    sensor = ["id", "name"]
    ipmi = Exporter(
        {
            "ipmi_dcmi_power_consumption_current_watts": ([], [([], Value(1200, 5))]),
            "ipmi_power_watts": (sensor, [(["90", "Pwr Consumption"], Value(990))]),
            "ipmi_temperature_celsius": (
                sensor,
                [
                    (["18", "Inlet Temp"], Value(22, 0.5)),
                    (["3", "Temp"], Value(55, 1)),
                    (["4", "Temp"], Value(math.nan)),
                    (["7", "P1-DIMMA1 Temp"], Value(99)),
                ],
            ),
        }
    )
    otel = Exporter(
        {
            "hw_host_power_watts": (["host_name", "hw_id"], [(["store-1", "h"], Value(400, 1))]),
            "hw_host_ambient_temperature_celsius": (["host_name", "hw_id"], [(["store-1", "h"], Value(21, 0.25))]),
            "hw_host_heating_margin_celsius": (["host_name", "hw_id"], [(["store-1", "h"], Value(30, -1))]),
        }
    )
    return {"10.0.0.7:9400": dcgm, "node-1:9290": ipmi, "collector:8889": otel}


@dataclass(frozen=True)
class Site:
    """A server that has scraped three exporters some times; `rows` is its telemetry by entity, in time order."""

    url: str
    exporters: dict[str, Exporter]
    stop: dict[str, Callable[[], None]]
    trace: Trace
    rows: dict[str, pl.DataFrame]


def source(url: str, cache: Path, *changes: str) -> PrometheusSource:
    """The ready source with three ready mappings, and what a person would add for this site."""
    config = settings(
        "source=prometheus",
        "metrics@source=[dcgm,ipmi,otel]",
        f"source.url={url}",
        f"source.cache={cache}",
        "source.lookback_days=1",
        'source.tree.sku="{modelName}"',
        "+source.tree.skus={unknown:{temperature_limit_c:80}}",
        *changes,
    )
    assert isinstance(config.source, PrometheusSource)
    return config.source


def scrapes(url: str) -> int:
    """How often the exporter that was scraped least has been."""
    found = ask(f"{url}/api/v1/query?query=count_over_time(up%5B1h%5D)")
    counts = [int(one["value"][1]) for one in found["result"]] if found else []
    return min(counts) if len(counts) == 3 else 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    shown, ports, stop = exporters(), {}, {}
    for target, exporter in shown.items():
        registry = CollectorRegistry(auto_describe=False)
        registry.register(exporter)
        ports[target] = free_port()
        server, _ = start_http_server(ports[target], "127.0.0.1", registry)
        stop[target] = partial(close, server)
    with prometheus(folder / "server", ports) as url:
        wait_until(lambda: scrapes(url) > SCRAPES, f"each exporter was scraped more than {SCRAPES} times")
        trace = source(url, folder / "cache").read()
        table = trace.telemetry.sort("time").collect()
        yield Site(url, shown, stop, trace, {str(of[0]): rows for of, rows in table.group_by("entity_id")})
    for close_one in stop.values():
        close_one()


def close(server: WSGIServer) -> None:
    server.shutdown()
    server.server_close()


def values(site: Site, entity: str, signal: str) -> list[float | None]:
    return site.rows[entity][signal].to_list()


def scrape_numbers(site: Site, entity: str) -> list[int]:
    """Which scrape each row is of: one that timed out on a busy machine is no row."""
    first, slope, signal = {"node-1": (1200, 5, "power_w"), "store-1": (400, 1, "power_w")}.get(
        entity, (0, 0.01, "utilization_ratio")
    )
    return [round((value - first) / slope) for value in site.rows[entity][signal]]


def test_every_scrape_is_a_row_at_its_time(site: Site) -> None:
    assert set(site.rows) == {"node-1/gpu0", "node-1/gpu1", "node-1", "store-1"}
    for entity, rows in site.rows.items():
        numbers = scrape_numbers(site, entity)
        assert numbers == sorted(set(numbers))
        assert len(numbers) >= SCRAPES
        gaps = rows["time"].diff().drop_nulls().dt.total_milliseconds()
        assert gaps.is_between(1, 60_000).all()


@pytest.mark.parametrize(
    ("entity", "signal", "value"),
    [
        ("node-1/gpu1", "power_w", lambda n: 100 + 2 * n),
        ("node-1/gpu1", "temperature_c", lambda n: 87 - (57 - n)),
        ("node-1/gpu1", "utilization_ratio", lambda n: n / 100),
        ("node-1", "power_w", lambda n: 1200 + 5 * n),
        ("node-1", "inlet_c", lambda n: 22 + n / 2),
        ("node-1", "temperature_c", lambda n: 55 + n),
        ("store-1", "power_w", lambda n: 400 + n),
        ("store-1", "inlet_c", lambda n: 21 + n / 4),
        ("store-1", "temperature_c", lambda n: 80 - (30 - n)),
    ],
)
def test_telemetry_is_what_was_exposed_in_si(
    site: Site, entity: str, signal: str, value: Callable[[int], float]
) -> None:
    expected = [value(n) for n in scrape_numbers(site, entity)]
    assert values(site, entity, signal) == pytest.approx(expected, abs=1e-9)


def test_a_blank_is_no_temperature(site: Site) -> None:
    found = dict(zip(scrape_numbers(site, "node-1/gpu0"), values(site, "node-1/gpu0", "temperature_c"), strict=True))
    assert str(found.pop(BLANKED, math.nan)) == "nan"
    assert found == {n: 50.0 + n for n in found}


def test_energy_becomes_mean_power_but_where_the_counter_starts_again(site: Site) -> None:
    numbers = scrape_numbers(site, "node-1/gpu0")
    times = site.rows["node-1/gpu0"]["time"].to_list()
    expected = []
    for (n, time), (following, later) in pairwise(zip(numbers, times, strict=True)):
        gone = 350.0 * (following - n) / (later - time).total_seconds()
        expected.append(gone if not n < RESET <= following else 300.0 + n)
    assert values(site, "node-1/gpu0", "power_w") == pytest.approx([*expected, 300.0 + numbers[-1]])


def test_the_tree_comes_from_names_and_labels_and_the_limits_from_the_machines(site: Site) -> None:
    table = site.trace.topology.table.select(
        "entity_id", "parent_id", "level", "sku", "power_limit_w", "temperature_limit_c"
    )
    h100 = "NVIDIA H100 80GB HBM3"
    assert table.sort("entity_id").rows() == [
        ("node-1", "site-1", "server", "unknown", None, 80.0),
        ("node-1/gpu0", "node-1", "gpu", h100, 700.0, 87.0),
        ("node-1/gpu1", "node-1", "gpu", h100, 650.0, 87.0),
        ("site-1", None, "site", "site", None, None),
        ("store-1", "site-1", "server", "unknown", None, 80.0),
    ]


def test_the_cache_is_telemetry_that_any_reader_of_files_takes(site: Site) -> None:
    folder = Path(site.trace.parts[0].name).parent
    read = FileSource(path=str(folder)).telemetry(site.trace.topology).sort("time", "entity_id").collect()
    told = site.trace.telemetry.sort("time", "entity_id").collect()
    assert_frame_equal(read.select(told.columns).fill_nan(None), told.fill_nan(None))


def test_a_later_read_asks_only_for_what_is_new(site: Site, tmp_path: Path) -> None:
    of_node = pl.col("entity_id") == "node-1"
    with proxy(site.url) as counted:
        first = source(counted.url, tmp_path).read()
        old = first.telemetry.filter(of_node).sort("time").collect()
        counted.asked.clear()
        have = scrapes(site.url)
        wait_until(lambda: scrapes(site.url) > have, "there is something new")
        second = source(counted.url, tmp_path).read()
    starts = [float(parse_qs(urlsplit(path).query)["start"][0]) for _, path in counted.asked if "series" in path]
    today = second.parts[-1].first
    assert today is not None
    assert all(start >= today.timestamp() for start in starts)
    assert [part.key for part in second.parts[:-1]] == [part.key for part in first.parts[:-1]]
    new = second.telemetry.filter(of_node).sort("time").collect()
    assert len(new) > len(old)
    assert_frame_equal(new.head(len(old)), old)


def test_an_exporter_that_died_says_nothing_instead_of_its_last_words(site: Site, tmp_path: Path) -> None:
    site.stop["node-1:9290"]()
    up = f"{site.url}/api/v1/query?query=sum_over_time((1-up%7Binstance%3D%22node-1:9290%22%7D)%5B1h:1s%5D)"

    def failed() -> bool:
        found = ask(up)
        return bool(found) and float(found["result"][0]["value"][1]) >= 3 if found and found["result"] else False

    wait_until(failed, "three scrapes failed")
    read = source(site.url, tmp_path).read().telemetry.filter(pl.col("entity_id") == "node-1").sort("time").collect()
    assert read["power_w"].is_unique().all()
    assert 0 <= site.exporters["node-1:9290"].scraped - len(read) <= 2


def test_a_label_that_no_series_has_is_named_with_those_there_are(site: Site, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gpu\{gpu\}' names no entity of DCGM.*\"Hostname\": \"node-1\""):
        source(site.url, tmp_path, 'source.entity={DCGM_:"{hostname}/gpu{gpu}"}').read()


def test_what_a_server_cannot_parse_comes_back_in_its_words(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"refused with status 400: .*error parsing regexp"):
        source(site.url, tmp_path, '+source.metrics.DCGM_FI_DEV_GPU_TEMP.labels={gpu:"("}').read()
