"""Starting from the version in service: its weights are in its bundle, and what is not alike begins anew."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from smoke_run import Smoke

from forecast.bundle.export import torch_outputs
from forecast.bundle.golden import GOLDEN, disagreements
from forecast.bundle.load import Bundle, load
from forecast.contracts.errors import ConfigError
from forecast.models.graph import ForecastGraph
from forecast.retrain import learn
from forecast.retrain.config import JobConfig, WindowConfig
from forecast.retrain.learn import Learner
from forecast.retrain.novelty import run_key
from forecast.retrain.prepare import Prepared, prepare, spec_of
from forecast.retrain.pretrained import Pretrained
from forecast.retrain.stages import Stages
from forecast.retrain.start import WEIGHTS, Start
from forecast.training.config import CHAMPION
from forecast.training.fit import Fit
from forecast.windows.arrays import Inputs


@pytest.fixture(scope="module")
def champion(smoke: Smoke) -> Bundle:
    return load(smoke.bundle)


@pytest.fixture(scope="module")
def prepared(smoke: Smoke) -> Prepared:
    return prepare(smoke.config, Stages(2))


@pytest.fixture
def config(smoke: Smoke) -> JobConfig:
    return replace(
        smoke.config,
        training=replace(smoke.config.training, start_from=CHAMPION),
        registry=replace(smoke.config.registry, publish=True),
    )


def test_the_weights_of_a_bundle_make_its_graph(champion: Bundle) -> None:
    found, spec = Pretrained.read(champion.folder / WEIGHTS), champion.manifest.spec
    graph = ForecastGraph(found.build(spec, champion.manifest.skus), found.offsets, spec).eval()
    with np.load(champion.folder / GOLDEN) as kept:
        inputs = Inputs(*(kept[name] for name in ("past", "future", "static")))
    expected = champion.session.run(inputs)
    assert max(disagreements(torch_outputs(graph, inputs), expected).values()) < 1e-4
    assert (champion.folder / WEIGHTS).stat().st_size < 2e6


def test_weights_are_part_of_what_a_bundle_vouches_for(champion: Bundle) -> None:
    assert {WEIGHTS, "weights.json"} <= set(champion.manifest.files)


def test_a_run_begins_with_the_champions_weights_and_calibrates_on_its_own(
    champion: Bundle, prepared: Prepared, config: JobConfig
) -> None:
    began = Learner.of(config, prepared, champion)
    kept = Pretrained.read(champion.folder / WEIGHTS)
    assert began.start.said == f"started from {champion.manifest.bundle_id}"
    weights = began.model.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in kept.weights.items())
    torch.testing.assert_close(
        began.calibrate(Fit(20, 0.0)).calibration.by_step(), kept.offsets, msg="the same range says the same"
    )


def test_a_fit_is_told_whether_it_goes_on_from_weights_that_were_learnt(
    champion: Bundle, prepared: Prepared, config: JobConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(learn, "fit", lambda *_, learnt_before, **__: told.append(learnt_before))
    anew = replace(config, registry=replace(config.registry, publish=False))
    for settings in (config, anew):
        Learner.of(settings, prepared, champion).train_model(settings, lambda *_: None)
    assert told == [True, False]


def test_a_run_is_known_whoever_is_in_service(prepared: Prepared, config: JobConfig) -> None:
    """After a publish the champion is another: the same data and settings must be the same run."""
    anew = replace(config, training=replace(config.training, start_from=None))
    assert run_key(config, prepared) != run_key(anew, prepared), "a setting as any other"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda champion, config: (None, config), "nothing that can be opened is in service"),
        (
            lambda champion, config: (champion, replace(config, registry=replace(config.registry, publish=False))),
            "does not publish",
        ),
        (
            lambda champion, config: (
                replace(champion, manifest=replace(champion.manifest, files={"model.onnx": ""})),
                config,
            ),
            "brings no weights",
        ),
        (
            lambda champion, config: (
                replace(
                    champion,
                    manifest=replace(champion.manifest, spec=replace(champion.manifest.spec, targets=("power_w",))),
                ),
                config,
            ),
            "interface of the version in service is another",
        ),
        (
            lambda champion, config: (champion, replace(config, model=replace(config.model, hidden=7))),
            "has other settings",
        ),
        (
            lambda champion, config: (
                champion,
                replace(config, evaluation=replace(config.evaluation, origins="origins.csv")),
            ),
            "learnt from what this run is validated on",
        ),
    ],
)
def test_what_is_not_alike_begins_anew_and_says_so(
    champion: Bundle, prepared: Prepared, config: JobConfig, change: Callable[..., tuple[Bundle, JobConfig]], said: str
) -> None:
    changed, other = change(champion, config)
    start = Start.of(other, prepared, changed)
    assert start.weights is None
    assert start.said.startswith("started anew, for ")
    assert said in start.said


def test_a_new_site_trains_on_from_the_weights_that_ship(prepared: Prepared, config: JobConfig) -> None:
    """Where they are of its windows and its model, and know all that it is told."""
    ours = spec_of(WindowConfig(past=["power_w"], targets=["power_w"], quantile_levels=[0.1, 0.5, 0.9]))
    found = Start.of(config, replace(prepared, spec=ours), None)
    assert found.said == "started from the weights that ship, for nothing that can be opened is in service"
    assert found.champion is None
    assert found.weights is not None
    assert found.weights.facts["sha256"] == Pretrained.find("pretrained", ours).facts["sha256"]
    told = replace(ours, future=(*ours.future, "outdoor_c"))
    compared = replace(config, registry=replace(config.registry, publish=False))
    other = replace(config, model=replace(config.model, hidden=7))
    shorter = replace(ours, horizon_steps=144)
    for settings, spec in ((config, told), (compared, ours), (other, ours), (config, shorter)):
        anew = Start.of(settings, replace(prepared, spec=spec), None)
        assert anew.weights is None
        assert anew.said.startswith("started anew, for ")


def test_a_champion_that_learnt_from_todays_test_is_no_start(
    champion: Bundle, prepared: Prepared, config: JobConfig
) -> None:
    """Ranges that grew backwards, say: its weights know what the new run calls unseen."""
    for name in ("validation", "test"):
        earlier = replace(prepared.split, **{name: getattr(prepared.split, name) - 1})
        assert "learnt from" in Start.of(config, replace(prepared, split=earlier), champion).said
    later = replace(prepared.split, validation=prepared.split.validation + 24, test=prepared.split.test + 24)
    assert Start.of(config, replace(prepared, split=later), champion).champion == champion.manifest.bundle_id


def test_damaged_weights_begin_anew(champion: Bundle, prepared: Prepared, config: JobConfig, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(champion.folder, tmp_path / "bundle"))
    damaged = Bundle(folder, champion.manifest, champion.session)
    for content in (b"", (folder / WEIGHTS).read_bytes()[:-8]):
        (folder / WEIGHTS).write_bytes(content)
        start = Start.of(config, prepared, damaged)
        assert start.weights is None
        assert "is not the file" in start.said
    facts = json.loads((folder / "weights.json").read_text())
    (folder / "weights.json").write_text(json.dumps(facts | {"model": {"name": "os.system"}}))
    assert "\n" not in Start.of(config, prepared, damaged).said


def test_a_start_that_may_be_none_needs_steps(config: JobConfig) -> None:
    with pytest.raises(ConfigError, match=r"training\.steps is 0"):
        replace(config.training, steps=0)


def test_a_kind_that_joined_starts_as_an_unknown_one(champion: Bundle, prepared: Prepared, config: JobConfig) -> None:
    found = Pretrained.read(champion.folder / WEIGHTS)
    joined = found.build(prepared.spec, ("b300-new", *found.skus)).state_dict()
    for name in ("summary.sku.weight", "usual.sku.weight"):
        assert np.array_equal(joined[name][2:], found.weights[name][1:])
        assert torch.equal(joined[name][1], found.weights[name][0])
