"""The dashboard and the alerts: every expression asked of a real Prometheus, every rule tried by promtool."""

import json
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from fleets import fleet, publish, telemetry, write_bundle
from loopback import wait_until
from prometheus_server import ask, prometheus
from running import Running, running
from smoke_run import ROOT

DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "fleetcast.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
#: What is chosen in the page's heads, and what Grafana itself fills in.
CHOSEN = {"forecast": "day-ahead", "level": "rack", "entity": "rack-1", "horizon": "PT1H", "__rate_interval": "1m"}
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
EXPRESSIONS += [note["expr"] for note in DASHBOARD["annotations"]["list"]]


def filled(text: str) -> str:
    return re.sub(r"\$(\w+)", lambda name: CHOSEN[name[1]], text)


def rows(url: str, expression: str) -> list[dict[str, Any]]:
    answer = ask(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    assert answer is not None, f"{expression} is refused"
    return list(answer["result"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server to which everything happened that the dashboard shows."""
    folder, topology = tmp_path_factory.mktemp("server"), fleet()
    made = write_bundle(folder / "made", "made", topology)
    publish(folder / "registry", made, "k1")
    with running(folder / "registry") as server:
        server.push(telemetry(topology))
        server.push(telemetry(topology).head(1).with_columns(entity_id=pl.lit("stranger")))
        server.engine.report("source", "gone")
        yield server


@pytest.fixture(scope="module")
def url(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus(tmp_path_factory.mktemp("prometheus") / "server", {"fleetcast": server.port}) as url:
        asked = filled("sum(rate(fleetcast_http_request_seconds_count[$__rate_interval])) > 0")
        wait_until(lambda: bool(rows(url, asked)), "it has scraped twice")
        yield url


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_of_the_dashboard_gives_data(url: str, expression: str) -> None:
    assert rows(url, filled(expression))


@pytest.mark.parametrize("name", [name for name, one in VARIABLES.items() if one["type"] == "query"])
def test_every_choice_of_the_dashboard_has_what_there_is(url: str, name: str) -> None:
    series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", VARIABLES[name]["query"]["query"]).groups()
    assert CHOSEN[name] in {row["metric"][label] for row in rows(url, filled(series))}


def test_the_dashboard_is_whole() -> None:
    """What Grafana would show wrongly and not complain of: panels that overlap or stick out, ids that come twice."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    covered: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & covered, panel["title"]
        covered |= cells
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__rate_interval"}
    assert used == set(VARIABLES)
    (provider,) = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yml").read_text())["providers"]
    assert provider["options"]["path"].endswith("deploy/grafana")


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: install Debian's prometheus package")
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_the_rules_are_rules(tmp_path: Path) -> None:
    done = promtool("check", "rules", ALERTS)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "broken.yml"
    broken.write_text(ALERTS.read_text().replace("min by (job", "least by (job"))
    assert promtool("check", "rules", broken).returncode != 0


HERE = 'job="fleet",instance="a",forecast="day-ahead"'
WELL = {
    f'fleetcast_bundle_info{{{HERE},bundle_id="k1"}}': "1x90",
    f"fleetcast_forecast_step_seconds{{{HERE}}}": "300x90",
    f'fleetcast_input_age_seconds{{{HERE},entity_id="site-1"}}': "200x90",
    f'fleetcast_input_age_seconds{{{HERE},entity_id="rack-1"}}': "1000000x90",
    f"fleetcast_forecast_issue_time_seconds{{{HERE}}}": "0+60x90",
    f'fleetcast_entities{{{HERE},source="model"}}': "95x90",
    f'fleetcast_entities{{{HERE},source="seasonal"}}': "5x90",
    f'fleetcast_exceedance_ratio{{{HERE},entity_id="rack-1",target="power_w",horizon="PT1H"}}': "0.01x90",
    f'fleetcast_exceedance_ratio{{{HERE},entity_id="rack-1",target="power_w",horizon="PT24H"}}': "0.9x90",
    'fleetcast_failures_total{job="fleet",instance="a",where="listener"}': "3x90",
    'fleetcast_http_requests_total{job="fleet",instance="a",route="/v1/forecasts",status="200"}': "0+600x90",
}
SHED = 'fleetcast_http_requests_total{job="fleet",instance="a",route="/v2/models/{name}/infer",status="503"}'
#: What happens, from what minute on an alert tells of it, and of whom.
TROUBLE: dict[str, tuple[str, Mapping[str, str | None], int, dict[str, str]]] = {
    "away": ("FleetcastAbsent", {f'fleetcast_bundle_info{{{HERE},bundle_id="k1"}}': None}, 5, {}),
    "silent": (
        "FleetcastStaleTelemetry",
        {f'fleetcast_input_age_seconds{{{HERE},entity_id="site-1"}}': "0+60x90"},
        21,
        {"forecast": "day-ahead"},
    ),
    "stuck": (
        "FleetcastOldForecast",
        {f"fleetcast_forecast_issue_time_seconds{{{HERE}}}": "0x90"},
        21,
        {"forecast": "day-ahead"},
    ),
    "guessing": (
        "FleetcastFallback",
        {f'fleetcast_entities{{{HERE},source="seasonal"}}': "40x90"},
        15,
        {"forecast": "day-ahead"},
    ),
    "unsound": (
        "FleetcastBundleRefused",
        {'fleetcast_problem{job="fleet",instance="a",where="bundle of day-ahead"}': "1x90"},
        2,
        {"where": "bundle of day-ahead"},
    ),
    "no source": (
        "FleetcastProblem",
        {'fleetcast_problem{job="fleet",instance="a",where="source"}': "1x90"},
        10,
        {"where": "source"},
    ),
    "first failure": (
        "FleetcastFailures",
        {'fleetcast_failures_total{job="fleet",instance="a",where="day-ahead"}': "_x40 1x50"},
        40,
        {"where": "day-ahead"},
    ),
    "another failure": (
        "FleetcastFailures",
        {'fleetcast_failures_total{job="fleet",instance="a",where="listener"}': "3x40 4x50"},
        41,
        {"where": "listener"},
    ),
    "near the limit": (
        "FleetcastLimitLikelyPassed",
        {f'fleetcast_exceedance_ratio{{{HERE},entity_id="rack-1",target="power_w",horizon="PT1H"}}': "0.3x90"},
        10,
        {"entity_id": "rack-1", "target": "power_w"},
    ),
    "overloaded": ("FleetcastShedding", {SHED: "0+300x90"}, 11, {"instance": "a"}),
}


def fired(folder: Path, series: Mapping[str, str | None], alert: str, minute: int, expected: list[object]) -> str:
    """What promtool has against the alert firing as expected at a minute; nothing if it does."""
    case = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": told} for name, told in series.items() if told],
                "alert_rule_test": [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": expected}],
            }
        ],
    }
    file = folder / "case.yml"
    file.write_text(json.dumps(case))
    done = promtool("test", "rules", file)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def firing(text: str) -> list[dict[str, str]]:
    """The labels of what promtool got."""
    got = text.partition("got:")[2]
    return [dict(re.findall(r'(\w+)="([^"]*)"', labels)) for labels in re.findall(r"Labels:\{([^}]*)\}", got)]


@pytest.mark.parametrize("trouble", TROUBLE)
def test_an_alert_fires_when_it_should_and_not_before(tmp_path: Path, trouble: str) -> None:
    alert, what, since, whose = TROUBLE[trouble]
    assert fired(tmp_path, {**WELL, **what}, alert, since - 1, []) == ""
    (labels,) = firing(fired(tmp_path, {**WELL, **what}, alert, since, []))
    assert labels["alertname"] == alert
    assert whose.items() <= labels.items()


@pytest.mark.parametrize("alert", sorted({alert for alert, *_ in TROUBLE.values()}))
def test_no_alert_fires_while_all_is_well(tmp_path: Path, alert: str) -> None:
    assert fired(tmp_path, WELL, alert, 80, []) == ""


def test_every_alert_has_its_trouble() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    assert {rule["alert"] for rule in group["rules"]} == {alert for alert, *_ in TROUBLE.values()}
