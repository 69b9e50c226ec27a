"""The training command: `python train.py --help`."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from forecast.contracts.errors import ExitCode, FleetcastError
from forecast.retrain.config import JobConfig, register
from forecast.retrain.job import run
from forecast.retrain.mistakes import explain

_CONFIGS = Path(__file__).parent / "configs"
_codes: list[ExitCode] = []


@hydra.main(version_base="1.3", config_path=str(_CONFIGS), config_name="config")
def _job(composed: DictConfig) -> None:
    config: JobConfig = OmegaConf.to_object(composed)  # type: ignore[assignment]
    hydra_config = HydraConfig.get()
    if hydra_config.mode == RunMode.MULTIRUN:
        config.registry.publish = False
    _codes.append(run(config, Path(hydra_config.runtime.output_dir)))


def main() -> int:
    """Run one job or a sweep; return the exit code."""
    # Hydra then raises its errors instead of printing them, so that ours are one line and name the nearest right key.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register()
    try:
        _job()
    except FleetcastError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {explain(error, _CONFIGS)}", file=sys.stderr)
        return ExitCode.USAGE
    return max(_codes, default=ExitCode.PUBLISHED)


if __name__ == "__main__":
    sys.exit(main())
