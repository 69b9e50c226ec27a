"""A simulated fleet measured once and broken in many ways, as it arrived day by day."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.rules import not_future
from forecast.contracts.topology import Topology
from forecast.features.glitches import mark_glitches
from forecast.features.grid import grid
from forecast.features.gridded import Gridded
from forecast.simulator.config import RowConfig, SimulatorConfig
from forecast.simulator.fleet import Fleet
from forecast.simulator.injector import FaultInjector
from forecast.simulator.machines import Machines
from forecast.simulator.sensors import Day, measure
from forecast.simulator.simulate import run_day
from forecast.simulator.tree import topology
from forecast.simulator.units import draw_units
from forecast.simulator.weather import draw_weather
from forecast.simulator.workload import Workload

SIGNALS = ("power_w", "temperature_c", "inlet_c", "utilization_ratio")
#: 64 servers of every kind in two halls, with a meter each.
ROWS = [
    RowConfig("hall-a", "h100-air", 4, 4),
    RowConfig("hall-a", "gb200-tray", 2, 12),
    RowConfig("hall-b", "cpu-2s", 3, 8, inference_ratio=0.34),
]
Flags = NDArray[np.bool_]


def judged(gridded: Gridded, topology: Topology, lead: int) -> Gridded:
    """The same values with marks of their own for what is wrong with them."""
    alike = replace(gridded, marks=gridded.marks.copy())
    mark_glitches(alike, topology, lead)
    return alike


@dataclass(frozen=True, eq=False)
class Arrived:
    """What came of a fleet.

    Attributes:
        files: of each day what arrived on it, in the order of arrival; rows from the future are not among it.
        rejected: the rows from the future.
        truth: what was broken, contract FAULTS.
    """

    config: SimulatorConfig
    tree: Topology
    entities: tuple[str, ...]
    files: tuple[pl.DataFrame, ...]
    rejected: pl.DataFrame
    truth: pl.DataFrame

    def gridded(self, first_day: int = 0, days: int | None = None) -> Gridded:
        """The days `[first_day, days)` as known when the last of them ended."""
        days = self.config.days if days is None else days
        start = self.config.origin + timedelta(days=first_day)
        steps = (days - first_day) * 86_400 // self.config.step_s
        into = Gridded.empty(start, self.config.step_s, SIGNALS, self.entities, steps, with_offsets=True)
        grid(pl.concat(self.files[:days]).lazy(), into)
        return into

    @cached_property
    def whole(self) -> Gridded:
        return self.gridded()

    def cells(self, table: pl.DataFrame, fault: str) -> Flags:
        """Where a table of faults names `fault`, `[signal, entity, step]`."""
        named = np.zeros((len(SIGNALS), len(self.entities), self.config.end_s // self.config.step_s), np.bool_)
        for entity, signal, start, end in table.filter(fault=fault).drop("fault").iter_rows():
            signals = slice(None) if signal == "" else SIGNALS.index(signal)
            named[signals, self.entities.index(entity), self._step(start) : self._step(end)] = True
        return named

    def _step(self, time: datetime) -> int:
        return round((time - self.config.origin) / timedelta(seconds=self.config.step_s))


class Healthy:
    """Every day of a fleet as its sensors had it; `broken` is a copy with faults."""

    def __init__(self, seed: int, days: int, step_s: int) -> None:
        self.config = SimulatorConfig(seed=seed, days=days, step_s=step_s, rows=ROWS)
        self.fleet = Fleet.of(self.config)
        self.tree = Topology.of(topology(self.fleet))
        self._days = list(self._run())

    def broken(self, rates: Mapping[str, float]) -> Arrived:
        config, ids = replace(self.config, faults=dict(rates)), self.fleet.entity_ids
        injector = FaultInjector(replace(self.fleet, config=config))
        files, rejected, late = [], [], None
        for day, healthy in enumerate(self._days):
            samples = deepcopy(healthy)
            injector.inject(samples, day)
            arrived = samples.table(ids)
            known = not_future("time", config.origin + timedelta(days=day + 1))
            rejected.append(arrived.filter(known.bad))
            arrived = arrived.filter(known.good)
            files.append(arrived if late is None else pl.concat([late, arrived]))
            late = samples.late_table(ids).filter(known.good)
        return Arrived(config, self.tree, ids, tuple(files), pl.concat(rejected), injector.truth())

    def _run(self) -> Iterator[Day]:
        weather, workload, units = draw_weather(self.config), Workload(self.fleet), draw_units(self.fleet)
        machines = Machines(self.fleet, units)
        for day in range(-1, self.config.days):  # a day before the record, so that nothing starts cold
            truth = run_day(machines, workload.day(day), day, self.config, weather)
            if day >= 0:
                yield measure(self.fleet, units, day, truth)
