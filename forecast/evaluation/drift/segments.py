"""The parts of a fleet that drift is looked for in: what changes together, a firmware or a chiller, shows there."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.topology import Topology

Places = NDArray[np.int64]

#: Segments of a kind, largest first: a fleet may have thousands of halls, metrics must not.
_MOST = 12

#: A segment of fewer has but the ups and downs of its entities, which their level tells too [K].
_FEWEST_ENTITIES = 4

#: Entities followed; more of a group tell no more of what they share.
_FOLLOWED, _FEWEST_FOLLOWED = 512, 4


@dataclass(frozen=True, eq=False)
class Segment:
    """Entities with something in common.

    Attributes:
        by: level, sku, hall or site.
        name: which.
        entities: places on the entity axis.
    """

    by: str
    name: str
    entities: Places


def segments_of(topology: Topology) -> list[Segment]:
    """Every level, and of the leaves every SKU, hall and site with at least four; none that is all leaves once more."""
    table = _table(topology)
    found = [Segment("level", level, _places(table, "level", level)) for level in topology.levels]
    leaves = table.filter("leaf")
    for by in ("sku", "hall", "site"):
        sizes = leaves.drop_nulls(by).group_by(by).len().sort("len", by, descending=[True, False])
        large = sizes.filter(pl.col("len").is_between(_FEWEST_ENTITIES, len(leaves) - 1))
        found += [Segment(by, name, _places(leaves, by, name)) for name in large[by].head(_MOST)]
    return found


def halls_of(topology: Topology) -> Places:
    """The place among the sorted halls of the hall that each leaf lies in, `[N]`; -1 where there is none."""
    codes: Places = _table(topology)["hall"].rank("dense").fill_null(0).to_numpy().astype(np.int64) - 1
    return codes


def followed(topology: Topology) -> Places:
    """Some hundred entities that stand for all: some of every level, SKU and hall."""
    table = _table(topology)
    groups = table.group_by("level", "sku", "hall", maintain_order=True).agg("place")["place"].to_list()
    most = max(_FOLLOWED // len(groups), _FEWEST_FOLLOWED)
    chosen = [
        np.array(group)[np.unique(np.linspace(0, len(group) - 1, min(len(group), most)).astype(int))]
        for group in groups
    ]
    return np.sort(np.concatenate(chosen))


def sample_of(topology: Topology) -> Topology:
    """A fleet of who is `followed` and all above them."""
    parent = dict(topology.table.select("entity_id", "parent_id").iter_rows())
    kept = set()
    for entity in topology.table["entity_id"].gather(followed(topology)):
        while entity is not None and entity not in kept:
            kept.add(entity)
            entity = parent[entity]  # noqa: PLW2901  up the tree
    return Topology.of(topology.table.filter(pl.col("entity_id").is_in(kept)))


def _table(topology: Topology) -> pl.DataFrame:
    """The topology with `place` on the entity axis, `leaf`, and of leaves the `hall` above."""
    pairs = topology.ancestors().join(topology.table.select(ancestor_id="entity_id", above="level"), on="ancestor_id")
    halls = pairs.filter(above="hall").select(entity_id="leaf_id", hall="ancestor_id")
    parents = topology.table["parent_id"].drop_nulls().unique()
    return (
        topology.table.with_row_index("place")
        .with_columns(pl.col("place").cast(pl.Int64), leaf=~pl.col("entity_id").is_in(parents.implode()))
        .join(halls, on="entity_id", how="left", maintain_order="left")
    )


def _places(table: pl.DataFrame, column: str, value: str) -> Places:
    places: Places = table.filter(pl.col(column) == value)["place"].to_numpy()
    return places
