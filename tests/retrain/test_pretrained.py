"""Weights to start from: kept and found again, fitted to another site, and refused in words when they do not fit."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from every_model import random_inputs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from smoke_run import ROOT

from forecast.contracts.errors import ConfigError
from forecast.contracts.specs import CALENDAR, ForecastSpec
from forecast.features.outlook import OUTLOOK_NAMES
from forecast.models.adaptive_cdf import AdaptiveCdfConfig
from forecast.models.linear import LinearConfig
from forecast.models.recalibrate import normal_scores
from forecast.retrain.pretrain import main
from forecast.retrain.pretrained import Pretrained

SKUS = ("a100", "h100")

DAY_AHEAD = ForecastSpec(300, 2016, 288, ("power_w",), ("power_w",), (0.05, 0.1, 0.5, 0.9, 0.95))


@pytest.fixture
def made(spec: ForecastSpec) -> Pretrained:
    torch.manual_seed(3)
    config = AdaptiveCdfConfig(width=0, hidden=16)
    weights = config.build(spec, len(SKUS)).state_dict()
    offsets = torch.randn(8, 2, len(spec.quantile_levels), spec.horizon_steps)
    return Pretrained(spec, config, SKUS, weights, offsets, {"seed": 3})


@pytest.fixture
def kept(made: Pretrained, tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    made.write(path)
    return path


def test_what_was_written_is_read(made: Pretrained, kept: Path) -> None:
    found = Pretrained.find(str(kept), made.spec)
    assert (found.spec, found.config, found.skus) == (made.spec, made.config, made.skus)
    assert torch.equal(found.offsets, made.offsets)
    assert found.weights.keys() == made.weights.keys()
    assert all(torch.equal(found.weights[name], weight) for name, weight in made.weights.items())
    assert found.facts["seed"] == 3


def test_the_same_weights_give_the_same_bytes(made: Pretrained, kept: Path, tmp_path: Path) -> None:
    made.write(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == kept.read_bytes()


@torch.no_grad()
def test_kinds_keep_their_weights_under_other_codes_and_new_ones_are_unknown(made: Pretrained) -> None:
    own = made.build(made.spec, SKUS)
    site = made.build(made.spec, ("b200", "h100"))
    past, future, static = random_inputs(made.spec, 4)
    for theirs, mine in ((2, 2), (1, 0), (0, 0)):
        static[:, 3] = theirs
        found = site(past, future, static)
        static[:, 3] = mine
        assert torch.equal(found, own(past, future, static)), f"code {theirs}"


@torch.no_grad()
def test_a_site_may_ask_for_other_levels_and_fewer_targets(made: Pretrained) -> None:
    site = replace(made.spec, targets=("power_w",), past=("power_w",), quantile_levels=(0.1, 0.25, 0.5, 0.75, 0.9))
    past, future, static = random_inputs(site, 4)
    static[:, 3] = 0
    quantiles = made.build(site, ())(past, future, static)
    assert quantiles.shape == (4, 1, 5, made.spec.horizon_steps)
    assert (quantiles.diff(dim=2) >= 0).all()
    offsets = made.offsets_for(site)
    assert torch.allclose(offsets[:, 0, 0], made.offsets[:, 0, 1])
    between = made.offsets[:, 0, 1] + (0.25 - 0.1) / 0.4 * (made.offsets[:, 0, 2] - made.offsets[:, 0, 1])
    assert torch.allclose(offsets[:, 0, 1], between, atol=1e-5)


@pytest.fixture
def straight(spec: ForecastSpec) -> Pretrained:
    """A linear model whose intervals have learnt shapes of their own, for each target and state."""
    torch.manual_seed(3)
    weights = LinearConfig().build(spec, len(SKUS)).state_dict()
    for name in ("straight.steps.weight", "straight.steps.bias"):
        weights[name] = weights[name] + 0.02 * torch.randn_like(weights[name])
    return Pretrained(spec, LinearConfig(), SKUS, weights, torch.zeros(8, 2, 5, spec.horizon_steps), {})


def test_the_levels_that_weights_were_learnt_for_leave_them_as_they_are(straight: Pretrained) -> None:
    built = straight.build(straight.spec, SKUS).state_dict()
    assert all(torch.equal(built[name], weight) for name, weight in straight.weights.items())


@torch.no_grad()
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lower=st.sets(st.integers(1, 49), max_size=6), seed=st.integers(0, 2**31))
def test_other_levels_lie_between_those_that_were_learnt(straight: Pretrained, lower: set[int], seed: int) -> None:
    below = sorted(level / 100 for level in lower | {10})
    levels = (*below, 0.5, *(round(1 - level, 2) for level in reversed(below)))
    past, future, static = random_inputs(straight.spec, 4, seed=seed)
    static[:, 3] = 0
    had = straight.build(straight.spec, SKUS)(past, future, static).numpy()
    found = straight.build(replace(straight.spec, quantile_levels=levels), SKUS)(past, future, static)
    assert (found.diff(dim=2) >= 0).all()
    inside = [at for at, level in enumerate(levels) if 0.05 <= level <= 0.95]
    scores, own = (normal_scores(each).numpy() for each in (levels, straight.spec.quantile_levels))
    between = np.apply_along_axis(lambda known: np.interp(scores[inside], own, known), 1, had[:, 1])
    np.testing.assert_allclose(found[:, 1, inside], between, atol=1e-3)  # °C: power is cut off below 0 W


def test_other_windows_are_refused_by_name(made: Pretrained, kept: Path) -> None:
    with pytest.raises(ConfigError, match="48 → 12 steps of 3600 s, not 48 → 24 steps of 3600 s"):
        Pretrained.find(str(kept), replace(made.spec, horizon_steps=24))


def test_without_one_for_the_window_those_that_ship_are_named(spec: ForecastSpec) -> None:
    with pytest.raises(ConfigError, match=r"no pretrained model for 48 → 12 steps of 3600 s; shipped are .* of 300 s"):
        Pretrained.find("pretrained", spec)


def test_a_target_that_it_does_not_forecast_is_named(made: Pretrained, tmp_path: Path) -> None:
    less = replace(made.spec, targets=("power_w",), past=("power_w",))
    replace(made, spec=less).write(tmp_path / "less.safetensors")
    with pytest.raises(ConfigError, match="forecasts power_w, not temperature_c"):
        Pretrained.find(str(tmp_path / "less.safetensors"), made.spec)


@pytest.mark.parametrize("damage", ["absent", "cut", "facts", "model", "format"])
def test_what_cannot_be_read_is_told_in_one_line(made: Pretrained, kept: Path, damage: str) -> None:
    facts = json.loads(kept.with_suffix(".json").read_text())
    if damage == "absent":
        kept.unlink()
    elif damage == "cut":
        kept.write_bytes(kept.read_bytes()[:-100])
    elif damage == "facts":
        kept.with_suffix(".json").write_text("{")
    elif damage == "model":
        facts["model"]["name"] = "os.system"
        kept.with_suffix(".json").write_text(json.dumps(facts))
    else:
        kept.with_suffix(".json").write_text(json.dumps(facts | {"format": 99}))
    with pytest.raises(ConfigError, match=r"training\.start_from.*mine") as caught:
        Pretrained.find(str(kept), made.spec)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_there_are_named(made: Pretrained) -> None:
    with pytest.raises(ConfigError, match="'pretrianed', which is no file; set it to champion, pretrained"):
        Pretrained.find("pretrianed", made.spec)


def test_weights_of_another_model_are_refused(made: Pretrained) -> None:
    other = replace(made, config=AdaptiveCdfConfig(width=0, hidden=24))
    with pytest.raises(ConfigError, match="its weights are not those of AdaptiveCdfConfig"):
        other.build(made.spec, SKUS)


def test_those_that_ship_forecast_a_site_that_lacks_most_channels() -> None:
    for step_s, context, horizon in ((300, 2016, 288), (3600, 336, 48)):
        site = ForecastSpec(step_s, context, horizon, ("power_w",), ("power_w",), (0.05, 0.1, 0.5, 0.9, 0.95))
        found = Pretrained.find("pretrained", site)
        past, future, static = random_inputs(site, 2)
        with torch.no_grad():
            quantiles = found.build(site, ("never-heard-of", *found.skus))(past, future, static)
        assert quantiles.shape == (2, 1, 5, horizon)
        assert torch.isfinite(quantiles).all()
        assert (quantiles.diff(dim=2) >= 0).all()
        assert torch.isfinite(found.offsets_for(site)).all()


@torch.no_grad()
def test_a_site_that_tells_its_jobs_starts_from_weights_that_know_schedules() -> None:
    jobs = ("scheduled_power_w", *OUTLOOK_NAMES)
    told = replace(DAY_AHEAD, future=(*CALENDAR, "outdoor_c", *jobs))
    found = Pretrained.find("pretrained", told)
    past, future, static = random_inputs(told, 4, missing=0.0)
    past[:, 0] = 0.5 * static[:, :1]
    busy = future.clone()
    for name in jobs:
        at = told.future.index(name)
        busy[:, at] = 0.9 * static[:, :1] if name.endswith("_w") else 0.9
    idle = busy.clone()
    for name in ("scheduled_power_w", *OUTLOOK_NAMES[:2]):
        idle[:, told.future.index(name), 60:] = 0.0
    site = found.build(told, SKUS)
    mean = [site(past, future, static)[:, 0, :, 72:].mean() for future in (idle, busy)]
    assert mean[0] < 0.9 * mean[1]


@pytest.mark.parametrize("future", [CALENDAR, (*CALENDAR, "holiday"), (*CALENDAR, "scheduled_power_w"), CALENDAR[:2]])
def test_a_site_that_tells_less_starts_from_weights_that_were_told_as_little(future: tuple[str, ...]) -> None:
    assert Pretrained.find("pretrained", replace(DAY_AHEAD, future=future)).spec.future == CALENDAR


@pytest.mark.parametrize("future", [CALENDAR, (*CALENDAR, "scheduled_power_w", *OUTLOOK_NAMES)])
def test_a_first_version_starts_from_weights_that_know_what_it_is_told_and_no_more(future: tuple[str, ...]) -> None:
    told = replace(DAY_AHEAD, future=future)
    found = Pretrained.shipped(told, Pretrained.find("pretrained", told).config)
    assert found is not None
    assert found.spec.future == future
    assert Pretrained.shipped(replace(told, future=(*future, "outdoor_c")), found.config) is None


def test_those_that_ship_are_a_few_megabytes_of_the_package() -> None:
    package = ROOT / "forecast"
    shipped = set((package / "pretrained").iterdir())
    weights = [path for path in shipped if path.suffix == ".safetensors"]
    assert len(weights) >= 2
    assert sum(path.stat().st_size for path in weights) < 8_000_000
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["forecast"]
    assert shipped <= {path for pattern in settings for path in package.glob(pattern)}


def test_a_misspelt_setting_of_pretraining_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--windows", "minutes", "--out", str(tmp_path / "own"), "training.step=3"]) == 2
    assert "no 'training.step'; did you mean 'training.steps'?\n" in capsys.readouterr().err
    assert not (tmp_path / "own").exists()
