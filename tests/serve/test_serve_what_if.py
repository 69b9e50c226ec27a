"""`python -m serve forecast` under a plan: a table beside the telemetry, an answer in the forecast's rows."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from every_model import build, random_inputs
from smoke_run import Smoke

from forecast.bundle.export import export
from forecast.bundle.manifest import Manifest
from forecast.contracts.signals import LEVELS
from forecast.contracts.specs import CALENDAR, ForecastSpec
from forecast.contracts.topology import Topology
from forecast.models.graph import ForecastGraph
from forecast.models.what_if import WhatIf
from forecast.windows.gather import Batch
from serve.__main__ import main

SPEC = ForecastSpec(
    step_s=3600,
    context_steps=48,
    horizon_steps=12,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "inlet_c"),
    quantile_levels=(0.1, 0.5, 0.9),
    future=(*CALENDAR, "planned_power_w"),
)


@pytest.fixture(scope="module")
def bundle(smoke: Smoke, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("what-if")
    topology = Topology.of(pl.read_parquet(smoke.fleet / "topology.parquet"))
    offsets = torch.zeros(len(LEVELS) + 1, len(SPEC.targets), len(SPEC.quantile_levels), SPEC.horizon_steps)
    graph = ForecastGraph(build("linear", SPEC.unplanned, noise=0.1), offsets, SPEC, WhatIf(SPEC, 3)).eval()
    export(graph, Batch(*random_inputs(SPEC, 4), torch.empty(0)), folder)
    Manifest("what-if", "what-if", SPEC, topology, topology.skus, None, {}, []).write(folder)
    return folder


def serve(smoke: Smoke, bundle: Path, folder: Path, plan: pl.DataFrame | None = None) -> pl.DataFrame:
    out, more = folder / "f.parquet", []
    if plan is not None:
        plan.write_parquet(folder / "plan.parquet")
        more = ["--jobs", str(folder / "plan.parquet")]
    places = ["--bundle", str(bundle), "--telemetry", str(smoke.fleet / "telemetry"), "--out", str(out)]
    assert main(["forecast", *places, *more]) == 0
    return pl.read_parquet(out).sort("entity_id", "valid_time")


def planned(untold: pl.DataFrame, entity: str, power_w: float) -> pl.DataFrame:
    """A plan for one entity, from the third to the sixth hour of the forecast."""
    now = untold["forecast_time"][0]
    return pl.DataFrame(
        {
            "job_id": "what-if",
            "entity_id": entity,
            "kind": "plan",
            "status": "reserved",
            "start_time": now + timedelta(hours=2),
            "end_time": now + timedelta(hours=6),
            "planned_power_w": power_w,
            "available_at": now - timedelta(minutes=1),
        }
    )


def test_a_plan_is_followed_and_answered_for_its_entity_alone(smoke: Smoke, bundle: Path, tmp_path: Path) -> None:
    untold = serve(smoke, bundle, tmp_path)
    entity = untold.filter(level="server")["entity_id"][0]
    low, high = (serve(smoke, bundle, tmp_path, planned(untold, entity, power_w)) for power_w in (2000.0, 8000.0))
    mine, others = pl.col("entity_id") == entity, pl.col("entity_id") != entity
    for told in (low, high):
        assert told.filter(others).equals(untold.filter(others))
    np.testing.assert_allclose(high.filter(mine)["power_w_p50"][2:6], 8000.0, rtol=1e-6)
    assert high.filter(mine)["power_w_p50"][6:].equals(untold.filter(mine)["power_w_p50"][6:])
    for column in ("temperature_c_p10", "temperature_c_p50", "temperature_c_p90"):
        warmer = (high.filter(mine)[column] - low.filter(mine)[column]).to_numpy()
        assert (warmer >= 0).all()
        assert (warmer[2:6] > 0).any()
        assert (warmer[:2] == 0).all()


def test_without_a_plan_it_says_what_it_does_not_know(
    smoke: Smoke, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(smoke, bundle, tmp_path)
    assert "planned_power_w" in capsys.readouterr().err


def test_a_plan_whose_status_means_nothing_is_named(
    smoke: Smoke, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untold = serve(smoke, bundle, tmp_path)
    plan = planned(untold, untold["entity_id"][0], 2000.0).with_columns(status=pl.lit("planned"))
    assert serve(smoke, bundle, tmp_path, plan).equals(untold)
    assert "plan.parquet imposes nothing: no plan or cap is running, queued, reserved" in capsys.readouterr().err
