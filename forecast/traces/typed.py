"""Plain data to the settings class that it describes; a name that nobody knows is told with the nearest right one."""

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from forecast.contracts.errors import ConfigError

T = TypeVar("T")

_BOOLEANS = {"true": True, "false": False}
_NUMBERS = {int: "a whole number", float: "a number"}


def typed(kind: type[T], data: Any, where: str) -> T:
    """`data` as an object of the dataclass `kind`, whose fields say what each text means.

    Args:
        data: tables, lists, text and None, as YAML has them before it guesses at types.
        where: named in errors: a file and the key that `data` stands at.

    Raises:
        ConfigError: a key that `kind` does not have, or a value of another type.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where} must be a table of settings (key: value), not {_shown(data)}.")
    known = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    for name in data:
        if name not in known:
            raise ConfigError(f"{where} has no {str(name)!r}; {nearest(str(name), known)}")
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in data.items()})


def nearest(wrong: str, known: list[str], listed: list[str] | None = None) -> str:
    """What to say of a name that is not among those `known`; those `listed`, or all, are named where none is near."""
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(set(listed or known)))}."


def _value(hint: Any, value: Any, where: str) -> Any:
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in {Union, UnionType}:
        return None if value is None else _value(next(one for one in inner if one is not NoneType), value, where)
    if is_dataclass(kind):
        return typed(kind, value, where)  # type: ignore[arg-type]
    if kind is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a table (key: value), not {_shown(value)}.")
        return {str(name): _value(inner[1], one, f"{where}.{name}") for name, one in value.items()}
    if kind is list:
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be a list, not {_shown(value)}.")
        return [_value(inner[0], one, f"{where}.{at}") for at, one in enumerate(value)]
    return _plain(kind, value, where)


def _plain(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, str):
        raise ConfigError(f"{where} must be {_NUMBERS.get(kind, 'text')}, not {_shown(value)}.")
    if kind is bool:
        if value.lower() not in _BOOLEANS:
            raise ConfigError(f"{where} must be true or false, not {value!r}.")
        return _BOOLEANS[value.lower()]
    try:
        return kind(value)
    except ValueError as error:
        raise ConfigError(f"{where} must be {_NUMBERS[kind]}, not {value!r}.") from error


def _shown(value: Any) -> str:
    names = {NoneType: "nothing", str: repr(value), list: "a list"}
    return names.get(type(value), "a table")
