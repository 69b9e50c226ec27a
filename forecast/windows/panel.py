"""The dense panel: float32 `[channel, entity, time]`, NaN = not observed, memory-mapped in chunks of one UTC day."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.errors import DataError

Floats = NDArray[np.float32]

#: Panels up to this many cells (1 GiB) are built however sparse they are.
_LARGEST_CELLS = 2**28


@dataclass(frozen=True, eq=False)
class Panel:
    """A regular grid of observations.

    Attributes:
        start: start of the first step, UTC.
        step_s: grid step, seconds.
        channels, entities: the names along the first two axes.
        chunks: arrays `[channel, entity, time]` that follow each other in time, in memory or memory-mapped.
    """

    start: datetime
    step_s: int
    channels: tuple[str, ...]
    entities: tuple[str, ...]
    chunks: tuple[Floats, ...]

    @cached_property
    def _offsets(self) -> list[int]:
        return [0, *np.cumsum([chunk.shape[2] for chunk in self.chunks]).tolist()]

    @property
    def steps(self) -> int:
        return self._offsets[-1]

    def time(self, step: int) -> datetime:
        """Start of a step; steps outside the panel extrapolate the grid."""
        return self.start + timedelta(seconds=self.step_s * step)

    def step(self, time: datetime) -> int:
        """The step that starts at or last before `time`."""
        return int((time - self.start).total_seconds() // self.step_s)

    def read(self, begin: int, end: int) -> Floats:
        """Steps `[begin, end)` as `[channel, entity, time]`; NaN outside the panel."""
        window = np.full((len(self.channels), len(self.entities), end - begin), np.nan, np.float32)
        for chunk, offset in zip(self.chunks, self._offsets, strict=False):
            low, high = max(begin, offset), min(end, offset + chunk.shape[2])
            if low < high:
                window[:, :, low - begin : high - begin] = chunk[:, :, low - offset : high - offset]
        return window

    def watermark(self) -> int:
        """The last step at which at least 95 % of the expected entities reported: nothing after it is complete.

        Expected are those that reported at all in the newest day; one that left before is not waited for.

        Raises:
            DataError: nothing was observed at all.
        """
        seen = np.concatenate([~np.isnan(chunk).all(axis=0) for chunk in self.chunks], axis=1)
        if not seen.any():
            raise DataError("nothing was observed; check the columns and units of the telemetry.")
        newest = int(np.flatnonzero(seen.any(axis=0))[-1])
        expected = seen[:, max(newest + 1 - 86_400 // self.step_s, 0) : newest + 1].any(axis=1).sum()
        complete = np.flatnonzero(seen.sum(axis=0) >= 0.95 * expected)
        return int(complete[-1]) if complete.size else newest


def dense(frame: pl.LazyFrame, channels: Sequence[str], entities: Sequence[str], step_s: int) -> Panel:
    """Scatter a gridded table into a panel from its first step to its last.

    Args:
        frame: `time` (on the grid, UTC), `entity_id`, and `channels`; at most one row per entity and time.
        channels, entities: the order of the axes; rows of other entities are left out.
    """
    code = {entity: index for index, entity in enumerate(entities)}
    entity = pl.col("entity_id").replace_strict(code, default=None, return_dtype=pl.Int64)
    filled = (pl.col(channel).cast(pl.Float32).fill_null(float("nan")) for channel in channels)
    cells = frame.select("time", *filled, entity=entity)
    table = cells.filter(pl.col("entity").is_not_null()).collect()
    if table.is_empty():
        raise DataError("no telemetry of any known entity; check the entity ids against the topology.")
    seconds = table["time"].dt.epoch("s").to_numpy()
    first, last = int(seconds.min()), int(seconds.max())
    steps = (last - first) // step_s + 1
    _check_size(len(channels) * len(entities) * steps, table)
    values = np.full((len(channels), len(entities), steps), np.nan, np.float32)
    where = table["entity"].to_numpy(), (seconds - first) // step_s
    for index, channel in enumerate(channels):
        values[index][where] = table[channel].to_numpy()
    return Panel(datetime.fromtimestamp(first, UTC), step_s, tuple(channels), tuple(entities), (values,))


def _check_size(cells: int, table: pl.DataFrame) -> None:
    """Refuse a panel that is mostly the stretch between a wrong time and the right ones."""
    if cells > _LARGEST_CELLS and cells > 1000 * table.height:
        first, last = table["time"].min(), table["time"].max()
        raise DataError(f"telemetry spans {first!s} to {last!s} with next to nothing in between; check its times.")


def save(panel: Panel, folder: Path, facts: dict[str, Any]) -> Panel:
    """Write a panel as one `.npy` per UTC day and a manifest with `facts`, replacing `folder` as a whole.

    Returns the panel reopened from disk.
    """
    staging = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    begin = 0
    while begin < panel.steps:
        end = min(panel.step(_next_midnight(panel.time(begin))), panel.steps)
        np.save(staging / f"{panel.time(begin):%Y-%m-%d}.npy", panel.read(begin, end))
        begin = end
    manifest = {
        "start": panel.start.isoformat(),
        "step_s": panel.step_s,
        "channels": panel.channels,
        "entities": panel.entities,
        "facts": facts,
    }
    (staging / "manifest.json").write_text(json.dumps(manifest, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    staging.rename(folder)
    return open_panel(folder)


def open_panel(folder: Path) -> Panel:
    """Memory-map a saved panel; pages are read when touched."""
    manifest = json.loads((folder / "manifest.json").read_text())
    return Panel(
        start=datetime.fromisoformat(manifest["start"]),
        step_s=manifest["step_s"],
        channels=tuple(manifest["channels"]),
        entities=tuple(manifest["entities"]),
        chunks=tuple(np.load(day, mmap_mode="r") for day in sorted(folder.glob("*.npy"))),
    )


def _next_midnight(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0) + timedelta(days=1)
