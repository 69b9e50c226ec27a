"""The champion before today's windows: whatever it knows of the fleet, both are scored on the same outcomes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from smoke_run import Smoke

from forecast.bundle.load import Bundle, load
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.evaluation.backtest import Backtest, backtest
from forecast.evaluation.paired import CHALLENGER, CHAMPION
from forecast.predictor import Predictor
from forecast.registry.publish import publish_bundle
from forecast.registry.store import Registry
from forecast.retrain.gate import judge
from forecast.retrain.job import run
from forecast.retrain.prepare import Prepared, prepare
from forecast.retrain.rival import Rival, incomparable
from forecast.retrain.stages import Stages
from forecast.windows.panel import Panel


@pytest.fixture(scope="module")
def bundle(smoke: Smoke) -> Bundle:
    return load(smoke.bundle)


@pytest.fixture(scope="module")
def prepared(smoke: Smoke) -> Prepared:
    return prepare(smoke.config, Stages(2))


def backtested(smoke: Smoke, prepared: Prepared, challenger: Predictor, champion: Predictor) -> Backtest:
    ranges = (prepared.panel, prepared.split, smoke.config.evaluation)
    return backtest(challenger, *ranges, lambda *_: None, champion)


def with_spec(bundle: Bundle, **changed: object) -> Bundle:
    return replace(bundle, manifest=replace(bundle.manifest, spec=replace(bundle.manifest.spec, **changed)))


def aged(bundle: Bundle, watermark: str) -> Bundle:
    training = {**bundle.manifest.training, "watermark": watermark}
    return replace(bundle, manifest=replace(bundle.manifest, training=training))


def test_a_champion_is_told_the_fleet_of_today_and_its_age(bundle: Bundle, prepared: Prepared) -> None:
    rival = Rival.of(aged(bundle, "2026-01-20T23:00:00+00:00"), prepared)
    assert rival.key == bundle.manifest.bundle_id
    assert rival.age_days == pytest.approx(5.0)
    assert rival.predictor is not None
    assert rival.predictor.topology is prepared.trace.topology
    assert rival.cost is not None
    assert rival.cost.ms_per_1000 > 0
    assert rival.cost.size_mb == pytest.approx(0.9, abs=0.5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"targets": ("power_w",)}, "targets are power_w there and are power_w, temperature_c here"),
        ({"step_s": 300}, "step_s is 300 there and is 3600 here"),
        ({"horizon_steps": 6}, "horizon_steps is 6 there and is 12 here"),
        ({"quantile_levels": (0.1, 0.5, 0.9)}, "quantile_levels are 0.1, 0.5, 0.9 there"),
        ({"past": ("power_w", "temperature_c", "fan_speed_rpm")}, "it looks at fan_speed_rpm"),
    ],
)
def test_a_champion_of_another_forecast_gives_way_to_the_baselines_and_the_reason_says_so(
    bundle: Bundle, prepared: Prepared, changed: dict[str, object], said: str
) -> None:
    rival = Rival.of(with_spec(bundle, **changed), prepared)
    assert rival.predictor is None
    assert rival.key is None
    assert rival.why.startswith(f"{bundle.manifest.bundle_id} is in service, but {said}")


def test_another_context_and_fewer_channels_are_comparable(spec: ForecastSpec) -> None:
    assert incomparable(replace(spec, context_steps=12, past=spec.past[:2], future=spec.future[:2]), spec) is None


def test_a_bundle_beside_itself_is_equal_to_the_last_bit(smoke: Smoke, bundle: Bundle, prepared: Prepared) -> None:
    both = backtested(smoke, prepared, Predictor(bundle, prepared.ahead), Predictor(bundle, prepared.ahead))
    assert both.paired is not None
    assert np.array_equal(both.paired.loss[CHAMPION], both.paired.loss[CHALLENGER])
    verdict = judge(both, bundle, Rival(Predictor(bundle)), smoke.config.gate)
    assert verdict["champion"] == bundle.manifest.bundle_id
    assert {row["value"] for row in verdict["rows"] if row["metric"] == "wql"} == {1.0}
    assert json.loads(json.dumps(verdict, allow_nan=False)) == verdict


def test_the_scores_of_ours_do_not_depend_on_the_champion(smoke: Smoke, bundle: Bundle, prepared: Prepared) -> None:
    """It is made of the same graph, told of half the fleet as unknown SKUs."""
    stranger = replace(bundle, manifest=replace(bundle.manifest, skus=bundle.manifest.skus[:1]))
    champion = Predictor(stranger, prepared.ahead, topology=prepared.trace.topology)
    both = backtested(smoke, prepared, Predictor(bundle, prepared.ahead), champion)
    assert both.paired is not None
    assert both.scores.drop("mase").equals(pl.DataFrame(bundle.manifest.scores).drop("mase"))
    assert not np.array_equal(both.paired.loss[CHAMPION], both.paired.loss[CHALLENGER])
    for target, level, wql in both.scores.filter(method="fleetcast").select("target", "level", "wql").iter_rows():
        group = (prepared.trace.topology.table["level"] == level).to_numpy()
        at = bundle.manifest.spec.targets.index(target)
        sums = both.paired.loss[CHALLENGER][:, group, at].sum() / both.paired.magnitude[:, group, at].sum()
        assert sums == pytest.approx(wql, rel=1e-5)


def test_an_entity_the_bundle_never_met_is_forecast_as_an_unknown_sku(bundle: Bundle, prepared: Prepared) -> None:
    known, panel = bundle.manifest.topology.table, prepared.panel
    first = known.row(0, named=True)
    newcomer = pl.DataFrame([{**first, "entity_id": f"{first['entity_id']}-new", "sku": "b300"}], schema=known.schema)
    today = Topology.of(pl.concat([known, newcomer]))
    rows = [panel.entities.index(entity.removesuffix("-new")) for entity in today.entities]
    grown = Panel(panel.start, panel.step_s, panel.channels, today.entities, (panel.read(0, panel.steps)[:, rows],))
    at = max(prepared.split.origins)
    before, after = (
        Predictor(bundle, topology=topology).at(each, at).table() for topology, each in ((None, panel), (today, grown))
    )
    old = after.filter(pl.col("entity_id").is_in(known["entity_id"].implode()))
    assert old.equals(before)
    new = after.filter(entity_id=f"{first['entity_id']}-new")
    assert new["power_w_p50"].is_finite().all()
    assert not new["power_w_p50"].equals(before.filter(entity_id=first["entity_id"])["power_w_p50"])


def test_a_panel_may_have_more_channels_in_another_order(bundle: Bundle, prepared: Prepared) -> None:
    panel, at = prepared.panel, max(prepared.split.origins)
    order = [0, 1, 3, 2]
    values = panel.read(0, panel.steps)
    more = np.concatenate([values[order], values[:1]])
    channels = (*(panel.channels[each] for each in order), "fan_speed_rpm")
    other = Panel(panel.start, panel.step_s, channels, panel.entities, (more,))
    predictor = Predictor(bundle)
    assert predictor.at(other, at).table().equals(predictor.at(panel, at).table())


@pytest.mark.slow
def test_a_run_is_judged_beside_the_version_in_service(smoke: Smoke, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", "smoke")
    with registry.lock():
        publish_bundle(registry, load(smoke.bundle), {"passed": True, "reason": "the first"})
    served = load(smoke.bundle).manifest.bundle_id
    settings = replace(smoke.config.registry, publish=True, root=str(registry.folder.parent))
    run(replace(smoke.config, seed=1, registry=settings), tmp_path / "run")
    verdict = json.loads((tmp_path / "run" / "gate.json").read_text())
    assert verdict["champion"] == served
    assert served in verdict["reason"]
    assert {row["rule"] for row in verdict["rows"]} == {"overall", "segment", "coverage", "brier", "budget"}
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["gate"] == {name: verdict[name] for name in ("passed", "reason")}
    page = (tmp_path / "run" / "bundle" / "report.html").read_text()
    assert "✓ Passed" in page or "✗ Rejected" in page
    assert "champion" in page
