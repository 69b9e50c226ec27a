"""The site of the season: small, and nothing stays as it was."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from forecast.simulator.config import (
    ChillerFailureConfig,
    CoolingConfig,
    EventsConfig,
    ExporterUpgradeConfig,
    FirmwareConfig,
    RowConfig,
    SensorLossConfig,
    SimulatorConfig,
)

#: Every fault, at rates at which a season of a small site meets each. `schema_drift` is an event here, since what it
#: breaks stays broken until somebody rolls the exporter back.
FAULTS = {
    "duplicate": 0.01,
    "conflicting_duplicate": 0.01,
    "out_of_order": 0.01,
    "skewed_clock": 0.003,
    "stuck_sensor": 0.01,
    "spike": 0.01,
    "sentinel": 0.01,
    "kilowatt": 0.01,
    "fahrenheit": 0.01,
    "gap": 0.01,
    "storm": 0.02,
    "late": 0.05,
    "future": 0.005,
    "new_entity": 0.05,
    "removed_entity": 0.0005,
}


@dataclass(frozen=True)
class World:
    """A site over a season.

    Attributes:
        fleet: the site and its record, with the history.
        history_days: of the record before the first run: what a site has when it begins to forecast.
    """

    fleet: SimulatorConfig
    history_days: int

    @property
    def days(self) -> int:
        """Days of the season: each begins with a run and is then forecast."""
        return self.fleet.days - self.history_days

    def morning(self, day: int) -> datetime:
        """The midnight, UTC, at which a day of the season begins."""
        return self.fleet.origin + timedelta(days=self.history_days + day)

    @property
    def unbroken(self) -> SimulatorConfig:
        """The same site with instruments that never fail."""
        events = replace(self.fleet.events, sensor_losses=[], exporter_upgrades=[])
        return replace(self.fleet, faults={}, events=events)

    def happenings(self) -> dict[int, str]:
        """What happens on which day of the season, in a few words."""
        told: dict[int, list[str]] = {}
        for day, what in self._happenings():
            told.setdefault(day - self.history_days, []).append(what)
        return {day: ", ".join(told[day]) for day in sorted(told)}

    def _happenings(self) -> Iterator[tuple[int, str]]:
        events, rows = self.fleet.events, self.fleet.rows
        halls, kinds = ({getattr(row, name) for row in rows if row.from_day == 0} for name in ("hall", "sku"))
        for row in sorted((row for row in rows if row.from_day), key=lambda row: row.from_day):
            new = [row.hall] * (row.hall not in halls) + [row.sku] * (row.sku not in kinds)
            yield row.from_day, f"new: {', '.join(new) or f'a row in {row.hall}'}"
            halls, kinds = halls | {row.hall}, kinds | {row.sku}
        for change in events.firmware:
            yield change.day, f"firmware: {change.sku} {change.power_ratio - 1:+.0%}"
        for failure in events.chiller_failures:
            yield failure.day, f"chiller of {failure.hall} down, {failure.hours:g} h"
        for loss in events.sensor_losses:
            yield loss.day, f"{loss.share:.0%} of sensors lost, {loss.days} d"
        for upgrade in events.exporter_upgrades:
            yield upgrade.day, f"column renamed, {upgrade.days} d"
        yield from ((day, "clocks change") for day in range(self.fleet.days) if self._clocks_change(day))

    def _clocks_change(self, day: int) -> bool:
        begin = self.fleet.origin + timedelta(days=day)
        before, after = (begin.astimezone(self.fleet.zone).utcoffset() for begin in (begin, begin + timedelta(days=1)))
        return before != after


def season(seed: int, days: int = 60, history_days: int = 28) -> World:
    """Sixty days from late winter into spring; a site of 46 servers that ends with 66.

    Args:
        days: a shorter season ends earlier, with what has happened by then.
    """
    h = history_days
    fleet = SimulatorConfig(
        seed=seed,
        start="2026-01-12",
        days=h + days,
        step_s=900,
        rows=[
            RowConfig("hall-a", "h100-air", racks=4, servers_per_rack=4),
            RowConfig("hall-a", "cpu-2s", racks=2, servers_per_rack=5),
            RowConfig("hall-b", "cpu-2s", racks=4, servers_per_rack=5),
            RowConfig("hall-b", "b200-air", racks=2, servers_per_rack=4, from_day=h + 18),
            RowConfig("hall-c", "gb200-tray", racks=2, servers_per_rack=6, inference_ratio=0.5, from_day=h + 40),
        ],
        cooling=CoolingConfig(coolant_setpoint_c=23.0),
        events=EventsConfig(
            firmware=[FirmwareConfig(h + 6, "h100-air", 1.1), FirmwareConfig(h + 46, "cpu-2s", 0.9)],
            chiller_failures=[ChillerFailureConfig(h + 12, "hall-a", hours=30, capacity_ratio=0.4, hour=9)],
            sensor_losses=[SensorLossConfig(h + 33, days=2, share=0.5)],
            exporter_upgrades=[ExporterUpgradeConfig(h + 52, days=1)],
        ),
        faults=FAULTS,
    )
    return World(fleet, history_days)
