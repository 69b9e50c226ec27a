"""Windows: training gathers by index what serving assembles by name, and only usable pairs are offered."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from trees import MONDAY, node, tree_of

from forecast.contracts.specs import ForecastSpec
from forecast.features.gridded import Floats
from forecast.windows.gather import Windows
from forecast.windows.inputs import Constants, inputs_at
from forecast.windows.panel import Panel

CPU = torch.device("cpu")
ZONES = ("America/New_York", "UTC", "Asia/Kolkata", "America/New_York")
TREE = tree_of(
    *(node(f"e{index}", sku=f"sku-{index % 2}", time_zone=zone, power_limit_w=100.0 + index)
      for index, zone in enumerate(ZONES))
)  # fmt: skip
SMALL = ForecastSpec(
    step_s=3600,
    context_steps=12,
    horizon_steps=5,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "inlet_c"),
    quantile_levels=(0.1, 0.5, 0.9),
)


def patchy(spec: ForecastSpec, steps: int, seed: int, missing: float = 0.3) -> Panel:
    """A panel of TREE whose start is not midnight, with a share of values missing."""
    random = np.random.default_rng(seed)
    values = random.uniform(0, 100, (len(spec.past), len(TREE.entities), steps)).astype(np.float32)
    values[random.random(values.shape) < missing] = np.nan
    return Panel(MONDAY.replace(hour=5), spec.step_s, spec.past, TREE.entities, (values,))


def windows_of(panel: Panel, spec: ForecastSpec) -> Windows:
    return Windows(panel, Constants.of(TREE, TREE.skus), spec, CPU)


def observed(pattern: str, spec: ForecastSpec, channel: int = 0) -> Panel:
    """A panel of TREE in which one channel of `e0` is observed where `pattern` has `#`, and nothing else."""
    values = np.full((len(spec.past), len(TREE.entities), len(pattern)), np.nan, np.float32)
    values[channel, 0] = [1.0 if cell == "#" else np.nan for cell in pattern]
    return Panel(MONDAY, spec.step_s, spec.past, TREE.entities, (values,))


def usable(panel: Panel, spec: ForecastSpec, first: list[int], last: list[int], stride: int) -> set[tuple[int, int]]:
    """The pairs that the rule allows, one window at a time."""
    context, horizon = spec.context_steps, spec.horizon_steps
    values: Floats = panel.read(0, panel.steps)[: len(spec.targets)]
    known = ~np.isnan(values).all(axis=0)
    return {
        (entity, origin)
        for entity in range(len(panel.entities))
        for origin in range(1, panel.steps - horizon + 1)
        if origin % stride == 0
        and first[entity] <= origin
        and origin + horizon <= last[entity]
        and known[entity, max(origin - context, 0) : origin].sum() * 10 >= context
        and known[entity, origin : origin + horizon].sum() * 10 >= horizon
    }


@given(seed=st.integers(0, 2**32 - 1), origin=st.integers(0, 95))
def test_training_and_serving_see_the_same_bits(seed: int, origin: int) -> None:
    panel = patchy(SMALL, 100, seed)
    constants = Constants.of(TREE, TREE.skus)
    served = inputs_at(panel, constants, SMALL, origin)
    entities = torch.arange(len(TREE.entities))
    batch = Windows(panel, constants, SMALL, CPU).batch(entities, torch.full((len(entities),), origin))
    for name in ("past", "future", "static"):
        trained, inference = getattr(batch, name).numpy(), getattr(served, name)
        assert trained.dtype == inference.dtype == np.float32
        assert_array_equal(trained, inference)
    truth = panel.read(origin, origin + SMALL.horizon_steps)[: len(SMALL.targets)]
    assert_array_equal(batch.target.numpy(), truth.transpose(1, 0, 2))


def test_a_batch_mixes_entities_and_origins_in_the_order_asked_for() -> None:
    panel = patchy(SMALL, 60, 0)
    windows = windows_of(panel, SMALL)
    entity, origin = torch.tensor([3, 0, 3, 1]), torch.tensor([40, 12, 13, 55])
    batch = windows.batch(entity, origin)
    constants = Constants.of(TREE, TREE.skus)
    for row, (which, when) in enumerate(zip(entity.tolist(), origin.tolist(), strict=True)):
        served = inputs_at(panel, constants, SMALL, when)
        assert_array_equal(batch.past[row].numpy(), served.past[which])
        assert_array_equal(batch.future[row].numpy(), served.future[which])
        assert_array_equal(batch.static[row].numpy(), served.static[which])
    assert batch.past.shape == (4, 3, 12)
    assert batch.future.shape == (4, 4, 5)
    assert batch.target.shape == (4, 2, 5)


@given(seed=st.integers(0, 2**32 - 1), origin=st.integers(-5, 70))
def test_inputs_read_nothing_from_the_origin_on(seed: int, origin: int) -> None:
    panel = patchy(SMALL, 60, seed)
    constants = Constants.of(TREE, TREE.skus)
    values = panel.chunks[0].copy()
    values[:, :, max(origin, 0) :] = -1.0
    changed = replace(panel, chunks=(values,))
    before, after = (inputs_at(each, constants, SMALL, origin) for each in (panel, changed))
    assert_array_equal(before.past, after.past)
    assert_array_equal(before.future, after.future)


def test_a_forecast_from_the_end_of_the_panel_and_beyond_has_what_there_is() -> None:
    panel = patchy(SMALL, 20, 0, missing=0.0)
    constants = Constants.of(TREE, TREE.skus)
    past = inputs_at(panel, constants, SMALL, 25).past
    assert np.isnan(past[:, :, 7:]).all()
    assert_array_equal(past[:, :, :7], panel.read(13, 20).transpose(1, 0, 2))


def test_each_entity_has_the_calendar_of_its_own_zone() -> None:
    constants = Constants.of(TREE, TREE.skus)
    future = inputs_at(patchy(SMALL, 20, 0), constants, SMALL, 14).future
    hour = {"UTC": 19.0, "America/New_York": 14.0, "Asia/Kolkata": 24.5}  # the panel begins at 05:00 UTC
    for row, zone in enumerate(ZONES):
        angle = 2 * np.pi * hour[zone] / 24
        assert future[row, :2, 0] == pytest.approx([np.sin(angle), np.cos(angle)], abs=1e-6), zone


@given(
    seed=st.integers(0, 2**32 - 1),
    missing=st.floats(0.5, 1),
    spread=st.lists(st.tuples(st.integers(-5, 60), st.integers(0, 70)), min_size=4, max_size=4),
    stride=st.integers(1, 7),
)
def test_pairs_are_those_that_the_rule_allows(
    seed: int, missing: float, spread: list[tuple[int, int]], stride: int
) -> None:
    panel = patchy(SMALL, 60, seed, missing)
    first, last = [low for low, _ in spread], [high for _, high in spread]
    pairs = windows_of(panel, SMALL).pairs(torch.tensor(first), torch.tensor(last), stride)
    found = [(entity, origin) for entity, origin in pairs.tolist()]
    assert len(set(found)) == len(found)
    assert set(found) == usable(panel, SMALL, first, last, stride)


@pytest.mark.parametrize(
    ("pattern", "origins"),
    [
        ("#" * 20 + "#" * 10, range(2, 21)),
        ("#" * 2 + "." * 18 + "#" + "." * 9, range(11, 21)),  # two of twenty and one of ten are a tenth
        ("#" * 1 + "." * 19 + "#" + "." * 9, []),
        ("#" * 20 + "." * 10, range(2, 20)),
        ("." * 20 + "#" * 10, []),
    ],
)
def test_a_tenth_of_the_context_and_of_the_horizon_must_be_observed(pattern: str, origins: Sequence[int]) -> None:
    spec = replace(SMALL, context_steps=20, horizon_steps=10)
    pairs = windows_of(observed(pattern, spec), spec).pairs(torch.zeros(4), torch.full((4,), 30))
    assert pairs.tolist() == [[0, origin] for origin in origins]


@pytest.mark.parametrize(("channel", "count"), [(0, 24), (1, 24), (2, 0)])
def test_any_target_counts_as_observed_and_other_channels_do_not(channel: int, count: int) -> None:
    panel = observed("#" * 30, SMALL, channel)
    assert len(windows_of(panel, SMALL).pairs(torch.zeros(4), torch.full((4,), 30))) == count
