"""Drift in the job: measured beside the version in service, told everywhere, and able to hold a run back."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from smoke_run import Smoke

from forecast.bundle.load import load
from forecast.contracts.errors import ExitCode
from forecast.contracts.topology import Topology
from forecast.evaluation.drift.measure import Drift, measure
from forecast.predictor import Predictor
from forecast.registry.store import Registry
from forecast.retrain.config import JobConfig, When
from forecast.retrain.drift import waits
from forecast.retrain.job import run, run_key
from forecast.retrain.metrics import exposition
from forecast.retrain.prepare import prepare
from forecast.retrain.stages import Stages
from forecast.windows.panel import Panel


def quiet(_: float) -> None:
    """Nobody watches."""


@pytest.fixture
def registry(smoke: Smoke, tmp_path: Path) -> Registry:
    """The smoke bundle in service."""
    registry = Registry(tmp_path / "registry", "smoke")
    with registry.lock():
        staged = registry.staging()
        for file in smoke.bundle.iterdir():
            (staged / file.name).write_bytes(file.read_bytes())
        registry.publish(staged, load(smoke.bundle).manifest.bundle_id)
    return registry


@pytest.fixture
def config(smoke: Smoke, registry: Registry, tmp_path: Path) -> JobConfig:
    """A run two days later, that is to happen only on drift."""
    return replace(
        smoke.config,
        when=When.drifted,
        source=replace(smoke.config.source, until=None),
        registry=replace(smoke.config.registry, publish=True, root=str(registry.folder.parent)),
        metrics_file=str(tmp_path / "fleetcast.prom"),
    )


@pytest.fixture
def later(config: JobConfig) -> Panel:
    """The panel of that run."""
    return prepare(config, Stages(2)).panel


def measured(smoke: Smoke, panel: Panel, topology: Topology | None = None) -> Drift:
    bundle = load(smoke.bundle)
    fleet = topology or bundle.manifest.topology
    return measure(bundle, lambda part: Predictor(bundle, topology=part), panel, fleet, quiet)


def test_new_data_like_the_old_trains_nothing(config: JobConfig, registry: Registry, tmp_path: Path) -> None:
    before = registry.current()
    assert run(config, tmp_path / "run") == ExitCode.NOTHING_NEW
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [step["step"] for step in told["steps"]] == ["read", "features", "champion", "drift"]
    assert told["nothing_new"].startswith("No drift: none in ")
    assert not told["drift"]["drifted"]
    found = json.loads((tmp_path / "run" / "drift.json").read_text())
    assert before is not None
    assert found["version"] == before.name
    assert {row["kind"] for row in found["rows"]} >= {"values", "relation", "observed", "pit", "coverage_80"}
    metrics = (tmp_path / "fleetcast.prom").read_text()
    assert 'fleetcast_run_drifted{forecast="smoke"} 0.0' in metrics
    assert 'fleetcast_run_drift_distance{forecast="smoke",kind="pit"}' in metrics
    assert registry.current() == before
    assert not (tmp_path / "run" / "bundle").exists()


def test_when_to_train_is_no_part_of_what_a_run_is(config: JobConfig) -> None:
    prepared = prepare(config, Stages(2))
    assert run_key(config, prepared) == run_key(replace(config, when=When.new), prepared)


def test_a_run_goes_on_where_nothing_is_in_service(tmp_path: Path) -> None:
    assert waits(None, None, Registry(tmp_path, "smoke")) is None


def test_drift_goes_on_unless_it_was_tried_in_vain_today(smoke: Smoke, registry: Registry, later: Panel) -> None:
    champion = load(smoke.bundle)
    drift = measured(smoke, shifted(later, 1.5))
    assert drift.drifted
    assert waits(drift, champion, registry) is None
    with registry.lock():
        registry.reject("another", "another-champion", "worse")
    assert waits(drift, champion, registry) is None
    with registry.lock():
        registry.reject("another", champion.manifest.bundle_id, "worse")
    assert "rejected 0.0 h ago" in str(waits(drift, champion, registry))


def shifted(panel: Panel, factor: float) -> Panel:
    """The panel with the power of its last day times `factor`, and temperatures as they were."""
    values = panel.read(0, panel.steps)
    values[0, :, -24:] *= factor
    return replace(panel, chunks=(values,))


def test_a_firmware_shows_in_what_explains_power_and_in_calibration(smoke: Smoke, later: Panel) -> None:
    rows = [row for row in measured(smoke, shifted(later, 1.5)).rows if row.drifted]
    assert ("relation", "power_w") in {(row.kind, row.signal) for row in rows}
    before, after = (
        {
            (row.segment, row.kind, row.days): row.now
            for row in measured(smoke, panel).rows
            if (row.by, row.signal, row.kind) == ("level", "power_w", "coverage_80") and row.days == 1
        }
        for panel in (later, shifted(later, 3))
    )
    assert np.mean(list(after.values())) < np.mean(list(before.values()))


def test_a_new_sku_is_drift_and_a_new_version_that_knows_it_is_not(smoke: Smoke, later: Panel) -> None:
    topology = load(smoke.bundle).manifest.topology
    leaf = pl.col("entity_id") == topology.entities[0]
    renewed = Topology.of(topology.table.with_columns(sku=pl.when(leaf).then(pl.lit("b300")).otherwise(pl.col("sku"))))
    drift = measured(smoke, later, renewed)
    assert drift.drifted
    assert drift.reason.startswith("sku b300: a new SKU")
    assert "entities" not in {row.kind for row in measured(smoke, later).rows}


@pytest.mark.parametrize("first", [8, 15])
def test_nothing_is_compared_before_the_version_knows_a_week(smoke: Smoke, later: Panel, first: int) -> None:
    drift = measured(smoke, replace(later, start=later.time(first * 24), chunks=(later.read(first * 24, later.steps),)))
    assert not drift.drifted
    assert drift.reason.startswith("too little to compare")


def test_metrics_are_bounded_whatever_the_fleet(smoke: Smoke, later: Panel) -> None:
    run = {"forecast": "smoke", "ended": "2026-01-01T00:00:00+00:00", "exit_code": 10, "seconds": 1.0, "steps": []}
    kinds = {
        "values": {"comparisons": 9, "drifted": 1, "times": 5.5},
        "entities": {"comparisons": 0, "drifted": 0, "times": None},
    }
    text = exposition(run | {"drift": {"drifted": True, "reason": "x", "kinds": kinds}}, None).decode()
    assert 'fleetcast_run_drift_distance{forecast="smoke",kind="values"} 5.5' in text
    assert 'fleetcast_run_drifted_comparisons{forecast="smoke",kind="entities"} 0.0' in text
    assert 'fleetcast_run_drift_distance{forecast="smoke",kind="entities"}' not in text
