"""What measured entities may reach and where they stand, as arrays for the detectors of faults."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.topology import Topology

#: Collectors and exporters go wrong by hall; where a fleet names none, by site.
_TOGETHER = ("hall", "site", "fleet")
#: Supply air, the cooler end of ASHRAE's range (constants.md §1), and the limit of a die that states none, as
#: the hottest of constants.md §2.
_SUPPLY_C, _ANY_LIMIT_C = 18.0, 88.0


@dataclass(frozen=True, eq=False)
class Limits:
    """One element per measured entity, `[N]`.

    Attributes:
        rows: its place on the entity axis of the grid.
        hall: code of the hall (else site) above it, from 0 on; entities with one code share a collector.
        power_limit_w, temperature_limit_c: NaN where unknown.
    """

    rows: NDArray[np.int64]
    hall: NDArray[np.int64]
    power_limit_w: NDArray[np.float64]
    temperature_limit_c: NDArray[np.float64]

    @property
    def die_limit_c(self) -> NDArray[np.float64]:
        """The operating limit of each die, `[N]`, or the hottest there is."""
        return np.where(np.isnan(self.temperature_limit_c), _ANY_LIMIT_C, self.temperature_limit_c)

    @property
    def swing_k(self) -> NDArray[np.float64]:
        """How far load can move temperature, `[N]`, in K."""
        return self.die_limit_c - _SUPPLY_C

    @property
    def kelvin_per_w(self) -> NDArray[np.float64]:
        """How temperature follows power, `[N]`: up to the limit at the nameplate; NaN without one."""
        return self.swing_k / self.power_limit_w

    @property
    def halls(self) -> int:
        return int(self.hall.max(initial=-1)) + 1

    def blocks(self, size: int) -> list["Limits"]:
        """The same in blocks of whole halls, about `size` entities each: who shares a hall is judged by it."""
        by_hall = np.argsort(self.hall, kind="stable")
        sizes = np.bincount(self.hall)
        block = ((sizes.cumsum() - sizes) // size)[self.hall[by_hall]]
        edges = [0, *np.flatnonzero(np.diff(block)) + 1, len(by_hall)]
        return [self._of(by_hall[first:last]) for first, last in pairwise(edges) if last > first]

    def _of(self, places: NDArray[np.intp]) -> "Limits":
        """The entities at `places`, in the order of their halls."""
        hall = self.hall[places] - self.hall[places[0]]
        return Limits(self.rows[places], hall, self.power_limit_w[places], self.temperature_limit_c[places])


def limits_of(topology: Topology, entities: tuple[str, ...]) -> Limits:
    """Look up `entities`, in their order; one that the topology lacks stands alone, without limits."""
    table = topology.table
    above = {
        entity: (parent, level) for entity, parent, level in table.select("entity_id", "parent_id", "level").rows()
    }
    sites = dict(table.select("entity_id", "site").rows())
    names = [_above(entity, above) or sites.get(entity) or entity for entity in entities]
    codes = {name: code for code, name in enumerate(dict.fromkeys(names))}
    limits = pl.DataFrame({"entity_id": entities}, schema={"entity_id": pl.String}).join(
        table.select("entity_id", "power_limit_w", "temperature_limit_c"),
        on="entity_id",
        how="left",
        maintain_order="left",
    )
    return Limits(
        rows=np.arange(len(entities)),
        hall=np.array([codes[name] for name in names], dtype=np.int64),
        power_limit_w=limits["power_limit_w"].fill_null(float("nan")).to_numpy(),
        temperature_limit_c=limits["temperature_limit_c"].fill_null(float("nan")).to_numpy(),
    )


def _above(entity: str, above: dict[str, tuple[str | None, str]]) -> str | None:
    parent = above.get(entity, (None, ""))[0]
    while parent is not None and above[parent][1] not in _TOGETHER:
        parent = above[parent][0]
    return parent
