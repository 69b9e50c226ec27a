"""The training command: `python train.py --help`."""

import os
import sys
from pathlib import Path

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from polars.exceptions import PolarsError

from forecast.contracts.errors import ExitCode, FleetcastError
from forecast.retrain.config import register
from forecast.retrain.job import run
from forecast.retrain.mistakes import explain, settings_of

_CONFIGS = Path(__file__).parent / "configs"
_codes: list[int] = []


@hydra.main(version_base="1.3", config_path=str(_CONFIGS), config_name="config")
def _job(composed: DictConfig) -> None:
    # Caught here, not in main: Hydra would put a line of its own before ours, and end a sweep at its first failure.
    try:
        config = settings_of(composed)
        config.registry.publish &= HydraConfig.get().mode != RunMode.MULTIRUN
        _codes.append(run(config, Path(HydraConfig.get().runtime.output_dir)))
    except FleetcastError as error:
        _fail(str(error), error.exit_code)
    except PolarsError as error:
        _fail(f"the telemetry cannot be read: {str(error).splitlines()[0]}", ExitCode.DATA_REFUSED)
    except OSError as error:
        _fail(f"{error.filename or 'disk'}: {error.strerror or error}", ExitCode.DISK)
    except KeyboardInterrupt:
        _fail("interrupted; nothing was published", ExitCode.INTERRUPTED)
        raise


def _fail(line: str, code: ExitCode) -> None:
    print(f"error: {line}", file=sys.stderr)
    _codes.append(code)


def main() -> int:
    """Run one job or a sweep; return the exit code, the highest of a sweep's."""
    # Hydra then raises its errors instead of printing them, so that ours are one line and name the nearest right key.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register()
    try:
        _job()
    except (HydraException, OmegaConfBaseException) as error:
        _fail(explain(error, _CONFIGS), ExitCode.USAGE)
    except yaml.YAMLError as error:
        _fail(f"a YAML file cannot be read: {' '.join(str(error).split())}", ExitCode.USAGE)
    except KeyboardInterrupt:
        pass
    return max(_codes, default=ExitCode.PUBLISHED)


if __name__ == "__main__":
    sys.exit(main())
