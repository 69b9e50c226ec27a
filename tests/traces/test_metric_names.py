"""The ready mappings, each on what its exporters expose, through a real Prometheus: names, units, blanks, entities."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_server import prometheus
from smoke_run import ROOT, settings

from forecast.traces.metrics import check_metrics
from forecast.traces.prometheus import PrometheusSource

EXPOSITIONS = Path(__file__).parent / "exposition"
MAPPINGS = sorted(path.stem for path in (ROOT / "configs" / "metrics").glob("*.yaml"))
START = datetime(2026, 6, 1, tzinfo=UTC)

#: Scraped twice, this long apart; the counters have gone on by so much, in their own units.
GAP_S = 10
GAINS = {"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": 5_000_000, "hw_host_energy_joules_total": 6_000}

#: Per exposition: its mapping, what each entity measures in SI (power, temperature, inlet, utilisation, fans if any;
#: None for nothing), and the limits it reports (power, temperature).
MEASURED: dict[str, tuple[str, dict[str, tuple[float | None, ...]], dict[str, tuple[float | None, float | None]]]] = {
    "dcgm": (
        "dcgm",
        {
            "node-1/gpu0": (500.0, 61.0, None, 0.98),  # 5 MJ/1000 in 10 s, not the 512 W of the moment
            "node-1/gpu1": (101.5, 87.0 - 57.0, None, None),  # blanks for power and temperature, so the next by rank
        },
        {"node-1/gpu0": (700.0, 87.0), "node-1/gpu1": (None, 87.0)},
    ),
    "dcgm_newer": (
        "dcgm",
        {"node-1/gpu0": (512.3, 61.0, None, None), "node-1/gpu1": (700.5, 87.0 - 20.0, None, None)},
        {"node-1/gpu0": (None, None), "node-1/gpu1": (1000.0, 87.0)},
    ),
    "ipmi": (
        "ipmi",
        {
            "node-1": (486.0, 62.0, 24.0, None, 9600.0),  # DCMI, not the sensor that says 70 W; the other "Temp" is NaN
            "node-2": (518.0, 64.0, None, None, 4200.0),  # the hottest processor, not the regulator or the memory
            "node-3": (210.0 + 190.0, 40.0, 21.0, None),  # two supplies
        },
        {},
    ),
    "redfish": (
        "redfish",
        {
            "tele-1": (426.0, 58.0, 22.0, None, 5160.0),
            "tele-2": (None, 51.0, 19.0, None),
            "bmc-3": (333.0, 40.0, 20.0, None),
            "idrac-4": (166.0, 47.0, 19.0, None),
        },
        {"tele-1": (1600.0, 95.0), "idrac-4": (816.0, None)},
    ),
    "otel": (
        "otel",
        {
            "node-1": (600.0, 85.0 - 12.0, 23.5, None),  # joules before watts; the margin before a sensor
            "node-2": (410.0, 57.0, None, None, 6400.0),
        },
        {"node-1": (None, 85.0)},
    ),
    "node_exporter": ("node_exporter", {"node-1": (344.0, 56.0, None, None)}, {"node-1": (None, 82.0)}),
}


def history(exposition: str) -> Iterator[str]:
    """OpenMetrics lines of two scrapes; a label `of` keeps the expositions apart."""
    lines = (EXPOSITIONS / f"{exposition}.txt").read_text().splitlines()
    # Told of a counter, this parser adds _total to its name; Prometheus keeps the name as it is.
    for family in text_string_to_metric_families("\n".join(line for line in lines if not line.startswith("#"))):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in {**sample.labels, "of": exposition}.items())
            for scrape in (0, 1):
                value = sample.value + scrape * GAINS.get(sample.name, 0)
                yield f"{sample.name}{{{labels}}} {value} {START.timestamp() + scrape * GAP_S}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    lines = [line for exposition in MEASURED for line in history(exposition)]
    with prometheus(tmp_path_factory.mktemp("names"), history="\n".join([*lines, "# EOF", ""])) as url:
        yield url


def source(*changes: str) -> PrometheusSource:
    config = settings("source=prometheus", *changes)
    assert isinstance(config.source, PrometheusSource)
    return config.source


@pytest.mark.parametrize("exposition", MEASURED)
def test_what_an_exporter_shows_becomes_si_by_entity(server: str, exposition: str, tmp_path: Path) -> None:
    mapping, measured, reported = MEASURED[exposition]
    one = source(f"metrics@source=[{mapping}]", f"source.url={server}", f"source.cache={tmp_path}")
    one.start, one.until = "2026-06-01", "2026-06-02"
    for spec in one.metrics.values():
        spec.labels["of"] = exposition
    trace = one.read()
    first = trace.telemetry.fill_nan(None).collect().filter(time=START)
    signals = ("power_w", "temperature_c", "inlet_c", "utilization_ratio", "fan_speed_rpm")
    found = {row["entity_id"]: [row.get(signal) for signal in signals] for row in first.iter_rows(named=True)}
    assert found == {entity: pytest.approx([*values, None][:5], abs=1e-9) for entity, values in measured.items()}
    table = trace.topology.table.select("entity_id", "power_limit_w", "temperature_limit_c")
    limits = {entity: (power, temperature) for entity, power, temperature in table.iter_rows()}
    assert {entity: limits[entity] for entity in reported} == reported


def test_every_mapping_has_an_exposition() -> None:
    assert {mapping for mapping, _, _ in MEASURED.values()} == set(MAPPINGS)


def test_all_mappings_can_be_chosen_together() -> None:
    together = source(f"metrics@source=[{','.join(MAPPINGS)}]")
    check_metrics(together.metrics)
    assert set(together.metrics) == {name for one in MAPPINGS for name in source(f"metrics@source=[{one}]").metrics}
    assert all(any(name.startswith(beginning) for beginning in together.entity) for name in together.metrics)


def test_a_person_changes_one_thing_of_a_mapping() -> None:
    one = source('source.entity.DCGM_="{node}/{UUID}"', "source.metrics.DCGM_FI_DEV_GPU_TEMP.rank=4")
    assert one.entity["DCGM_"] == "{node}/{UUID}"
    assert one.metrics["DCGM_FI_DEV_GPU_TEMP"].rank == 4
    assert one.metrics["DCGM_FI_DEV_GPU_TEMP"].sentinels == source().metrics["DCGM_FI_DEV_GPU_TEMP"].sentinels
