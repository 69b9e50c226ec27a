"""The job from source to published bundle, on the tiny simulated fleet."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from smoke_run import Smoke, settings

from forecast.bundle.load import load
from forecast.contracts.errors import ConfigError, DataError, ExitCode
from forecast.registry.store import Registry
from forecast.retrain.job import run
from forecast.retrain.leaderboard import leaderboard, markdown
from forecast.retrain.make import how_it_ended
from forecast.retrain.novelty import run_key
from forecast.retrain.prepare import prepare
from forecast.retrain.stages import Stages
from forecast.traces.settings import JobsSpec
from forecast.training.fit import Fit


def test_scores_hold_a_row_per_target_level_and_method(smoke: Smoke) -> None:
    scores = pl.DataFrame(json.loads((smoke.out / "scores.json").read_text()))
    assert set(scores["method"]) == {"fleetcast", "persistence", "seasonal_naive_24h"}
    assert set(scores["level"]) == {"server", "rack", "row", "hall", "site"}
    assert set(scores["target"]) == {"power_w", "temperature_c"}
    assert len(scores) == 3 * 5 * 2
    numbers = scores.select("wql", "mae", "mase", "coverage_80", "coverage_98").to_numpy()
    assert np.isfinite(numbers).all()
    assert scores["coverage_80"].is_between(0, 1).all()


def test_every_method_is_scored_on_the_same_windows(smoke: Smoke) -> None:
    scores = pl.DataFrame(json.loads((smoke.out / "scores.json").read_text()))
    assert scores.group_by("target", "level").agg(pl.col("windows").n_unique())["windows"].to_list() == [1] * 10


def test_a_panel_is_built_once(smoke: Smoke, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(smoke.config, Stages(2))
    assert "none of" in capsys.readouterr().out


def test_the_bundle_says_what_it_was_made_from(smoke: Smoke) -> None:
    manifest = load(smoke.bundle).manifest
    assert manifest.name == "smoke"
    assert manifest.training["train_until"] < manifest.training["calibrated_until"] <= manifest.training["watermark"]
    assert manifest.training["watermark"] < "2026-01-26", "the last days are kept from training"
    assert manifest.training["parity"] <= 1e-4
    assert {row["method"] for row in manifest.scores} >= {"fleetcast", "persistence"}
    assert (smoke.bundle / "report.html").stat().st_size > 10_000


def test_a_run_publishes_or_says_why_not_and_neither_is_done_twice(smoke: Smoke, tmp_path: Path) -> None:
    verdict = json.loads((smoke.out / "gate.json").read_text())
    registry = Registry(Path(smoke.registry.root), "smoke")
    current = registry.current()
    if verdict["passed"]:
        assert smoke.code == ExitCode.PUBLISHED
        assert current is not None
        load(current)
    else:
        assert smoke.code == ExitCode.REJECTED
        assert current is None
    journal = registry.journal()
    assert run(replace(smoke.config, registry=smoke.registry), tmp_path / "again") == ExitCode.NOTHING_NEW
    assert not (tmp_path / "again" / "bundle").exists()
    assert registry.journal() == journal


def test_the_key_follows_settings_and_data_and_not_places(smoke: Smoke, tmp_path: Path) -> None:
    config = smoke.config
    prepared = prepare(config, Stages(2))
    key = run_key(config, prepared)
    assert run_key(replace(config, registry=replace(config.registry, root=str(tmp_path))), prepared) == key
    later = replace(config, source=replace(config.source, until="2026-01-26T00:00"))
    assert run_key(later, prepared) == key, "what is read says more than how far it was asked for"
    assert run_key(replace(config, seed=1), prepared) != key
    assert run_key(replace(config, name="other"), prepared) != key
    assert run_key(config, replace(prepared, code="edited")) != key
    shorter = replace(config, source=replace(config.source, until="2026-01-25T23:00"))
    assert run_key(config, prepare(shorter, Stages(2))) != key


@pytest.mark.parametrize(
    ("fitted", "steps", "said"),
    [
        (Fit(880, 0.1, ended=900), 900, "best at step 880 of 900"),
        (Fit(225, 0.1, ended=525), 900, "best at step 225 of 525, nothing better came in 300"),
        (Fit(225, 0.1, ended=525, begun=400), 525, "best at step 225 of 525"),
        (Fit(0, 0.1, ended=300), 900, "no weights better than those it began with in 300 steps"),
        (Fit(0, 0.1), 0, "weights as they came"),
    ],
)
def test_a_person_is_told_why_a_fit_ended(fitted: Fit, steps: int, said: str) -> None:
    assert how_it_ended(fitted, steps) == said


def test_the_line_of_training_says_how_it_ended(smoke: Smoke) -> None:
    told = (json.loads(line) for line in (smoke.out / "log.jsonl").read_text().splitlines())
    said = next(each["said"] for each in told if each.get("step") == "train")
    steps = smoke.config.training.steps
    assert re.search(
        rf"(best at step \d+ of {steps}|no weights better than those it began with in {steps} steps);", said
    )


def test_words_of_a_schedule_that_mean_nothing_are_said(smoke: Smoke, tmp_path: Path) -> None:
    jobs = pl.read_parquet(smoke.fleet / "jobs.parquet")
    jobs.with_columns(pl.col("status").str.to_uppercase()).write_parquet(tmp_path / "jobs.parquet")
    told: list[Mapping[str, Any]] = []
    for path in (smoke.fleet / "jobs.parquet", tmp_path / "jobs.parquet"):
        config = replace(smoke.config, source=replace(smoke.config.source, jobs=JobsSpec(str(path))))
        prepare(config, Stages(2, told=lambda each, _: told.append(each)))
    usual, strange = (each["said"] for each in told if each["step"] == "features")
    assert "the schedule" not in usual
    assert "; the schedule has rows of status 'QUEUED', which count for nothing; what is to come is running" in strange


def test_data_too_short_for_the_ranges_is_refused(smoke: Smoke, tmp_path: Path) -> None:
    config = replace(smoke.config, evaluation=replace(smoke.config.evaluation, test_h=5000.0))
    with pytest.raises(ConfigError, match="test_h"):
        run(config, tmp_path / "run")


def test_a_range_with_nothing_to_train_on_is_refused(smoke: Smoke, tmp_path: Path) -> None:
    config = replace(smoke.config, evaluation=replace(smoke.config.evaluation, test_h=100.0, validation_h=230.0))
    with pytest.raises(DataError, match="no training window"):
        run(config, tmp_path / "run")


def test_a_leaderboard_ranks_runs_by_their_scores(smoke: Smoke, tmp_path: Path) -> None:
    scores = json.loads((smoke.out / "scores.json").read_text())
    runs = [("model=linear", 0, 3.0), ("model=linear", 1, 1.0), ("model=patch_mixer", 0, 1.0)]
    for number, (model, seed, factor) in enumerate(runs):
        run_folder = tmp_path / str(number)
        (run_folder / ".hydra").mkdir(parents=True)
        (run_folder / ".hydra" / "overrides.yaml").write_text(f"- experiment=smoke\n- {model}\n- seed={seed}\n")
        (run_folder / "bundle").symlink_to(smoke.bundle)
        worse = [{**row, "wql": row["wql"] * factor} for row in scores]
        (run_folder / "scores.json").write_text(json.dumps(worse))
    table = leaderboard(tmp_path)
    assert table["settings"].to_list() == ["model=patch_mixer", "model=linear"], "only what differs, but for the seed"
    assert table["seeds"].to_list() == [1, 2]
    best = table["Load WQL"][0]
    assert table["Load WQL"][1] == pytest.approx(2 * best)
    assert table["± Load WQL"][1] == pytest.approx(math.sqrt(2) * best)
    assert markdown(table).count("\n") == 4
    assert leaderboard(tmp_path / "nothing").is_empty()


@pytest.mark.slow
@pytest.mark.parametrize("source", ["google_pdu", "biohpc"])
def test_on_measured_data_ours_beats_every_baseline_for_every_target(
    source: str, shared_data: Path, tmp_path: Path
) -> None:
    config = settings(f"source={source}", "registry.publish=false", f"cache={tmp_path / 'cache'}")
    run(config, tmp_path / "run")
    scores = pl.DataFrame(json.loads((tmp_path / "run" / "scores.json").read_text()))
    for (target,), rows in scores.group_by("target"):
        wql = dict(rows.group_by("method").agg(pl.col("wql").mean()).iter_rows())
        assert wql["fleetcast"] == min(wql.values()), f"{target}: {wql}"
