"""Only YAML that ships with the package may name code to run.

Hydra runs whatever `_target_` names before the job begins (callbacks, launchers, sweepers), and a logging configuration
names classes too. A list of forbidden targets is no boundary (GHSA-37p2-j732-x8pj), so in other people's YAML the keys
themselves are refused.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from forecast.contracts.errors import ConfigError

#: Keys whose value is code: Hydra's, and that of a factory in a logging configuration.
_CODE = ("_target_", "()")
#: Nodes of Hydra that are a logging configuration.
_LOGGING = ("job_logging", "hydra_logging")


def trust_only(configs: Path, arguments: Sequence[str]) -> None:
    """From here on refuse YAML outside `configs` that names code, wherever Hydra finds it.

    Args:
        configs: the folder that ships with the package.
        arguments: of the command line; they may not name code either.

    Raises:
        ConfigError: one of them does; later, while composing: a file does.
    """
    for argument in arguments:
        if "_target_" in argument:
            raise ConfigError(f"{argument}: '_target_' names code to run; only YAML that ships with the package may.")

    class Checked(FileConfigSource):
        def load_config(self, config_path: str) -> ConfigResult:
            result = super().load_config(config_path)
            file = Path(self.path, self._normalize_file_name(config_path)).resolve()
            if not file.is_relative_to(configs.resolve()):
                _check(file, result, config_path)
            return result

    Plugins.instance()  # registers Hydra's own, which would come first
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = Checked


def _check(file: Path, loaded: ConfigResult, option: str) -> None:
    package = loaded.header["package"] or ""
    for key in (*_keys(OmegaConf.to_container(loaded.config, resolve=False)), package, option):
        if key in _CODE:
            raise ConfigError(f"{file}: {key!r} names code to run; only YAML that ships with the package may.")
        if any(part in _LOGGING for part in key.replace("/", ".").split(".")) or "@hydra" in key:
            raise ConfigError(
                f"{file}: {key!r}: how Hydra logs can name code; only YAML that ships with the package may set it."
            )


def _keys(node: Any) -> Iterator[str]:
    """Every key at any depth, but for the choice of an option that ships: `override hydra/job_logging: default`."""
    if isinstance(node, dict):
        for key, value in node.items():
            if not str(key).startswith("override "):
                yield str(key)
            yield from _keys(value)
    elif isinstance(node, list):
        for value in node:
            yield from _keys(value)
