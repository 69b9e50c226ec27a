"""The fleet at a glance: one number per entity and column, for a map of thousands of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from forecast.contracts.signals import TARGETS
from forecast.features.gridded import Floats
from serve.dispatch.room import Part
from serve.dispatch.tree import Tree
from serve.engine.issued import RUNGS

#: Every status that a forecast has, from the best.
STATUSES = ("ok", "new", "sparse", "partial", "stale", "no_data")


def fleet_map(part: Part, tree: Tree, targets: Sequence[str], confidence: float) -> dict[str, Any]:
    """Columns `[n]`, entities in topology order: names, and numbers that index into lists beside them."""
    topology, places = part.issued.topology, part.places
    here = np.full(len(tree.parent) + 1, -1)  # the last is for those without a parent
    here[places] = np.arange(len(places))
    statuses = [STATUSES.index(part.issued.forecast.status[place]) for place in places.tolist()]
    names, levels = topology.table["entity_id"], topology.table["level"]
    place_of = {level: at for at, level in enumerate(topology.levels)}
    return {
        "levels": list(topology.levels),
        "sources": list(RUNGS),
        "statuses": list(STATUSES),
        "entity_id": names[places].to_list(),
        "parent": here[tree.parent[places]],
        "level": [place_of[level] for level in levels[places]],
        "source": part.rung.max(axis=1),
        "status": statuses,
        "targets": {target: _columns(part, target, confidence) for target in targets},
    }


def _columns(part: Part, target: str, confidence: float) -> dict[str, Any]:
    limit, room = part.limits(target), _extreme(part.room(target, confidence), -1.0)
    return {
        "unit": TARGETS[target].unit,
        "limit": limit,
        "headroom": _rounded(room, 1),
        "share": _rounded(room / limit, 4),
        "exceedance": _rounded(_extreme(part.odds(target), 1.0), 4),
    }


def _extreme(values: Floats, sign: float) -> Floats:
    """The largest of each row `[n, h]` (the least, for -1); NaN where nothing is known."""
    known = np.where(np.isnan(values), -np.inf, sign * values).max(axis=1)
    extreme: Floats = np.where(np.isneginf(known), np.nan, sign * known).astype(np.float32)
    return extreme


def _rounded(values: Floats, decimals: int) -> Floats:
    """What a map can show; fewer digits go over the wire."""
    return np.round(values, decimals)
