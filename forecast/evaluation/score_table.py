"""The score table's rows, grouped by target and level, as they are printed."""

from dataclasses import dataclass

import polars as pl

from forecast.wording import (
    OURS,
    digits,
    fixed,
    known,
    method_title,
    percent,
    readable_unit,
    target_title,
    unit_of,
)


@dataclass(frozen=True)
class ScoreRow:
    """One method's scores as text; `best` has the lowest WQL of its group."""

    method: str
    ours: bool
    best: bool
    cells: tuple[str, ...]


@dataclass(frozen=True)
class ScoreGroup:
    """The methods that were scored on the same windows."""

    title: str
    rows: list[ScoreRow]


def score_groups(scores: pl.DataFrame) -> list[ScoreGroup]:
    """Group `Report.scores` by target and level, in the frame's order; an empty frame gives no group."""
    if scores.is_empty():
        return []
    groups = scores.group_by("target", "level", maintain_order=True)
    return [_group(str(target), str(level), rows) for (target, level), rows in groups]


def _group(target: str, level: str, scores: pl.DataFrame) -> ScoreGroup:
    rows = scores.to_dicts()
    # One unit for the group, so that its rows compare at a glance.
    factor, unit = readable_unit(unit_of(target), max((row["mae"] for row in rows if known(row["mae"])), default=0.0))
    best = min((row["wql"] for row in rows if known(row["wql"])), default=None)
    return ScoreGroup(
        title=f"{target_title(target)}, {level}",
        rows=[
            ScoreRow(
                method=method_title(row["method"]),
                ours=row["method"] == OURS,
                best=best is not None and row["wql"] == best,
                cells=_cells(row, factor, unit),
            )
            for row in rows
        ],
    )


def _cells(row: dict[str, float | None], factor: float, unit: str) -> tuple[str, ...]:
    mae = row["mae"]
    return (
        fixed(row["wql"], 4),
        f"{digits(mae * factor)} {unit}".rstrip() if known(mae) else digits(None),
        fixed(row["mase"], 3),
        percent(row["coverage_80"]),
        percent(row["coverage_98"]),
        fixed(row["windows"], 0),
    )
