"""A run that is asked to stop ends with 75 after its current step; the same command ends as if it had not been."""

import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hand_made import make_bundle
from smoke_run import ROOT, Smoke, settings
from torch import nn

from forecast.bundle.load import Bundle
from forecast.bundle.manifest import Manifest
from forecast.bundle.session import Session
from forecast.contracts.errors import ExitCode, StoppedError
from forecast.registry import publish
from forecast.registry.store import Registry
from forecast.retrain import signals
from forecast.retrain.config import JobConfig
from forecast.retrain.job import _publish, run
from forecast.retrain.learn import Learner
from forecast.retrain.novelty import run_key
from forecast.retrain.prepare import prepare
from forecast.retrain.record import Record
from forecast.retrain.signals import SIGNALS, caught, heed, held
from forecast.retrain.stages import Stage, Stages
from forecast.training.checkpoints import Checkpoints

#: What a run makes that does not tell when, where or how fast it ran.
MADE = ("bundle/model.onnx", "bundle/golden.npz", "scores.json", "forecast.png")


@pytest.fixture
def heeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Signals are heeded, as `train.py` has it."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.setattr(signals, "_caught", [])
    heed()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def signalled(heeded: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Choose when this process gets which signal, once: as a stage tells of its progress, or when it has ended."""
    wanted: dict[str, signal.Signals] = {}

    def strike(moment: str) -> None:
        if number := wanted.pop(moment, None):
            signal.raise_signal(number)

    progress, step = Stage.progress, Record.step

    def telling(stage: Stage, share: float, note: str = "") -> None:
        strike(note)
        progress(stage, share, note)

    def ended(record: Record, told: dict, facts: dict) -> None:
        strike(f"{told['step']} {told['outcome']}")
        step(record, told, facts)

    monkeypatch.setattr(Stage, "progress", telling)
    monkeypatch.setattr(Record, "step", ended)

    def choose(moment: str, number: signal.Signals) -> None:
        signals._caught.clear()
        wanted[moment] = number

    return choose


def config_of(smoke: Smoke, cache: Path, *overrides: str) -> JobConfig:
    return settings(
        "experiment=smoke",
        "model=linear",
        "registry.publish=false",
        f"source.path={smoke.fleet}",
        f"cache={cache}",
        *overrides,
    )


def facts(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def kept(cache: Path) -> list[Path]:
    return list((cache / "checkpoints").rglob("*.ckpt"))


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    weights = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in weights)


def same(first: Path, second: Path) -> bool:
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in MADE)


BEFORE_EXPORT = {
    "features done": (signal.SIGTERM, None),
    "step 7 of 20": (signal.SIGUSR1, None),
    "step 20 of 20": (signal.SIGTERM, None),
    "train done": (signal.SIGUSR1, 20),
}
AFTER_TRAINING = {
    "step 7 of 20": (signal.SIGTERM, None),
    "export done": (signal.SIGUSR1, 7),
    "origin 2 of 5": (signal.SIGTERM, 20),
    "report done": (signal.SIGUSR1, 20),
}


@pytest.mark.parametrize("moments", [BEFORE_EXPORT, pytest.param(AFTER_TRAINING, marks=pytest.mark.slow)])
def test_wherever_a_run_was_stopped_the_same_run_ends_the_same(
    smoke: Smoke,
    exported_once: None,
    signalled: Callable[..., None],
    tmp_path: Path,
    moments: dict[str, tuple[signal.Signals, int | None]],
) -> None:
    """`moments`: when which signal comes, and at which step the run that it stops went on, if it got so far."""
    config = replace(smoke.config, cache=str(tmp_path / "cache"))
    for moment, (number, begun) in moments.items():
        signalled(moment, number)
        with pytest.raises(StoppedError, match=f"^stopped by {number.name}; the same command goes on from here.$"):
            run(config, tmp_path / moment)
        found = facts(tmp_path / moment)
        assert (found["exit_code"], found["outcome"]) == (75, "resumable")
        assert found.get("resumed_at_step") == begun
    signalled("never", signal.SIGTERM)
    assert run(config, tmp_path / "end") == ExitCode.PUBLISHED
    assert same(tmp_path / "end", smoke.out)
    assert not kept(tmp_path / "cache")


def test_the_answer_to_plans_is_gone_on_with_and_the_model_before_it_not_fitted_again(
    smoke: Smoke, tmp_path: Path
) -> None:
    config = config_of(smoke, tmp_path / "cache", "window.future=[day_sin,day_cos,week_sin,week_cos,planned_power_w]")
    prepared = prepare(config, Stages(2))
    checkpoints = Checkpoints(tmp_path / "checkpoints", print)
    told: list[str] = []

    def stopping(_: float, note: str) -> None:
        told.append(note)
        if note == "step 31 of 40" and told.count(note) == 1:
            raise StoppedError("enough")

    whole, stopped = Learner.of(config, prepared), Learner.of(config, prepared)
    whole.train_model(config, lambda *_: None)
    with pytest.raises(StoppedError):
        stopped.train_model(config, stopping, checkpoints)
    again = Learner.of(config, prepared)
    again.train_model(config, stopping, checkpoints)
    assert told[told.index("step 31 of 40") + 1 :][:2] == ["step 20 of 20", "step 31 of 40"]
    assert whole.answering is not None
    assert again.answering is not None
    assert same_weights(again.model, whole.model)
    assert same_weights(again.answering[0], whole.answering[0])


@pytest.mark.slow
def test_what_begins_with_weights_and_takes_no_step_is_stopped_too(
    smoke: Smoke, signalled: Callable[..., None], tmp_path: Path
) -> None:
    start = (
        "training.start_from=pretrained",
        "training.steps=0",
        "window={step_s:3600,context_steps:336,horizon_steps:48}",
        "evaluation={test_h:48,validation_h:48}",
        "source.until=null",
    )
    config = config_of(smoke, tmp_path / "cache", *start)
    run(config, tmp_path / "whole")
    signalled("train done", signal.SIGTERM)
    with pytest.raises(StoppedError):
        run(config, tmp_path / "stopped")
    signalled("never", signal.SIGTERM)
    run(config, tmp_path / "end")
    assert same(tmp_path / "end", tmp_path / "whole")


def test_a_signal_while_publishing_waits_and_reaches_no_process_of_it(
    heeded: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings("experiment=smoke", "name=day-ahead", f"registry.root={tmp_path / 'registry'}")
    folder = tmp_path / "k1" / "bundle"
    make_bundle(folder, "k1")
    bundle = Bundle(folder, Manifest.read(folder), Session((folder / "model.onnx").read_bytes()))
    registry = Registry(tmp_path / "registry", "day-ahead")
    trial = publish.trial

    def struck(staged: Path) -> None:
        for number in (*SIGNALS, *SIGNALS):
            os.kill(os.getpid(), number)
        trial(staged)

    monkeypatch.setattr(publish, "trial", struck)
    assert _publish(config, registry, bundle, {"passed": True, "reason": "better"}, None, Stage("", None)) == 0
    assert registry.served() == ["k1"]
    assert caught() in {number.name for number in SIGNALS}


def test_what_is_started_while_signals_are_held_gets_none(heeded: None) -> None:
    script = ["sh", "-c", "kill -TERM $$; kill -USR1 $$; echo whole"]
    with held():
        assert subprocess.run(script, capture_output=True, check=True).stdout == b"whole\n"
    assert subprocess.run(script, capture_output=True, check=False).returncode == -signal.SIGTERM
    assert caught() is None


def test_a_run_that_publishes_sweeps_what_others_left(
    smoke: Smoke, signalled: Callable[..., None], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    registry = f"registry.root={tmp_path / 'registry'}"
    signalled("step 7 of 20", signal.SIGTERM)
    with pytest.raises(StoppedError):
        run(config_of(smoke, cache, "seed=5"), tmp_path / "other")
    (left,) = kept(cache)
    signalled("step 3 of 20", signal.SIGTERM)
    with pytest.raises(StoppedError):
        run(config_of(smoke, cache, "seed=6", registry, "registry.publish=true"), tmp_path / "run")
    (mine,) = kept(cache)
    assert mine.parent != left.parent


class Command:
    """`python train.py` as a scheduler starts it."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "train.py", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # As srun has it: Lightning would take SIGUSR1 for its own.
            env=os.environ | {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "1"},
        )

    def until(self, found: Callable[[], object]) -> None:
        """Wait for it, as long as the process lives."""
        while True:
            with suppress(FileNotFoundError):
                if found():
                    return
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"it ended with {self.process.wait(0.01)}: {self.end()}")

    def end(self) -> tuple[int, str]:
        _, said = self.process.communicate()
        return self.process.returncode, said


def test_a_process_that_gets_a_signal_exits_75_and_another_goes_on(smoke: Smoke, tmp_path: Path) -> None:
    training = ("training.steps=400", "training.validate_every=25", "training.validation_windows=64")
    config = config_of(smoke, tmp_path / "cache", *training)

    def started(name: str) -> Command:
        given = (f"source.path={smoke.fleet}", f"cache={config.cache}", f"hydra.run.dir={tmp_path / name}")
        return Command("experiment=smoke", "model=linear", "registry.publish=false", *given, *training)

    first = started("first")
    first.until(lambda: kept(tmp_path / "cache"))
    first.process.send_signal(signal.SIGTERM)
    first.process.send_signal(signal.SIGTERM)
    assert first.end() == (75, "error: stopped by SIGTERM; the same command goes on from here.\n")
    second = started("second")
    second.until(lambda: "resumed_at_step" in (tmp_path / "second" / "log.jsonl").read_text())
    second.process.send_signal(signal.SIGUSR1)
    assert second.end() == (75, "error: stopped by SIGUSR1; the same command goes on from here.\n")
    assert 0 < facts(tmp_path / "second")["resumed_at_step"] < 400

    prepared = prepare(config, Stages(2))
    (trained,), whole = kept(tmp_path / "cache"), Learner.of(config, prepared)
    assert trained.parent.name == run_key(config, prepared)
    fitted = whole.train_model(config, lambda *_: None)
    again = Learner.of(config, prepared)
    found = again.train_model(config, lambda *_: None, Checkpoints(trained.parent, print))
    assert (found.begun, found.step, found.validation_loss) == (400, fitted.step, fitted.validation_loss)
    assert same_weights(again.model, whole.model)


def test_a_signal_while_the_libraries_load_ends_no_process(tmp_path: Path) -> None:
    # Stands in for the first library that `train.py` imports.
    (tmp_path / "hydra.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nprint('loading')\n")
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "loading\n"
    assert done.returncode != -signal.SIGTERM


def test_a_sweep_ends_where_it_is_stopped(
    smoke: Smoke, signalled: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signalled("read done", signal.SIGTERM)
    sweep = ("--multirun", "experiment=smoke", "seed=0,1", f"source.path={smoke.fleet}", f"hydra.sweep.dir={tmp_path}")
    with pytest.MonkeyPatch.context() as patched, chdir(ROOT):
        patched.setattr(sys, "argv", ["train.py", *sweep])
        assert runpy.run_path(str(ROOT / "train.py"))["main"]() == ExitCode.RESUMABLE
    assert capsys.readouterr().err == "error: stopped by SIGTERM; the same command goes on from here.\n"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["0"]
