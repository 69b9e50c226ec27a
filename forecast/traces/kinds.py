"""A source described in a file of plain data, for machines without Hydra.

The file is what a run leaves in `settings.json`, or what `python train.py source=my_site --cfg job --package source`
prints, or the source's own YAML in `configs/source/` where that names no other. Which class a source is of is chosen
here, among those of this package; nothing in a file names code.
"""

import importlib
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

import forecast.traces
from forecast.contracts.errors import ConfigError
from forecast.traces.trace import Source
from forecast.traces.typed import nearest, typed

#: All that a scalar may be but text.
_KEPT = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


class _Text(yaml.SafeLoader):  # type: ignore[misc]
    """YAML in which a scalar is its text, or null: what it means is the setting's business.

    YAML's own guesses take the country NO for false, 2026-06-01 for a date, and 1e6 for text.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML declares it
        first: [one for one in resolvers if one[0] in _KEPT]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def kinds() -> dict[str, type[Source]]:
    """The settings class of each kind of source, by the file that defines it."""
    found = {}
    for module in pkgutil.iter_modules(forecast.traces.__path__):
        for value in vars(importlib.import_module(f"forecast.traces.{module.name}")).values():
            is_source = isinstance(value, type) and issubclass(value, Source) and value is not Source
            if is_source and value.__module__.endswith(f".{module.name}"):
                found[module.name] = value
    return found


def read_source(path: Path) -> Source:
    """The source that a YAML or JSON file describes: in its section `source`, or else as a whole.

    Without `kind` it is of the first kind that has all the keys.

    Raises:
        ConfigError: no such file, not YAML, a key or kind that nobody knows, a value of another type, or a part of it
            is in other files, which only Hydra puts together.
    """
    whole = _loaded(path)
    section = whole.get("source", whole)
    where = f"{path}: source" if "source" in whole else f"{path}"
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where} must be a table of settings (key: value).")
    _check_whole(whole, path)
    rest = {str(name): value for name, value in section.items() if name != "kind"}
    kind = section.get("kind") or _schema(whole)
    return typed(_named(kind, where) if kind else _fitting(rest), rest, where)


def _loaded(path: Path) -> Mapping[str, Any]:
    try:
        whole = yaml.load(path.read_text(encoding="utf-8"), _Text)  # noqa: S506 - a SafeLoader that guesses less
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); name a YAML or JSON file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no YAML or JSON: {' '.join(str(error).split())}") from error
    if not isinstance(whole, Mapping) or not whole:
        raise ConfigError(f"{path}: describes no source; docs/telemetry.md says what stands in its YAML.")
    return whole


def _schema(whole: Mapping[str, Any]) -> str | None:
    """The kind that a YAML of `configs/source/` names in its defaults: `[files_schema@source]`."""
    named = [entry.removesuffix("_schema@source") for entry in whole.get("defaults") or [] if isinstance(entry, str)]
    return named[0] if named else None


def _check_whole(whole: Mapping[str, Any], path: Path) -> None:
    """Refuse what Hydra would put together from several files."""
    defaults = whole.get("defaults") or []
    is_one = isinstance(defaults, list) and all(str(entry).endswith("_schema@source") for entry in defaults)
    if not is_one or "${" in json.dumps(whole.get("source", whole), default=str):
        raise ConfigError(
            f"{path}: is put together from other files; where it trains, write it out as one: "
            f"python train.py source={path.stem} --cfg job --package source > {path.stem}.yaml"
        )


def _named(kind: Any, where: str) -> type[Source]:
    known = kinds()
    if kind not in known:
        raise ConfigError(f"{where}.kind: no {str(kind)!r}; {nearest(str(kind), list(known))}")
    return known[kind]


def _fitting(settings: Mapping[str, Any]) -> type[Source]:
    """The first kind that has as many of the keys as any."""
    names = {kind: {item.name for item in fields(kind)} for kind in kinds().values()}
    return min(names, key=lambda kind: len(settings.keys() - names[kind]))
