"""Ids made of labels."""

import re
from collections.abc import Mapping

from forecast.contracts.errors import ConfigError

_FIELD = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(?::([^{}]*))?\}")


def check_template(template: str, where: str) -> None:
    """Refuse a template that cannot be read.

    Raises:
        ConfigError: naming `where` it stands.
    """
    left = _FIELD.sub("", template)
    if "{" in left or "}" in left or left == template:
        raise ConfigError(f"{where}={template!r} must have {{label}} or {{label:pattern}}, the pattern without braces.")
    for _, pattern in _FIELD.findall(template):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"{where}={template!r}: {pattern!r} is no regular expression ({error}).") from error


def fields(template: str) -> set[str]:
    """The labels that a template names."""
    return {name for name, _ in _FIELD.findall(template)}


def fill(template: str, labels: Mapping[str, str]) -> str | None:
    """The template with the labels' values; None where a label is absent or empty, or a pattern finds nothing."""
    values = []
    for name, pattern in _FIELD.findall(template):
        found = re.search(pattern or ".+", labels.get(name, ""))
        if found is None:
            return None
        values.append(found[1] if found.re.groups else found[0])
    parts = iter(values)
    return _FIELD.sub(lambda _: next(parts) or "", template)
