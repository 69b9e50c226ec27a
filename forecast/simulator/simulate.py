"""Runs a simulated site and writes its record: telemetry by day, topology, jobs, weather, and the faults injected."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from forecast.contracts.errors import ConfigError
from forecast.simulator.arrays import Floats
from forecast.simulator.clock import local_hours
from forecast.simulator.config import DAY_S, SimulatorConfig
from forecast.simulator.fleet import Fleet
from forecast.simulator.injector import FaultInjector
from forecast.simulator.machines import Machines, Reading
from forecast.simulator.sensors import Day, measure
from forecast.simulator.tree import topology
from forecast.simulator.units import draw_units
from forecast.simulator.weather import Weather, draw_weather
from forecast.simulator.workload import Workload

#: Days of physics before the record, so that nothing starts cold.
_WARM_UP_DAYS = 1


def simulate(config: SimulatorConfig, out: Path, progress: Callable[[float], None] = lambda _: None) -> None:
    """Simulate `config` and leave its record at `out`, complete or not at all.

    The same configuration gives the same bytes; a longer one extends the telemetry of a shorter one.

    Args:
        out: a folder that does not exist yet.
        progress: told the share done, from 0 to 1.

    Raises:
        ConfigError: when `out` exists or the configuration names something unknown.
    """
    if out.exists():
        raise ConfigError(f"{out} exists; remove it or choose another folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.parent / f".{out.name}.{os.getpid()}.staging"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _write(config, staging, progress)
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(config: SimulatorConfig, folder: Path, progress: Callable[[float], None]) -> None:
    fleet = Fleet.of(config)
    injector = FaultInjector(fleet)
    weather = draw_weather(config)
    workload = Workload(fleet)
    (folder / "truth").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(asdict(config), indent=2, sort_keys=True) + "\n")
    _write_topology(fleet, folder)
    workload.schedule().write_parquet(folder / "jobs.parquet")
    weather.table().write_parquet(folder / "weather.parquet")
    late = pl.DataFrame()
    for day, samples in _days(fleet, weather, workload):
        if day >= 0:
            injector.inject(samples, day)
            name = (config.origin + timedelta(days=day)).date().isoformat()
            _write_day(samples.table(fleet.entity_ids), late, folder / "telemetry" / f"day={name}")
            late = samples.late_table(fleet.entity_ids)
        progress((day + 1 + _WARM_UP_DAYS) / (config.days + _WARM_UP_DAYS))
    injector.truth().write_parquet(folder / "truth" / "faults.parquet")


def _write_topology(fleet: Fleet, folder: Path) -> None:
    """Write the tree as it is in the end, and where it grew, a dated one of each day from which another holds."""
    days = sorted({int(day) for day in fleet.from_day if day < fleet.config.days})
    topology(fleet).write_parquet(folder / "topology.parquet")
    if len(days) > 1:
        (folder / "topologies").mkdir()
        for day in days:
            name = (fleet.config.origin + timedelta(days=day)).date().isoformat()
            topology(fleet, day).write_parquet(folder / "topologies" / f"{name}.parquet")


def _days(fleet: Fleet, weather: Weather, workload: Workload) -> Iterator[tuple[int, Day]]:
    """Yield the samples of each UTC day in order, from the warm-up on; day 0 is the first of the record."""
    units = draw_units(fleet)
    machines = Machines(fleet, units)
    for day in range(-_WARM_UP_DAYS, fleet.config.days):
        truth = run_day(machines, workload.day(day), day, fleet.config, weather)
        yield day, measure(fleet, units, day, truth)


def _write_day(rows: pl.DataFrame, late: pl.DataFrame, folder: Path) -> None:
    """Write what arrived on one day: its rows, and the `late` ones of the day before in a file of their own."""
    folder.mkdir(parents=True)
    rows.write_parquet(folder / "part-0.parquet")
    if not late.is_empty():
        late.write_parquet(folder / "late-0.parquet")


def run_day(
    machines: Machines, utilization: Floats, day: int, config: SimulatorConfig, weather: Weather
) -> dict[str, Floats]:
    """Run one UTC day of physics; return the mean of each quantity over each sample interval, `[steps, ...]`.

    Args:
        utilization: what each server is asked to do, `[substeps, N]`.
    """
    substeps = len(utilization)
    time_s = day * DAY_S + config.substep_s * np.arange(substeps, dtype=np.float64)
    outdoor_c, wet_bulb_c = weather.at(time_s)
    cap_ratio = _cap_ratio(config, day, substeps)
    each = config.step_s // config.substep_s
    means: dict[str, list[Floats]] = {name: [] for name in Reading.__dataclass_fields__}
    for first in range(0, substeps, each):
        sums: dict[str, Floats] = {}
        for at in range(first, first + each):
            now = machines.events.at(time_s[at])
            reading = machines.advance(utilization[at], cap_ratio[at], outdoor_c[at], wet_bulb_c[at], now)
            for name in means:
                sums[name] = sums.get(name, 0.0) + getattr(reading, name)
        for name, total in sums.items():
            means[name].append(total / each)
    utilization_ratio = utilization.reshape(-1, each, utilization.shape[1]).mean(axis=1)
    return {name: np.stack(values) for name, values in means.items()} | {"utilization_ratio": utilization_ratio}


def _cap_ratio(config: SimulatorConfig, day: int, substeps: int) -> Floats:
    first = config.origin + timedelta(days=day)
    hours, _ = local_hours(first, substeps, config.substep_s, config.time_zone)
    capped = (hours >= config.cap.start_hour) & (hours < config.cap.end_hour)
    return np.where(capped, config.cap.ratio, 1.0)
