"""Every YAML composes, and a mistake in one names what was meant."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from smoke_run import ROOT, settings

from forecast.models.base import ModelConfig
from forecast.retrain.config import JobConfig
from forecast.retrain.prepare import spec_of
from forecast.traces.trace import Source

OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in (ROOT / "configs").glob("*/*.yaml")
    if path.parent.name not in {"hydra", "metrics"}
)


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "train.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_to_settings_that_fit_each_other(option: str) -> None:
    config = settings(option)
    assert isinstance(config, JobConfig)
    assert isinstance(config.source, Source)
    assert type(config.source) is not Source
    spec = spec_of(config.window)
    assert isinstance(config.model, ModelConfig)
    config.model.build(spec, skus=3)


def test_every_source_works_with_every_model() -> None:
    models = [option for option in OPTIONS if option.startswith("model=")]
    sources = [option for option in OPTIONS if option.startswith("source=")]
    assert len(models) >= 2
    assert len(sources) >= 3
    for source in sources:
        for model in models:
            config = settings(source, model)
            config.model.build(spec_of(config.window), skus=1)


@pytest.mark.parametrize(
    ("mistake", "meant"),
    [
        ("training.stpes=3", "training.steps"),
        ("trainig.steps=3", "training"),
        ("model.widht=64", "model.width"),
        ("source.fleet.dayz=3", "source.fleet.days"),
        ("window.contxt_steps=3", "window.context_steps"),
        ("model=liner", "linear"),
        ("source=google", "google_pdu"),
        ("modle=linear", "model"),
        ("+training.stpes=3", "training.steps"),
    ],
)
def test_a_misspelt_key_names_the_nearest_right_one(mistake: str, meant: str) -> None:
    done = train(mistake)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert f"did you mean {meant!r}" in done.stderr


def test_a_value_of_the_wrong_type_names_its_key() -> None:
    done = train("training.steps=many")
    assert done.returncode == 2
    assert done.stderr.startswith("error: training.steps: Value 'many'")
    assert len(done.stderr.splitlines()) == 1


def test_a_misspelt_key_in_a_file_is_found_too(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ntraining: {stpes: 3}\n")
    done = train(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert done.returncode == 2
    assert "did you mean 'training.steps'" in done.stderr


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("memory_gb: lots", "error: memory_gb: Value 'lots' of type 'str' could not be converted to Float."),
        (
            "registry: var/registry",
            "error: In 'experiment/mine': Merge error: str is not a subclass of RegistryConfig.",
        ),
    ],
)
def test_a_value_of_the_wrong_type_in_a_file_is_named(tmp_path: Path, mistake: str, said: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{mistake}\n")
    done = train(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1


def test_settings_that_contradict_each_other_are_refused_in_one_line() -> None:
    done = train("source=google_pdu", "source.path=README.md", "window.context_steps=100", "model.patches=24")
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("wrong", ["steps=0", "batch=0", "learning_rate=-1"])
def test_training_that_cannot_be_is_refused(wrong: str) -> None:
    done = train(f"training.{wrong}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: training.{wrong.split('=', maxsplit=1)[0]}")
    assert done.stderr.count("\n") == 1


def test_a_gpu_that_is_not_there_is_missed_at_once() -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    done = train("trainer=gpu")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no CUDA GPU" in done.stderr


def test_help_has_a_line_for_every_group_and_names_every_option() -> None:
    text = train("--help").stdout
    for option in OPTIONS:
        group, name = option.split("=")
        lines = [line for line in text.splitlines() if line.strip().startswith(f"{group} ")]
        assert len(lines) == 1, f"no line for {group}"
        assert name in lines[0], f"{name} is not named on the line of {group}"
