"""All figures of all benchmarks on one page, beside their goals: `benchmarks/results/README.md`.

Made of the records there whenever one is written; `python -m benchmarks.overview` makes it anew.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_MAKEFILE = Path(__file__).parents[1] / "Makefile"
_TARGET = re.compile(r"^([a-z-]+):.*## (.*)$", re.MULTILINE)
_HEAD = """# Every benchmark's figures, beside their goals

Each command measures, prints and writes its record in this folder, and with it this page. A missed goal stays in it.
"""


def markdown(records: Mapping[str, Mapping[str, Any]], makefile: str) -> str:
    """The page.

    Args:
        records: of `benchmarks.machine.record`, by name.
        makefile: says what each command is for.
    """
    asked = dict(_TARGET.findall(makefile))
    commands = {name: _command(name, asked) for name in records}
    rows = [
        (
            f"`make {commands[name]}`",
            asked[commands[name]].split(";")[0],
            _reached(record["figures"]),
            f"{record['date']}, {record['machine']}",
        )
        for name, record in records.items()
    ]
    missed = [
        (f"`make {commands[name]}`", figure, _number(told["value"]), _number(told["goal"]))
        for name, record in records.items()
        for figure, told in record["figures"].items()
        if _is_reached(told) is False
    ]
    parts = [
        _HEAD,
        _table(("command", "what it measures", "goals reached", "on"), rows),
        "## Missed\n",
        _table(("command", "figure", "value", "goal"), missed),
        "## All\n",
        *(_details(commands[name], record["figures"]) for name, record in records.items()),
    ]
    return "\n".join(parts)


def write(results: Path = RESULTS) -> None:
    """Write the page of the records in `results` beside them."""
    (results / "README.md").write_text(page(results))


def page(results: Path = RESULTS) -> str:
    """The page of the records in `results`."""
    records = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    return markdown(records, _MAKEFILE.read_text())


def _command(name: str, asked: Mapping[str, str]) -> str:
    """The target that writes a record: `bench-NAME`, or its name alone."""
    target = f"bench-{name.replace('_', '-')}"
    return target if target in asked else name


def _is_reached(figure: Mapping[str, Any]) -> bool | None:
    """None where there is no goal."""
    value, goal = figure["value"], figure.get("goal")
    if goal is None:
        return None
    return bool(value >= goal if figure["better"] == "higher" else value <= goal)


def _reached(figures: Mapping[str, Mapping[str, Any]]) -> str:
    found = [reached for reached in map(_is_reached, figures.values()) if reached is not None]
    return f"{sum(found)} of {len(found)}"


def _details(command: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """A table that opens with a click."""
    said = {True: "yes", False: "no", None: "–"}
    rows = [
        (name, _number(figure["value"]), _number(figure.get("goal")), said[_is_reached(figure)])
        for name, figure in figures.items()
    ]
    table = _table(("figure", "value", "goal", "reached"), rows)
    return f"<details><summary>make {command}</summary>\n\n{table}\n</details>\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    write()
