"""Tables that people read on a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from forecast.wording import OURS, fixed, method_title, percent, quantity, target_title, unit_of

_LOG_WIDTH = 120


def console() -> Console:
    """Where tables go: as wide as the terminal, and wide enough for every table in a log."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=_LOG_WIDTH)


def print_scores(scores: Sequence[dict[str, Any]], console: Console) -> None:
    """Scores per target and level; the lowest WQL of each group is bold."""
    table = Table(title="Backtest (lower is better; an 80 % interval should cover 80 %)", title_justify="left")
    for column in ("target", "level", "method"):
        table.add_column(column, no_wrap=True)
    for column in ("WQL", "MAE", "MASE", "80 %", "98 %"):
        table.add_column(column, justify="right", no_wrap=True)
    previous = None
    for row in sorted(scores, key=lambda row: (row["target"], row["level"], row["method"] != OURS, row["method"])):
        group = (row["target"], row["level"])
        if previous and group != previous:
            table.add_section()
        label = (target_title(row["target"]), row["level"]) if group != previous else ("", "")
        rivals = [other["wql"] for other in scores if (other["target"], other["level"]) == group]
        style = "bold" if row["wql"] == min(rivals) else ""
        table.add_row(*label, method_title(row["method"]), *_cells(row), style=style)
        previous = group
    console.print(table)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        fixed(row["wql"], 4),
        quantity(row["mae"], unit_of(row["target"])),
        fixed(row["mase"], 2),
        percent(row["coverage_80"], 0),
        percent(row["coverage_98"], 0),
    )
