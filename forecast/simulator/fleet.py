"""The site as built: which server sits where."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forecast.simulator.arrays import Bools, Floats, Ints
from forecast.simulator.config import SimulatorConfig
from forecast.simulator.skus import Sku, sku


@dataclass(frozen=True)
class Rack:
    """One rack: its place, its SKU, whether its servers are reserved for inference, and its first day in service."""

    rack_id: str
    row_id: str
    hall_id: str
    sku_name: str
    servers: Ints
    inference: bool
    from_day: int = 0


@dataclass(frozen=True, eq=False)
class Fleet:
    """All servers in rack order, and the tree above them. Arrays have one element per server, `[N]`."""

    config: SimulatorConfig
    racks: tuple[Rack, ...]

    @classmethod
    def of(cls, config: SimulatorConfig) -> "Fleet":
        """Lay out the rows of `config`."""
        racks: list[Rack] = []
        rows_in: dict[str, int] = {}
        first = 0
        for row in config.rows:
            sku(row.sku)
            rows_in[row.hall] = rows_in.get(row.hall, 0) + 1
            hall_id = f"{config.site}.{row.hall}"
            row_id = f"{hall_id}.row-{rows_in[row.hall]}"
            reserved = round(row.racks * row.inference_ratio)
            for number in range(row.racks):
                servers = np.arange(first, first + row.servers_per_rack)
                first += row.servers_per_rack
                rack_id = f"{row_id}.rack-{number + 1:02d}"
                racks.append(Rack(rack_id, row_id, hall_id, row.sku, servers, number < reserved, row.from_day))
        return cls(config, tuple(racks))

    @cached_property
    def server_ids(self) -> tuple[str, ...]:
        return tuple(
            f"{rack.rack_id}.server-{slot + 1:02d}" for rack in self.racks for slot in range(len(rack.servers))
        )

    @cached_property
    def hall_ids(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rack.hall_id for rack in self.racks))

    @property
    def entity_ids(self) -> tuple[str, ...]:
        """Everything that is measured: servers, then halls."""
        return self.server_ids + self.hall_ids

    @cached_property
    def hall_of(self) -> Ints:
        """Index into `hall_ids`."""
        return np.concatenate([np.full(len(r.servers), self.hall_ids.index(r.hall_id)) for r in self.racks])

    @cached_property
    def rack_of(self) -> Ints:
        """Index into `racks`."""
        return np.concatenate([np.full(len(rack.servers), index) for index, rack in enumerate(self.racks)])

    @cached_property
    def skus(self) -> tuple[Sku, ...]:
        return tuple(sku(rack.sku_name) for rack in self.racks for _ in rack.servers)

    @cached_property
    def from_day(self) -> Ints:
        """First day in service, of everything that is measured, `[entities]`: a hall opens with its first server."""
        servers = np.array([self.racks[rack].from_day for rack in self.rack_of])
        halls = [servers[self.hall_of == hall].min() for hall in range(len(self.hall_ids))]
        return np.concatenate([servers, halls])

    def column(self, name: str) -> Floats:
        """Return one attribute of each server's SKU, `[N]`."""
        return np.array([float(getattr(kind, name)) for kind in self.skus])

    @cached_property
    def liquid(self) -> Bools:
        return self.column("liquid") > 0
