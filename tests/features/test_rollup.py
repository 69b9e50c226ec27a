"""From the leaves to the site: sums, least headroom, weighted means, and what is done when some do not report."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from trees import MONDAY, node, tree_of

from forecast.contracts.topology import Topology
from forecast.features.gridded import Floats, Gridded
from forecast.features.marks import Mark
from forecast.features.rollup import Flags, roll_up

#: Nameplates 100, 300 and 600 W in two racks of one site.
SITE = tree_of(
    node("site", "site", power_limit_w=800.0),
    node("rack-1", "rack", "site", power_limit_w=380.0),
    node("rack-2", "rack", "site", power_limit_w=600.0),
    node("a", "server", "rack-1", power_limit_w=100.0),
    node("b", "server", "rack-1", power_limit_w=300.0),
    node("c", "server", "rack-2", power_limit_w=600.0),
)
RACK = tree_of(node("rack", "rack"), node("a", parent="rack"), node("b", parent="rack"))
#: Steps of a day in these tests.
DAY = 4


def roll(values: Floats, signals: tuple[str, ...], topology: Topology, came: Flags | None = None) -> None:
    """Roll `values` up where `came`, usable or not, which is where they are observed unless it says otherwise."""
    came = ~np.isnan(values) if came is None else came
    measured = Gridded.empty(MONDAY, 86_400 // DAY, signals, topology.entities, came.shape[2])
    measured.marks[came] = Mark.SENTINEL
    roll_up(values, measured, topology)


def rolled(topology: Topology, signal: str = "power_w", **values: float | None) -> dict[str, float | None]:
    """The one grid step in which leaf `a` reads `values["a"]` and so on, at every level."""
    grid = np.full((1, len(topology.entities), 1), np.nan, np.float32)
    for entity, value in values.items():
        grid[0, topology.entities.index(entity), 0] = np.nan if value is None else value
    roll(grid, (signal,), topology)
    found = zip(topology.entities, grid[0, :, 0].tolist(), strict=True)
    return {entity: None if np.isnan(value) else value for entity, value in found}


def rack_of(came: str, *leaves: str, lead: int = 0) -> Floats:
    """The rack's power at every step from `lead` on.

    Args:
        came: a row per leaf, as many as `leaves`, separated by spaces; `#` where something came, usable or not.
        leaves: what was observed, a row per leaf: 100 W where `#`.
    """
    topology = tree_of(node("rack", "rack"), *(node(f"s{index}", parent="rack") for index in range(len(leaves))))
    places = [topology.entities.index(f"s{index}") for index in range(len(leaves))]
    steps = len(leaves[0])
    values, arrived = (
        np.full((1, len(places) + 1, steps), np.nan, np.float32),
        np.zeros((1, len(places) + 1, steps), bool),
    )
    for place, row, seen in zip(places, came.split(), leaves, strict=True):
        values[0, place, [cell == "#" for cell in seen]] = 100.0
        arrived[0, place] = [cell == "#" for cell in row]
    values = values[:, :, lead:]
    roll(values, ("power_w",), topology, arrived)
    return values[0, topology.entities.index("rack")]


def test_power_adds_up() -> None:
    assert rolled(SITE, a=50.0, b=150.0, c=300.0) == {
        "a": 50.0, "b": 150.0, "c": 300.0, "rack-1": 200.0, "rack-2": 300.0, "site": 500.0,
    }  # fmt: skip


def test_a_missing_server_is_not_a_falling_load() -> None:
    """Without `a`, 300 of the rack's 400 W and 900 of the site's 1000 W of nameplate report."""
    power = rolled(SITE, b=150.0, c=300.0)
    assert power["rack-1"] == pytest.approx(150 / 0.75)
    assert power["site"] == pytest.approx(450 / 0.9)
    assert power["a"] is None


def test_below_half_of_nameplate_a_level_is_not_observed() -> None:
    power = rolled(SITE, a=50.0)
    assert [power["rack-1"], power["rack-2"], power["site"]] == [None] * 3


def test_half_of_nameplate_is_enough() -> None:
    assert rolled(RACK, a=70.0)["rack"] == 140.0


def test_every_signal_and_step_has_its_own_coverage() -> None:
    nan = np.nan
    a, b, rack = (RACK.entities.index(entity) for entity in ("a", "b", "rack"))
    values = np.full((2, 3, 2), nan, np.float32)
    values[0, a], values[0, b], values[1, b] = [1, 1], [2, nan], [0.4, nan]
    roll(values, ("power_w", "utilization_ratio"), RACK)
    assert_array_equal(values[:, rack], np.array([[3, 2], [0.4, nan]], np.float32))


def test_an_unknown_nameplate_weighs_as_the_mean_of_the_known_or_as_any_other() -> None:
    known = tree_of(
        node("rack", "rack", power_limit_w=None),
        node("a", parent="rack", power_limit_w=100.0),
        node("b", parent="rack", power_limit_w=300.0),
        node("c", parent="rack", power_limit_w=None),
    )
    assert rolled(known, a=40.0, b=80.0)["rack"] == pytest.approx(120 * 600 / 400)
    nodes = [node(name, parent="rack", power_limit_w=None) for name in "abc"]
    assert rolled(tree_of(node("rack", "rack", power_limit_w=None), *nodes), a=40.0, b=80.0)["rack"] == 180.0


def test_temperature_is_that_of_the_point_with_least_headroom_against_the_own_limit() -> None:
    """`a` has 90 − 80 = 10 K left, `b` 70 − 65 = 5 K, `c` 100 − 60 = 40 K: the rack's 88 − 5, the site's 85 − 5."""
    topology = tree_of(
        node("site", "site", temperature_limit_c=85.0),
        node("rack", "rack", "site", temperature_limit_c=88.0),
        node("a", "server", "rack", temperature_limit_c=90.0),
        node("b", "server", "rack", temperature_limit_c=70.0),
        node("c", "server", "site", temperature_limit_c=100.0),
    )
    temperatures = rolled(topology, "temperature_c", a=80.0, b=65.0, c=60.0)
    assert temperatures["rack"] == 83.0
    assert temperatures["site"] == 80.0


def test_among_equal_limits_the_hottest_point_rules() -> None:
    temperatures = rolled(SITE, "temperature_c", a=50.0, b=61.0, c=60.0)
    assert (temperatures["rack-1"], temperatures["rack-2"], temperatures["site"]) == (61.0, 60.0, 61.0)


def test_where_a_limit_is_unknown_the_hottest_point_rules() -> None:
    topology = tree_of(
        node("rack", "rack", temperature_limit_c=None),
        node("a", parent="rack", temperature_limit_c=60.0),
        node("b", parent="rack", temperature_limit_c=100.0),
    )
    assert rolled(topology, "temperature_c", a=58.0, b=70.0)["rack"] == 70.0


@pytest.mark.parametrize("signal", ["utilization_ratio", "inlet_c"])
def test_other_signals_are_means_weighted_by_nameplate(signal: str) -> None:
    means = rolled(SITE, signal, a=1.0, b=0.2, c=0.5)
    assert means["rack-1"] == pytest.approx((100 * 1.0 + 300 * 0.2) / 400)
    assert means["site"] == pytest.approx((100 * 1.0 + 300 * 0.2 + 600 * 0.5) / 1000)
    assert rolled(SITE, signal, b=0.2, c=0.5)["site"] == pytest.approx((300 * 0.2 + 600 * 0.5) / 900)


def test_a_measured_level_is_not_rolled_up() -> None:
    assert rolled(SITE, a=50.0, b=150.0, **{"rack-1": 207.0})["rack-1"] == 207.0
    assert rolled(SITE, a=50.0, b=150.0, **{"rack-1": None})["rack-1"] == 200.0, "what its meter missed is rolled up"


def test_a_fleet_of_unrelated_entities_is_unchanged() -> None:
    values = np.array([[[1.0, np.nan], [np.nan, 2.0]]], np.float32)
    before = values.copy()
    roll(values, ("power_w",), tree_of(node("a"), node("b", "rack")))
    assert_array_equal(values, before)


@given(
    nameplates=st.lists(st.floats(1, 1e5), min_size=1, max_size=8),
    load=st.floats(0, 1),
    reporting=st.randoms(use_true_random=False),
)
def test_a_uniform_load_looks_the_same_whoever_reports(
    nameplates: list[float], load: float, reporting: random.Random
) -> None:
    """At equal load per nameplate no gap can show: the rack is either exact or unobserved."""
    nodes = [node(f"s{index}", parent="rack", power_limit_w=watts) for index, watts in enumerate(nameplates)]
    present = [row for row in nodes if reporting.random() < 0.7]
    power = rolled(
        tree_of(node("rack", "rack"), *nodes), **{row["entity_id"]: row["power_limit_w"] * load for row in present}
    )
    covered = sum(row["power_limit_w"] for row in present) / sum(nameplates)
    if covered > 0.501:
        assert power["rack"] == pytest.approx(load * sum(nameplates), rel=1e-6, abs=1e-6)
    elif covered < 0.499:
        assert power["rack"] is None


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # Of three, who fell silent is expected for a day, DAY steps, then the two others are the rack.
        (("########....", "############", "############"), [300] * 8 + [300] * 3 + [200]),
        # Two of three left: below half of what is expected until they no longer are.
        (("########....", "########....", "############"), [300] * 8 + [np.nan] * 3 + [100]),
        # On the first day everyone is expected, on the second who never came is not, on arrival he is.
        (("............", "############", "############"), [300] * 4 + [200] * 8),
        (("........####", "........####", "############"), [np.nan] * 4 + [100] * 4 + [300] * 4),
        # After a day on which nobody was heard everyone is expected again, however long ago he was heard.
        (("####.....###", "####.....#.."), [200] * 4 + [np.nan] * 5 + [200] * 3),
        (("####.....#..", "####........", "####........"), [300] * 4 + [np.nan] * 8),
    ],
)
def test_who_is_expected(rows: tuple[str, ...], expected: list[float]) -> None:
    assert_array_equal(rack_of(" ".join(rows), *rows), np.array(expected, np.float32))


def test_who_sends_nothing_usable_is_expected_all_the_same() -> None:
    """A stuck sensor is a missing one, not a server that left."""
    assert_array_equal(rack_of("######## ########", "##......", "########"), [200] * 8)
    assert_array_equal(rack_of("######## ######## ########", "##......", "##......", "########")[2:], [np.nan] * 6)


@given(st.lists(st.text("#.", min_size=12, max_size=12), min_size=1, max_size=4), st.sampled_from([4, 8]))
def test_a_day_is_the_same_with_only_the_day_before_it(rows: list[str], first: int) -> None:
    whole = rack_of(" ".join(rows), *rows)
    cut = [row[first - DAY :] for row in rows]
    assert_array_equal(rack_of(" ".join(cut), *cut, lead=DAY), whole[first:])


def test_a_signal_that_arrives_later_has_a_first_day_of_its_own() -> None:
    """Power comes from the beginning, use from the second day on and of one server in three."""
    topology = tree_of(node("rack", "rack"), *(node(name, parent="rack") for name in "abc"))
    values = np.full((2, 4, 2 * DAY), np.nan, np.float32)
    values[0, [topology.entities.index(name) for name in "abc"]] = 100.0
    values[1, topology.entities.index("a"), DAY:] = 0.5
    roll(values, ("power_w", "utilization_ratio"), topology)
    assert_array_equal(values[:, topology.entities.index("rack")], [[300] * 8, [np.nan] * 8])
