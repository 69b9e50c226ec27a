"""The fleet tree from names and labels: real host names, labels of exporters, and what names no place."""

import logging
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from trees import at, values_of

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.topology import Topology
from forecast.traces.files import FileSource
from forecast.traces.tree import SkuSpec, TreeSpec, tree_of

#: A rack of the computing centre whose IPMI is published: row, rack, chassis, node.
HOSTS = TreeSpec(
    patterns=[r"(?P<kind>holy(gpu)?)(?P<row>\d[a-z])(?P<rack>\d\d)(?P<chassis>\d)(?P<node>\d\d)"],
    parents={"row": "holy{row}", "rack": "holy{row}{rack}{chassis}"},
    sku="{kind}",
    site="holyoke",
    time_zone="America/New_York",
    skus={"holygpu": SkuSpec(power_limit_w=3000.0, temperature_limit_c=85.0), "rack": SkuSpec(power_limit_w=20e3)},
)
LABELS = TreeSpec(
    level="gpu",
    parents={"server": "{Hostname}", "rack": "{rack}", "hall": "{site}-{hall}"},
    sku="{modelName}",
    site="{site}",
    skus={"NVIDIA H100": SkuSpec(700.0, 87.0)},
)


def named(*hosts: str) -> pl.DataFrame:
    return pl.DataFrame({"entity_id": list(hosts)}, schema={"entity_id": pl.String})


def row_of(topology: Topology, entity: str) -> dict[str, Any]:
    return topology.table.row(by_predicate=pl.col("entity_id") == entity, named=True)


def place(topology: Topology, entity: str) -> tuple[str, str | None]:
    row = row_of(topology, entity)
    return row["level"], row["parent_id"]


def test_host_names_tell_chassis_and_row() -> None:
    tree = tree_of(named("holy8a14101", "holy8a14102", "holygpu8a14203", "holy7c02103"), HOSTS, "ipmi")
    assert tree.levels == ("server", "rack", "row", "site")
    assert place(tree, "holy8a14101") == place(tree, "holy8a14102") == ("server", "holy8a141")
    assert place(tree, "holygpu8a14203") == ("server", "holy8a142"), "hosts of two kinds share a row"
    assert place(tree, "holy8a141") == place(tree, "holy8a142") == ("rack", "holy8a")
    assert place(tree, "holy7c021") == ("rack", "holy7c")
    assert place(tree, "holy8a") == place(tree, "holy7c") == ("row", "holyoke")
    assert place(tree, "holyoke") == ("site", None)
    assert len(tree.entities) == 4 + 3 + 2 + 1
    assert set(tree.table["site"]) == {"holyoke"}
    assert set(tree.table["time_zone"]) == {"America/New_York"}


def test_a_sku_has_its_limits_and_telemetry_knows_better() -> None:
    reported = pl.DataFrame(
        {
            "entity_id": ["holygpu8a14203", "stranger"],
            "power_limit_w": [2500.0, 1.0],
            "temperature_limit_c": [None, 1.0],
        }
    )
    hosts = named("holy8a14101", "holygpu8a14203", "holygpu8a14204")
    told, untold = tree_of(hosts, HOSTS, "ipmi", reported), tree_of(hosts, HOSTS, "ipmi")
    limits = ("sku", "power_limit_w", "temperature_limit_c")
    by_name = {row[0]: row[1:] for row in told.table.select("entity_id", *limits).iter_rows()}
    assert by_name["holy8a14101"] == ("holy", None, None)
    assert by_name["holygpu8a14203"] == ("holygpu", 2500.0, 85.0)
    assert by_name["holygpu8a14204"] == ("holygpu", 3000.0, 85.0)
    assert by_name["holy8a141"] == ("rack", 20e3, None), "an ancestor's level is its SKU"
    assert "stranger" not in by_name
    assert row_of(untold, "holygpu8a14203")["power_limit_w"] == 3000.0


def test_hosts_that_no_pattern_matches_hang_under_the_site_and_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tree = tree_of(named("holy8a14101", "login01", "login02", "nfs-1", "nfs-2"), HOSTS, "ipmi.parquet")
    assert [place(tree, host) for host in ("login01", "nfs-2")] == [("server", "holyoke")] * 2
    assert caplog.messages == [
        "ipmi.parquet: 4 entities name no place and hang under their site: login01, login02, nfs-1"
    ]


def test_nothing_is_said_where_all_have_a_place_or_none_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    tree_of(named("holy8a14101"), HOSTS, "ipmi")
    flat = tree_of(named("a", "b"), TreeSpec(), "lake")
    assert place(flat, "a") == ("server", "site-1")
    assert not caplog.messages


def test_labels_tell_the_place_and_a_label_that_is_missing_skips_its_level() -> None:
    entities = pl.DataFrame(
        {
            "entity_id": ["n1/0", "n1/1", "n2/0"],
            "Hostname": ["n1", "n1", "n2"],
            "rack": ["r1", "r1", None],
            "hall": ["west", "west", "west"],
            "site": ["ams", "ams", "ams"],
            "modelName": ["NVIDIA H100", "NVIDIA H100", ""],
        }
    )
    tree = tree_of(entities, LABELS, "prometheus")
    assert place(tree, "n1/0") == ("gpu", "n1")
    assert place(tree, "n1") == ("server", "r1")
    assert place(tree, "r1") == ("rack", "ams-west")
    assert place(tree, "n2") == ("server", "ams-west"), "n2 names no rack"
    assert place(tree, "ams-west") == ("hall", "ams")
    assert row_of(tree, "n1/0")["power_limit_w"] == 700.0
    assert row_of(tree, "n2/0")["sku"] == "unknown"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_entity_that_is_an_ancestor_takes_that_place(
    order: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    hosts = ("holy8a141", "holy8a14101")
    tree = tree_of(named(*(hosts[at] for at in order)), HOSTS, "ipmi")
    assert place(tree, "holy8a141") == ("rack", "holy8a")
    assert len(tree.entities) == 4
    assert not caplog.messages


def test_a_template_may_take_a_part_of_a_label() -> None:
    spec = TreeSpec(parents={"rack": r"{instance:^r\d+}"})
    entities = pl.DataFrame({"entity_id": ["a", "b"], "instance": ["r12-n3:9100", "login:9100"]})
    tree = tree_of(entities, spec, "prometheus")
    assert (place(tree, "a"), place(tree, "b")) == (("server", "r12"), ("server", "site-1"))


def test_an_ancestor_with_two_places_is_refused() -> None:
    spec = TreeSpec(parents={"rack": "{rack}", "hall": "{hall}"})
    entities = pl.DataFrame({"entity_id": ["a", "b"], "rack": ["r1", "r1"], "hall": ["east", "west"]})
    with pytest.raises(DataError, match="lake: rack r1 is under both east and west; put what tells"):
        tree_of(entities, spec, "lake")
    shared = pl.DataFrame({"entity_id": ["a", "b"], "rack": ["x", "r"], "hall": ["h", "x"]})
    with pytest.raises(DataError, match="lake: x is both a rack and a hall; give each level ids of its own"):
        tree_of(shared, spec, "lake")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (TreeSpec(patterns=["(rack"]), "tree.patterns: '(rack' is no regular expression"),
        (TreeSpec(parents={"cage": "{entity_id}"}), "unknown level 'cage'; levels are gpu, server, rack"),
        (TreeSpec(level="node"), "unknown level 'node'"),
        (TreeSpec(parents={"gpu": "{entity_id}"}), "tree.parents: gpu is not between server and site"),
        (TreeSpec(parents={"site": "{entity_id}"}), "tree.parents: site is not between server and site"),
        (TreeSpec(parents={"rack": "{rack}"}), "a template names 'rack'; known are entity_id."),
        (TreeSpec(parents={"rack": "{entity_id.upper}"}), "tree.parents.rack='{entity_id.upper}' must have {label}"),
        (TreeSpec(parents={"rack": "{rack"}), "tree.parents.rack='{rack' must have {label}"),
    ],
)
def test_a_tree_that_means_nothing_is_refused(spec: TreeSpec, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        tree_of(named("a"), spec, "lake")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_wrong_time_zone_of_a_label_is_refused() -> None:
    with pytest.raises(DataError, match="'Mars' is not an IANA time zone"):
        tree_of(pl.DataFrame({"entity_id": ["a"], "zone": ["Mars"]}), TreeSpec(time_zone="{zone}"), "lake")


DIGITS = st.integers(0, 99).map("{:02d}".format)
HOST = st.builds(
    "{}{}{}{}{}{}".format,
    st.sampled_from(["holy", "holygpu", "login"]),
    st.integers(2, 8),
    st.sampled_from("ac"),
    DIGITS,
    st.integers(1, 6),
    DIGITS,
)


@given(st.lists(HOST, min_size=1, max_size=30, unique=True))
def test_every_host_is_in_the_tree_once_under_its_own_prefix(hosts: list[str]) -> None:
    tree = tree_of(named(*hosts), HOSTS, "ipmi")
    assert set(tree.table.filter(pl.col("level") == "server")["entity_id"]) == set(hosts)
    pairs = dict(tree.table.select("entity_id", "parent_id").iter_rows())
    for host in hosts:
        bare = re.sub("^holygpu", "holy", host)
        assert pairs[host] == (bare[:-2] if bare.startswith("holy") else "holyoke")
    assert [entity for entity, parent in pairs.items() if parent is None] == ["holyoke"]


def test_a_file_source_takes_its_tree_from_names_and_label_columns(tmp_path: Path) -> None:
    raw = pl.DataFrame(
        {
            "time": [at(0), at(0), at(5), at(5)],
            "entity_id": ["holy8a14101", "holygpu8a14203", "holy8a14101", "holygpu8a14203"],
            "power_w": [20.0, 30.0, 25.0, 35.0],
            "model": ["old", "sd650", "sd650", "sd650"],
        }
    )
    raw.write_parquet(tmp_path / "raw.parquet")
    spec = TreeSpec(patterns=HOSTS.patterns, parents=HOSTS.parents, sku="{model}")
    source = FileSource(path=str(tmp_path / "raw.parquet"), tree=spec)
    trace = source.read()
    assert place(trace.topology, "holygpu8a14203") == ("server", "holy8a142")
    assert trace.topology.table.filter(pl.col("level") == "server")["sku"].to_list() == ["sd650"] * 2, (
        "the newest label"
    )
    assert values_of(trace.telemetry)["holy8a14101", 5] == 25.0
    again = FileSource.from_mapping(source.mapping(), source.path)
    assert_frame_equal(again.telemetry(trace.topology).collect(), trace.telemetry.collect())
