"""Windows of several panels as one: the same windows as each gives, in the order asked for."""

from dataclasses import replace

import numpy as np
import torch
from numpy.testing import assert_array_equal
from small_fleet import START, daily_load, pairs_in, topology_of, windows_of

from forecast.contracts.specs import ForecastSpec
from forecast.windows.gather import Windows
from forecast.windows.inputs import Constants
from forecast.windows.panel import Panel
from forecast.windows.pool import Pool


def pooled(spec: ForecastSpec) -> tuple[Pool, Windows, Windows]:
    """A site with every channel, and one that records its temperature only."""
    whole = windows_of(daily_load(spec, entities=2, days=6), spec, ("server", "rack"))
    few = replace(spec, targets=("temperature_c",), past=("temperature_c",))
    topology = topology_of(("server",))
    values = daily_load(spec, entities=1, days=5, seed=1)[1:2].astype(np.float32)
    panel = Panel(START, spec.step_s, few.past, ("e00",), (values,))
    part = Windows(panel, Constants.of(topology, topology.skus), few, torch.device("cpu"))
    return Pool([whole, part], spec), whole, part


def test_each_window_is_that_of_its_panel_in_the_order_asked_for(spec: ForecastSpec) -> None:
    pool, whole, part = pooled(spec)
    entity, origin = torch.tensor([2, 0, 2, 1]), torch.tensor([60, 50, 100, 90])
    batch = pool.batch(entity, origin)
    for row in (1, 3):
        alone = whole.batch(entity[[row]], origin[[row]])
        for name in ("past", "future", "static", "target"):
            assert_array_equal(getattr(batch, name)[row], getattr(alone, name)[0])
    for row in (0, 2):
        alone = part.batch(entity[[row]] - 2, origin[[row]])
        assert_array_equal(batch.past[row, 1], alone.past[0, 0])
        assert_array_equal(batch.target[row, 1], alone.target[0, 0])


def test_what_a_panel_does_not_record_is_unknown(spec: ForecastSpec) -> None:
    pool, _, _ = pooled(spec)
    batch = pool.batch(torch.tensor([2]), torch.tensor([60]))
    assert torch.isnan(batch.past[0, [0, 2]]).all()
    assert torch.isnan(batch.target[0, 0]).all()
    assert not torch.isnan(batch.target[0, 1]).any()


def test_pairs_are_numbered_through(spec: ForecastSpec) -> None:
    pool, whole, part = pooled(spec)
    joined = pool.joined([pairs_in(whole, 0, 144), pairs_in(part, 0, 120)])
    assert len(joined) == len(pairs_in(whole, 0, 144)) + len(pairs_in(part, 0, 120))
    assert joined[:, 0].unique().tolist() == [0, 1, 2]
    assert torch.isfinite(pool.batch(joined[:, 0], joined[:, 1]).target[:, 1]).any(1).all()


def test_levels_are_the_same_and_groups_are_of_one_panel(spec: ForecastSpec) -> None:
    pool, _, _ = pooled(spec)
    assert pool.level_code[0] == pool.level_code[2]
    assert len(pool.group.unique()) == 3
