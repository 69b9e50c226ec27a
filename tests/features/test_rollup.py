"""From the leaves to the site: sums, least headroom, weighted means, and what is done when some do not report."""

import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import node, samples, tree_of, values_of

from forecast.contracts.topology import Topology
from forecast.features.rollup import roll_up

#: Nameplates 100, 300 and 600 W in two racks of one site.
SITE = tree_of(
    node("site", "site", power_limit_w=800.0),
    node("rack-1", "rack", "site", power_limit_w=380.0),
    node("rack-2", "rack", "site", power_limit_w=600.0),
    node("a", "server", "rack-1", power_limit_w=100.0),
    node("b", "server", "rack-1", power_limit_w=300.0),
    node("c", "server", "rack-2", power_limit_w=600.0),
)


def rolled(topology: Topology, signal: str = "power_w", **values: float | None) -> dict[str, float | None]:
    """The one grid step in which leaf `a` reads `values["a"]` and so on, at every level."""
    gridded = samples(*((entity, 0, value) for entity, value in values.items()), signal=signal)
    return {entity: value for (entity, _), value in values_of(roll_up(gridded, topology), signal).items()}


def test_power_adds_up() -> None:
    assert rolled(SITE, a=50.0, b=150.0, c=300.0) == {
        "a": 50.0, "b": 150.0, "c": 300.0, "rack-1": 200.0, "rack-2": 300.0, "site": 500.0,
    }  # fmt: skip


def test_a_missing_server_is_not_a_falling_load() -> None:
    """Without `a`, 300 of the rack's 400 W and 900 of the site's 1000 W of nameplate report."""
    power = rolled(SITE, b=150.0, c=300.0)
    assert power["rack-1"] == pytest.approx(150 / 0.75)
    assert power["site"] == pytest.approx(450 / 0.9)
    assert "a" not in power
    same = rolled(SITE, a=None, b=150.0, c=300.0)
    assert (same["rack-1"], same["site"], same["a"]) == (power["rack-1"], power["site"], None)


def test_below_half_of_nameplate_a_level_is_not_observed() -> None:
    power = rolled(SITE, a=50.0)
    assert power["rack-1"] is None
    assert power["site"] is None
    assert "rack-2" not in power


def test_half_of_nameplate_is_enough() -> None:
    topology = tree_of(node("rack", "rack"), node("a", parent="rack"), node("b", parent="rack"))
    assert rolled(topology, a=70.0)["rack"] == 140.0


def test_every_signal_and_step_has_its_own_coverage() -> None:
    topology = tree_of(node("rack", "rack"), node("a", parent="rack"), node("b", parent="rack"))
    gridded = samples(("a", 0, 1.0), ("b", 0, 2.0), ("a", 5, 1.0)).with_columns(
        utilization_ratio=pl.Series([None, 0.4, None])
    )
    table = roll_up(gridded, topology).filter(pl.col("entity_id") == "rack").sort("time").collect()
    assert table["power_w"].to_list() == [3.0, 2.0]
    assert table["utilization_ratio"].to_list() == [0.4, None]


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
    gridded = samples(
        ("a", 0, 50.0), ("b", 0, 150.0), ("rack-1", 0, 207.0), ("a", 5, 50.0), ("b", 5, 150.0), ("rack-1", 5, None)
    )
    power = values_of(roll_up(gridded, SITE))
    assert power["rack-1", 0] == 207.0
    assert power["rack-1", 5] == 200.0, "what its meter missed is rolled up"


def test_one_measured_signal_leaves_the_others_to_the_leaves() -> None:
    gridded = samples(("a", 0, 50.0), ("b", 0, 150.0), ("rack-1", 0, None)).with_columns(
        inlet_c=pl.Series([None, None, 21.0])
    )
    row = roll_up(gridded, SITE).filter(pl.col("entity_id") == "rack-1").collect().row(0, named=True)
    assert (row["power_w"], row["inlet_c"]) == (200.0, 21.0)


def test_a_fleet_of_unrelated_entities_is_unchanged() -> None:
    gridded = samples(("a", 0, 1.0), ("b", 5, None))
    assert roll_up(gridded, tree_of(node("a"), node("b", "rack"))).collect().equals(gridded.collect())


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
        assert power["rack"] == pytest.approx(load * sum(nameplates), abs=1e-6)
    elif covered < 0.499:
        assert power.get("rack") is None


@given(st.lists(st.floats(0, 1e7), min_size=2, max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_change_a_bit(watts: list[float], shuffler: random.Random) -> None:
    topology = tree_of(node("rack", "rack"), *(node(f"s{index}", parent="rack") for index in range(len(watts))))
    rows = [(f"s{index}", 0.0, value) for index, value in enumerate(watts)]
    first = values_of(roll_up(samples(*rows), topology))
    shuffler.shuffle(rows)
    assert values_of(roll_up(samples(*rows), topology)) == first
