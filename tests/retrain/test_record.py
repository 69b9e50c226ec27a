"""What a run leaves behind for machines, whatever its end."""

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from smoke_run import ROOT, Smoke, settings

from forecast.contracts.errors import ConfigError, DataError, ExitCode
from forecast.contracts.version import key_of
from forecast.registry.store import Registry
from forecast.retrain.config import JobConfig, Log, plain
from forecast.retrain.job import run
from forecast.retrain.metrics import exposition
from forecast.retrain.record import Record

STEPS = ["read", "features", "champion", "drift", "train", "calibrate", "export", "backtest", "report", "publish"]


def read(path: Path) -> dict[str, object]:
    content = json.loads(path.read_text())
    assert isinstance(content, dict)
    return content


def lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def samples(text: str) -> dict[str, float]:
    """Metric, and a label beside the forecast's name if it has one, to value."""
    return {
        " ".join([sample.name, *(value for label, value in sample.labels.items() if label != "forecast")]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def config(tmp_path: Path) -> JobConfig:
    return settings("experiment=smoke", f"cache={tmp_path / 'cache'}", f"registry.root={tmp_path / 'registry'}")


def test_every_step_has_a_log_line_with_its_duration(smoke: Smoke) -> None:
    log = lines(smoke.out)
    assert [line["step"] for line in log] == [*STEPS, "end"]
    assert [line["number"] for line in log[:-1]] == list(range(1, len(STEPS) + 1))
    assert all(line["outcome"] == "done" and line["forecast"] == "smoke" and line["said"] for line in log[:-1])
    assert all(isinstance(line["seconds"], float) for line in log)
    times = [datetime.fromisoformat(str(line["time"])) for line in log]
    assert times == sorted(times)
    assert times[0].utcoffset() == timedelta(0)


def test_the_manifest_of_a_run_says_what_ran_on_what_and_how_it_ended(smoke: Smoke) -> None:
    found, bundle = read(smoke.out / "run.json"), read(smoke.bundle / "manifest.json")
    training = bundle["training"]
    assert isinstance(training, dict)
    assert found["run_key"] == bundle["bundle_id"]
    assert found["watermark"] == training["watermark"]
    assert found["code_version"] == training["code_version"]
    assert (found["exit_code"], found["outcome"], found["error"]) == (smoke.code, smoke.code.name.lower(), None)
    assert found["gate"] == {name: read(smoke.out / "gate.json")[name] for name in ("passed", "reason")}
    assert found["settings_hash"] == key_of(read(smoke.out / "settings.json"))
    assert found.get("published") == (found["run_key"] if smoke.code == ExitCode.PUBLISHED else None)


def test_a_folder_that_has_the_bundle_of_another_run_is_refused(config: JobConfig, tmp_path: Path) -> None:
    (tmp_path / "run" / "bundle").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"^hydra\.run\.dir: .*/run has the bundle of another run; name a folder"):
        run(config, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["bundle"]


def test_settings_are_stored_as_plain_data_without_a_name_of_code(smoke: Smoke) -> None:
    text = (smoke.out / "settings.json").read_text()
    assert json.loads(text) == plain(replace(smoke.config, registry=smoke.registry))
    assert "_target_" not in text
    stored = json.loads(text)
    assert stored["source"]["kind"] == "simulated"
    assert stored["model"]["kind"] == "adaptive_cdf"
    assert stored["training"]["steps"] == 20


@pytest.mark.parametrize("option", sorted((ROOT / "configs").glob("[sme][oxd]*/*.yaml")), ids=lambda path: path.stem)
def test_settings_of_every_option_survive_json(option: Path) -> None:
    stored = plain(settings(f"{option.parent.name}={option.stem}"))
    assert json.loads(json.dumps(stored)) == stored


def test_models_with_the_same_settings_are_told_apart() -> None:
    kinds = {plain(settings(f"model={name}"))["model"]["kind"] for name in ("linear", "patch_mixer", "adaptive_cdf")}
    assert len(kinds) == 3


def test_a_run_with_nothing_new_leaves_its_record_too(smoke: Smoke, tmp_path: Path) -> None:
    registry = replace(smoke.config.registry, root=str(tmp_path / "registry"), publish=True)
    config = replace(smoke.config, registry=registry, metrics_file=str(tmp_path / "smoke.prom"))
    published = Registry(tmp_path / "registry", "smoke")
    with published.lock():
        staged = published.staging()
        shutil.copytree(smoke.bundle, staged, dirs_exist_ok=True)
        published.publish(staged, str(read(smoke.out / "run.json")["run_key"]))
    assert run(config, tmp_path / "run") == ExitCode.NOTHING_NEW
    found = read(tmp_path / "run" / "run.json")
    assert (found["exit_code"], found["outcome"]) == (10, "nothing_new")
    assert [line["step"] for line in lines(tmp_path / "run")] == ["read", "features", "end"]
    metrics = samples((tmp_path / "smoke.prom").read_text())
    assert metrics["fleetcast_run_exit_code"] == 10
    assert (
        metrics["fleetcast_publish_time_seconds"] == datetime.fromisoformat(published.journal()[-1]["time"]).timestamp()
    )
    lag_s = datetime.fromisoformat(str(found["ended"])) - datetime.fromisoformat(str(found["watermark"]))
    assert metrics["fleetcast_run_watermark_lag_seconds"] == pytest.approx(lag_s.total_seconds())
    assert "fleetcast_run_gate_passed" not in metrics, "nothing was judged"


def test_a_run_that_fails_leaves_its_record_and_its_metrics(config: JobConfig, tmp_path: Path) -> None:
    (tmp_path / "readme.parquet").write_text("not Parquet")
    source = settings("source=google_pdu", f"source.path={tmp_path / 'readme.parquet'}").source
    config = replace(config, source=source, metrics_file=str(tmp_path / "smoke.prom"))
    with pytest.raises(DataError):
        run(config, tmp_path / "run")
    found = read(tmp_path / "run" / "run.json")
    assert (found["exit_code"], found["outcome"]) == (20, "data_refused")
    assert "readme.parquet" in str(found["error"])
    assert "watermark" not in found
    log = lines(tmp_path / "run")
    assert [(line["step"], line["outcome"]) for line in log] == [("read", "failed"), ("end", "data_refused")]
    assert log[0]["said"] == log[1]["error"] == found["error"]
    assert samples((tmp_path / "smoke.prom").read_text())["fleetcast_run_exit_code"] == 20


def test_the_time_of_publishing_is_when_the_version_in_service_came(config: JobConfig, tmp_path: Path) -> None:
    folder = tmp_path / "registry" / "smoke"
    folder.mkdir(parents=True)
    lines = [
        {"time": f"2026-03-0{day}T00:00:00+00:00", "action": action, "key": "a"}
        for day, action in enumerate(("publish", "publish", "rollback", "delete"), 1)
    ]
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Record(replace(config, metrics_file=str(tmp_path / "smoke.prom")), tmp_path / "run"):
        pass
    found = samples((tmp_path / "smoke.prom").read_text())
    assert found["fleetcast_publish_time_seconds"] == datetime(2026, 3, 3, tzinfo=UTC).timestamp()


def test_a_run_that_was_killed_has_no_exit_code(config: JobConfig, tmp_path: Path) -> None:
    Record(config, tmp_path / "run").__enter__()
    found = read(tmp_path / "run" / "run.json")
    assert found["exit_code"] is found["ended"] is None
    assert found["began"]


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError("of ours"), 70), (KeyboardInterrupt(), 130), (OSError(28, "No space left"), 50)]
)
def test_every_end_is_recorded_and_passed_on(
    config: JobConfig, tmp_path: Path, error: BaseException, code: int
) -> None:
    with pytest.raises(type(error)), Record(config, tmp_path / "run"):
        raise error
    assert read(tmp_path / "run" / "run.json")["exit_code"] == code


def test_a_record_that_cannot_be_closed_hides_no_failure_and_passes_for_no_success(
    config: JobConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(out: Path, failure: Exception | None) -> None:
        with Record(config, out):
            shutil.rmtree(out)
            if failure:
                raise failure

    with pytest.raises(DataError, match="refused"):
        lose(tmp_path / "failed", DataError("refused"))
    assert capsys.readouterr().err.count("\n") == 1, "that the record is lost is said all the same"
    with pytest.raises(FileNotFoundError):
        lose(tmp_path / "done", None)


@pytest.mark.parametrize(("file", "said"), [("smoke.txt", r"end in \.prom"), ("nowhere/smoke.prom", "no folder")])
def test_a_place_for_metrics_that_cannot_be_is_missed_before_the_work(
    config: JobConfig, tmp_path: Path, file: str, said: str
) -> None:
    config = replace(config, metrics_file=str(tmp_path / file))
    with pytest.raises(ConfigError, match=said):
        run(config, tmp_path / "run")
    assert not (tmp_path / "cache").exists()


def test_metrics_tell_reasons_and_verdict_and_are_valid_for_prometheus(tmp_path: Path) -> None:
    ended = datetime(2026, 3, 1, 2, tzinfo=UTC)
    end = {
        "forecast": 'day-"ahead"\\',
        "ended": ended.isoformat(),
        "seconds": 12.5,
        "exit_code": 11,
        "steps": [{"step": "read", "seconds": 0.5}, {"step": "train", "seconds": 11.0}],
        "watermark": (ended - timedelta(minutes=20)).isoformat(),
        "rows_set_aside": {"from the future": 7, "with an unreadable\ntime": 3},
        "gate": {"passed": False, "reason": "worse"},
    }
    text = exposition(end, ended - timedelta(days=2))
    found = samples(text.decode())
    assert found["fleetcast_run_watermark_lag_seconds"] == 20 * 60
    assert found["fleetcast_run_rows_set_aside from the future"] == 7
    assert found["fleetcast_run_rows_set_aside with an unreadable\ntime"] == 3
    assert found["fleetcast_run_gate_passed"] == 0
    assert found["fleetcast_run_step_duration_seconds train"] == 11
    assert found["fleetcast_publish_time_seconds"] == (ended - timedelta(days=2)).timestamp()
    if shutil.which("promtool") is None:
        pytest.skip("promtool is absent; Debian's package prometheus brings it")
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.parametrize(("log", "printed"), [("text", False), ("json", True), ("auto", True)])
def test_json_lines_are_printed_where_they_are_asked_for(
    config: JobConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str, printed: bool
) -> None:
    source = settings("source=google_pdu", f"source.path={tmp_path / 'none.parquet'}").source
    with pytest.raises(DataError):
        run(replace(config, source=source, log=Log(log)), tmp_path / "run")
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == (lines(tmp_path / "run") if printed else [])
