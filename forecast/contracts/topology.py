"""The fleet as a tree, validated once; nothing downstream checks it again."""

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from forecast.contracts.errors import DataError
from forecast.contracts.signals import LEVELS
from forecast.contracts.tables import TOPOLOGY, UTC

_RANK = {level: rank for rank, level in enumerate(LEVELS)}
_LIMITS = ("power_limit_w", "temperature_limit_c")


@dataclass(frozen=True, eq=False)
class Topology:
    """A valid fleet tree.

    Attributes:
        table: one row per entity, sorted by level (leaves first) and id; the order is the entity axis everywhere.
    """

    table: pl.DataFrame

    @classmethod
    def of(cls, table: pl.DataFrame, where: str = "topology") -> "Topology":
        """Validate `table` as a forest: one root or several, and no cycle, as each parent is of a higher level.

        A NaN limit is unknown, like a null; so is the country where the column is absent.

        Raises:
            DataError: a row that breaks the contract TOPOLOGY (a missing or repeated id, an unknown level, a limit that
                is not positive and finite), an unknown time zone, or a parent that is absent or not above its child.
        """
        TOPOLOGY.check(table.lazy(), where)
        if table.is_empty():
            raise DataError(f"{where}: no entities.")
        if "country" not in table.columns:
            table = table.with_columns(country=pl.lit(None, pl.String))
        columns = [*TOPOLOGY.required, *TOPOLOGY.optional]
        table = table.select(columns).with_columns(pl.col(_LIMITS).cast(pl.Float64).fill_nan(None))
        _check_zones(table, where)
        _check_parents(table, where)
        rank = pl.col("level").replace_strict(_RANK, return_dtype=pl.Int32)
        return cls(table.sort(rank, "entity_id"))

    @cached_property
    def entities(self) -> tuple[str, ...]:
        return tuple(self.table["entity_id"])

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """The levels present, leaves first."""
        return tuple(self.table["level"].unique(maintain_order=True))

    @cached_property
    def skus(self) -> tuple[str, ...]:
        return tuple(self.table["sku"].unique().sort())

    def ancestors(self) -> pl.DataFrame:
        """Every (leaf_id, ancestor_id) pair, leaves being the entities that nobody has as a parent."""
        parent = dict(self.table.select("entity_id", "parent_id").iter_rows())
        leaves = set(parent) - set(parent.values())
        pairs = [(leaf, above) for leaf in self.entities if leaf in leaves for above in _path(parent, parent[leaf])]
        return pl.DataFrame(pairs, schema={"leaf_id": pl.String, "ancestor_id": pl.String}, orient="row")


def is_time_zone(name: str | None) -> bool:
    """Whether Polars can tell the time in `name`."""
    try:
        pl.Series([0]).cast(UTC).dt.convert_time_zone(name or "unnamed")
    except pl.exceptions.PolarsError:
        return False
    return True


def _path(parent: dict[str, str | None], entity: str | None) -> list[str]:
    path = []
    while entity is not None:
        path.append(entity)
        entity = parent[entity]
    return path


def _check_zones(table: pl.DataFrame, where: str) -> None:
    for zone in table["time_zone"].unique():
        if not is_time_zone(zone):
            raise DataError(f"{where}: {zone!r} is not an IANA time zone.")


def _check_parents(table: pl.DataFrame, where: str) -> None:
    level = dict(table.select("entity_id", "level").iter_rows())
    for entity, parent in table.select("entity_id", "parent_id").iter_rows():
        if parent is None:
            continue
        if parent not in level:
            raise DataError(f"{where}: {entity} names parent {parent!r}, which is not in the table.")
        below, above = (_RANK[level[node]] for node in (entity, parent))
        if below >= above:
            raise DataError(f"{where}: {entity} ({level[entity]}) cannot sit under {parent} ({level[parent]}).")
