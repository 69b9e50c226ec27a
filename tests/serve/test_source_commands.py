"""`--source FILE` of `serve forecast` and `serve run`, as a person types it: what works, and what each mistake says."""

import json
import sys
from pathlib import Path

import polars as pl
import pytest
from fleets import NOW, fleet, telemetry
from loopback import free_port, wait_until
from running import Process, ask
from smoke_run import ROOT, Smoke

from forecast.retrain.config import plain
from serve.__main__ import main

ROWS = telemetry(fleet())
BASE = ROOT / ".venv-serve" / "bin" / "python"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A description of a CSV in kW with columns of its own, in YAML."""
    renamed = ROWS.with_columns(pl.col("power_w") / 1000).rename({"time": "ts", "entity_id": "host", "power_w": "kw"})
    renamed.write_csv(tmp_path / "rows.csv")
    names = "temperature_c: temperature_c, utilization_ratio: utilization_ratio"
    (tmp_path / "site.yaml").write_text(
        f"path: {tmp_path / 'rows.csv'}\ncolumns: {{time: ts, entity_id: host, power_w: kw, {names}}}\n"
        "units: {power_w: kW}\n"
    )
    return tmp_path / "site.yaml"


def forecast(registry: Path, out: Path, *more: str) -> int:
    return main(["forecast", "--bundle", str(registry / "day-ahead" / "current"), "--out", str(out), *more])


def test_one_forecast_from_a_description_is_that_from_files(registry: Path, site: Path, tmp_path: Path) -> None:
    ROWS.write_parquet(tmp_path / "plain.parquet")
    assert forecast(registry, tmp_path / "a.parquet", "--telemetry", str(tmp_path / "plain.parquet")) == 0
    assert forecast(registry, tmp_path / "b.parquet", "--source", str(site)) == 0
    a, b = pl.read_parquet(tmp_path / "a.parquet"), pl.read_parquet(tmp_path / "b.parquet")
    assert a.drop(pl.col(pl.Float32, pl.Float64)).equals(b.drop(pl.col(pl.Float32, pl.Float64)))
    apart = a.select(pl.col(pl.Float32, pl.Float64)) - b.select(pl.col(pl.Float32, pl.Float64))
    assert apart.select(pl.all().abs().max()).max_horizontal()[0] < 1e-3  # kW and back


def test_what_a_training_run_left_behind_is_a_source_with_its_schedule_and_weather(
    smoke: Smoke, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The simulated fleet, whose end for training is none for serving."""
    (tmp_path / "settings.json").write_text(json.dumps(plain(smoke.config)))
    command = ["forecast", "--bundle", str(smoke.bundle), "--out"]
    assert main([*command, str(tmp_path / "a.parquet"), "--telemetry", str(smoke.fleet / "telemetry")]) == 0
    assert main([*command, str(tmp_path / "b.parquet"), "--source", str(tmp_path / "settings.json")]) == 0
    assert pl.read_parquet(tmp_path / "a.parquet").equals(pl.read_parquet(tmp_path / "b.parquet"))
    assert "note: without" not in capsys.readouterr().err


@pytest.mark.parametrize("python", [sys.executable, BASE], ids=["here", "base install"])
def test_a_record_is_played_from_a_description(registry: Path, site: Path, python: Path) -> None:
    if not Path(python).exists():
        pytest.skip("no base environment; `make test` builds it (.venv-serve)")
    server = Process(registry, "--source", str(site), "--as-of", "newest", "--speed", "0", python=python)
    try:
        path = "/v1/forecasts/day-ahead/status"
        wait_until(lambda: ask(server.address, "GET", path).json.get("forecast_time") is not None, "it forecasts")
        status = ask(server.address, "GET", path).json
        assert status["forecast_time"] == NOW.isoformat()
        assert status["sources"]["model"] == len(fleet().entities)
        server.process.terminate()
        assert server.ended() == 0
    finally:
        server.process.kill()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (None, 2, "site.yaml: cannot be read (No such file or directory)"),
        ("pth: rows.csv", 2, "site.yaml has no 'pth'; did you mean 'path'?"),
        ("path: nowhere.csv", 20, "nowhere.csv: no such file or folder"),
        ("url: http://127.0.0.1:{port}\nmetrics: {{w: {{}}}}\nentity: {{w: '{{host}}'}}", 40, "check source.url"),
        ("url: 127.0.0.1\nmetrics: {{w: {{}}}}", 2, "must begin with http"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    registry: Path, tmp_path: Path, text: str | None, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / "site.yaml").write_text(text.format(port=free_port()))
    assert forecast(registry, tmp_path / "f.parquet", "--source", str(tmp_path / "site.yaml")) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error
    if code == 2:  # what cannot mean anything ends the server too; what is away or wrong for now does not
        assert main(["run", "--registry", str(registry), "--source", str(tmp_path / "site.yaml"), "--port", "0"]) == 2
        assert words in capsys.readouterr().err


def test_files_and_a_description_are_not_both_taken(registry: Path, site: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--registry", str(registry), "--source", str(site), "--telemetry", "x"])
    assert ended.value.code == 2
