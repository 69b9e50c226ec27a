"""Around the work: the lock, what counts as new, each end's exit code, and machines that are short of something."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from rich.console import Console
from smoke_run import ROOT, Smoke, settings, train

from forecast.contracts.errors import ConfigError, ExitCode, TransientError, ending
from forecast.registry.store import Registry
from forecast.retrain import job
from forecast.retrain.config import JobConfig
from forecast.retrain.novelty import nothing_new, run_key
from forecast.retrain.prepare import Prepared, prepare
from forecast.retrain.resources import with_less
from forecast.retrain.stages import Stages
from forecast.traces.files import FileSource

Train = Callable[..., tuple[int, str]]


@pytest.fixture
def trained(smoke: Smoke, tmp_path: Path) -> Train:
    """`python train.py experiment=smoke ...` with a registry of its own; its exit code and what it said."""
    runs = iter(range(9))

    def call(*arguments: str) -> tuple[int, str]:
        out = tmp_path / f"run-{next(runs)}"
        fleet = ("experiment=smoke", f"source.path={smoke.fleet}")
        elsewhere = any(argument.startswith("source=") for argument in arguments)
        places = (f"registry.root={tmp_path / 'registry'}", f"cache={smoke.config.cache}", f"hydra.run.dir={out}")
        done = train(*(() if elsewhere else fleet), *places, *arguments)
        assert done.stderr.count("\n") <= 1, "a line at most"
        if (out / "run.json").exists():
            assert json.loads((out / "run.json").read_text())["exit_code"] == done.returncode
        return done.returncode, (done.stderr or done.stdout).strip()

    return call


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", "smoke")


def test_a_second_run_is_refused_before_it_reads_anything(trained: Train, registry: Registry) -> None:
    with registry.run_lock():
        code, said = trained("source.path=never-read")
        assert (code, "locked by another run" in said) == (ExitCode.LOCKED, True)
        code, _ = trained("registry.publish=false", "evaluation.test_h=5000")
        assert code == ExitCode.USAGE, "who publishes nothing needs no lock, and comes as far as its mistake"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["source=google_pdu", "source.path=nowhere.parquet"], ExitCode.DATA_REFUSED, "nowhere.parquet"),
        ([f"training.batch={2**42}"], ExitCode.TRANSIENT, "lower training.batch"),
        (["free_gb=1e9"], ExitCode.DISK, "less than free_gb=1e+09"),
        (["allowed_lateness_h=9999"], ExitCode.USAGE, "allowed_lateness_h=9999 leaves nothing"),
        (["free_gb=-1"], ExitCode.USAGE, "free_gb is -1"),
    ],
)
def test_what_ends_a_run_early_has_its_code_and_its_line(
    trained: Train, arguments: list[str], code: int, said: str
) -> None:
    ended, line = trained(*arguments)
    assert ended == code, line
    assert said in line


def test_a_mistake_of_ours_is_no_failure_of_anybody_elses(
    trained: Train, monkeypatch: pytest.MonkeyPatch, smoke: Smoke, tmp_path: Path
) -> None:
    monkeypatch.setattr(job, "prepare", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        job.run(smoke.config, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["exit_code"] == ExitCode.BUG


def test_what_was_rejected_is_not_made_again_until_there_is_something_else_to_beat(
    trained: Train, exported_once: None, registry: Registry, tmp_path: Path
) -> None:
    too_large = "gate.max_bundle_mb=1e-3"
    assert trained(too_large)[0] == ExitCode.REJECTED
    code, said = trained(too_large)
    assert code == ExitCode.NOTHING_NEW
    assert "was rejected before" in said
    assert not (tmp_path / "run-1" / "bundle").exists()
    rejection = registry.journal()[-1]
    assert (rejection["action"], rejection["champion"]) == ("reject", "")
    assert rejection["reason"] in json.loads((tmp_path / "run-1" / "run.json").read_text())["nothing_new"]
    assert nothing_new(registry, rejection["key"], tmp_path / "versions" / "k1", print) is None


def test_a_version_that_was_damaged_is_made_anew(smoke: Smoke, registry: Registry) -> None:
    key = json.loads((smoke.bundle / "manifest.json").read_text())["bundle_id"]
    with registry.lock():
        staged = registry.staging()
        shutil.copytree(smoke.bundle, staged, dirs_exist_ok=True)
        version = registry.publish(staged, key)
    said: list[str] = []
    assert f"holds {key}" in str(nothing_new(registry, key, version, said.append))
    assert not said
    (version / "golden.npz").write_bytes(b"altered")
    assert nothing_new(registry, key, version, said.append) is None
    assert "golden.npz" in said[0]
    shutil.rmtree(version)
    assert nothing_new(registry, key, version, said.append) is None


@pytest.fixture
def record(smoke: Smoke, tmp_path: Path) -> Path:
    """The smoke fleet's telemetry as plain files, until the middle of a day."""
    lake = tmp_path / "lake"
    lake.mkdir()
    telemetry = pl.read_parquet(smoke.fleet / "telemetry" / "**" / "*.parquet")
    noon = pl.datetime(2026, 1, 25, 12, time_zone="UTC")
    telemetry.filter(pl.col("time") < noon).write_parquet(lake / "until-noon.parquet")
    hour = telemetry.filter(pl.col("time").is_between(noon, noon + pl.duration(hours=1), closed="left"))
    (tmp_path / "later").mkdir()
    hour.filter(pl.col("entity_id") == pl.col("entity_id").first()).write_parquet(tmp_path / "later" / "one.parquet")
    hour.write_parquet(tmp_path / "later" / "all.parquet")
    return lake


def prepared_from(record: Path, smoke: Smoke, **changes: float) -> tuple[JobConfig, Prepared]:
    source = FileSource(path=str(record), topology=str(smoke.fleet / "topology.parquet"))
    config = replace(smoke.config, source=source, cache=str(record.parent / "cache"), **changes)
    return config, prepare(config, Stages(2))


def test_a_step_that_is_not_complete_is_neither_used_nor_new(smoke: Smoke, record: Path) -> None:
    config, before = prepared_from(record, smoke)
    assert before.watermark.isoformat() == "2026-01-25T11:00:00+00:00"
    shutil.copy(record.parent / "later" / "one.parquet", record / "partial.parquet")
    _, partial = prepared_from(record, smoke)
    assert partial.watermark == before.watermark
    assert partial.split.end == partial.panel.steps == before.panel.steps
    assert run_key(config, partial) == run_key(config, before)
    shutil.copy(record.parent / "later" / "all.parquet", record / "complete.parquet")
    _, complete = prepared_from(record, smoke)
    assert complete.watermark.isoformat() == "2026-01-25T12:00:00+00:00"
    assert run_key(config, complete) != run_key(config, before)


def test_the_allowed_lateness_holds_the_watermark_back(smoke: Smoke, record: Path) -> None:
    _, prepared = prepared_from(record, smoke, allowed_lateness_h=2.5)
    assert prepared.watermark.isoformat() == "2026-01-25T08:00:00+00:00"
    assert prepared.panel.steps == prepared.split.end
    with pytest.raises(ConfigError, match="leaves nothing"):
        prepared_from(record, smoke, allowed_lateness_h=9999.0)


class Machine:
    """Fails its first `failures` calls with `error`; keeps what it was called with."""

    def __init__(self, error: Exception, failures: int) -> None:
        self.error, self.failures = error, failures
        self.tried: list[tuple[str, str, int]] = []

    def __call__(self, config: JobConfig) -> str:
        self.tried.append((config.trainer.accelerator, config.trainer.precision, config.training.batch))
        if len(self.tried) <= self.failures:
            raise self.error
        return "made"


LACKS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore about it."),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("lack", LACKS, ids=lambda error: str(error)[:12])
def test_a_lack_of_memory_is_met_with_less(lack: Exception) -> None:
    config = settings("experiment=smoke", "trainer=gpu", "trainer.precision=bf16-mixed")
    ladder = [("cuda", "bf16-mixed", 32), ("cuda", "bf16-mixed", 16), ("cpu", "32-true", 32)]
    for failures in range(3):
        machine = Machine(lack, failures)
        assert with_less(config, machine, Stages(1)) == "made"
        assert machine.tried == ladder[: failures + 1]
    with pytest.raises(TransientError, match="lower training") as end:
        with_less(config, Machine(lack, 3), Stages(1))
    assert "\n" not in str(end.value)
    on_cpu = Machine(lack, 2)
    with pytest.raises(TransientError):
        with_less(settings("experiment=smoke"), on_cpu, Stages(1))
    assert on_cpu.tried == [("cpu", "32-true", 32), ("cpu", "32-true", 16)]


def test_other_errors_are_not_tried_again() -> None:
    machine = Machine(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 1)
    with pytest.raises(RuntimeError, match="mat1"):
        with_less(settings("experiment=smoke"), machine, Stages(1))
    assert len(machine.tried) == 1


def test_steps_done_once_more_keep_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    stages = Stages(2)
    failing = Machine(MemoryError(), 1)

    def make(config: JobConfig) -> str:
        with stages("train"):
            return failing(config)

    with stages("read"):
        pass
    with_less(settings("experiment=smoke"), make, stages)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:5] for line in lines] == ["[1/2]", "Memor", "[2/2]"]


@pytest.mark.parametrize("write", [pl.DataFrame.write_parquet, pl.DataFrame.write_ipc, pl.DataFrame.write_csv])
def test_a_full_disk_is_a_full_disk_whoever_writes(write: Callable[[pl.DataFrame, str], object]) -> None:
    with pytest.raises((OSError, pl.exceptions.PolarsError)) as full:
        write(pl.DataFrame({"value": range(100_000)}), "/dev/full")
    line, code = ending(full.value, "the telemetry")
    assert code == ExitCode.DISK
    assert "No space left on device" in line
    assert "\n" not in line


def test_memory_that_runs_out_anywhere_may_do_another_time() -> None:
    assert ending(MemoryError(), "the telemetry")[1] == ExitCode.TRANSIENT


def test_what_only_training_needs_is_not_imported_before_it() -> None:
    """A run with nothing new would spend most of its time on it."""
    code = "import sys, forecast.retrain.job; print({'lightning', 'matplotlib', 'onnx', 'jinja2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_person_who_watches_sees_how_far_a_step_is() -> None:
    screen = io.StringIO()
    with Stages(2, Console(file=screen, force_terminal=True, width=100))("train") as stage:
        stage.progress(0.25, "step 1 of 4")
    assert "[1/2] train       ━━━━━━╌" in screen.getvalue()
    assert " 25%  step 1 of 4" in screen.getvalue()
