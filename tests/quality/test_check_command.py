"""`python -m forecast check` as a person runs it: exit codes, errors of one line, pages that hold hostile names."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pages import Page
from records import Record
from trees import at

from forecast.__main__ import main

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>alert(1)</script>"


def check(*arguments: str | Path) -> int:
    return main(["check", *map(str, arguments)])


@pytest.fixture
def one_line(capsys: pytest.CaptureFixture[str]):
    """The error a command printed, which must be one line and leave no report."""

    def read() -> str:
        captured = capsys.readouterr()
        assert captured.out == ""
        lines = [line for line in captured.err.splitlines() if not line.startswith("examining ")]
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("error: ")
        return lines[0]

    return read


def test_a_clean_record_is_fit(clean: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(clean.folder, "--html", tmp_path / "deep" / "q.html", "--json", tmp_path / "q.json") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "Fit for training"
    assert json.loads((tmp_path / "q.json").read_text())["fit"] is True
    page = Page((tmp_path / "deep" / "q.html").read_text())
    assert "Fit for training" in page.text
    assert page.named("svg")


def test_the_folder_of_telemetry_has_its_tree_above_it(clean: Record, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(clean.folder / "telemetry") == 0
    assert "16 servers, 4 racks" in capsys.readouterr().out
    assert check(clean.folder / "telemetry" / "**" / "*.parquet") == 0
    assert "16 servers, 4 racks" in capsys.readouterr().out


def test_a_fleet_in_kilowatt_is_not_fit(clean: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = clean.copy(tmp_path / "kw", clean.telemetry.with_columns(pl.col("power_w") / 1000))
    assert check(path) == 20
    last = capsys.readouterr().out.splitlines()[-4:]
    assert any("fits kW: declare units: {power_w: kW}" in line for line in last)


def test_limits_in_kilowatt_are_told_beside_power_in_milliwatt(
    clean: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = clean.copy(tmp_path / "limits", clean.telemetry)
    tree = pl.read_parquet(path.parent / "topology.parquet").with_columns(pl.col("power_limit_w") / 1000)
    tree.write_parquet(path.parent / "topology.parquet")
    assert check(path) == 20
    assert "units: {power_w: mW} in the source's YAML; or the power limits are in kW: give them in W" in (
        " ".join(capsys.readouterr().out.split())
    )


def test_kilowatt_without_nameplates_shows_what_is_typical(
    clean: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing tells that they are no W, but a reader sees it."""
    servers = clean.telemetry.filter(pl.col("entity_id").str.contains("server"))
    servers.with_columns(pl.col("power_w") / 1000).write_parquet(tmp_path / "alone.parquet")
    assert check(tmp_path / "alone.parquet", "--json", tmp_path / "q.json") == 0
    found = json.loads((tmp_path / "q.json").read_text())
    unit = next(unit for unit in found["units"] if unit["signal"] == "power_w")
    assert unit["raw"] == pytest.approx(servers["power_w"].median() / 1000, rel=0.2), "of each day, then of the days"
    said = f"{unit['raw']:.2g} W"
    assert f"typically {said}; cannot be judged: no nameplate" in {rule["found"] for rule in found["verdict"]}
    assert re.search(rf"power_w +│ W +│ {said} +│ cannot be judged: no nameplate", capsys.readouterr().out)


def test_half_missing_is_not_fit(clean: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = np.random.default_rng(0).random(len(clean.telemetry)) < 0.5
    assert check(clean.copy(tmp_path / "half", clean.telemetry.filter(pl.Series(kept)))) == 20
    printed = capsys.readouterr().out
    assert re.search(r"Load \(power_w\) is complete: (49|50)\.\d % \(asked: at least 80 %", printed)
    assert "over 20 % missing is a storm, and nothing should be learnt from it" in printed


def test_a_grid_finer_than_the_samples_is_told(clean: Record, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(clean.folder, "--step-s", "60") == 20
    assert "a sample comes every 300 s: choose a longer step" in capsys.readouterr().out


def test_a_target_that_never_came_is_not_fit(clean: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = clean.telemetry.with_columns(temperature_c=pl.lit(None, pl.Float64))
    assert check(clean.copy(tmp_path / "cold", nothing)) == 20
    assert "Temperature (temperature_c) was observed: never" in capsys.readouterr().out
    blanks = clean.telemetry.with_columns(temperature_c=pl.lit(2_147_483_632.0))
    assert check(clean.copy(tmp_path / "blank", blanks)) == 20
    assert "Temperature (temperature_c) was observed: never" in capsys.readouterr().out


def test_broken_rows_are_borne_up_to_a_twentieth(clean: Record, tmp_path: Path) -> None:
    rows = clean.telemetry.with_row_index("row")
    for share, code in ((0.04, 0), (0.06, 20)):
        lost = pl.when(pl.col("row") % 100 < 100 * share).then(None).otherwise(pl.col("time")).alias("time")
        assert check(clean.copy(tmp_path / f"{share}", rows.with_columns(lost).drop("row"))) == code


def test_values_that_cannot_be_believed_are_borne_up_to_a_twentieth(clean: Record, tmp_path: Path) -> None:
    """Blanks of one server in sixteen are more than a twentieth; half of that is not."""
    dead = pl.col("entity_id") == "site-1.hall-a.row-1.rack-01.server-01"
    for until, code in ((datetime(2026, 1, 7, tzinfo=UTC), 0), (datetime(2026, 1, 9, tzinfo=UTC), 20)):
        blank = pl.when(dead & (pl.col("time") < until)).then(-1.0).otherwise("power_w").alias("power_w")
        assert check(clean.copy(tmp_path / f"{until:%d}", clean.telemetry.with_columns(blank))) == code


@pytest.mark.parametrize(("hours", "code"), [(1, 0), (23, 0), (25, 20)])
def test_stale_telemetry_is_not_fit_for_who_asks(clean: Record, hours: int, code: int) -> None:
    now = datetime(2026, 1, 8, 23, 55, tzinfo=UTC) + timedelta(hours=hours)
    assert check(clean.folder, "--now", now.isoformat()) == code


def test_rows_after_now_are_from_the_future(clean: Record, capsys: pytest.CaptureFixture[str]) -> None:
    check(clean.folder, "--now", "2026-01-07")
    printed = capsys.readouterr().out
    assert re.search(r"future time +│ +\d", printed)
    assert "to 2026-01-07 00:00 UTC" in printed


def test_hostile_names_are_text(clean: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {HOSTILE: 10, "[red]a[/red]\x1b[2J\n": 300, "]]>&amp;": 20}
    rows = pl.concat(
        [
            pl.DataFrame(
                {"time": [at(5 * step) for step in range(600) if step % gap], "power_w": 100.0, "temperature_c": 40.0}
            ).with_columns(entity_id=pl.lit(name), power_w=pl.int_range(pl.len()) % 7 * 10.0 + 50)
            for name, gap in names.items()
        ]
    )
    rows.write_parquet(tmp_path / f"{HOSTILE.replace('/', '')}.parquet")
    check(tmp_path, "--html", tmp_path / "q.html")
    printed = capsys.readouterr().out
    assert HOSTILE in printed
    assert "[red]a[/red]" in printed
    assert "\x1b" not in printed
    page = Page((tmp_path / "q.html").read_text())
    assert not page.named("script")
    assert HOSTILE in page.text
    assert "http" not in page.text.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.parquet"], 20, "nowhere.parquet: no such file"),
        (["google_pd"], 20, "Did you mean the source 'google_pdu'?"),
        (["google_pdu", "source.pth=x"], 2, "did you mean 'source.path'"),
        (["google_pdu", "window.past=[powr_w]"], 2, "past names 'powr_w'"),
        (["google_pdu", "window.step_s=0"], 2, "step_s"),
        (["google_pdu", "source.path=nowhere.parquet"], 20, "nowhere.parquet: no such file"),
        (["google_pdu", "--topology", "t.csv"], 2, "--topology is for files"),
        (["README.md", "source.path=x"], 2, "files take no settings"),
        (["nowhere.yaml"], 2, "nowhere.yaml: no such file in a folder called source"),
        (["README.md"], 20, "cannot read .md"),
        (["README.md", "--now", "yesterday"], 20, ""),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], code: int, said: str, one_line, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    assert check(*arguments) == code
    assert said in one_line()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: PATH"),
        (["x", "--step-s", "7"], "7 does not divide a day"),
        (["x", "--step-s", "abc"], "abc does not divide a day"),
        (["x", "--nope"], "--nope"),
        (["x", "y"], "unrecognized arguments: y"),
        (["x", "--memory-gb", "a"], "--memory-gb"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        check(*arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_next_to_nothing_is_no_crash_and_not_fit(clean: Record, tmp_path: Path, rows: int) -> None:
    path = clean.copy(tmp_path / "few", clean.telemetry.filter(pl.col("power_w").is_not_null()).head(rows))
    assert check(path, "--html", tmp_path / "q.html") == 20


def test_nothing_observed_at_all_is_a_report_too(
    clean: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = clean.telemetry.select("time", "entity_id", power_w=pl.lit(None, pl.Float64))
    assert check(clean.copy(tmp_path / "null", nothing), "--now", "2026-01-09", "--html", tmp_path / "q.html") == 20
    printed = capsys.readouterr().out
    assert "Not fit for training: 2 reasons" in printed
    assert "Load (power_w) was observed: never" in printed


@pytest.mark.parametrize(("days", "code"), [(1, 20), (2, 0)])
def test_a_day_is_too_short(clean: Record, tmp_path: Path, days: int, code: int) -> None:
    first = clean.telemetry.filter(pl.col("time") < datetime(2026, 1, 5 + days, tzinfo=UTC))
    assert check(clean.copy(tmp_path / "short", first)) == code


def test_counters_that_started_again_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two days of an energy counter, of one host it restarts once."""
    hosts = [
        pl.DataFrame({"step": range(576)}).with_columns(
            time=pl.lit(at(0)) + pl.duration(minutes=5 * pl.col("step")),
            entity_id=pl.lit(host),
            metric=pl.lit("energy"),
            value=(pl.col("step") - pl.when(pl.col("step") >= restart).then(restart).otherwise(0)) * 60_000.0,
        )
        for host, restart in (("a", 100), ("b", 10_000))
    ]
    pl.concat(hosts).drop("step").write_parquet(tmp_path / "t.parquet")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "counted.yaml").write_text(
        "# @package _global_\ndefaults: [long_schema@source]\n"
        f"source:\n  path: {tmp_path / 't.parquet'}\n"
        "  metrics: {energy: {signal: power_w, unit: J, kind: counter}}\n"
        "  entities: {a: {}, b: {}}\n"
        "window: {targets: [power_w], past: [power_w]}\n"
    )
    assert check(tmp_path / "source" / "counted.yaml") == 0
    printed = capsys.readouterr().out
    assert "energy counters that started again (1 times); the rate leaves the interval out: a" in printed


def test_columns_of_other_names_are_sent_to_a_source(tmp_path: Path, one_line) -> None:
    pl.DataFrame({"timestamp": [1], "host": ["a"], "watts": [1.0]}).write_parquet(tmp_path / "t.parquet")
    assert check(tmp_path / "t.parquet") == 20
    assert "no column for time and entity_id; found timestamp, host, watts" in one_line()


def test_a_source_is_examined_through_its_settings(
    clean: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A YAML of one's own, a fleet in kW that it declares, and a setting on the command line after an option."""
    rows = clean.telemetry.filter(pl.col("entity_id").str.contains("server")).with_columns(pl.col("power_w") / 1000)
    rows.rename({"power_w": "kilowatt"}).write_parquet(tmp_path / "t.parquet")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "mine.yaml").write_text(
        "# @package _global_\n"
        "defaults: [files_schema@source]\n"
        f"source:\n  path: {tmp_path / 't.parquet'}\n  topology: {clean.folder / 'topology.parquet'}\n"
        "  columns: {time: time, entity_id: entity_id, power_w: kilowatt, temperature_c: temperature_c}\n"
        "  units: {power_w: kW}\n"
        "window: {past: [power_w, temperature_c]}\n"
    )
    assert check(tmp_path / "source" / "mine.yaml", "--json", tmp_path / "q.json") == 0
    assert json.loads((tmp_path / "q.json").read_text())["step_s"] == 300
    assert check(tmp_path / "source" / "mine.yaml", "--json", tmp_path / "q.json", "source.units.power_w=W") == 20
    assert "fits kW" in capsys.readouterr().out


def test_channels_that_training_needs_have_columns(
    clean: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"source.path={clean.folder}", "window.past=[power_w,temperature_c,inlet_c,utilization_ratio]"]
    rows = clean.telemetry.drop("utilization_ratio")
    path = clean.copy(tmp_path / "narrow", rows)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "narrow.yaml").write_text(
        "# @package _global_\ndefaults: [files_schema@source]\n"
        f"source: {{path: {path}, topology: {clean.folder / 'topology.parquet'}}}\n"
    )
    assert check(tmp_path / "source" / "narrow.yaml", settings[1]) == 20
    assert "every channel has a column: no column utilization_ratio" in capsys.readouterr().out


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        check("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for word in ("--topology", "--now", "--step-s", "--html", "--json", "examples:", "exit codes: 0 fit", "google_pdu"):
        assert word in text


def test_a_machine_without_the_install_for_training_checks_files(clean: Record, tmp_path: Path) -> None:
    absent = "import sys; sys.modules.update(dict.fromkeys(['torch', 'hydra', 'omegaconf', 'jinja2', 'matplotlib']))"
    code = f"{absent}; from forecast.__main__ import main; sys.exit(main(sys.argv[1:]))"

    def bare(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "check", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    done = bare(clean.folder)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Fit for training")
    for arguments in ((clean.folder, "--html", tmp_path / "q.html"), ("google_pdu",)):
        done = bare(*arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert "pip install 'fleetcast[train]'" in done.stderr


def test_the_raw_export_is_fit_and_its_oddities_are_told(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "biohpc_cbsugpu08_raw.tsv"
    until = "source.until=2024-05-01T05:00"  # midnight by its own clock
    assert check("biohpc_raw", f"source.path={path}", until, "--json", tmp_path / "q.json") == 0
    found = json.loads((tmp_path / "q.json").read_text())
    assert {aside["reason"]: aside["count"] for aside in found["set_aside"]} == {"unreadable time": 5}
    assert found["unknown_rows"] == 2
    assert found["faults"][0]["fault"] == "out_of_order", "newest first"
    assert [row["interval_s"] for row in found["coverage"]] == [3600.0] * 3
    raw = pl.read_csv(path, separator="\t", infer_schema=False).filter(
        pl.col("name") == "cbsugpu08", pl.col("timestamp") < "2024-05-01"
    )
    hours = (datetime.fromisoformat(found["end"]) - datetime.fromisoformat(found["start"])) / timedelta(hours=1) + 1
    assert found["coverage"][0]["completeness"] == pytest.approx(len(raw) / hours, abs=1e-9)
