"""What measured entities may reach and where they stand, as arrays for the detectors of faults."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.topology import Topology

#: Collectors and exporters go wrong by hall; where a fleet names none, by site.
_TOGETHER = ("hall", "site", "fleet")
#: Supply air, the cooler end of ASHRAE's recommended range (DOMAIN.md §1), and the limit of a die that states none, as
#: the hottest of DOMAIN.md §2.
_SUPPLY_C, _ANY_LIMIT_C = 18.0, 88.0


@dataclass(frozen=True, eq=False)
class Limits:
    """One element per measured entity, `[N]`.

    Attributes:
        hall: code of the hall (else site) above it; entities with one code share a collector.
        power_limit_w, temperature_limit_c: NaN where unknown.
    """

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
        hall=np.array([codes[name] for name in names], dtype=np.int64),
        power_limit_w=limits["power_limit_w"].fill_null(float("nan")).to_numpy(),
        temperature_limit_c=limits["temperature_limit_c"].fill_null(float("nan")).to_numpy(),
    )


def _above(entity: str, above: dict[str, tuple[str | None, str]]) -> str | None:
    parent = above.get(entity, (None, ""))[0]
    while parent is not None and above[parent][1] not in _TOGETHER:
        parent = above[parent][0]
    return parent
