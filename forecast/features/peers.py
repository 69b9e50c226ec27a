"""Who gets the next job: schedulers fill machines of one kind in order, those first that are free first."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.topology import Topology
from forecast.features.schedule import ONE, Ints


@dataclass(frozen=True, eq=False)
class Peers:
    """The leaves of a fleet, `[K]` of `[N]` entities, and which of them stand in one queue.

    Attributes:
        leaf: `[K]`, index of each among the entities.
        pool: `[K]`, alike for those of one kind at one site.
        over: `[2, P]`, each place in `leaf` with the index of each entity that it belongs to, itself among them.
        leaves: `[N]`, how many belong to each entity.
    """

    leaf: Ints
    pool: Ints
    over: Ints
    leaves: Ints

    @classmethod
    def of(cls, topology: Topology, above: pl.DataFrame, leaves: Ints) -> "Peers":
        """Of a fleet whose entities lie under others as `forecast.features.schedule.above_of` tells."""
        parents = topology.table["parent_id"].drop_nulls().implode()
        table = topology.table.with_columns(entity=pl.int_range(pl.len())).filter(~pl.col("entity_id").is_in(parents))
        pool = table.select(pl.struct("site", "sku").rank("dense").cast(pl.Int64) - 1).to_series()
        places = table.select("entity", place=pl.int_range(pl.len()))
        over = places.join(above, on="entity", maintain_order="left").select("place", "over")
        return cls(table["entity"].to_numpy(), pool.to_numpy(), over.to_numpy().T, leaves)

    def places(self, free_s: Ints, origin_s: Ints) -> NDArray[np.float64]:
        """The share of its peers that get a job before an entity, and of those that have none, `[2, ..., N]`.

        Means over the leaves of an entity; of leaves free at the same time, the first in the topology comes first.

        Args:
            free_s: `[..., K]`, when each leaf is promised to be free; `origin_s` where it is.
            origin_s: broadcasts to it.
        """
        size = np.bincount(self.pool)
        order = np.lexsort((free_s, np.broadcast_to(self.pool, free_s.shape)))
        begins = (size.cumsum() - size)[np.sort(self.pool)]
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.broadcast_to(np.arange(len(begins)) - begins, order.shape), -1)
        free = ((free_s == origin_s) @ (self.pool[:, None] == np.arange(len(size))).astype(np.int64))[..., self.pool]
        shares = np.stack([2 * rank + 1, 2 * free]) * ONE // (2 * size[self.pool])
        place, over = self.over
        totals = np.zeros((len(self.leaves), *shares.shape[:-1]), np.int64)
        np.add.at(totals, over, np.moveaxis(shares, -1, 0)[place])
        found: NDArray[np.float64] = np.moveaxis(totals, 0, -1) / (self.leaves * ONE)
        return found
