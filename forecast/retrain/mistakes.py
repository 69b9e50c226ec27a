"""A configuration mistake in one line, with what was probably meant."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import get_args

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ValidationError

from forecast.contracts.errors import ConfigError
from forecast.retrain.config import JobConfig
from forecast.traces.trace import Source
from forecast.traces.typed import nearest

#: Settings of a source that are tables, and null where it has none.
_TABLES = ("jobs", "weather", "slurm", "tree")

_TABLE = "a table of settings, not {}; set them as {}.NAME=VALUE"


def settings_of(composed: DictConfig) -> JobConfig:
    """The composed configuration as plain typed objects.

    Raises:
        ConfigError: a key that was forced in (`+key=value`), which no setting has; a group that was left out.
    """
    if left_out := next((group for group in ("source", "model") if OmegaConf.is_missing(composed, group)), None):
        raise ConfigError(f"no {left_out} is chosen; set {left_out}=NAME (`python train.py --help` lists them).")
    added = _added(composed)
    if added:
        kind = Source.__name__ if OmegaConf.get_type(composed, "source") is Source else None
        raise ConfigError(_meant(added, [*_keys(JobConfig), *_group_keys()], kind))
    config: JobConfig = OmegaConf.to_object(composed)  # type: ignore[assignment]
    return config


def explain(error: Exception, configs: Path) -> str:
    """What went wrong while composing, and the nearest right name.

    Args:
        error: as Hydra or OmegaConf raised it.
        configs: the folder of configuration groups.
    """
    cause = error.__cause__ or error
    text = f"{error}\n{cause}"
    first = str(error).strip().splitlines()[0].rstrip(".")
    in_yaml = re.match(r"(In '.*'): (?:ValidationError|ConfigTypeError) raised while composing config:\n(.*)", text)
    if (table := _other_shape(text)) is not None:
        return table
    if in_yaml or isinstance(cause, ValidationError):
        file, reason = in_yaml.groups() if in_yaml else (first, str(cause).splitlines()[0])
        where = _found(r"full_key: (\S+)", text) or file
        return f"{where}: {reason.rstrip('.')}."
    if option := _found(r"Could not (?:find|load) '(\w+/[\w/]+)'", text):
        group, name = option.rsplit("/", 1)
        return f"no {group} {name!r}; {nearest(name, [path.stem for path in (configs / group).glob('*.yaml')])}"
    placed = re.search(r"Could not override '((\w+)@(\w+))'", text)
    if placed and (configs / placed[2]).is_dir():
        return _elsewhere(placed[1], placed[3])
    wrong = _found(r"full_key: ([\w.]+)", text) or _found(r"Could not override '([\w./]+)'", text)
    if wrong is None:
        return f"{first}."
    groups = [path.name for path in configs.iterdir() if path.is_dir()]
    return _meant(wrong, [*_keys(JobConfig), *_group_keys(), *groups], _found(r"object_type=(\w+)", text))


def _other_shape(text: str) -> str | None:
    """What to say where a table, a list and one value were taken for each other, or a part deleted; None: none was."""
    if (key := _found(r"does not support deletion\n\s*full_key: (\S+)", text)) is not None:
        return f"{key} cannot be deleted; set it to another value, or leave it as it is."
    if (key := _found(r"Cannot merge DictConfig with ListConfig\n\s*full_key: (\S+)", text)) is not None:
        is_list = re.search(r"object_type=list\b", text)
        return f"{key} is {'a list, not a table' if is_list else _TABLE.format('a list', key)}."
    if (key := _found(r"\w+ is not a ListConfig, list or tuple\.\n\s*full_key: (\S+)", text)) is not None:
        return f"{key} is a list; set it as '{key}=[...]'."
    value = re.search(
        r"Invalid type assigned: \w+ is not a subclass of \w+Config\. value: (.*)\n\s*full_key: (\S+)", text
    )
    return f"{value[2]} is {_TABLE.format(repr(value[1]), value[2])}." if value else None


def unset(arguments: Sequence[str], configs: Path) -> str | None:
    """What to say where an argument sets a group, or a part of a table that is null, to nothing; None: none does.

    Hydra and OmegaConf fail at these.

    Args:
        arguments: as given.
        configs: the folder of configuration groups.
    """
    for argument in arguments:
        group, _, value = argument.lstrip("+").partition("=")
        if value == "null" and (configs / group).is_dir():
            known = ", ".join(sorted(path.stem for path in (configs / group).glob("*.yaml")))
            return f"{argument} names none of {known}; leave it out for what is chosen without it."
    names = [argument.partition("=")[0].lstrip("+") for argument in arguments if "=" in argument]
    for table in (key for key in [*_keys(JobConfig), *_group_keys()] if key.rpartition(".")[2] in _TABLES):
        if name := next((name for name in names if f"{name}.".startswith(f"{table}.")), None):
            return (
                f"{name} cannot be set here, for {table} is null: write it into a YAML of configs/source/ or "
                f"configs/experiment/ and choose that."
            )
    return None


def _meant(wrong: str, known: list[str], kind: str | None = None) -> str:
    """What to say of a name that the settings class `kind` does not have."""
    group, _, name = wrong.rpartition(".")
    if (kind == Source.__name__ and group == "source") or wrong == "source.source":
        opening = "'# @package _global_' and 'defaults: [files_schema@source]'"
        return f"no {wrong!r} yet: a source's YAML starts with {opening}."
    if kind == "dict":
        return f"{group} is a table without {name!r}; +{wrong}=... adds a row."
    if group == "hydra" or group.startswith("hydra."):
        return f"no {wrong!r}; `python train.py --cfg hydra` shows what Hydra itself can be told."
    if wrong in known:
        return _elsewhere(wrong, group)
    beside = [key for key in known if key.rpartition(".")[0] == group]
    # By their last parts: long names of one group are near each other, whatever these are.
    leaves = difflib.get_close_matches(name, {key.rpartition(".")[2] for key in known}, n=len(known), cutoff=0.6)
    near = [key for key in known if key != group and key.rpartition(".")[2] in leaves]
    return f"no {wrong!r}; {nearest(wrong, near, beside or known)}"


def _elsewhere(name: str, group: str) -> str:
    return f"no {name!r} here: another {group} has it, the chosen one does not."


def _added(node: DictConfig, prefix: str = "") -> str | None:
    """The first dotted key that the class behind its node does not have."""
    kind = OmegaConf.get_type(node)
    known = {item.name for item in fields(kind)} if is_dataclass(kind) else set(node)
    for name, value in ((str(name), value) for name, value in node.items_ex(resolve=False)):
        # An optional setting that is None comes as a DictConfig too.
        deeper = _added(value, f"{prefix}{name}.") if isinstance(value, DictConfig) and value != None else None  # noqa: E711
        if name not in known or deeper:
            return deeper or f"{prefix}{name}"
    return None


def _found(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


def _group_keys() -> list[str]:
    """Dotted keys of every source and model that has a schema."""
    repo = ConfigStore.instance().repo
    schemas = [(group, node.node) for group in ("source", "model") for node in repo[group].values()]
    return [key for group, node in schemas for key in _keys(OmegaConf.get_type(node), f"{group}.")]


def _keys(kind: type | None, prefix: str = "") -> list[str]:
    """Every dotted key of a settings class."""
    keys = []
    for item in fields(kind) if is_dataclass(kind) else ():
        keys.append(prefix + item.name)
        optional = get_args(item.type) if isinstance(item.type, UnionType) else ()
        for inner in (item.type, *optional):
            keys += _keys(inner if isinstance(inner, type) else None, f"{prefix}{item.name}.")
    return keys
