"""The end of a sweep: its runs side by side, best first."""

import json
from pathlib import Path
from typing import Any

import polars as pl
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.table import Table

from forecast.tables import console
from forecast.wording import OURS

_SCORES = ("wql", "mase", "coverage_80")


class Leaderboard(Callback):
    """Hydra tells it when a sweep ends; it prints the table and writes `leaderboard.json` and `.md` beside the runs."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        rows = leaderboard(folder)
        if rows.is_empty():
            return
        (folder / "leaderboard.json").write_text(json.dumps(rows.to_dicts(), indent=1))
        with pl.Config(
            tbl_formatting="MARKDOWN",
            tbl_rows=-1,
            tbl_cols=-1,
            tbl_hide_dataframe_shape=True,
            tbl_hide_column_data_types=True,
            fmt_str_lengths=200,
        ):
            (folder / "leaderboard.md").write_text(f"{rows}\n")
        _print(rows, folder)


def leaderboard(folder: Path) -> pl.DataFrame:
    """One row per run in `folder`: its settings, then our WQL, MASE and 80 % coverage per target, means over levels."""
    rows = []
    for path in sorted(folder.glob("*/scores.json"), key=lambda path: path.parent.name):
        overrides = (path.parent / ".hydra" / "overrides.yaml").read_text().replace("- ", "").split()
        scores = pl.DataFrame(json.loads(path.read_text())).filter(pl.col("method") == OURS)
        means = scores.group_by("target").agg(pl.col(_SCORES).mean()).sort("target")
        values = {f"{row['target']} {name}": row[name] for row in means.to_dicts() for name in _SCORES}
        rows.append({"run": path.parent.name, "settings": " ".join(overrides), **values})
    table = pl.DataFrame(rows)
    return table.sort(table.columns[2]) if rows else table


def _print(rows: pl.DataFrame, folder: Path) -> None:
    table = Table(title=f"Leaderboard, best first ({folder / 'leaderboard.md'})", title_justify="left")
    for column in rows.columns:
        table.add_column(column, justify="left" if column in {"run", "settings"} else "right")
    for row in rows.iter_rows():
        table.add_row(*(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row))
    console().print(table)
