"""The end of a sweep: its runs side by side, best first."""

import json
from pathlib import Path
from typing import Any

import polars as pl
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from forecast.tables import console
from forecast.wording import OURS, fixed, target_title

#: Column of `scores.json` to its heading; means over levels.
_SCORES = {"wql": "WQL", "mase": "MASE", "coverage_80": "80 %"}


class Leaderboard(Callback):
    """Hydra tells it when a sweep ends; it prints the table and writes `leaderboard.json` and `.md` beside the runs."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        rows = leaderboard(folder)
        if rows.is_empty():
            return
        (folder / "leaderboard.json").write_text(json.dumps(rows.to_dicts(), indent=1))
        (folder / "leaderboard.md").write_text(markdown(rows))
        _print(rows, folder)


def leaderboard(folder: Path) -> pl.DataFrame:
    """One row per run in `folder`: `run`, the `settings` in which the runs differ, then our scores per target."""
    paths = sorted(folder.glob("*/scores.json"))
    settings = [set(_overrides(path.parent)) for path in paths]
    common = set.intersection(*settings) if len(settings) > 1 else set()
    rows = [
        {"run": path.parent.name, "settings": " ".join(sorted(own - common)), **_means(path)}
        for path, own in zip(paths, settings, strict=True)
    ]
    table = pl.DataFrame(rows)
    return table.sort(table.columns[2]) if rows else table


def markdown(rows: pl.DataFrame) -> str:
    """The leaderboard as a Markdown table."""
    lines = [rows.columns, ["---", "---", *["---:"] * (len(rows.columns) - 2)], *map(_cells, rows.iter_rows())]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _overrides(run: Path) -> list[str]:
    return [str(override) for override in OmegaConf.load(run / ".hydra" / "overrides.yaml")]


def _means(path: Path) -> dict[str, float]:
    ours = pl.DataFrame(json.loads(path.read_text())).filter(pl.col("method") == OURS)
    means = ours.group_by("target").agg(pl.col(list(_SCORES)).mean()).sort("target")
    return {
        f"{target_title(row['target'])} {heading}": row[name]
        for row in means.to_dicts()
        for name, heading in _SCORES.items()
    }


def _cells(row: tuple[Any, ...]) -> list[str]:
    return [fixed(value, 4) if isinstance(value, float) else str(value) for value in row]


def _print(rows: pl.DataFrame, folder: Path) -> None:
    table = Table(title=f"Leaderboard by {rows.columns[2]}; {folder / 'leaderboard.md'}", title_justify="left")
    for column in rows.columns:
        words = column in {"run", "settings"}
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    for row in rows.iter_rows():
        table.add_row(*_cells(row))
    console().print(table)
