"""Every YAML composes, and a mistake in one names what was meant."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from hydra._internal.sources_registry import SourcesRegistry
from smoke_run import ROOT, settings, train

from forecast.contracts.errors import ConfigError
from forecast.models.base import ModelConfig
from forecast.retrain.config import JobConfig, plain
from forecast.retrain.options import GROUPS, options
from forecast.retrain.prepare import spec_of
from forecast.retrain.trusted import trust_only
from forecast.traces.trace import Source
from forecast.training.config import TrainerConfig

OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in (ROOT / "configs").glob("*/*.yaml")
    if path.parent.name not in {"hydra", "metrics"}
)


def test_the_command_ends_with_the_code_of_its_run() -> None:
    done = subprocess.run(
        [sys.executable, "train.py", "training.stpes=3"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


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
        ("metric_file=/x.prom", "metrics_file"),
        ("metrics@source=[dcmg]", "dcgm"),
    ],
)
def test_a_misspelt_key_names_the_nearest_right_one(mistake: str, meant: str) -> None:
    done = train(*(["source=prometheus"] if "metrics@" in mistake else []), mistake)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert f"did you mean {meant!r}" in done.stderr


@pytest.mark.parametrize(
    ("given", "table"),
    [
        ("source.jobs.path=x", "source.jobs"),
        ("+source.weather.site=x", "source.weather"),
        ("source.jobs={path: x}", ""),
    ],
)
def test_a_table_that_is_null_is_not_set_here(given: str, table: str) -> None:
    """OmegaConf 2.3 fails at it, in a traceback."""
    done = train(given)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert (
        f"{given.partition('=')[0].lstrip('+')} cannot be set here, for {table or 'source.jobs'} is null" in done.stderr
    )


def test_settings_may_stand_on_both_sides_of_an_option(tmp_path: Path) -> None:
    done = train("seed=7", "--config-dir", str(tmp_path), "model=linear", "--cfg", "job", "name=mine")
    assert done.returncode == 0
    assert {"seed: 7", "name: mine"} <= set(done.stdout.splitlines())
    assert "width" not in done.stdout


def test_a_value_of_the_wrong_type_names_its_key() -> None:
    done = train("training.steps=many")
    assert done.returncode == 2
    assert done.stderr.startswith("error: training.steps: Value 'many'")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (["gate.zzz=3"], "known are gate.champion_max_age_days, gate.max_bundle_mb, gate.max_ms_per_1000.\n"),
        (["model=linear", "model.width=3"], "no 'model.width' here: another model has it, the chosen one does not."),
        (["metrics@source=dcgm"], "no 'metrics@source' here: another source has it, the chosen one does not."),
        (["source=zzz"], "no source 'zzz'; known are biohpc, "),
        (
            ["source.fleet.faults.spike=0.1"],
            "source.fleet.faults is a table without 'spike'; +source.fleet.faults.spike=",
        ),
        (["+source.fleet.faults.spkie=0.1"], "spkie"),
        (["hydra.run.dri=x"], "no 'hydra.run.dri'; `python train.py --cfg hydra`"),
        (["log=jsno"], "log: Invalid value 'jsno', expected one of [text, json, auto]."),
        (["trainer.accelerator=cdua"], "trainer.accelerator is 'cdua'; it must be one of cpu, cuda."),
        (["trainer.precision=16bit"], "trainer.precision is '16bit'"),
        (["seed=-1"], "seed is -1; it must be from 0 to 4294967295."),
        (["model.zzz=1"], "no 'model.zzz'; known are model.blocks, "),
        (["trainer.steps=3"], "no 'trainer.steps'; did you mean 'training.steps'?"),
        (["model=null"], "model=null names none of adaptive_cdf, linear, patch_mixer; leave it out"),
        (["model=[]"], "no model is chosen; set model=NAME"),
        (["~training.steps"], "training.steps cannot be deleted; set it to another value"),
        (
            ["training.gaps=[]"],
            "training.gaps is a table of settings, not a list; set them as training.gaps.NAME=VALUE.",
        ),
        (["training.gaps=0.3"], "training.gaps is a table of settings, not '0.3'; set them as "),
        (["window.past={power_w: 1}"], "window.past is a list, not a table."),
        (["window.past=power_w"], "window.past is a list; set it as 'window.past=[...]'."),
        (["window.past=[temperature_c]"], "error: window.past must start with the targets"),
        (["window.future=[planed_power_w]"], "error: window.future names 'planed_power_w'; known are day_sin, "),
        (
            ["window.future=[planned_power_w]"],
            "error: window.future names plans alone; name the calendar too: day_sin, ",
        ),
        (["window.horizon_steps=0"], "error: window.horizon_steps is 0; it must be at least 1."),
        (["evaluation.origin_every_h=0"], "evaluation.origin_every_h is 0; it must be a number above 0."),
        (["evaluation.test_h=inf"], "evaluation.test_h is inf; it must be a number above 0."),
        (["allowed_lateness_h=inf"], "allowed_lateness_h is inf; it must be a number, 0 or above."),
        (["memory_gb=nan"], "memory_gb is nan; it must be a number, 0 or above."),
        (["training.last_share=inf"], "training.last_share is inf; it must be a number above 0, or 0."),
        (["training.by_spread=-1"], "training.by_spread is -1.0; it must be a number above 0, or 0."),
        (["training.gaps={untold: 0.7, mistold: 0.7}"], "training.gaps.untold=0.7 and training.gaps.mistold=0.7 are "),
        (
            ["training.start_from=README.md"],
            "training.start_from is 'README.md', which is no .safetensors file; set it",
        ),
        (["training.start_from="], "training.start_from is '', which is no .safetensors file; set it to champion, "),
        (["evaluation.seasons_h=[0]"], "evaluation.seasons_h is [0]"),
        (["registry.keep=0"], "registry.keep is 0; it must be 1 or more"),
        (["source.fleet.days=0"], "source.fleet.days is 0; simulate at least 1."),
        (["source.until=tomorrow"], "source.until is 'tomorrow', which is no ISO time; write it like 2026-06-01T00:00"),
        (["metrics_file=x.txt"], "metrics_file=x.txt must end in .prom"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(tmp_path: Path, mistake: list[str], said: str) -> None:
    places = ("hydra.run.dir=run", "source.path=fleet", "registry.root=registry", "cache=cache")
    done = train(*(place.replace("=", f"={tmp_path}/") for place in places), *mistake)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_a_bug_shows_where_and_has_a_code_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(config: JobConfig) -> bool:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(TrainerConfig, "device", broken)
    done = train(f"hydra.run.dir={tmp_path}")
    assert done.returncode == 70
    assert done.stderr.startswith("Traceback")
    run = json.loads((tmp_path / "run.json").read_text())
    assert (run["exit_code"], run["outcome"], run["error"]) == (70, "bug", "ZeroDivisionError: of ours")


@pytest.mark.parametrize(
    ("given", "meant"), [("training: {stpes: 3}", "training.steps"), ("source: {jobs: {pth: x}}", "source.jobs.path")]
)
def test_a_misspelt_key_in_a_file_is_found_too(tmp_path: Path, given: str, meant: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{given}\n")
    done = train(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert done.returncode == 2
    assert f"did you mean '{meant}'" in done.stderr


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


@pytest.mark.parametrize(
    "wrong", ["steps=0", "batch=0", "learning_rate=-1", "patience=0", "patience=-300", "patience=long", "patience=1.5"]
)
def test_training_that_cannot_be_is_refused(wrong: str) -> None:
    done = train(f"training.{wrong}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: training.{wrong.split('=', maxsplit=1)[0]}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("mistake", "code", "said"),
    [
        ("training.start_from=missing", 2, "training.start_from is 'missing', which is no file; set it to champion, "),
        ("evaluation.origins={0}/no", 20, "evaluation.origins={0}/no: there is no such file; name a CSV of "),
        ("evaluation.origins={0}/file", 20, "evaluation.origins={0}/file: empty CSV; it must be a CSV of "),
        ("registry.root={0}/file", 2, "registry.root: {0}/file is a file where a folder is needed; name another."),
        ("registry.root={0}/file/in", 2, "registry.root: {0}/file is a file where a folder is needed; name another."),
        ("hydra.run.dir={0}/file/in", 2, "hydra.run.dir: {0}/file/in cannot be made, for a file is "),
        ("cache={0}/file", 2, "cache: {0}/file is a file where a folder is needed; name another."),
    ],
)
def test_what_is_missing_is_missed_before_the_source_is_read(
    tmp_path: Path, mistake: str, code: int, said: str
) -> None:
    (tmp_path / "file").touch()
    places = [f"{key}={tmp_path / key}" for key in ("source.path", "registry.root", "cache", "hydra.run.dir")]
    done = train("experiment=smoke", *places, mistake.format(tmp_path))
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"error: {said.format(tmp_path)}")
    assert done.stderr.count("\n") == 1


def test_a_gpu_that_is_not_there_is_missed_at_once() -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    done = train("trainer=gpu")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no CUDA GPU" in done.stderr


def test_help_has_a_line_for_every_group_and_one_for_every_option() -> None:
    text = train("--help").stdout
    folders = {path.name for path in (ROOT / "configs").iterdir() if path.is_dir()}
    assert set(GROUPS) == folders
    shown = options(ROOT / "configs")
    assert textwrap.indent(shown, "  ").strip() in textwrap.indent(text, "  ")
    group, found = "", set()
    for line in shown.splitlines():
        name, meaning = line.split(maxsplit=1)
        if line.startswith(" "):
            found.add(f"{group}/{name}.yaml")
        else:
            group = name
        assert len(meaning) > 10
        assert len(line) <= 125
    assert found == {f"{path.parent.name}/{path.name}" for path in (ROOT / "configs").glob("*/*.yaml")}


def test_an_option_without_a_comment_is_explained_by_the_file_behind_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [linear_schema]\n")
    (tmp_path / "model" / "other.yaml").write_text(
        "# @package _global_\n# Costs $5. More.\ndefaults: [linear_schema]\n"
    )
    lines = options(tmp_path).splitlines()
    assert "A linear forecaster" in next(line for line in lines if line.startswith("  mine"))
    assert next(line for line in lines if line.startswith("  other")).endswith("Costs $5.")


def test_the_settings_that_would_run_are_printed(tmp_path: Path) -> None:
    done = train("--cfg", "job", "--resolve", "experiment=smoke", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 0
    shown = yaml.safe_load(done.stdout)
    wanted = plain(settings("experiment=smoke"))
    for group in ("source", "model"):
        del wanted[group]["kind"]
    assert shown == wanted
    assert not (tmp_path / "run").exists()


PWNED = "hydra: {callbacks: {mine: {_target_: pathlib.Path.touch, self: PWNED}}}"


@pytest.fixture
def compose_with(tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """Compose with one more YAML, which is not the package's: its path, its text."""
    before = dict(SourcesRegistry.instance().types)
    trust_only(ROOT / "configs", [])

    def compose_(path: str, text: str) -> None:
        group, name = path.rsplit("/", 1)
        (tmp_path / group).mkdir(parents=True)
        (tmp_path / group / f"{name}.yaml").write_text(text)
        settings(f"hydra.searchpath=[file://{tmp_path}]", f"{group}={name}")

    yield compose_
    SourcesRegistry.instance().types.clear()
    SourcesRegistry.instance().types.update(before)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("experiment/mine", f"# @package _global_\n{PWNED}\n"),
        ("experiment/mine", "# @package hydra.callbacks\nmine: {_target_: os.abort}\n"),
        ("experiment/mine", "# @package _global_\nsource: {entities: {a: [{b: {_target_: os.abort}}]}}\n"),
        ("experiment/mine", "# @package _global_\nx: &x {_target_: os.abort}\nhydra: {callbacks: {mine: {<<: *x}}}\n"),
        ("experiment/mine", "# @package _global_\nhydra: {job_logging: {handlers: {a: {class: os.abort}}}}\n"),
        ("experiment/mine", "# @package hydra.job_logging\nhandlers: {a: {class: os.abort}}\n"),
        ("experiment/mine", "# @package _global_\ndefaults: [{/trainer@hydra.job_logging: cpu}]\n"),
        ("hydra/job_logging/mine", "handlers: {a: {class: os.abort}}\n"),
        ("trainer/mine", "handlers: {a: {(): os.abort}}\n"),
    ],
)
def test_yaml_of_others_names_no_code(compose_with: Callable[[str, str], None], path: str, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"{path}\.yaml: .*only YAML that ships with the package may"):
        compose_with(path, text)


def test_yaml_of_others_may_choose_what_ships_and_set_values(compose_with: Callable[[str, str], None]) -> None:
    text = """# @package _global_
defaults: [override /model: linear, override /hydra/job_logging: default]
hydra: {sweep: {dir: var/mine}}
training: {steps: 7}
"""
    compose_with("experiment/mine", text)


def test_code_in_yaml_of_others_is_refused_before_it_can_run(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = f"# @package _global_\n{PWNED.replace('PWNED', str(tmp_path / 'touched'))}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    done = train("--config-dir", str(tmp_path), "experiment=mine", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {tmp_path}/experiment/mine.yaml: '_target_' names code to run")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "touched").exists()


def test_code_on_the_command_line_is_refused() -> None:
    with pytest.raises(ConfigError, match="_target_"):
        trust_only(ROOT / "configs", ["+hydra.callbacks.mine={_target_: os.abort}"])
