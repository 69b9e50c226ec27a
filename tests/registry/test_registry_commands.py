"""`python -m forecast registry` as a person runs it: what it prints, its exit codes, errors of one line."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hand_made import make_bundle

from forecast.__main__ import main
from forecast.bundle.load import load
from forecast.registry.publish import publish_bundle
from forecast.registry.store import Registry

REPOSITORY = Path(__file__).parents[2]
KEYS = ("aaaa0000aaaa0000", "aaaa1111aaaa1111", "bbbb2222bbbb2222")


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions of day-ahead, one of hour-ahead."""
    folder = tmp_path_factory.mktemp("commands")
    for name, key, wql in (("day-ahead", KEYS[0], 0.18), ("day-ahead", KEYS[1], 0.16), ("day-ahead", KEYS[2], 0.1)):
        registry = Registry(folder / "registry", name)
        with registry.lock():
            bundle = load(make_bundle(folder / key, key, wql=wql))
            publish_bundle(registry, bundle, {"passed": True, "reason": f"WQL {wql}"})
    shutil.copytree(folder / "registry" / "day-ahead", folder / "registry" / "hour-ahead", symlinks=True)
    return folder / "registry"


@pytest.fixture
def root(master: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(master, tmp_path / "registry", symlinks=True))


def command(root: Path, verb: str, *arguments: str) -> int:
    return main(["registry", verb, *arguments, "--root", str(root)])


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]):
    """The error a command printed, which must be one line, and all that it printed."""

    def read() -> str:
        captured = capsys.readouterr()
        assert captured.out == ""
        assert re.fullmatch(r"error: .+\n", captured.err)
        return captured.err

    return read


def in_service(root: Path) -> tuple[str, str]:
    folder = root / "day-ahead"
    return (folder / "current").readlink().name, (folder / "previous").readlink().name


def damage(root: Path, key: str) -> None:
    (root / "day-ahead" / "versions" / key / "model.onnx").write_bytes(b"another")


def test_list_tells_every_version_newest_first(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(root, "list") == 0
    printed = capsys.readouterr().out
    assert printed.index("day-ahead") < printed.index("hour-ahead")
    rows = [[cell.strip() for cell in line.split("│")] for line in printed.split("hour-ahead")[0].splitlines()[3:6]]
    assert [row[0] for row in rows] == list(reversed(KEYS))
    assert [row[1] for row in rows] == ["current", "previous", ""]
    assert {row[3] for row in rows} == {"2026-03-31 23:00 UTC"}
    assert [row[4] for row in rows] == ["0.500", "0.800", "0.900"], "ours over the best baseline's 0.2"


def test_list_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(root, "list", "--name", "day-ahead", "--json") == 0
    (forecast,) = json.loads(capsys.readouterr().out)
    assert forecast["name"] == "day-ahead"
    newest = forecast["versions"][0]
    assert (newest["key"], newest["role"], newest["damage"]) == (KEYS[2], "current", None)
    assert newest["wql_ratio"] == pytest.approx(0.5)
    assert newest["size_bytes"] == sum(
        path.stat().st_size for path in (root / "day-ahead" / "versions" / KEYS[2]).iterdir()
    )
    assert datetime.fromisoformat(newest["published"]) <= datetime.now(UTC)


def test_list_tells_what_was_rejected_until_something_is_put_into_service(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(root, "day-ahead")
    with registry.lock():
        registry.reject("cccc3333cccc3333", KEYS[2], "2.0 % worse on the whole")
    assert command(root, "list", "--name", "day-ahead") == 0
    assert re.search(r"^rejected .* UTC: cccc3333cccc3333, 2\.0 % worse on the whole$", capsys.readouterr().out, re.M)
    assert command(root, "list", "--name", "day-ahead", "--json") == 0
    (forecast,) = json.loads(capsys.readouterr().out)
    assert forecast["rejected"]["champion"] == KEYS[2]
    assert command(root, "rollback", "day-ahead") == 0
    assert command(root, "list") == 0
    assert "rejected" not in capsys.readouterr().out


def test_list_of_an_empty_registry_says_what_fills_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, "list") == 0
    assert "holds no forecasts; `python train.py` publishes" in capsys.readouterr().out
    assert command(tmp_path, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_list_tells_of_a_manifest_it_cannot_read_and_goes_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "day-ahead" / "versions" / KEYS[1] / "manifest.json").write_text("{")
    assert command(root, "list") == 0
    printed = capsys.readouterr().out
    assert f"problem: {KEYS[1]}: damaged" in printed
    assert printed.count("0.500") == 2


def test_show_tells_what_a_bundle_forecasts_and_why_it_serves(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(root, "show", "day-ahead") == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"day-ahead {KEYS[2]}\n")
    assert "load, 3 h ahead every 1 h, from the last 4 h; 3 quantiles from 10 % to 90 %" in printed
    assert "1 × server, 1 × site; of mixed, x" in printed
    assert "passed: WQL 0.1" in printed
    assert printed.count("Fleetcast") == 2, "a row for each level"


@pytest.mark.parametrize(
    ("word", "key"), [("previous", KEYS[1]), (KEYS[0], KEYS[0]), ("bb", KEYS[2]), ("aaaa1", KEYS[1])]
)
def test_a_version_has_several_names(root: Path, capsys: pytest.CaptureFixture[str], word: str, key: str) -> None:
    assert command(root, "show", "day-ahead", word, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["key"] == key
    assert shown["verdict"]["passed"] is True
    assert shown["spec"]["horizon_steps"] == 3
    assert len(shown["scores"]) == 6


def test_show_needs_a_name_where_there_are_several(root: Path, refused, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(root, "show") == 2
    assert "holds day-ahead, hour-ahead; name one of them" in refused()
    shutil.rmtree(root / "hour-ahead")
    assert command(root, "show") == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["show", "day-ahed"], "holds no forecast 'day-ahed'; did you mean 'day-ahead'?"),
        (["show", "week"], "holds no forecast 'week'; it holds day-ahead, hour-ahead."),
        (["list", "--name", "../registry"], "holds no forecast '../registry'"),
        (["rollback", "week"], "holds no forecast 'week'"),
        (["prune", "week", "--keep", "3"], "holds no forecast 'week'"),
        (["verify", "week"], "holds no forecast 'week'"),
        (["export", "week", "--to", "mlflow", "http://localhost"], "holds no forecast 'week'"),
        (["show", "day-ahead", "aaaa"], "several versions that begin with 'aaaa'; name one of aaaa1111"),
        (["show", "day-ahead", "cccc"], "has no version 'cccc'; name one of bbbb2222"),
        (["show", "day-ahead", ""], "has no version ''"),
        (["verify", "day-ahead", "cccc"], "has no version 'cccc'"),
        (["rollback", "day-ahead", "--to", "../../hour-ahead"], "has no version '../../hour-ahead'"),
        (["prune", "day-ahead", "--keep", "0"], "keeps at least 1 version"),
        (["export", "day-ahead", "--to", "s3", "uri"], "--to s3: not known; use --to mlflow URI"),
        (["export", "day-ahead", "--to", "mlflow", "mlflow:5000"], "not the URL of a tracking server"),
    ],
)
def test_what_is_not_there_is_refused_and_makes_nothing(root: Path, arguments: list[str], reason: str, refused) -> None:
    assert command(root, *arguments) == 2
    assert reason in refused()
    assert sorted(path.name for path in root.iterdir()) == ["day-ahead", "hour-ahead"]


@pytest.mark.parametrize("verb", ["list", "show", "verify"])
def test_a_root_that_is_not_there_is_refused(tmp_path: Path, verb: str, refused) -> None:
    assert command(tmp_path / "nowhere", verb) == 2
    assert "nowhere: no such folder; make one by training" in refused()


@pytest.mark.parametrize("arguments", [["rollback"], ["prune", "day-ahead"], ["export", "day-ahead"], ["lst"], []])
def test_wrong_usage_is_told_by_the_parser(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["registry", *arguments])
    assert caught.value.code == 2
    assert "usage: python -m forecast registry" in capsys.readouterr().err


def test_settings_are_for_check_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["registry", "list", "root=var/registry"])
    assert caught.value.code == 2
    assert "unrecognized arguments: root=var/registry" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["registry", "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    for word in ("list", "show", "verify", "rollback", "prune", "export", "examples:", "exit codes: 0", "previous"):
        assert word in printed


def test_verify_of_a_sound_registry_has_a_line_each(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(root, "verify", "day-ahead") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["sound: day-ahead: links and journal", *(f"sound: day-ahead {key}" for key in reversed(KEYS))]


def test_verify_names_each_problem_and_exits_20(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(root, KEYS[1])
    (root / "hour-ahead" / "previous").unlink()
    (root / "hour-ahead" / "previous").symlink_to("versions/gone")
    for key in KEYS[:2]:
        shutil.rmtree(root / "hour-ahead" / "versions" / key)
    assert command(root, "verify") == 20
    problems = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 2
    assert f"{KEYS[1]}/model.onnx: its SHA-256 is not the manifest's" in problems[0]
    assert "previous: points at versions/gone, which is not there" in problems[1]
    assert command(root, "verify", "day-ahead", KEYS[2]) == 0
    assert command(root, "verify", "day-ahead", KEYS[2], KEYS[1]) == 20


def test_rollback_and_once_more(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_service(root) == (KEYS[2], KEYS[1])
    assert command(root, "rollback", "day-ahead") == 0
    assert in_service(root) == (KEYS[1], KEYS[2])
    assert command(root, "rollback", "day-ahead") == 0
    assert in_service(root) == (KEYS[2], KEYS[1])
    assert capsys.readouterr().out.splitlines() == [
        f"day-ahead: {KEYS[1]} is in service, instead of {KEYS[2]}",
        f"day-ahead: {KEYS[2]} is in service, instead of {KEYS[1]}",
    ]
    assert Registry(root, "day-ahead").served()[-2:] == [KEYS[1], KEYS[2]]
    assert command(root, "verify", "day-ahead") == 0


def test_rollback_to_a_version(root: Path) -> None:
    assert command(root, "rollback", "day-ahead", "--to", KEYS[0][:6]) == 0
    assert in_service(root) == (KEYS[0], KEYS[2])


def test_rollback_to_what_serves_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Registry(root, "day-ahead").journal()
    assert command(root, "rollback", "day-ahead", "--to", "current") == 0
    assert "is in service already" in capsys.readouterr().out
    assert Registry(root, "day-ahead").journal() == journal


def test_rollback_to_a_damaged_version_is_refused(root: Path, refused) -> None:
    damage(root, KEYS[1])
    assert command(root, "rollback", "day-ahead") == 20
    assert "its SHA-256 is not the manifest's" in refused()
    assert in_service(root) == (KEYS[2], KEYS[1])
    assert command(root, "rollback", "day-ahead", "--to", KEYS[0]) == 0


def test_rollback_without_a_previous_version_names_what_there_is(root: Path, refused) -> None:
    for key in KEYS[:2]:
        shutil.rmtree(root / "day-ahead" / "versions" / key)
    assert command(root, "rollback", "day-ahead") == 2
    assert f"has no previous version; name one of {KEYS[2]}" in refused()


def test_a_previous_that_was_deleted_comes_back(root: Path) -> None:
    (root / "day-ahead" / "previous").unlink()
    assert command(root, "rollback", "day-ahead") == 0
    assert in_service(root) == (KEYS[1], KEYS[2])


def test_rollback_ends_a_dangling_current(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(root / "day-ahead" / "versions" / KEYS[2])
    assert command(root, "show", "day-ahead") == 2
    assert "has no current version" in capsys.readouterr().err
    assert command(root, "rollback", "day-ahead") == 0
    assert Registry(root, "day-ahead").current() == root / "day-ahead" / "versions" / KEYS[1]
    assert command(root, "rollback", "day-ahead") == 0, "previous was mended to the one before"
    assert in_service(root) == (KEYS[0], KEYS[1])
    assert command(root, "verify", "day-ahead") == 0


def test_a_current_that_is_no_link_is_told(root: Path, refused, capsys: pytest.CaptureFixture[str]) -> None:
    link = root / "day-ahead" / "current"
    link.unlink()
    shutil.copytree(root / "day-ahead" / "versions" / KEYS[2], link)
    assert command(root, "rollback", "day-ahead") == 20
    assert "current: not a link; move it away" in refused()
    assert command(root, "list") == 0
    capsys.readouterr()
    assert command(root, "verify", "day-ahead") == 20
    assert "current: not a link" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["rollback", "day-ahead"], ["prune", "day-ahead", "--keep", "1"]])
def test_while_another_run_publishes_nothing_is_changed(root: Path, arguments: list[str], refused) -> None:
    with Registry(root, "day-ahead").lock():
        assert command(root, *arguments) == 30
    assert "is locked by another run" in refused()
    assert in_service(root) == (KEYS[2], KEYS[1])


def test_reading_needs_no_lock(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Registry(root, "day-ahead").lock():
        assert command(root, "list") == command(root, "show", "day-ahead") == command(root, "verify", "day-ahead") == 0
        assert command(root, "prune", "day-ahead", "--keep", "1", "--dry-run") == 0


def test_prune_keeps_what_serves(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(root, "prune", "day-ahead", "--keep", "1", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"day-ahead: {KEYS[0]} would be deleted",
        "day-ahead: 1 would be deleted, 3 there",
    ]
    assert command(root, "prune", "day-ahead", "--keep", "1") == 0
    assert capsys.readouterr().out.splitlines() == [f"day-ahead: {KEYS[0]} deleted", "day-ahead: 1 deleted, 2 there"]
    assert in_service(root) == (KEYS[2], KEYS[1])
    assert command(root, "verify", "day-ahead") == 0


def test_a_reader_reads_and_may_not_write(root: Path) -> None:
    """As another user where the tests run as root, to whom every file is open."""
    for path in (root / "day-ahead" / ".lock", root / "day-ahead", root / "day-ahead" / "versions"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root.parent.chmod(0o755)
    code = (
        "import os, sys\nimport forecast.commands.registry_tables, forecast.registry.verify\n"
        "from forecast.__main__ import main\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "print(main(['registry', 'list', '--root', 'registry']))\n"
        "sys.exit(main(['registry', 'rollback', 'day-ahead', '--root', 'registry']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root.parent, capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == "error: registry/day-ahead/.lock: Permission denied\n"
    assert done.returncode == 50


def test_the_base_install_is_enough(root: Path) -> None:
    absent = ["torch", "lightning", "hydra", "omegaconf", "onnx", "onnxscript", "matplotlib", "jinja2", "mlflow"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
        "from forecast.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )

    def bare(*arguments: str) -> subprocess.CompletedProcess[str]:
        run = [sys.executable, "-c", code, "registry", *arguments, "--root", str(root)]
        return subprocess.run(run, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    done = [
        bare("list"),
        bare("show", "day-ahead"),
        bare("verify", "day-ahead", "current"),
        bare("rollback", "day-ahead"),
        bare("prune", "day-ahead", "--keep", "2"),
    ]
    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 5
    without = bare("export", "day-ahead", "--to", "mlflow", "http://localhost:1")
    assert without.returncode == 2
    assert without.stderr == "error: --to mlflow needs its client: pip install 'fleetcast[mlflow]'.\n"


def test_it_is_a_command_of_the_package(root: Path) -> None:
    run = [sys.executable, "-m", "forecast", "registry", "list", "--root", str(root)]
    assert KEYS[0] in subprocess.run(run, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def test_show_tells_what_decided_the_verdict_and_counts_the_rest(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {"champion": 0.08, "challenger": 0.076, "value": 0.95, "lower": 0.93, "upper": 0.97, "limit": 1.0}
    row = {"rule": "overall", "segment": "all", "target": "all", "metric": "wql", "passed": True, **figures}
    verdict = {"passed": True, "reason": "better", "champion": KEYS[1], "rows": [row, {**row, "rule": "segment"}]}
    (root / "day-ahead" / "versions" / KEYS[2] / "gate.json").write_text(json.dumps(verdict))
    assert command(root, "show", "day-ahead") == 0
    shown = capsys.readouterr().out
    assert "passed: better" in shown
    for text in ("WQL, on the whole", "0.0800", "0.0760", "−5.0 %", "−7.0 % to −3.0 %", "kept", "1 more kept"):
        assert text in shown
