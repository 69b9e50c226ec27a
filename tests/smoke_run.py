"""The tiny training run that tests share, and how a test composes settings."""

from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from forecast.retrain.config import JobConfig, register

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


def settings(*overrides: str) -> JobConfig:
    """The configuration that `python train.py *overrides` would run."""
    register()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = OmegaConf.to_object(compose("config", overrides=list(overrides)))
    assert isinstance(config, JobConfig)
    return config


@dataclass(frozen=True)
class Smoke:
    """A run of the smoke experiment.

    Attributes:
        config: its settings.
        out: its run folder, with `bundle/` and `scores.json`.
        fleet: the simulated record; the last days of its `telemetry/` were not trained on.
    """

    config: JobConfig
    out: Path
    fleet: Path

    @property
    def bundle(self) -> Path:
        return self.out / "bundle"
