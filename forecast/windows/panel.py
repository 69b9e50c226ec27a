"""The dense panel: float32 `[channel, entity, time]`, NaN = not observed, memory-mapped in chunks of one UTC day."""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
import polars as pl

from forecast.contracts.errors import DataError
from forecast.contracts.signals import SIGNALS
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.features.gridded import Floats
from forecast.features.pipeline import build
from forecast.features.units import check_units, typical

#: Windows of this many bytes are copied by all cores.
_LARGE = 2**26

#: Telemetry longer than this is looked at for the stretch between a wrong time and the right ones.
LONG = timedelta(days=400)


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
        window = np.empty((len(self.channels), len(self.entities), end - begin), np.float32)
        window[:, :, : max(-begin, 0)] = np.nan
        window[:, :, max(self.steps - begin, 0) :] = np.nan

        def copy(entities: slice) -> None:
            for chunk, offset in zip(self.chunks, self._offsets, strict=False):
                low, high = max(begin, offset), min(end, offset + chunk.shape[2])
                if low < high:
                    window[:, entities, low - begin : high - begin] = chunk[:, entities, low - offset : high - offset]

        if window.nbytes < _LARGE:
            copy(slice(None))
            return window
        step = -(-len(self.entities) // pl.thread_pool_size())
        with ThreadPoolExecutor() as pool:
            list(pool.map(copy, (slice(first, first + step) for first in range(0, len(self.entities), step))))
        return window

    def before(self, end: int) -> "Panel":
        """The panel without steps from `end` on."""
        pairs = zip(self.chunks, self._offsets, strict=False)
        return replace(self, chunks=tuple(chunk[:, :, : end - offset] for chunk, offset in pairs if offset < end))

    def of_channels(self, count: int) -> "Panel":
        """The panel of its first channels alone: what is not read is not copied."""
        return replace(self, channels=self.channels[:count], chunks=tuple(chunk[:count] for chunk in self.chunks))

    def watermark(self) -> int:
        """The last step at which at least 95 % of the expected entities reported: nothing after it is complete.

        Expected are as many as at the fullest step of the newest day: who left before is not waited for, nor is the
        last of those who report only now and then.

        Raises:
            DataError: nothing was observed at all.
        """
        newest = self._newest()
        first = max(newest + 1 - 86_400 // self.step_s, 0)
        reported = (~np.isnan(self.read(first, newest + 1)).all(axis=0)).sum(axis=0)
        return first + int(np.flatnonzero(reported >= 0.95 * reported.max())[-1])

    def _newest(self) -> int:
        """The last step at which anything was observed."""
        for chunk, offset in zip(reversed(self.chunks), reversed(self._offsets[:-1]), strict=True):
            came = np.flatnonzero(~np.isnan(chunk).all(axis=(0, 1)))
            if came.size:
                return offset + int(came[-1])
        raise DataError("nothing was observed; check the columns and units of the telemetry.")


def panel_of(telemetry: pl.LazyFrame, topology: Topology, spec: ForecastSpec, where: str = "telemetry") -> Panel:
    """The panel of some telemetry, in memory: the same bits as one that `store` keeps.

    Raises:
        DataError: a channel that `spec` needs is missing, nothing was observed, or a unit cannot be what it claims.
    """
    check_channels(telemetry, spec, where)
    first, last = span(telemetry, topology, where)
    begin = midnight(first)
    steps = int((last - begin).total_seconds()) // spec.step_s + 1
    built = build(telemetry, topology, spec.past, begin, steps, spec.step_s)
    check_observed(built.measured.channels, built.measured.counts, spec, where)
    check_units(typical(built.measured, topology), where)
    came = np.flatnonzero(built.measured.came.any(axis=(0, 1)))
    values = built.values[:, :, came[0] : came[-1] + 1]
    return Panel(built.measured.time(int(came[0])), spec.step_s, spec.past, topology.entities, (values,))


def span(telemetry: pl.LazyFrame, topology: Topology, where: str) -> tuple[datetime, datetime]:
    """First and last time at which an entity of `topology` has a row; a pass over two columns.

    Raises:
        DataError: there is none, or one wrong time makes it span decades.
    """
    mine = pl.col("entity_id").cast(pl.String).is_in(topology.entities)
    times = telemetry.filter(mine).select(first=pl.col("time").min(), last=pl.col("time").max())
    first, last = times.collect(engine="streaming").row(0)
    if first is None:
        raise DataError(
            f"{where}: no rows of known entities in the time range{unlike(telemetry, topology, 'the topology')}; check "
            f"the path, the ids and `until`."
        )
    if last - first > LONG:
        days = telemetry.filter(mine).select(pl.col("time").dt.truncate("1d").n_unique()).collect(engine="streaming")
        if days.item() < (last - first).days // 10:
            raise DataError(f"{where}: spans {first} to {last} with next to nothing in between; check its times.")
    return first, last


def unlike(telemetry: pl.LazyFrame, topology: Topology, whose: str) -> str:
    """How rows name entities, beside how `whose` topology does: a word to whoever mixed up fleets or columns."""
    strangers = telemetry.select(pl.col("entity_id").cast(pl.String)).drop_nulls().head(1).collect()["entity_id"]
    ours = topology.table.filter(~pl.col("entity_id").is_in(topology.table["parent_id"].drop_nulls().implode()))
    return "" if strangers.is_empty() else f"; it has {strangers[0]!r}, {whose} {ours['entity_id'][0]!r}"


def midnight(time: datetime) -> datetime:
    """The beginning of its UTC day."""
    return time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def check_channels(telemetry: pl.LazyFrame, spec: ForecastSpec, where: str) -> None:
    """Refuse telemetry that lacks a channel.

    Raises:
        DataError: naming the channel.
    """
    columns = telemetry.collect_schema().names()
    missing = [name for name in spec.past if name not in columns]
    if missing:
        raise DataError(
            f"{where}: no column {', '.join(missing)}, which this forecast needs; found {', '.join(columns)}. "
            f"Map it in the source's `columns`, or train without it (window.past)."
        )


def check_observed(came: Collection[str], marks: Mapping[str, int], spec: ForecastSpec, where: str) -> None:
    """Refuse telemetry in which a target never came.

    Args:
        came: channels that were observed.
        marks: fault to the number of cells that bear its mark: what came may all have been set aside.
        spec: names the targets.
        where: the telemetry is from.

    Raises:
        DataError: naming the target.
    """
    for name in spec.targets:
        if name not in came:
            signal = SIGNALS[name]
            faults = ", ".join(f"{count:,} {fault.replace('_', ' ')}" for fault, count in marks.items() if count)
            raise DataError(
                f"{where}: {name} was never observed; check its column, and that its values are numbers from "
                f"{signal.low:g} to {signal.high:g} {signal.unit}.{f' Faults in steps: {faults}.' if faults else ''}"
            )
