"""What does not change about an entity."""

import math

import polars as pl
from trees import node, tree_of

from forecast.contracts.specs import STATIC
from forecast.features.static import static


def test_limits_and_codes_follow_the_order_of_the_tree() -> None:
    topology = tree_of(node("rack", "rack", sku="r"), node("b", sku="h100", parent="rack"), node("a", sku="a40"))
    table = static(topology, ("a40", "h100"))
    assert tuple(table.columns) == STATIC
    assert set(table.dtypes) == {pl.Float32}
    assert table["level_code"].to_list() == [2, 2, 3], "gpu is 1"
    assert table["sku_code"].to_list() == [1, 2, 0], "0 is unknown"
    assert table["power_limit_w"].to_list() == [1000.0] * 3


def test_a_code_belongs_to_the_vocabulary_not_to_the_fleet() -> None:
    vocabulary = ("a40", "h100", "l4")
    before = static(tree_of(node("a", sku="l4")), vocabulary)
    after = static(tree_of(node("a", sku="l4"), node("0", sku="a100")), vocabulary)
    assert before["sku_code"].to_list() == [3]
    assert after["sku_code"].to_list() == [0, 3]


def test_an_unknown_limit_is_nan() -> None:
    table = static(tree_of(node("a", power_limit_w=None, temperature_limit_c=None, sku=None)), ("a40",))
    power, temperature, level, sku = table.row(0)
    assert math.isnan(power)
    assert math.isnan(temperature)
    assert (level, sku) == (2, 0)
