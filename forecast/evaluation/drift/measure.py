"""All that is looked at, and what was found."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from forecast.bundle.load import Bundle
from forecast.bundle.manifest import Manifest
from forecast.contracts.topology import Topology
from forecast.evaluation.drift.calibration import replay
from forecast.evaluation.drift.inputs import input_series
from forecast.evaluation.drift.judge import FEWEST_DAYS, LEAST, Array, Row, judge
from forecast.evaluation.drift.segments import sample_of
from forecast.predictor import Predictor
from forecast.windows.panel import Panel
from forecast.wording import moment

#: Stretches compared, days: what breaks shows in a day, what creeps in some.
_INPUT_STRETCHES, _CALIBRATION_STRETCHES = (1, 7), (1, 3)

#: Days of reference: of 56, four servers that mostly rest raised 1.5 alarms a month, of 112 0.25.
_REFERENCE_DAYS = 112

#: Days replayed at most, one forecast each: windows of one day tell the same, and this must take seconds.
_REPLAYED_DAYS = 24


@dataclass(frozen=True, eq=False)
class Drift:
    """What was found.

    Attributes:
        version: key of the version in service.
        known_until, until: the end of what it was made from, and of what was looked at, UTC.
        rows: all comparisons, the most drifted first.
        pit: target to the share of outcomes that fell between its quantiles, in the reference and newly, `[2, Q + 1]`.
        quantile_levels: `[Q]`, between which outcomes fell.
    """

    version: str
    known_until: datetime
    until: datetime
    rows: tuple[Row, ...]
    pit: dict[str, Array]
    quantile_levels: tuple[float, ...]

    @property
    def drifted(self) -> bool:
        return any(row.drifted for row in self.rows)

    @property
    def reason(self) -> str:
        """One line: the worst of what drifted, or that nothing did."""
        found = [row for row in self.rows if row.drifted]
        if found:
            more = f"; and {len(found) - 1} more of {len(self.rows)} comparisons" if len(found) > 1 else ""
            return found[0].sentence() + more
        if not any(row.p is not None for row in self.rows):
            return f"too little to compare: the version in service knows fewer than {FEWEST_DAYS} days"
        return f"none in {len(self.rows)} comparisons with what was known by {moment(self.known_until)}"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {
            "version": self.version,
            "known_until": self.known_until.isoformat(),
            "until": self.until.isoformat(),
            "drifted": self.drifted,
            "reason": self.reason,
            "rows": [asdict(row) for row in self.rows],
            "pit": {
                target: {"levels": self.quantile_levels, "usual": usual.tolist(), "newest": newest.tolist()}
                for target, (usual, newest) in self.pit.items()
            },
        }


def measure(
    bundle: Bundle,
    tell: Callable[[Topology], Predictor],
    panel: Panel,
    topology: Topology,
    progress: Callable[[float], None],
) -> Drift:
    """Compare the newest days of a panel with those that the version in service was made from.

    Days end at the time of day of the watermark. A day that the version knows in part is new.

    Args:
        bundle: the version in service.
        tell: its predictor, told a fleet and the schedule and weather of today.
        panel: entities as the topology's; channels and steps as the bundle's.
        topology: the fleet of today.
        progress: told the share done.
    """
    version, spec, day = bundle.manifest, bundle.manifest.spec, bundle.manifest.spec.day_steps
    end, known_until = panel.watermark() + 1, datetime.fromisoformat(version.training["watermark"])
    new = max(-((panel.step(known_until) + 1 - end) // day), 0)
    known = min(end // day - new, _REFERENCE_DAYS)
    newest = min(new, max(_CALIBRATION_STRETCHES))
    ends = _replayed(end, day, new, newest, spec.context_steps)
    rows, pit = _newcomers(version, topology, panel, end), {}
    if known >= FEWEST_DAYS:
        rows += judge(input_series(panel, topology, end, known + new, known), known, _INPUT_STRETCHES)
    if len(ends) - newest >= FEWEST_DAYS:
        sample = sample_of(topology)
        begin = ends[0] - day - spec.context_steps
        some = _cut(panel, sample, begin, end)
        replayed = replay(tell(sample), some, [each - begin for each in ends], newest, progress)
        rows += judge(replayed.series, len(ends) - newest, _CALIBRATION_STRETCHES)
        pit = replayed.pit
    return Drift(
        version=version.bundle_id,
        known_until=known_until,
        until=panel.time(end),
        rows=tuple(sorted(rows, key=lambda row: (not row.drifted, -row.times))),
        pit=pit,
        quantile_levels=spec.quantile_levels,
    )


def _replayed(end: int, day: int, new: int, newest: int, context: int) -> list[int]:
    """Where the replayed days end, oldest first: the last of the reference, and the newest."""
    back = [*range(newest), *range(new, new + _REPLAYED_DAYS - newest)]
    return [end - each * day for each in reversed(back) if end - (each + 1) * day >= context]


def _cut(panel: Panel, fleet: Topology, begin: int, end: int) -> Panel:
    """The steps `[begin, end)` of a fleet that is part of the panel's."""
    place = {entity: index for index, entity in enumerate(panel.entities)}
    places, day = [place[entity] for entity in fleet.entities], 86_400 // panel.step_s
    parts = tuple(panel.read(first, min(first + day, end))[:, places] for first in range(begin, end, day))
    return replace(panel, start=panel.time(begin), entities=fleet.entities, chunks=parts)


def _newcomers(version: Manifest, topology: Topology, panel: Panel, end: int) -> list[Row]:
    """Who came in the newest day that the version was not made for: by level, and SKUs it never met."""
    seen = ~np.isnan(panel.read(end - version.spec.day_steps, end)).all((0, 2))
    came = topology.table.filter(pl.Series(seen)).with_columns(
        new=~pl.col("entity_id").is_in(version.topology.entities)
    )
    levels = came.group_by("level", maintain_order=True).agg(pl.col("new").mean())
    skus = came.filter(~pl.col("sku").is_in(version.skus))["sku"].unique().sort()
    found = [("level", *row) for row in levels.iter_rows()] + [("sku", sku, 1.0) for sku in skus]
    return [
        Row("entities", by, name, "", 1, 0.0, share, share, 0.0, None, share >= LEAST["entities"])
        for by, name, share in found
        if share > 0
    ]
