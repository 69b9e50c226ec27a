"""What can be chosen, as `python train.py --help` shows it: read from the YAML files themselves."""

import importlib
import re
import textwrap
from pathlib import Path

import forecast.models
import forecast.traces

#: Each group in the order of its importance to who chooses, and what one chooses.
GROUPS = {
    "source": "where telemetry comes from",
    "model": "the network",
    "trainer": "the hardware",
    "experiment": "a named set of changes",
    "metrics": "an exporter's names; for source=prometheus, as in metrics@source=[dcgm,otel]",
}
_WIDTH = 100
_PACKAGES = {"source": forecast.traces, "model": forecast.models}


def options(configs: Path) -> str:
    """Every option of every group on a line of its own, under a line for the group."""
    found = {folder.name for folder in configs.iterdir() if folder.is_dir()}
    lines = []
    for group in [*GROUPS, *sorted(found - set(GROUPS))]:
        lines.append(f"{group:<11} {GROUPS.get(group, '')}".rstrip())
        lines += [f"  {path.stem:<20} {_meaning(path)}".rstrip() for path in sorted((configs / group).glob("*.yaml"))]
    return "\n".join(lines)


def _meaning(path: Path) -> str:
    """The first sentence of a YAML's comments; without any, of the file that defines its settings."""
    text = path.read_text()
    comments = re.match(r"(?:# @.*\n)*((?:#.*\n)*)", text)
    words = " ".join(line.lstrip("# ") for line in comments[1].splitlines()) if comments else ""
    schema = re.search(r"^\s*(?:defaults: \[|- )(\w+)_schema\b", text, re.MULTILINE)
    if not words and schema and path.parent.name in _PACKAGES:
        module = importlib.import_module(f"{_PACKAGES[path.parent.name].__name__}.{schema[1]}")
        words = " ".join((module.__doc__ or "").split("\n\n", 1)[0].split())
    return textwrap.shorten(re.split(r"(?<=\.)\s", words, maxsplit=1)[0], _WIDTH, placeholder=" …")
