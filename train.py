"""The training command: `python train.py --help`."""

from forecast.retrain.signals import heed

if __name__ == "__main__":
    heed()  # before what takes seconds to import

import os
import sys
import traceback
from pathlib import Path

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from forecast.contracts.errors import FAILURES, ConfigError, ExitCode, StoppedError, tell
from forecast.retrain.config import register
from forecast.retrain.job import run
from forecast.retrain.mistakes import explain, settings_of, unset
from forecast.retrain.options import options
from forecast.retrain.trusted import trust_only

_CONFIGS = Path(__file__).parent / "configs"
_codes: list[int] = []


@hydra.main(version_base="1.3", config_path=str(_CONFIGS), config_name="config")
def _job(composed: DictConfig) -> None:
    # Caught here, not in main: Hydra would put a line of its own before ours, and end a sweep at its first failure.
    try:
        config = settings_of(composed)
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # an experiment, not the job that operations watch
            config.registry.publish, config.metrics_file = False, None
        _codes.append(run(config, Path(HydraConfig.get().runtime.output_dir)))
    except FAILURES as error:
        _codes.append(tell(error, "the telemetry"))
        if isinstance(error, KeyboardInterrupt | StoppedError):  # ends a sweep
            raise KeyboardInterrupt from None
    except Exception:  # a bug of ours: shows where, and ends no sweep
        traceback.print_exc()
        _codes.append(ExitCode.BUG)


def main() -> int:
    """Run one job or a sweep; return the exit code, the highest of a sweep's."""
    # Hydra then raises its errors instead of printing them, so that ours are one line and name the nearest right key.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register()
    # Help is a template of Hydra's, in which a dollar begins a name.
    OmegaConf.register_new_resolver("options", lambda: options(_CONFIGS).replace("$", "$$"), replace=True)
    # Settings may stand on both sides of an option, where argparse would take those of one side only.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda given: "=" in given and not given.startswith("-"))
    try:
        trust_only(_CONFIGS, sys.argv[1:])
        _job()
    except ConfigError as error:
        _codes.append(tell(error, ""))
    except (HydraException, OmegaConfBaseException) as error:
        _codes.append(tell(ConfigError(explain(error, _CONFIGS)), ""))
    except (AssertionError, AttributeError, ValueError):  # what OmegaConf raises of a null table, Hydra of a null group
        if (said := unset(sys.argv[1:], _CONFIGS)) is None:
            raise
        _codes.append(tell(ConfigError(said), ""))
    except (FileExistsError, NotADirectoryError) as error:  # Hydra makes the folder of the run
        said = f"hydra.run.dir: {error.filename} cannot be made, for a file is where a folder is needed."
        _codes.append(tell(ConfigError(said), ""))
    except OSError as error:
        _codes.append(tell(error, ""))
    except yaml.YAMLError as error:
        _codes.append(tell(ConfigError(f"a YAML file cannot be read: {' '.join(str(error).split())}"), ""))
    except KeyboardInterrupt:
        pass
    return max(_codes, default=ExitCode.PUBLISHED)


if __name__ == "__main__":
    sys.exit(main())
