"""The fleet tree as arrays, to find entities by name, level and subtree."""

from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from forecast.contracts.topology import Topology
from serve.engine.issued import Places
from serve.refusals import NotFoundError

#: Names that are compared letter by letter, of those that share most pairs of letters.
_CLOSE = 32

#: No name that is looked for is longer, and none is shown in full.
_LONGEST = 100


@dataclass(frozen=True, eq=False)
class Tree:
    """A topology with its parents as places.

    Attributes:
        topology: of a forecast.
        parent: `[N]`, place of each entity's parent; -1 for a root.
    """

    topology: Topology
    parent: Places

    @staticmethod
    @lru_cache(maxsize=8)
    def of(topology: Topology) -> "Tree":
        """The tree of a topology: the same one each time."""
        code = {name: place for place, name in enumerate(topology.entities)}
        parent = np.array([-1 if above is None else code[above] for above in topology.table["parent_id"]], np.intp)
        return Tree(topology, parent)

    @cached_property
    def code(self) -> dict[str, int]:
        """The place of each entity."""
        return {name: place for place, name in enumerate(self.topology.entities)}

    def place(self, name: str, field: str) -> int:
        """The place of an entity.

        Args:
            field: of the request, named in errors.

        Raises:
            NotFoundError: there is none; its message has the name most like it.
        """
        place = self.code.get(name)
        if place is None:
            raise NotFoundError(f"{field}: no entity {name[:_LONGEST]}; the nearest name is {self.nearest(name)}.")
        return place

    def above(self, place: int) -> list[int]:
        """Those above an entity, the nearest first."""
        path = []
        while (place := int(self.parent[place])) >= 0:
            path.append(place)
        return path

    def chosen(self, entities: list[str], level: str | None, under: str | None) -> Places:
        """The places, in topology order, of those that fit: all of them where nothing is asked for.

        Args:
            entities: names; empty for any.
            level: of the tree.
            under: name of the root of a subtree, which is a part of it.

        Raises:
            NotFoundError: as of `place`.
        """
        fits = np.ones(len(self.parent), np.bool_)
        if entities:
            named = np.zeros_like(fits)
            named[[self.place(name, "entity") for name in entities]] = True
            fits &= named
        if level is not None:
            fits &= (self.topology.table["level"] == level).to_numpy()
        if under is not None:
            fits &= self._below(self.place(under, "under"))
        return np.flatnonzero(fits)

    def nearest(self, name: str) -> str:
        """The entity whose name is most like `name`."""
        wanted, names = name[:_LONGEST], self.topology.entities
        apart = np.bitwise_count(self._pairs ^ np.uint64(_pairs(wanted)))
        closest = [names[place] for place in np.argsort(apart, kind="stable")[:_CLOSE].tolist()]
        best: str = max(closest, key=lambda known: SequenceMatcher(None, wanted, known).ratio())
        return best

    def _below(self, root: int) -> NDArray[np.bool_]:
        below: NDArray[np.bool_] = np.arange(len(self.parent)) == root
        at = self.parent
        while (at >= 0).any():
            below |= at == root
            at = np.where(at >= 0, self.parent[at], -1)
        return below

    @cached_property
    def _pairs(self) -> NDArray[np.uint64]:
        return np.array([_pairs(name) for name in self.topology.entities], np.uint64)


def _pairs(name: str) -> int:
    """Which pairs of neighbouring letters a name has, in 64 bits."""
    letters = f" {name.lower()} "
    bits = 0
    for first, second in pairwise(letters):
        bits |= 1 << (31 * ord(first) + ord(second)) % 64
    return bits
