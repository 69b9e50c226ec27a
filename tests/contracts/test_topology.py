"""The fleet tree: what is refused and how it says so, the order of entities, who stands above whom."""

import random
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import node, table_of, tree_of

from forecast.contracts.errors import DataError
from forecast.contracts.signals import LEVELS
from forecast.contracts.topology import Topology, is_time_zone

RACK = node("rack-1", "rack")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([], "tree.csv: no entities"),
        ([node("a"), node("a")], "topology with repeated key: 1, the first entity_id=a"),
        ([node("a"), node(None)], "topology with no entity_id: 1, the first entity_id=None"),
        ([node("a", "cabinet")], r"unknown level \(levels are gpu, server, rack.*the first entity_id=a level=cabinet"),
        ([node("a", None)], "unknown level .* the first entity_id=a level=None"),
        ([node("a", parent="rack-9")], "a names parent 'rack-9', which is not in the table"),
        ([RACK, node("a", "hall", "rack-1")], r"a \(hall\) cannot sit under rack-1 \(rack\)"),
        ([RACK, node("a", "rack", "rack-1")], r"a \(rack\) cannot sit under rack-1 \(rack\)"),
        ([node("a", parent="a")], r"a \(server\) cannot sit under a \(server\)"),
        ([node("a", power_limit_w=0.0)], "power_limit_w that is not positive and finite.*entity_id=a power_limit_w=0"),
        (
            [node("a"), node("b", temperature_limit_c=-5.0)],
            "temperature_limit_c that is not positive.*entity_id=b temperature_limit_c=-5",
        ),
        ([node("a", power_limit_w=float("inf"))], "power_limit_w that is not .*entity_id=a power_limit_w=inf"),
        ([RACK, node("a", parent="b"), node("b", parent="a")], r"a \(server\) cannot sit under b \(server\)"),
        ([node("a", time_zone="Mars/Base")], "'Mars/Base' is not an IANA time zone"),
        ([node("a", time_zone=None)], "None is not an IANA time zone"),
        ([node("a", time_zone="")], "'' is not an IANA time zone"),
    ],
)
def test_a_table_that_is_no_tree_is_refused_by_name(nodes: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        Topology.of(table_of(*nodes), "tree.csv")
    assert str(refusal.value).startswith("tree.csv: ")


def test_a_missing_column_is_refused_by_name() -> None:
    with pytest.raises(
        DataError, match=r"tree.csv: topology lacks columns level, time_zone; found entity_id"
    ) as refusal:
        Topology.of(table_of(RACK).drop("level", "time_zone"), "tree.csv")
    assert "Map them" not in str(refusal.value)  # nothing does


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_an_unknown_limit_is_null_however_it_was_written(unknown: float | None) -> None:
    topology = tree_of(node("a", power_limit_w=unknown), node("b", power_limit_w=5.0))
    assert topology.table["power_limit_w"].to_list() == [None, 5.0]


def test_limits_of_whole_numbers_or_of_none_at_all_are_floats() -> None:
    table = table_of(node("a")).with_columns(pl.lit(300).alias("power_limit_w"), temperature_limit_c=pl.lit(None))
    topology = Topology.of(table)
    assert topology.table["power_limit_w"].to_list() == [300.0]
    assert topology.table.schema["temperature_limit_c"] == pl.Float64


def test_columns_beyond_the_contract_are_left_out() -> None:
    topology = Topology.of(table_of(RACK).with_columns(colour=pl.lit("red")))
    assert "colour" not in topology.table.columns


@pytest.mark.parametrize(("country", "kept"), [("DE", "DE"), (None, None), ("absent", None)])
def test_a_country_is_kept_and_null_where_the_table_has_none(country: str | None, kept: str | None) -> None:
    table = table_of(node("a"))
    table = table if country == "absent" else table.with_columns(country=pl.lit(country, pl.String))
    assert Topology.of(table).table["country"].to_list() == [kept]


@pytest.mark.parametrize("country", ["Germany", "de", "D", "DE ", ""])
def test_a_country_that_is_no_code_is_refused(country: str) -> None:
    with pytest.raises(DataError, match="country that is not two capital letters"):
        Topology.of(table_of(node("a")).with_columns(country=pl.lit(country)))


def test_several_roots_are_several_trees() -> None:
    topology = tree_of(node("s1", "site"), node("s2", "site"), node("a", parent="s1"), node("b", parent="s2"))
    assert set(topology.ancestors().iter_rows()) == {("a", "s1"), ("b", "s2")}


@given(st.randoms(use_true_random=False))
def test_leaves_come_first_then_names_in_whatever_order_the_rows_were(shuffler: random.Random) -> None:
    nodes = [
        node("z", "fleet"),
        node("m", "site", "z"),
        node("rack-2", "rack", "m"),
        node("rack-10", "rack", "m"),
        node("b", "server", "rack-2"),
        node("a", "server", "rack-10"),
        node("gpu", "gpu", "a"),
    ]
    shuffler.shuffle(nodes)
    topology = tree_of(*nodes)
    assert topology.entities == ("gpu", "a", "b", "rack-10", "rack-2", "m", "z")
    assert topology.levels == ("gpu", "server", "rack", "site", "fleet")


def test_ancestors_of_the_leaves_skip_nobody() -> None:
    topology = tree_of(
        node("site", "site"), node("hall", "hall", "site"), node("rack", "rack", "hall"), node("empty", "rack", "site"),
        node("a", "server", "rack"), node("b", "server", "hall"), node("alone", "server"),
    )  # fmt: skip
    pairs = set(topology.ancestors().iter_rows())
    assert pairs == {
        ("a", "rack"), ("a", "hall"), ("a", "site"), ("b", "hall"), ("b", "site"), ("empty", "site"),
    }  # fmt: skip


def test_unrelated_entities_have_no_ancestors() -> None:
    topology = tree_of(node("a"), node("b", "rack"))
    assert topology.ancestors().is_empty()
    assert topology.ancestors().columns == ["leaf_id", "ancestor_id"]


@given(st.lists(st.integers(0, len(LEVELS) - 2), min_size=1, max_size=12), st.data())
def test_every_ancestor_is_above_its_leaf_and_no_leaf_is_an_ancestor(ranks: list[int], data: st.DataObject) -> None:
    nodes = [node("root", LEVELS[-1])]
    for index, rank in enumerate(ranks):
        above = [row["entity_id"] for row in nodes if LEVELS.index(row["level"]) > rank]
        nodes.append(node(f"n{index}", LEVELS[rank], data.draw(st.sampled_from([None, *above]))))
    topology = tree_of(*nodes)
    position = {entity: index for index, entity in enumerate(topology.entities)}
    pairs = list(topology.ancestors().iter_rows())
    assert all(position[leaf] < position[above] for leaf, above in pairs)
    assert {leaf for leaf, _ in pairs}.isdisjoint(above for _, above in pairs)


def test_the_vocabulary_of_skus_is_sorted_and_distinct() -> None:
    assert tree_of(node("a", sku="h100"), node("b", sku="a40"), node("c", sku="h100")).skus == ("a40", "h100")


@pytest.mark.parametrize(
    ("name", "known"),
    [("UTC", True), ("America/New_York", True), ("Etc/GMT+5", True), ("New York", False), ("", False), (None, False)],
)
def test_time_zones_are_known_by_their_iana_names(name: str | None, known: bool) -> None:
    assert is_time_zone(name) is known
