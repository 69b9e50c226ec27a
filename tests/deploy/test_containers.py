"""The container files: linted, and their steps run, outside a container for want of an engine."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from containerfile import build, instructions
from smoke_run import ROOT, Smoke
from stand_in import DEPLOY

FILES = ["Containerfile.train", "Containerfile.serve"]


def linted(text: str) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("hadolint")
    return subprocess.run([linter, "-"], input=text, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", FILES)
def test_container_files_are_linted(name: str) -> None:
    text = (DEPLOY / name).read_text()
    done = linted(text)
    assert (done.returncode, done.stdout) == (0, "")
    assert linted(text.replace("3.11-slim-bookworm", "latest")).returncode != 0


@pytest.mark.parametrize("name", FILES)
def test_images_are_pinned_locked_and_unprivileged(name: str) -> None:
    steps = instructions((DEPLOY / name).read_text())
    bases = [rest.split(" ")[0] for step, rest in steps if step == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1, "a virtual environment works with the Python it was made with"
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases[0])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert [int(part) for part in bases[0][7:].split("-")[0].split(".")] >= [int(part) for part in oldest.split(".")]
    installs = [rest for step, rest in steps if step == "RUN" and "pip install" in rest]
    assert len(installs) == 1
    assert "--constraint constraints.txt" in installs[0]
    assert ("[train]" in installs[0]) == (name == "Containerfile.train")
    user = [rest for step, rest in steps if step == "USER"][-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "Kubernetes can tell that a number is not root"


@pytest.mark.parametrize("name", FILES)
def test_everything_copied_is_in_the_repository(name: str) -> None:
    for step, rest in instructions((DEPLOY / name).read_text()):
        if step == "COPY" and "--from" not in rest:
            assert all((ROOT / source).exists() for source in rest.split()[:-1])


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the repository alone, as a fresh clone has them."""
    if os.geteuid():
        pytest.skip("the steps of an image run as root")
    folder = tmp_path_factory.mktemp("context")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no clone")
    for file in listed.stdout.splitlines():
        if (ROOT / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
    return folder


@pytest.mark.slow
def test_the_steps_of_the_train_image_give_a_training_command(context: Path, tmp_path: Path) -> None:
    image = build(DEPLOY / "Containerfile.train", context, tmp_path)
    done = image.run([*image.entrypoint, "experiment=smoke", "registry.publish=false", "hydra.run.dir=run"])
    assert done.returncode == 0, done.stderr
    state = image.inside("/var/lib/fleetcast")
    assert image.volumes == ["/var/lib/fleetcast"]
    assert (state.stat().st_uid, state.stat().st_gid) == tuple(int(part) for part in image.user.split(":"))
    assert json.loads((state / "run" / "run.json").read_text())["exit_code"] == 0
    wrong = image.run(["/opt/fleetcast/deploy/train.sh", "training.stpes=3"])
    assert wrong.returncode == 2
    assert "did you mean 'training.steps'" in wrong.stderr


@pytest.mark.slow
def test_the_steps_of_the_serve_image_give_a_serving_command_without_torch(
    context: Path, tmp_path: Path, smoke: Smoke
) -> None:
    image = build(DEPLOY / "Containerfile.serve", context, tmp_path)
    python = image.entrypoint[0]
    assert image.run([python, "-c", "import torch"]).returncode != 0
    telemetry = str(smoke.fleet / "telemetry")
    forecast = ["forecast", "--bundle", str(smoke.bundle), "--telemetry", telemetry, "--out", "forecasts.parquet"]
    done = image.run([*image.entrypoint, *forecast])
    assert done.returncode == 0, done.stderr
    assert (image.inside("/var/lib/fleetcast") / "forecasts.parquet").stat().st_size > 1000
