"""The newest forecasts as gauges: scraped by a real Prometheus and asked back, what is known and no more."""

import math
import urllib.parse
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleets import NOW, SPEC, fleet, publish, telemetry, write_bundle
from prometheus_client.parser import text_string_to_metric_families
from prometheus_server import ask, prometheus, wait_until
from running import Hands, Running, running

from forecast.contracts.errors import ConfigError
from forecast.contracts.topology import Topology
from serve.settings import HttpSettings

TOPOLOGY = fleet()
ROWS = telemetry(TOPOLOGY)
#: Steps of 15 minutes, 8 of them: the two horizons that are reached, and the step in which each ends.
STEPS = {"PT15M": 0, "PT1H": 3}
AGES_S = "fleetcast_input_age_seconds"


@pytest.fixture
def server(registry: Path, hands: Hands) -> Iterator[Running]:
    with running(registry, clock=hands) as server:
        server.push(ROWS)
        yield server


def query(url: str, expression: str) -> list[dict[str, Any]]:
    answer = ask(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    return [] if answer is None else list(answer["result"])


def scraped(server: Running) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """The samples of each name, by labels."""
    reply = server.ask("GET", "/metrics")
    assert reply.status == 200
    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(reply.body.decode()):
        for sample in family.samples:
            values = samples.setdefault(sample.name, {})
            labels = frozenset(sample.labels.items())
            assert labels not in values, "a series comes once"
            values[labels] = sample.value
    return samples


def of(values: Mapping[frozenset[tuple[str, str]], float], **labels: str) -> float:
    (found,) = [value for key, value in values.items() if labels.items() <= dict(key).items()]
    return found


def test_a_real_prometheus_scrapes_forecasts_and_gives_them_back(server: Running, tmp_path: Path) -> None:
    outputs = server.engine.newest("day-ahead").forecast.outputs
    with prometheus(tmp_path / "prometheus", {"fleetcast": server.port}) as url:
        wait_until(lambda: bool(query(url, "fleetcast_power_forecast_watts")), "it has scraped")
        for name, target, array in (
            ("fleetcast_power_forecast_watts", 0, outputs.quantiles),
            ("fleetcast_power_headroom_watts", 0, outputs.headroom),
            ("fleetcast_temperature_forecast_celsius", 1, outputs.quantiles),
            ("fleetcast_thermal_headroom_celsius", 1, outputs.headroom),
        ):
            rows = query(url, name)
            assert len(rows) == 3 * len(STEPS) * 3, "a site and two racks, two horizons, three quantiles"
            for row in rows:
                labels, (_, value) = row["metric"], row["value"]
                place = TOPOLOGY.entities.index(labels["entity_id"])
                level = SPEC.quantile_levels.index(float(labels["quantile"]))
                assert float(value) == pytest.approx(float(array[place, target, level, STEPS[labels["horizon"]]]))
                assert labels["level"] == TOPOLOGY.table["level"][place]
        (site,) = query(url, 'fleetcast_power_forecast_watts{entity_id="site-1",horizon="PT1H",quantile="0.5"}')
        (racks,) = query(url, 'sum(fleetcast_power_forecast_watts{level="rack",horizon="PT1H",quantile="0.5"})')
        assert float(racks["value"][1]) == pytest.approx(float(site["value"][1]), rel=0.05)
        (issued,) = query(url, "fleetcast_forecast_issue_time_seconds")
        assert float(issued["value"][1]) == NOW.timestamp()


def test_exceedance_is_the_highest_up_to_the_horizon(server: Running) -> None:
    values = scraped(server)["fleetcast_exceedance_ratio"]
    odds = server.engine.newest("day-ahead").forecast.outputs.exceedance
    place = TOPOLOGY.entities.index("rack-1")
    for at, target in enumerate(SPEC.targets):
        for horizon, step in STEPS.items():
            told = of(values, entity_id="rack-1", target=target, horizon=horizon)
            assert told == pytest.approx(float(odds[place, at, : step + 1].max()))


def test_ages_and_rungs_follow_a_source_that_dies(server: Running, hands: Hands) -> None:
    before = scraped(server)
    assert set(before["fleetcast_fallback_level"].values()) == {0.0}
    assert of(before["fleetcast_entities"], source="model") == len(TOPOLOGY.entities)
    assert of(before[AGES_S], entity_id="site-1") == 0.0
    hands.now = NOW + timedelta(hours=1)
    server.push(ROWS.head(0))
    after = scraped(server)
    assert of(after[AGES_S], entity_id="site-1") == 3600.0
    assert set(after["fleetcast_fallback_level"].values()) == {2.0}, "an hour of the forecast is last good, then usual"
    assert of(after["fleetcast_entities"], source="seasonal") == len(TOPOLOGY.entities)


def test_what_nobody_heard_of_is_infinitely_old_and_has_no_headroom_without_a_limit(
    registry: Path, tmp_path: Path
) -> None:
    unlimited = Topology(TOPOLOGY.table.with_columns(temperature_limit_c=np.nan))
    publish(registry, write_bundle(tmp_path / "unlimited", "made", unlimited), "k2")
    with running(registry) as server:
        server.engine.refresh("day-ahead").result(30)
        samples = scraped(server)
    assert set(samples[AGES_S].values()) == {math.inf}
    assert set(samples["fleetcast_fallback_level"].values()) == {4.0}
    assert "fleetcast_thermal_headroom_celsius" not in samples
    assert "fleetcast_power_headroom_watts" in samples


@pytest.mark.parametrize(
    ("lowest", "levels"),
    [("server", {"server", "rack", "site"}), ("rack", {"rack", "site"}), ("hall", {"site"}), ("fleet", {"site"})],
)
def test_the_level_bounds_how_many_series_there_are(registry: Path, lowest: str, levels: set[str]) -> None:
    with running(registry, metrics_level=lowest) as server:
        server.push(ROWS)
        seen = {dict(key)["level"] for key in scraped(server)["fleetcast_power_forecast_watts"]}
    assert seen == levels


def test_a_level_that_there_is_not_is_told() -> None:
    with pytest.raises(ConfigError, match="metrics_level=shelf is no level"):
        HttpSettings(metrics_level="shelf")


def test_before_the_first_forecast_there_is_the_bundle_alone(registry: Path) -> None:
    with running(registry, telemetry="nowhere/*.parquet") as server:
        samples = scraped(server)
    assert of(samples["fleetcast_bundle_info"], forecast="day-ahead", bundle_id="k1") == 1.0
    assert of(samples["fleetcast_forecast_step_seconds"], forecast="day-ahead") == SPEC.step_s
    assert "fleetcast_power_forecast_watts" not in samples


def test_what_is_wrong_now_has_a_series_as_long_as_it_lasts(server: Running) -> None:
    server.engine.report("source", "gone")
    assert of(scraped(server)["fleetcast_problem"], where="source") == 1.0
    server.engine.report("source", None)
    assert "fleetcast_problem" not in scraped(server)
