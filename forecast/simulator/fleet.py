"""The site as built: which server sits where, and how each unit differs from its data sheet."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from forecast.contracts.tables import TOPOLOGY
from forecast.simulator.arrays import Bools, Floats, Ints
from forecast.simulator.config import SimulatorConfig
from forecast.simulator.skus import Sku, sku
from forecast.simulator.streams import stream

#: Feed of each level over the sum of server nameplates below it: peaks do not coincide, so feeds are sold twice [K].
PROVISIONED_RATIO = {"rack": 0.95, "row": 0.88, "hall": 0.82, "site": 0.78}
#: Energy spread over eight GPUs doing identical work, from least to most (DOMAIN.md §2).
UNIT_SPREAD = 0.057
#: Spread of thermal resistance between units, log-normal: half of what the PCIe cards of DOMAIN.md §2 show, as those
#: also differ in slot and chassis [D].
RESISTANCE_SPREAD = 0.07


@dataclass(frozen=True)
class Rack:
    """One rack: its place, its SKU, and whether its servers are reserved for inference."""

    rack_id: str
    row_id: str
    hall_id: str
    sku_name: str
    servers: Ints
    inference: bool


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
                racks.append(Rack(rack_id, row_id, hall_id, row.sku, servers, number < reserved))
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

    def column(self, name: str) -> Floats:
        """Return one attribute of each server's SKU, `[N]`."""
        return np.array([float(getattr(kind, name)) for kind in self.skus])

    @cached_property
    def liquid(self) -> Bools:
        return self.column("liquid") > 0

    def topology(self) -> pl.DataFrame:
        """Return the tree, contract TOPOLOGY: a server's own limits, and provisioned feeds above."""
        nodes: dict[str, tuple[str | None, str, str, float, float]] = {}
        site = self.config.site
        for rack in self.racks:
            kind = sku(rack.sku_name)
            load_w, limit_c = kind.nameplate_w * len(rack.servers), kind.max_operating_c
            for node, parent, level in (
                (site, None, "site"),
                (rack.hall_id, site, "hall"),
                (rack.row_id, rack.hall_id, "row"),
                (rack.rack_id, rack.row_id, "rack"),
            ):
                _, _, _, sum_w, least_c = nodes.get(node, (None, "", "", 0.0, np.inf))
                nodes[node] = (
                    parent,
                    level,
                    rack.sku_name if level in ("row", "rack") else "mixed",
                    sum_w + load_w * PROVISIONED_RATIO[level],
                    min(least_c, limit_c),
                )
            for server in rack.servers:
                nodes[self.server_ids[server]] = (
                    rack.rack_id, "server", rack.sku_name, kind.nameplate_w, kind.max_operating_c
                )  # fmt: skip
        rows = [(node, *values, site, self.config.time_zone) for node, values in nodes.items()]
        return pl.DataFrame(rows, schema=dict(TOPOLOGY.required), orient="row")


@dataclass(frozen=True)
class Units:
    """How each unit differs from its data sheet; every array `[N]`.

    Attributes:
        mean_power_ratio, hot_power_ratio: dynamic power over nominal, of the average and of the hottest die.
        resistance_ratio: thermal resistance over nominal.
        approach_k: inlet above the hall's supply at full rack load; grows from the bottom of a rack to its top.
        sensor_gain: what the power meter multiplies by; within ±1 % [K].
    """

    mean_power_ratio: Floats
    hot_power_ratio: Floats
    resistance_ratio: Floats
    approach_k: Floats
    sensor_gain: Floats


def draw_units(fleet: Fleet) -> Units:
    """Draw the units that were installed."""
    rng = stream(fleet.config.seed, "units")
    count = len(fleet.server_ids)
    die_count = fleet.column("die_count")
    dies = 1.0 + rng.uniform(-0.5, 0.5, (count, int(die_count.max()))) * UNIT_SPREAD
    present = np.arange(dies.shape[1]) < die_count[:, None]
    height = np.concatenate([(rack.servers - rack.servers[0] + 0.5) / len(rack.servers) for rack in fleet.racks])
    low_k, high_k = fleet.column("approach_low_k"), fleet.column("approach_high_k")
    return Units(
        mean_power_ratio=np.where(present, dies, 0.0).sum(axis=1) / die_count,
        hot_power_ratio=np.where(present, dies, 0.0).max(axis=1),
        resistance_ratio=np.exp(np.clip(rng.normal(0.0, 1.0, count), -2.5, 2.5) * RESISTANCE_SPREAD),
        approach_k=low_k + (high_k - low_k) * height,
        sensor_gain=1.0 + rng.uniform(-0.01, 0.01, count),
    )
