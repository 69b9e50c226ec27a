"""The end of a sweep: its settings side by side, best first; seeds are averaged."""

import json
from pathlib import Path
from typing import Any

import polars as pl
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from forecast.bundle.manifest import Manifest
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
    """One row for all runs in `folder` that differ in their seed only, best first.

    Columns: the `settings` in which rows differ, how many `seeds`, weights in the model, then our mean scores per
    target, and the standard deviation of the first over seeds.
    """
    paths = sorted(folder.glob("*/scores.json"))
    if not paths:
        return pl.DataFrame()
    settings = [set(_overrides(path.parent)) for path in paths]
    common = set.intersection(*settings) if len(settings) > 1 else set()
    runs = pl.DataFrame(
        [
            {"settings": " ".join(sorted(own - common)), "weights": _weights(path.parent), **_means(path)}
            for path, own in zip(paths, settings, strict=True)
        ]
    )
    scores = runs.columns[2:]
    rows = runs.group_by("settings", maintain_order=True).agg(
        pl.len().alias("seeds"),
        pl.col("weights").first(),
        pl.col(scores).mean(),
        pl.col(scores[0]).std().alias(f"± {scores[0]}"),
    )
    return rows.select("settings", "seeds", "weights", scores[0], f"± {scores[0]}", *scores[1:]).sort(scores[0])


def markdown(rows: pl.DataFrame) -> str:
    """The leaderboard as a Markdown table."""
    lines = [rows.columns, ["---", *["---:"] * (len(rows.columns) - 1)], *map(_cells, rows.iter_rows())]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _overrides(run: Path) -> list[str]:
    """What the run was told, but for its seed."""
    told = (str(override) for override in OmegaConf.load(run / ".hydra" / "overrides.yaml"))
    return [override for override in told if not override.startswith("seed=")]


def _weights(run: Path) -> int:
    return int(Manifest.read(run / "bundle").training["model"]["parameters"])


def _means(path: Path) -> dict[str, float]:
    ours = pl.DataFrame(json.loads(path.read_text())).filter(pl.col("method") == OURS)
    means = ours.group_by("target").agg(pl.col(list(_SCORES)).mean()).sort("target")
    return {
        f"{target_title(row['target'])} {heading}": row[name]
        for row in means.to_dicts()
        for name, heading in _SCORES.items()
    }


def _cells(row: tuple[Any, ...]) -> list[str]:
    return [str(value) if isinstance(value, str) else fixed(value, 4 * isinstance(value, float)) for value in row]


def _print(rows: pl.DataFrame, folder: Path) -> None:
    table = Table(title=f"Leaderboard by {rows.columns[3]}; {folder / 'leaderboard.md'}", title_justify="left")
    for column in rows.columns:
        table.add_column(column, justify="left" if column == "settings" else "right", overflow="fold")
    for row in rows.iter_rows():
        table.add_row(*_cells(row))
    console().print(table)
