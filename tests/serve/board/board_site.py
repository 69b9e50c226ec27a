"""Sites that the board is looked at with, and what `/v1` says of them in the board's words."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from fleets import SPEC
from playwright.sync_api import Page, expect
from running import Running

from forecast.contracts.topology import Topology

FORECAST = "/v1/forecasts/day-ahead"
TIGHT = "site-1.hall-a.row-1.rack-2"

#: A name that would be more than text where it is not treated as text.
HOSTILE = 'site-1.hall-b.row-2.<img src="http://192.0.2.1/x">'


def site(halls: int, rows: int, racks: int, servers: int) -> Topology:
    """Halls of rows of racks of servers, as the simulator names them; one rack is close to its limit."""
    nodes: list[tuple[str, str | None, str, float]] = [("site-1", None, "site", 1e5)]
    for hall in range(halls):
        nodes.append((hall_id := f"site-1.hall-{'abcdefgh'[hall]}", "site-1", "hall", 5e4))
        for row in range(1, rows + 1):
            nodes.append((row_id := f"{hall_id}.row-{row}", hall_id, "row", 2e4))
            for rack in range(1, racks + 1):
                rack_id = f"{row_id}.rack-{rack}"
                nodes.append((rack_id, row_id, "rack", 825.0 * servers if rack_id == TIGHT else 1_000.0 * servers))
                nodes += [(f"{rack_id}.server-{at}", rack_id, "server", 1_000.0) for at in range(1, servers + 1)]
    if halls == 2:
        nodes.append((HOSTILE, "site-1.hall-b.row-2", "rack", 1_000.0))
    table = pl.DataFrame(nodes, schema=["entity_id", "parent_id", "level", "power_limit_w"], orient="row")
    return Topology.of(
        table.with_columns(
            sku=pl.lit("air"), temperature_limit_c=pl.lit(90.0), site=pl.lit("site-1"), time_zone=pl.lit("UTC")
        )
    )


def telemetry(topology: Topology, end: datetime, steps: int) -> pl.DataFrame:
    """A sample per step of every server, each at its own load."""
    servers = [name for name in topology.entities if ".server-" in name or name == HOSTILE]
    load = np.random.default_rng(0).uniform(0.3, 0.9, len(servers))
    frames = []
    for step in range(1, steps + 1):
        frame = pl.DataFrame({"entity_id": servers, "power_w": 1_000 * load, "temperature_c": 40 + 45 * load})
        time = pl.lit(end - timedelta(seconds=SPEC.step_s * step - 60)).cast(pl.Datetime("us", "UTC"))
        frames.append(frame.with_columns(time=time, utilization_ratio=pl.Series(load)))
    return pl.concat(frames)


SITE = site(2, 2, 3, 4)
LARGE = site(8, 10, 8, 15)

#: Opens the board at a fragment of its address.
Open = Callable[..., Page]


def shows(page: Page, entity: str) -> None:
    expect(page.locator("#fans")).to_have_attribute("data-entity", entity, timeout=20_000)


def answer(server: Running, path: str) -> Any:
    return server.ask("GET", FORECAST + path).json


def room(server: Running, entity: str, **asked: str) -> float:
    query = "&".join(f"{name}={value}" for name, value in {"entity": entity, "target": "power_w", **asked}.items())
    return float(answer(server, f"/headroom?{query}")["rows"][0]["headroom"])


def kw(watts: float) -> str:
    """A load as the board prints it: about three digits."""
    value = watts / 1000
    return f"{value:.{0 if abs(value) >= 99.95 else 1 if abs(value) >= 0.995 else 2}f} kW"


def plain(text: str | None) -> str:
    return (text or "").replace("\u00a0", " ").replace("−", "-")
