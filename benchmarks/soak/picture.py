"""The season as one picture."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from matplotlib.dates import ConciseDateFormatter, DayLocator
from matplotlib.figure import Figure

from benchmarks.soak.contest import MODELS, NEVER, SERVED, UNGATED, score
from benchmarks.soak.season import Day
from forecast.contracts.errors import ExitCode

_LINES = {
    SERVED: ("tab:blue", "-", 1.6),
    NEVER: ("tab:red", (0, (5, 2)), 1.1),
    UNGATED: ("tab:grey", (0, (1, 1.2)), 1.3),
}
_MARKS = {
    ExitCode.PUBLISHED: ("published", "tab:green", "o"),
    ExitCode.REJECTED: ("rejected", "tab:orange", "x"),
    ExitCode.DATA_REFUSED: ("telemetry refused", "tab:red", "s"),
}


def draw(days: Sequence[Day], path: Path) -> None:
    """Write the daily score of the three ways as PNG, with what happened and how each run ended."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    axes: Any = figure.add_subplot()  # its own type does not know that times can be coordinates
    dates = [date.fromisoformat(day.date) for day in days]
    for name in MODELS:
        colour, dash, width = _LINES[name]
        scores = [score([day.sums[name]]) if name in day.sums else float("nan") for day in days]
        axes.plot(dates, scores, color=colour, linestyle=dash, linewidth=width, label=name)
    low, high = axes.get_ylim()
    for code, (label, colour, marker) in _MARKS.items():
        of_code = [at for at, day in zip(dates, days, strict=True) if day.code == code]
        axes.plot(of_code, [low] * len(of_code), marker, color=colour, markersize=4, label=label, clip_on=False)
    for at, day in zip(dates, days, strict=True):
        if day.event:
            axes.axvline(at, color="black", linewidth=0.5, alpha=0.4)
            axes.text(at, high, f"{day.event} ", rotation=90, va="top", ha="right", fontsize=7)
    axes.set(ylabel="WQL, geometric mean over targets and levels", ylim=(low, high))
    weeks = DayLocator(interval=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(weeks)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(weeks))  # type: ignore[no-untyped-call]
    axes.legend(ncols=6, loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
