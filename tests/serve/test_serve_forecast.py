"""`python -m serve forecast` as a person runs it, wrong inputs included."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from smoke_run import Smoke

from forecast.adaptation import Adaptation
from forecast.bundle.manifest import Manifest
from serve.__main__ import main
from serve.summary import is_untrained, sentence


def serve(bundle: Path, telemetry: Path | str, out: Path, *more: str) -> int:
    return main(["forecast", "--bundle", str(bundle), "--telemetry", str(telemetry), "--out", str(out), *more])


@pytest.fixture
def one_line(capsys: pytest.CaptureFixture[str]):
    """The error a command printed, which must be one line and say nothing on stdout."""

    def read() -> str:
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")
        assert captured.err.count("\n") == 1, captured.err
        return captured.err

    return read


def test_a_forecast_of_every_entity_for_every_step(
    smoke: Smoke, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "forecasts.parquet"
    assert serve(smoke.bundle, smoke.fleet / "telemetry", out) == 0
    table = pl.read_parquet(out)
    topology = pl.read_parquet(smoke.fleet / "topology.parquet")
    assert len(table) == len(topology) * 12
    assert set(table["entity_id"]) == set(topology["entity_id"])
    assert table["forecast_time"].unique().to_list() == [table["valid_time"].min()]
    printed = capsys.readouterr().out
    assert "Tightest thermal headroom" in printed
    assert "chance" in printed
    assert str(out) in printed


def test_the_forecast_starts_where_it_is_told(smoke: Smoke, tmp_path: Path) -> None:
    out = tmp_path / "forecasts.csv"
    assert serve(smoke.bundle, smoke.fleet / "telemetry", out, "--at", "2026-01-25T06:00+02:00") == 0
    assert pl.read_csv(out)["forecast_time"][0].startswith("2026-01-25T04:00")


def test_telemetry_as_csv_gives_the_same_forecast(smoke: Smoke, tmp_path: Path) -> None:
    frame = pl.read_parquet(smoke.fleet / "telemetry", hive_partitioning=False)
    frame.write_csv(tmp_path / "telemetry.csv")
    assert serve(smoke.bundle, smoke.fleet / "telemetry", tmp_path / "a.parquet") == 0
    assert serve(smoke.bundle, tmp_path / "telemetry.csv", tmp_path / "b.parquet") == 0
    a, b = (pl.read_parquet(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    assert a["power_w_p50"].to_list() == pytest.approx(b["power_w_p50"].to_list(), rel=1e-4)


def test_no_bundle(smoke: Smoke, tmp_path: Path, one_line) -> None:
    assert serve(tmp_path / "nowhere", smoke.fleet / "telemetry", tmp_path / "f.parquet") == 20
    assert "nowhere" in one_line()


def test_a_bundle_that_was_altered(smoke: Smoke, tmp_path: Path, one_line) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(smoke.bundle, bundle)
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"x")
    assert serve(bundle, smoke.fleet / "telemetry", tmp_path / "f.parquet") == 20
    assert "SHA-256" in one_line()


def test_no_telemetry(smoke: Smoke, tmp_path: Path, one_line) -> None:
    assert serve(smoke.bundle, tmp_path / "nowhere.parquet", tmp_path / "f.parquet") == 20
    assert "nowhere.parquet" in one_line()


def test_a_missing_column_is_named(smoke: Smoke, tmp_path: Path, one_line) -> None:
    frame = pl.read_parquet(smoke.fleet / "telemetry", hive_partitioning=False).drop("temperature_c")
    frame.write_parquet(tmp_path / "t.parquet")
    assert serve(smoke.bundle, tmp_path / "t.parquet", tmp_path / "f.parquet") == 20
    assert "temperature_c" in one_line()


@pytest.mark.parametrize(
    ("column", "wrong", "hint"),
    [
        ("power_w", pl.col("power_w") / 1000, "kW"),
        ("temperature_c", pl.col("temperature_c") * 1.8 + 32, "degF"),
        ("inlet_c", pl.col("inlet_c") * 1.8 + 32, "degF"),
    ],
)
def test_a_wrong_unit_is_refused(
    smoke: Smoke, tmp_path: Path, one_line, column: str, wrong: pl.Expr, hint: str
) -> None:
    frame = pl.read_parquet(smoke.fleet / "telemetry", hive_partitioning=False).with_columns(wrong.alias(column))
    frame.write_parquet(tmp_path / "t.parquet")
    assert serve(smoke.bundle, tmp_path / "t.parquet", tmp_path / "f.parquet") == 20
    line = one_line()
    assert column in line
    assert hint in line
    assert not (tmp_path / "f.parquet").exists()


def test_telemetry_without_rows(smoke: Smoke, tmp_path: Path, one_line) -> None:
    pl.read_parquet(smoke.fleet / "telemetry", hive_partitioning=False).head(0).write_parquet(tmp_path / "t.parquet")
    assert serve(smoke.bundle, tmp_path / "t.parquet", tmp_path / "f.parquet") == 20
    assert "no rows" in one_line()


def test_telemetry_of_strangers(smoke: Smoke, tmp_path: Path, one_line) -> None:
    frame = pl.read_parquet(smoke.fleet / "telemetry", hive_partitioning=False).with_columns(
        entity_id=pl.lit("stranger")
    )
    frame.write_parquet(tmp_path / "t.parquet")
    assert serve(smoke.bundle, tmp_path / "t.parquet", tmp_path / "f.parquet") == 20
    assert "no rows of known entities" in one_line()


def test_an_ending_that_is_not_written(smoke: Smoke, tmp_path: Path, one_line) -> None:
    assert serve(smoke.bundle, smoke.fleet / "telemetry", tmp_path / "f.xlsx") == 2
    assert ".parquet" in one_line()


def test_a_place_that_cannot_be_written(smoke: Smoke, tmp_path: Path, one_line) -> None:
    (tmp_path / "file").touch()
    assert serve(smoke.bundle, smoke.fleet / "telemetry", tmp_path / "file" / "f.parquet") == 2
    assert "cannot be written" in one_line()


def test_a_time_that_is_no_time(smoke: Smoke, tmp_path: Path, one_line) -> None:
    assert serve(smoke.bundle, smoke.fleet / "telemetry", tmp_path / "f.parquet", "--at", "yesterday") == 2
    assert "yesterday" in one_line()


def test_a_time_before_all_data(smoke: Smoke, tmp_path: Path, one_line) -> None:
    assert serve(smoke.bundle, smoke.fleet / "telemetry", tmp_path / "f.parquet", "--at", "2020-01-01") == 20
    assert "before 2020-01-01" in one_line()


def test_a_time_long_after_all_data(smoke: Smoke, tmp_path: Path, one_line) -> None:
    assert serve(smoke.bundle, smoke.fleet / "telemetry", tmp_path / "f.parquet", "--at", "2030-01-01") == 20
    assert "nothing was observed" in one_line()
    assert not (tmp_path / "f.parquet").exists()


def test_pages_that_are_damaged(smoke: Smoke, tmp_path: Path, one_line) -> None:
    path = tmp_path / "t.parquet"
    pl.read_parquet(smoke.fleet / "telemetry", hive_partitioning=False).write_parquet(path)
    content = bytearray(path.read_bytes())
    content[1000 : len(content) // 2] = bytes(len(content) // 2 - 1000)
    path.write_bytes(content)
    assert serve(smoke.bundle, path, tmp_path / "f.parquet") == 20
    assert "cannot be read" in one_line()


def test_a_target_that_was_never_a_number_is_labelled(
    smoke: Smoke, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pl.read_parquet(smoke.fleet / "telemetry", hive_partitioning=False)
    one = frame.filter(pl.col("power_w").is_not_null())["entity_id"].min()
    text = pl.when(pl.col("entity_id") == one).then(pl.lit("n.a.")).otherwise(pl.col("power_w").cast(pl.String))
    frame.with_columns(power_w=text).write_csv(tmp_path / "t.csv")
    assert serve(smoke.bundle, tmp_path / "t.csv", tmp_path / "f.parquet") == 0
    rows = pl.read_parquet(tmp_path / "f.parquet").filter(pl.col("entity_id") == one)
    assert rows["status"].unique().to_list() == ["partial"]
    assert rows["source"].unique().to_list() == ["safe_bound"]
    said = capsys.readouterr().out
    assert f"Load was not observed, so no headroom is promised: {one}\n" in said
    assert f"  {one}: 90 % chance to be 0" not in said


def test_an_entity_with_an_hour_of_history_has_a_forecast_that_says_it_is_new(
    smoke: Smoke, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pl.read_parquet(smoke.fleet / "telemetry", hive_partitioning=False)
    at = datetime(2026, 1, 25, 12, tzinfo=UTC)
    one = frame.filter(pl.col("power_w").is_not_null())["entity_id"].min()
    rows = frame.filter((pl.col("entity_id") != one) | (pl.col("time") >= at - timedelta(hours=1)))
    rows.write_parquet(tmp_path / "t.parquet")
    assert serve(smoke.bundle, tmp_path / "t.parquet", tmp_path / "f.parquet", "--at", at.isoformat()) == 0
    mine = pl.read_parquet(tmp_path / "f.parquet").filter(entity_id=one)
    assert len(mine) == 12
    assert mine["status"].unique().to_list() == ["new"]
    assert mine["source"].unique().to_list() == ["model"]
    assert mine["data_time"].unique().to_list() == [at]
    numbers = mine.select(pl.col("^(power_w|temperature_c)_.*$"))
    assert numbers.null_count().sum_horizontal().item() == 0
    assert numbers.select(pl.all().is_finite().all()).row(0) == (True,) * numbers.width
    assert (mine["power_w_p90"] > mine["power_w_p10"]).all()
    assert "1 new" in capsys.readouterr().out


def test_the_sentence_says_what_the_number_means() -> None:
    row = {
        "headroom": 4.2,
        "target": "temperature_c",
        "confidence": 0.9,
        "until": datetime(2026, 6, 1, 22, tzinfo=UTC),
        "time_zone": "America/New_York",
    }
    day, week = row["until"] - timedelta(days=1), row["until"] - timedelta(days=7)
    assert sentence(row, day) == "90 % chance to be 4.20 °C below its limit at each step through Mon 18:00 EDT"
    assert sentence(row, week).endswith("at each step through 2026-06-01 18:00 EDT")
    assert "1.50 kW above its limit" in sentence({**row, "headroom": -1500.0, "target": "power_w"}, day)


def test_runs_remember_each_other(smoke: Smoke, tmp_path: Path) -> None:
    """A day of hourly runs shifts the quantiles; the same run again changes nothing."""
    state, out = tmp_path / "state" / "adaptation.npz", tmp_path / "forecasts.parquet"

    def run(hour: int) -> pl.DataFrame:
        at = f"2026-01-{24 + hour // 24:02d}T{hour % 24:02d}:00"
        assert serve(smoke.bundle, smoke.fleet / "telemetry", out, "--at", at, "--adaptation", str(state)) == 0
        return pl.read_parquet(out)

    for hour in (0, 8, 16):
        adapted = run(hour)
    assert adapted.equals(run(16))
    assert serve(smoke.bundle, smoke.fleet / "telemetry", out, "--at", "2026-01-24T16:00") == 0
    assert not adapted.equals(pl.read_parquet(out))
    assert adapted["power_w_p50"].equals(pl.read_parquet(out)["power_w_p50"])


def test_a_damaged_memory(smoke: Smoke, tmp_path: Path, one_line) -> None:
    (tmp_path / "state.npz").write_bytes(b"PK nothing")
    more = ("--adaptation", str(tmp_path / "state.npz"))
    assert serve(smoke.bundle, smoke.fleet / "telemetry", tmp_path / "out.csv", *more) == 20
    assert "delete it to begin anew" in one_line()


def test_a_memory_that_is_a_folder_is_not_to_be_deleted(smoke: Smoke, tmp_path: Path, one_line) -> None:
    assert serve(smoke.bundle, smoke.fleet / "telemetry", tmp_path / "out.csv", "--adaptation", str(tmp_path)) == 20
    assert f"{tmp_path}: a folder; name a file in it" in one_line()


def test_a_memory_of_another_bundle_is_said_to_begin_anew(
    smoke: Smoke, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.npz"
    manifest = Manifest.read(smoke.bundle)
    other = Adaptation(manifest.spec, manifest.topology, "another")
    other.save(state)
    for said in (f"note: {state} is of another bundle than {manifest.bundle_id}: adaptation begins anew\n", ""):
        assert serve(smoke.bundle, smoke.fleet / "telemetry", tmp_path / "f.csv", "--adaptation", str(state)) == 0
        assert capsys.readouterr().err == said


def test_the_folder_of_a_run_or_a_registry_is_answered_with_the_bundle_in_it(
    smoke: Smoke, tmp_path: Path, one_line
) -> None:
    published = tmp_path / "registry" / "smoke" / "current"
    shutil.copytree(smoke.bundle, published)
    for folder in (published.parent, published.parent.parent):
        assert serve(folder, smoke.fleet / "telemetry", tmp_path / "f.csv") == 20
        assert f"give the folder of a published version, such as {published}.\n" in one_line()


@pytest.mark.parametrize(
    ("steps", "started_from", "untrained"),
    [(0, {"recipe": "day-ahead"}, True), (0, "b1", False), (0, None, False), (25, {"recipe": "day-ahead"}, False)],
)
def test_weights_that_learnt_elsewhere_and_nothing_from_the_site_are_called_untrained(
    smoke: Smoke, steps: int, started_from: str | dict[str, str] | None, untrained: bool
) -> None:
    manifest = Manifest.read(smoke.bundle)
    assert manifest.training["trained_steps"] >= 0
    training = manifest.training | {"trained_steps": steps, "started_from": started_from}
    assert is_untrained(replace(manifest, training=training)) == untrained
