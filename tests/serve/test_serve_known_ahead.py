"""`python -m serve forecast` with a schedule and weather, for a bundle that looks at them."""

from pathlib import Path

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
from forecast.traces.settings import JobsSpec, SlurmSpec, WeatherSpec, beside, jobs_like, weather_like
from forecast.windows.gather import Batch
from serve.__main__ import main

SPEC = ForecastSpec(
    step_s=3600,
    context_steps=48,
    horizon_steps=12,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "inlet_c", "utilization_ratio"),
    quantile_levels=(0.1, 0.5, 0.9),
    future=(*CALENDAR, "outdoor_c", "scheduled_power_w"),
)
RENAMED = {"job_id": "id", "planned_power_w": "kw"}
KEPT = JobsSpec("elsewhere.csv", {name: RENAMED.get(name, name) for name in (
    "job_id", "entity_id", "kind", "status", "start_time", "end_time", "planned_power_w", "available_at"
)}, {"planned_power_w": "kW"}, "UTC")  # fmt: skip


@pytest.fixture(scope="module")
def bundle(smoke: Smoke, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that nobody trained: what is asked here is what they are fed."""
    folder = tmp_path_factory.mktemp("bundle")
    topology = Topology.of(pl.read_parquet(smoke.fleet / "topology.parquet"))
    offsets = torch.zeros(len(LEVELS) + 1, len(SPEC.targets), len(SPEC.quantile_levels), SPEC.horizon_steps)
    graph = ForecastGraph(build("linear", SPEC, noise=0.3), offsets, SPEC).eval()
    export(graph, Batch(*random_inputs(SPEC, 4), torch.empty(0)), folder)
    Manifest("told", "told", SPEC, topology, ("a", "b", "c"), None, {"jobs": beside(KEPT)}, []).write(folder)
    return folder


def serve(smoke: Smoke, bundle: Path, out: Path, *more: str) -> pl.DataFrame:
    places = ["--bundle", str(bundle), "--telemetry", str(smoke.fleet / "telemetry"), "--out", str(out)]
    assert main(["forecast", *places, *more]) == 0
    return pl.read_parquet(out).select("entity_id", "valid_time", pl.col("^.*_p\\d+$"))


def test_what_it_is_told_changes_the_forecast_and_what_it_is_not_told_is_said(
    smoke: Smoke, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, jobs, weather = tmp_path / "f.parquet", str(smoke.fleet / "jobs.parquet"), str(smoke.fleet / "weather.parquet")
    untold = serve(smoke, bundle, out)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "note: without --jobs the forecast knows no scheduled_power_w",
        "note: without --weather the forecast knows no outdoor_c",
    ]
    told = serve(smoke, bundle, out, "--jobs", jobs, "--weather", weather)
    assert capsys.readouterr().err == ""
    assert not told.equals(untold)
    assert not told.equals(serve(smoke, bundle, out, "--jobs", jobs))


def test_a_schedule_in_the_form_that_was_trained_on_is_read_like_it(smoke: Smoke, bundle: Path, tmp_path: Path) -> None:
    jobs = pl.read_parquet(smoke.fleet / "jobs.parquet")
    jobs.with_columns(planned_power_w=pl.col("planned_power_w") / 1000).rename(RENAMED).write_csv(tmp_path / "j.csv")
    out = tmp_path / "f.parquet"
    expected = serve(smoke, bundle, out, "--jobs", str(smoke.fleet / "jobs.parquet"))
    assert serve(smoke, bundle, out, "--jobs", str(tmp_path / "j.csv")).equals(expected)


def test_a_schedule_that_is_none_is_one_line(
    smoke: Smoke, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "j.csv").write_text("a,b\n1,2\n")
    places = ["--bundle", str(bundle), "--telemetry", str(smoke.fleet / "telemetry")]
    assert main(["forecast", *places, "--out", str(tmp_path / "f.parquet"), "--jobs", str(tmp_path / "j.csv")]) == 20
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no column id" in error


def test_settings_are_kept_without_places_and_without_what_an_experiment_assumed() -> None:
    slurm = JobsSpec(
        "x.txt", slurm=SlurmSpec("{node}", {"h100": 700.0}, reservations="r.txt", reservations_known_at="now")
    )
    again = jobs_like(beside(slurm), "new.txt")
    assert again == JobsSpec("new.txt", slurm=SlurmSpec("{node}", {"h100": 700.0}))
    assert jobs_like(None, "x") == JobsSpec("x")
    assert beside(WeatherSpec("w.csv", site="here", perfect_forecast_h=24))["perfect_forecast_h"] == 24
    assert weather_like({"site": "here", "perfect_forecast_h": 24}, "n.csv") == WeatherSpec("n.csv", site="here")
