"""A run says what its model is told and misses: a part of the jobs' outlook, and what its weights never saw."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from every_model import MODELS, build
from smoke_run import Smoke

from forecast.contracts.specs import CALENDAR, ForecastSpec
from forecast.features.outlook import OUTLOOK_NAMES
from forecast.models.adapted import adapted
from forecast.retrain.learn import Learner
from forecast.retrain.prepare import prepare, untold
from forecast.retrain.pretrained import Pretrained
from forecast.retrain.stages import Stages
from forecast.retrain.unheeded import unheeded


def missed(name: str, spec: ForecastSpec, *told: str, targets: tuple[str, ...] | None = None) -> list[str]:
    site = replace(spec, future=(*CALENDAR, *told), targets=targets or spec.targets, past=targets or spec.past)
    return list(unheeded(build(name, site), site, site))


@pytest.mark.parametrize("absent", [OUTLOOK_NAMES[:1], OUTLOOK_NAMES[-2:], OUTLOOK_NAMES[1:]])
def test_what_is_missing_of_the_jobs_outlook_is_named(spec: ForecastSpec, absent: tuple[str, ...]) -> None:
    told = [name for name in OUTLOOK_NAMES if name not in absent]
    (line,) = missed("adaptive_cdf", spec, "scheduled_power_w", *told)
    assert f"without {', '.join(absent)}:" in line
    assert "\n" not in line


def test_weights_that_know_it_whole_are_told_a_part_no_better(spec: ForecastSpec) -> None:
    own = replace(spec, future=(*CALENDAR, *OUTLOOK_NAMES))
    site = replace(spec, future=(*CALENDAR, *OUTLOOK_NAMES[:2]))
    (line,) = unheeded(adapted(build("adaptive_cdf", own), own, site), own, site)
    assert f"without {', '.join(OUTLOOK_NAMES[2:])}:" in line


def test_nothing_is_said_of_an_outlook_that_is_whole_or_absent_or_of_no_use(spec: ForecastSpec) -> None:
    assert not missed("adaptive_cdf", spec, *OUTLOOK_NAMES)
    assert not missed("adaptive_cdf", spec, "scheduled_power_w")
    assert not missed("linear", spec, *OUTLOOK_NAMES[:3]), "no setting makes this one look"
    assert not missed("adaptive_cdf", spec, *OUTLOOK_NAMES[:3], targets=("temperature_c",))


@pytest.mark.parametrize("name", MODELS)
def test_weights_from_elsewhere_are_said_to_know_nothing_of_what_they_never_saw(spec: ForecastSpec, name: str) -> None:
    site = replace(spec, future=(*CALENDAR, "holiday", "outdoor_c"), past=(*spec.past, "inlet_c"))
    (line,) = unheeded(adapted(build(name, spec), spec, site), spec, site)
    assert "know nothing of inlet_c, holiday, outdoor_c," in line
    assert not list(unheeded(adapted(build(name, site), site, spec), site, spec)), "what the site lacks is unknown"


def test_a_run_looks_at_what_its_model_was_made_for(smoke: Smoke, tmp_path: Path) -> None:
    future = ["holiday", *CALENDAR, *OUTLOOK_NAMES[1:]]
    config = replace(smoke.config, window=replace(smoke.config.window, future=future))
    prepared = prepare(config, Stages(2))
    (line,) = Learner.of(config, prepared).unheeded
    assert f"without {OUTLOOK_NAMES[0]}:" in line
    own = replace(prepared.spec, future=CALENDAR)
    kept = Pretrained(own, config.model, (), config.model.build(own, 0).state_dict(), torch.empty(0), {})
    kept.write(tmp_path / "mine.safetensors")
    began = replace(config, training=replace(config.training, start_from=str(tmp_path / "mine.safetensors")))
    (line,) = Learner.of(began, prepared).unheeded
    assert f"know nothing of holiday, {', '.join(OUTLOOK_NAMES[1:])}," in line


def test_what_is_to_be_known_ahead_and_nobody_tells_is_named(smoke: Smoke, spec: ForecastSpec) -> None:
    trace = prepare(smoke.config, Stages(2)).trace
    named = ("holiday", "planned_power_w", "scheduled_power_w", "outdoor_c", "usual_power_w", "wet_bulb_c")
    site = replace(spec, future=(*CALENDAR, *named))
    assert list(untold(site, trace)) == []
    assert list(untold(site, replace(trace, jobs=None, weather=None))) == [
        "no source.jobs, so nothing is known ahead of scheduled_power_w, usual_power_w",
        "no source.weather, so nothing is known ahead of outdoor_c, wet_bulb_c",
    ]
    assert list(untold(replace(spec, future=(*CALENDAR, "planned_power_w")), replace(trace, jobs=None))) == []
