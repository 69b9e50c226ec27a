"""The examples for cron, systemd and Kubernetes: what checks such a file checks them, and what they run does run."""

import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from smoke_run import ROOT, settings
from stand_in import DEPLOY, Place

from forecast.contracts.errors import ExitCode
from forecast.traces.prometheus import PrometheusSource

#: What OPERATIONS asks of a scheduler, by exit code: every one has its place. Ctrl-C needs a person.
LEAVE_ALONE, TRY_AGAIN, TELL = {0, 10, 11, 30}, {40, 75}, {2, 20, 50, 70}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path)


def needs(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is absent; Debian's package {package} brings it")


def crontab() -> tuple[dict[str, str], list[str]]:
    """Its variables, and its commands without their times."""
    lines = [line for line in (DEPLOY / "crontab").read_text().splitlines() if line and not line.startswith("#")]
    variables = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    return {name: value.strip('"') for name, value in variables.items()}, [
        line.split(maxsplit=5)[5] for line in lines if not re.match(r"\w+=", line)
    ]


def by_cron(place: Place, command: str) -> subprocess.CompletedProcess[str]:
    variables = {name: place.moved(value) for name, value in crontab()[0].items()}
    return subprocess.run(
        ["/bin/sh", "-c", command],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def unit(name: str) -> str:
    return (DEPLOY / "systemd" / name).read_text()


def unit_setting(name: str) -> str:
    return re.sub(r"\\\n\s*", "", re.search(rf"^{name}=((?:.*\\\n)*.*)$", unit("fleetcast-train.service"), re.M)[1])  # type: ignore[index]


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / "cronjob.yaml").read_text()))


def job() -> dict[str, Any]:
    spec: dict[str, Any] = manifests()[1]["spec"]["jobTemplate"]["spec"]
    return spec


def container() -> dict[str, Any]:
    found: dict[str, Any] = job()["template"]["spec"]["containers"][0]
    return found


def test_every_exit_code_has_its_place() -> None:
    assert {int(code) for code in ExitCode} - {ExitCode.INTERRUPTED} <= LEAVE_ALONE | TRY_AGAIN | TELL


def sbatch_settings() -> list[str]:
    line = re.search(r"^srun \S+ (.*)$", (DEPLOY / "slurm" / "train.sbatch").read_text(), re.M)
    assert line
    return line[1].split()


@pytest.mark.parametrize(
    "given",
    [
        [*shlex.split(crontab()[0]["SOURCE"]), "metrics_file=/x/fleetcast.prom"],
        [*shlex.split(crontab()[0]["SOURCE"]), "when=drifted"],
        shlex.split(unit_setting("ExecStart"))[2:],
        container()["args"],
        sbatch_settings(),
    ],
    ids=["cron", "hourly cron", "systemd", "kubernetes", "slurm"],
)
def test_the_settings_in_every_example_exist(given: list[str]) -> None:
    config = settings(*given)
    assert isinstance(config.source, PrometheusSource)
    assert config.source.url == "http://prometheus:9090"


@pytest.mark.parametrize("code", sorted(LEAVE_ALONE | TRY_AGAIN | TELL))
def test_the_script_calls_success_what_needs_nobody(place: Place, code: int) -> None:
    place.ends_with(code)
    done = subprocess.run(
        [place.home / "deploy" / "train.sh", "a=b c", "d=e"], cwd=place.state, capture_output=True, check=False
    )
    assert done.returncode == (0 if code in LEAVE_ALONE else code)
    assert done.stdout == b"settings: a=b c d=e\n"


@pytest.mark.parametrize("passed_on", ["SIGTERM", "SIGUSR1"])
def test_the_script_passes_signals_on_and_the_code_back(place: Place, passed_on: str) -> None:
    place.ends_with("wait")
    with subprocess.Popen([place.home / "deploy" / "train.sh"], cwd=place.state, stdout=subprocess.PIPE) as script:
        place.wait_until_it_runs()
        script.send_signal(getattr(signal, passed_on))
        out, _ = script.communicate(timeout=30)
    assert script.returncode == 75
    assert f"signalled: {passed_on}" in out.decode()


def test_the_script_says_when_the_run_was_killed(place: Place) -> None:
    (place.home / "train.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    assert subprocess.run([place.home / "deploy" / "train.sh"], cwd=place.state, check=False).returncode == 128 + 9


def test_the_script_runs_the_training_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [DEPLOY / "train.sh", "training.stpes=3"],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'training.steps'" in done.stderr


@pytest.mark.parametrize("script", ["deploy/train.sh", "deploy/slurm/train.sbatch", ".ci/run"])
def test_shell_scripts_are_linted(script: str) -> None:
    linter = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([linter, ROOT / script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def checked_by_cron(path: Path) -> int:
    needs("crontab", "cron")
    usage = subprocess.run(["crontab", "-h"], capture_output=True, text=True, check=False).stderr
    option = next((option for option in ("-n", "-T") if re.search(rf"{option}\s+\(?(dry run|test)", usage)), None)
    if option is None:
        pytest.skip("this crontab has no dry run; that of Debian's package cron has")
    return subprocess.run(["crontab", option, path], capture_output=True, check=False).returncode


def test_cron_takes_the_crontab_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    assert checked_by_cron(DEPLOY / "crontab") == 0
    wrong = tmp_path / "crontab"
    wrong.write_text((DEPLOY / "crontab").read_text().replace("\n17 2 ", "\n17 25 "))
    assert checked_by_cron(wrong) != 0


@pytest.mark.parametrize("code", sorted(LEAVE_ALONE | TRY_AGAIN | TELL))
@pytest.mark.parametrize(
    ("line", "log", "setting"),
    [(0, "train.log", "metrics_file={state}/fleetcast.prom"), (1, "drift.log", "when=drifted")],
    ids=["nightly", "hourly"],
)
def test_cron_mails_what_somebody_should_look_at(place: Place, code: int, line: int, log: str, setting: str) -> None:
    place.ends_with(code)
    done = by_cron(place, crontab()[1][line])
    shown = f"settings: source=prometheus source.url=http://prometheus:9090 {setting.format(state=place.state)}\n"
    assert done.stdout + done.stderr == ("" if code in LEAVE_ALONE else shown)
    assert (place.state / log).read_text() == shown


def test_cron_starts_no_second_run_and_mails_nothing(place: Place) -> None:
    place.ends_with(20)
    with (place.state / "train.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = by_cron(place, crontab()[1][0])
    assert done.stdout + done.stderr == ""
    assert (place.state / "codes").read_text() == "20", "train.py was not run"


def test_cron_removes_old_run_folders_and_nothing_else(place: Place) -> None:
    old, new = (place.state / "var" / "runs" / "day-ahead" / day / "bundle" for day in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    month_ago = time.time() - 32 * 86_400
    for folder in (old.parent, old.parents[1]):
        os.utime(folder, (month_ago, month_ago))
    done = by_cron(place, crontab()[1][-1])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not old.parent.exists()
    assert new.exists()


def verified(folder: Path, service: str) -> tuple[int, str]:
    """What systemd says to the units, with a Python that is there."""
    needs("systemd-analyze", "systemd")
    (folder / "fleetcast-train.timer").write_text(unit("fleetcast-train.timer"))
    path = folder / "fleetcast-train.service"
    path.write_text(service.replace("/opt/fleetcast/.venv/bin/python", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path, folder / "fleetcast-train.timer"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, "\n".join(line for line in done.stderr.splitlines() if "fleetcast" in line)


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    assert verified(tmp_path, unit("fleetcast-train.service")) == (0, "")


@pytest.mark.parametrize(("right", "wrong"), [("Nice=", "Nise="), ("Type=exec", "Type=oneshot"), ("=6h", "=6 ours")])
def test_systemd_notices_what_is_wrong_in_a_unit(tmp_path: Path, right: str, wrong: str) -> None:
    assert right in unit("fleetcast-train.service")
    assert verified(tmp_path, unit("fleetcast-train.service").replace(right, wrong)) != (0, "")


def test_systemd_acts_on_every_exit_code() -> None:
    success = {int(code) for code in unit_setting("SuccessExitStatus").split()}
    again = {int(code) for code in unit_setting("RestartForceExitStatus").split()}
    assert success | {0} == LEAVE_ALONE
    assert again == TRY_AGAIN


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
def test_kubernetes_takes_the_manifests(version: str) -> None:
    for manifest in manifests():
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize(
    ("right", "wrong"), [("concurrencyPolicy", "concurencyPolicy"), ("values: [75]", 'values: ["75"]')]
)
def test_what_checks_the_manifests_notices_what_is_wrong(right: str, wrong: str) -> None:
    text = (DEPLOY / "kubernetes" / "cronjob.yaml").read_text()
    assert right in text
    manifest = list(yaml.safe_load_all(text.replace(right, wrong)))[1]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_kubernetes_acts_on_every_exit_code() -> None:
    rules = [rule for rule in job()["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    codes = {rule["action"]: set(rule["onExitCodes"]["values"]) for rule in rules}
    assert codes == {"Ignore": {75}, "FailJob": TELL}
    assert job()["backoffLimit"] > 0, "what is left, 40, is tried again"
    assert container()["command"] == ["/opt/fleetcast/deploy/train.sh"], "which calls 10, 11 and 30 success"


def test_the_pod_fits_the_image() -> None:
    image = (DEPLOY / "Containerfile.train").read_text()
    pod = job()["template"]["spec"]
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert f"\nUSER {user}\n" in image
    mounts = {mount["mountPath"] for mount in container()["volumeMounts"]}
    assert re.findall(r"^VOLUME (\S+)$", image, re.M) == re.findall(r"^WORKDIR (\S+)$", image, re.M)[-1:]
    assert mounts >= set(re.findall(r"^VOLUME (\S+)$", image, re.M))
    written = re.findall(r"(?:HOME|CONFIGDIR|NUMBA_CACHE_DIR)=(\S+)", image)
    assert written
    assert all(any(path.startswith(mount) for mount in mounts) for path in written), "the root is read-only"
    assert container()["command"][0].removeprefix("/opt/fleetcast/") in image
