"""Tables that people read on a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from forecast.contracts.signals import TARGETS


def print_scores(scores: Sequence[dict[str, Any]], console: Console) -> None:
    """Scores per target and level; the lowest WQL of each group is bold."""
    table = Table(title="Backtest (lower is better; an 80 % interval should cover 80 %)", title_justify="left")
    for column in ("target", "level", "method"):
        table.add_column(column, no_wrap=True)
    for column in ("WQL", "MAE", "MASE", "80 %", "98 %"):
        table.add_column(column, justify="right", no_wrap=True)
    previous = None
    for row in sorted(
        scores, key=lambda row: (row["target"], row["level"], row["method"] != "fleetcast", row["method"])
    ):
        group = (row["target"], row["level"])
        if previous and group != previous:
            table.add_section()
        label = group if group != previous else ("", "")
        rivals = [other["wql"] for other in scores if (other["target"], other["level"]) == group]
        style = "bold" if row["wql"] == min(rivals) else ""
        table.add_row(*label, row["method"].replace("_", " "), *_cells(row), style=style)
        previous = group
    console.print(table)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    unit = TARGETS[row["target"]].unit
    return (
        f"{row['wql']:.4f}",
        quantity(row["mae"], unit),
        f"{row['mase']:.2f}",
        f"{row['coverage_80']:.0%}",
        f"{row['coverage_98']:.0%}",
    )


def quantity(value: float, unit: str) -> str:
    """A number as people say it: W become kW or MW."""
    if unit == "W":
        for size, name in ((1e6, "MW"), (1e3, "kW")):
            if abs(value) >= size:
                return f"{value / size:.1f} {name}"
        return f"{value:.0f} W"
    return f"{value:.1f} {unit}"
