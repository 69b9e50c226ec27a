"""The fleet tree above the servers, with the limits that hold at each level."""

import polars as pl

from forecast.contracts.tables import TOPOLOGY
from forecast.simulator.fleet import Fleet

#: Limit of each level over the sum of server nameplates below: peaks do not coincide, so feeds are sold twice [K].
PROVISIONED_RATIO = {"server": 1.0, "rack": 0.95, "row": 0.88, "hall": 0.82, "site": 0.78}
_ABOVE = {"server": "rack", "rack": "row", "row": "hall", "hall": "site"}


def topology(fleet: Fleet, day: int | None = None) -> pl.DataFrame:
    """Return the tree, contract TOPOLOGY: a server's own limits, and above them feeds and the least of all limits.

    Args:
        day: of the record; what comes into service later is not part of it. None is the last.
    """
    servers = _servers(fleet, fleet.config.days - 1 if day is None else day)
    levels = [_level(servers, level, ratio) for level, ratio in PROVISIONED_RATIO.items()]
    return (
        pl.concat(levels)
        .with_columns(site=pl.lit(fleet.config.site), time_zone=pl.lit(fleet.config.time_zone))
        .select(list(TOPOLOGY.required))
    )


def _servers(fleet: Fleet, day: int) -> pl.DataFrame:
    """Return the servers in service on one day."""
    racks = [fleet.racks[rack] for rack in fleet.rack_of]
    return pl.DataFrame(
        {
            "server": fleet.server_ids,
            "rack": [rack.rack_id for rack in racks],
            "row": [rack.row_id for rack in racks],
            "hall": [rack.hall_id for rack in racks],
            "site": [fleet.config.site for _ in racks],
            "sku": [rack.sku_name for rack in racks],
            "nameplate_w": fleet.column("nameplate_w"),
            "max_operating_c": fleet.column("max_operating_c"),
        }
    ).filter(fleet.from_day[: len(racks)] <= day)


def _level(servers: pl.DataFrame, level: str, provisioned_ratio: float) -> pl.DataFrame:
    parent = pl.col(_ABOVE[level]).first() if level in _ABOVE else pl.lit(None, dtype=pl.String)
    return servers.group_by(pl.col(level).alias("entity_id"), maintain_order=True).agg(
        parent_id=parent,
        level=pl.lit(level),
        sku=pl.when(pl.col("sku").n_unique() == 1).then(pl.col("sku").first()).otherwise(pl.lit("mixed")),
        power_limit_w=pl.col("nameplate_w").sum() * provisioned_ratio,
        temperature_limit_c=pl.col("max_operating_c").min(),
    )
