"""The fleet tree from what the data says of its entities: the names of hosts, the labels of series."""

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from forecast.contracts.errors import ConfigError, DataError
from forecast.contracts.signals import LEVELS
from forecast.contracts.tables import TOPOLOGY
from forecast.contracts.topology import Topology
from forecast.traces.templates import check_template, fields, fill

_LOG = logging.getLogger(__name__)


@dataclass
class SkuSpec:
    """The nameplate of one kind of entity; None where unknown."""

    power_limit_w: float | None = None
    temperature_limit_c: float | None = None


@dataclass
class TreeSpec:
    """How entities name their place.

    A template is text with fields in braces: `entity_id`, a named group of the pattern that the id matches, or a label
    column; `{label:pattern}` takes what the pattern finds in it. One that names a field which an entity lacks says
    nothing of that entity.

    Attributes:
        patterns: regular expressions; the first that an id matches wholly gives its named groups.
        level: of the entities themselves.
        parents: level to the template of the ancestor's id there. An entity sits under its lowest, that one under the
            next, and the highest under the site, which is always there.
        sku: template; ancestors have their level as their SKU.
        site, time_zone: template.
        country: ISO 3166-1 alpha-2, whose holidays the site keeps.
        skus: SKU to its limits; what telemetry says of an entity wins.
    """

    patterns: list[str] = field(default_factory=list)
    level: str = "server"
    parents: dict[str, str] = field(default_factory=dict)
    sku: str = "unknown"
    site: str = "site-1"
    time_zone: str = "UTC"
    country: str | None = None
    skus: dict[str, SkuSpec] = field(default_factory=dict)

    @property
    def fields(self) -> set[str]:
        """The fields that the templates name."""
        return set().union(*(fields(text) for text in self.templates.values()))

    @property
    def templates(self) -> dict[str, str]:
        """Every template by its place in the settings."""
        parents = {f"parents.{level}": text for level, text in self.parents.items()}
        return {**parents, "sku": self.sku, "site": self.site, "time_zone": self.time_zone}


def tree_of(entities: pl.DataFrame, spec: TreeSpec, where: str, limits: pl.DataFrame | None = None) -> Topology:
    """The tree that `entities` stand in by `spec`.

    An entity that no pattern matches, or that names no ancestor, hangs under the site; how many do is logged in one
    line. An entity whose id is another's ancestor takes that place instead of one at `spec.level`.

    Args:
        entities: `entity_id` and the label columns, one row per entity.
        spec: how they name their place.
        where: file or source named in errors.
        limits: `entity_id`, `power_limit_w`, `temperature_limit_c` as telemetry reports them.

    Raises:
        ConfigError: an unknown level, a broken pattern, a template with a field that is neither a label nor a group.
        DataError: an ancestor with two places, or a tree that breaks its contract.
    """
    patterns = _compiled(spec)
    _check_spec(spec, patterns, entities.columns)
    rows: dict[str, dict[str, Any]] = {}
    strays = []
    for labels in entities.drop_nulls("entity_id").iter_rows(named=True):
        known = {**labels, **_groups(labels["entity_id"], patterns)}
        path = _path({name: str(value) for name, value in known.items() if value is not None}, spec)
        if len(path) == 2:
            strays.append(labels["entity_id"])
        for row in path:
            _place(row, rows, spec.level, where)
    _tell([entity for entity in strays if spec.parents and rows[entity]["level"] == spec.level], where)
    tree = Topology.of(pl.DataFrame(list(rows.values()), schema={**TOPOLOGY.required, **TOPOLOGY.optional}), where)
    return tree if limits is None else with_limits(tree, limits, where)


def with_limits(topology: Topology, limits: pl.DataFrame, where: str) -> Topology:
    """The tree with the limits that telemetry reports in place of those that it has; arguments as of `tree_of`."""
    names = ("power_limit_w", "temperature_limit_c")
    told = limits.select("entity_id", *(pl.col(name).alias(f"{name}_told") for name in names))
    joined = topology.table.join(told, on="entity_id", how="left")
    table = joined.with_columns(pl.coalesce(f"{name}_told", name).alias(name) for name in names)
    return Topology.of(table.select(topology.table.columns), where)


def _groups(entity: str, patterns: list[re.Pattern[str]]) -> dict[str, str | None]:
    found = next((found for found in (pattern.fullmatch(entity) for pattern in patterns) if found), None)
    return found.groupdict() if found else {}


def _tell(strays: list[str], where: str) -> None:
    if strays:
        first = ", ".join(strays[:3])
        _LOG.warning("%s: %d entities name no place and hang under their site: %s", where, len(strays), first)


def _path(known: Mapping[str, str], spec: TreeSpec) -> list[dict[str, Any]]:
    """The rows of an entity and its ancestors, upwards."""
    site = fill(spec.site, known) or "site-1"
    ids = {level: fill(spec.parents[level], known) for level in LEVELS if level in spec.parents}
    above = [(level, entity) for level, entity in ids.items() if entity is not None]
    places = [(spec.level, known["entity_id"]), *above, ("site", site)]
    parents = [*(entity for _, entity in places[1:]), None]
    common = {"site": site, "time_zone": fill(spec.time_zone, known) or "UTC", "country": spec.country}
    skus = [fill(spec.sku, known) or "unknown", *(level for level, _ in places[1:])]
    return [
        {"entity_id": entity, "level": level, "parent_id": parent, "sku": sku, **_nameplate(spec, sku), **common}
        for (level, entity), parent, sku in zip(places, parents, skus, strict=True)
    ]


def _nameplate(spec: TreeSpec, sku: str) -> dict[str, float | None]:
    return asdict(spec.skus.get(sku, SkuSpec()))


def _place(row: dict[str, Any], rows: dict[str, dict[str, Any]], leaf: str, where: str) -> None:
    """Add `row`, unless its entity is there already; the higher place of an entity is its own."""
    there = rows.setdefault(row["entity_id"], row)
    if there["level"] == row["level"]:
        if there["parent_id"] != row["parent_id"]:
            raise DataError(
                f"{where}: {row['level']} {row['entity_id']} is under both {there['parent_id']} and "
                f"{row['parent_id']}; put what tells the two apart in its template."
            )
    elif there["level"] == leaf:
        rows[row["entity_id"]] = row
    elif row["level"] != leaf:
        raise DataError(
            f"{where}: {row['entity_id']} is both a {there['level']} and a {row['level']}; "
            f"give each level ids of its own."
        )


def _compiled(spec: TreeSpec) -> list[re.Pattern[str]]:
    compiled = []
    for pattern in spec.patterns:
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            raise ConfigError(f"tree.patterns: {pattern!r} is no regular expression: {error}.") from error
    return compiled


def _check_spec(spec: TreeSpec, patterns: list[re.Pattern[str]], columns: list[str]) -> None:
    for level in (spec.level, *spec.parents):
        if level not in LEVELS:
            raise ConfigError(f"tree: unknown level {level!r}; levels are {', '.join(LEVELS)}.")
    low = [level for level in spec.parents if not LEVELS.index(spec.level) < LEVELS.index(level) < LEVELS.index("site")]
    if low:
        raise ConfigError(f"tree.parents: {low[0]} is not between {spec.level} and site.")
    for place, template in spec.templates.items():
        if "{" in template or "}" in template:
            check_template(template, f"tree.{place}")
    known = {*columns, *(group for pattern in patterns for group in pattern.groupindex)}
    unknown = sorted(spec.fields - known)
    if unknown:
        raise ConfigError(f"tree: a template names {unknown[0]!r}; known are {', '.join(sorted(known))}.")
