"""The tiny training run that tests share, and how a test composes settings or calls the command."""

import contextlib
import io
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from forecast.contracts.errors import ExitCode
from forecast.retrain.config import JobConfig, RegistryConfig, register
from forecast.traces.files import FileSource

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


def settings(*overrides: str) -> JobConfig:
    """The configuration that `python train.py *overrides` would run."""
    register()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = OmegaConf.to_object(compose("config", overrides=list(overrides)))
    assert isinstance(config, JobConfig)
    return config


def source_of(name: str, path: Path) -> FileSource:
    """The source of `configs/source/<name>.yaml`, reading `path`."""
    source = settings(f"source={name}", f"source.path={path}").source
    assert isinstance(source, FileSource)
    return source


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python train.py *arguments` in this process, where everything is imported already."""
    module = runpy.run_path(str(ROOT / "train.py"))
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["train.py", *arguments]
    try:
        with contextlib.chdir(ROOT), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = module["main"]()
    except SystemExit as ended:  # --help
        code = ended.code
    finally:
        sys.argv = before
    return subprocess.CompletedProcess(sys.argv, code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Smoke:
    """A run of the smoke experiment.

    Attributes:
        config: its settings, but that they publish nothing.
        out: its run folder, with `bundle/` and `scores.json`.
        fleet: the simulated record; the last days of its `telemetry/` were not trained on.
        registry: where it was to publish.
        code: what it ended with.
    """

    config: JobConfig
    out: Path
    fleet: Path
    registry: RegistryConfig
    code: ExitCode

    @property
    def bundle(self) -> Path:
        return self.out / "bundle"

    @property
    def exports(self) -> Path:
        """Where graphs are kept that `exported_once` does not export again."""
        return self.out.parent / "exports"
