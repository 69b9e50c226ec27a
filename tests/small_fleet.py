"""A fleet made of arrays: what the rooms after the panel are tried on."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import torch

from forecast.contracts.specs import ForecastSpec
from forecast.contracts.tables import TOPOLOGY
from forecast.contracts.topology import Topology
from forecast.windows.gather import Windows
from forecast.windows.inputs import Constants
from forecast.windows.panel import Panel

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday


def topology_of(levels: Sequence[str], power_limit_w: float | None = 1000.0) -> Topology:
    """Unrelated entities of the given levels, which must come leaves first; `e00` is the first."""
    rows = [
        {
            "entity_id": f"e{index:02}",
            "parent_id": None,
            "level": level,
            "sku": "board",
            "power_limit_w": power_limit_w,
            "temperature_limit_c": 90.0,
            "site": "here",
            "time_zone": "UTC",
        }
        for index, level in enumerate(levels)
    ]
    return Topology.of(pl.DataFrame(rows, schema=dict(TOPOLOGY.required)))


def panel_of(values: np.ndarray, spec: ForecastSpec) -> Panel:
    """A panel of `values [C, N, T]` from START."""
    entities = tuple(f"e{index:02}" for index in range(values.shape[1]))
    return Panel(START, spec.step_s, spec.past, entities, (values.astype(np.float32),))


def windows_of(values: np.ndarray, spec: ForecastSpec, levels: Sequence[str]) -> Windows:
    topology = topology_of(levels)
    return Windows(panel_of(values, spec), Constants.of(topology, topology.skus), spec, torch.device("cpu"))


def pairs_in(windows: Windows, first: int, last: int, stride: int = 1) -> torch.Tensor:
    """Usable pairs of every entity whose origins are not before `first` and whose targets end by `last`."""
    entities = len(windows.level_code)
    return windows.pairs(torch.full((entities,), first), torch.full((entities,), last), stride)


def daily_load(spec: ForecastSpec, entities: int, days: int, seed: int = 0) -> np.ndarray:
    """Power, temperature and use `[C, N, T]` that follow the hour of the day, with noise."""
    random = np.random.default_rng(seed)
    steps = days * spec.day_steps
    wave = np.sin(2 * np.pi * np.arange(steps) / spec.day_steps)
    busy = 0.5 + 0.3 * wave + 0.05 * random.standard_normal((entities, steps))
    return np.stack([1000 * busy, 30 + 50 * busy, busy])[: len(spec.past)]


def before(panel: Panel, step: int) -> Panel:
    """The panel with everything from `step` on cut away."""
    return replace(panel, chunks=(panel.read(0, step),))
