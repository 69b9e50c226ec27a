"""How often drift is seen where nothing happened, and how soon where something did.

Run as `make bench-drift`; writes `benchmarks/results/drift.json`. A version is made once per world, then checked daily
at the end of what came, as if it had been made anew every week. On measured data nothing is known to have happened:
every alarm counts as false. In simulated worlds events are put into the panel on many days, one at a time.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.accuracy.tasks import configured
from benchmarks.machine import record
from forecast.bundle.load import Bundle
from forecast.contracts.topology import Topology
from forecast.evaluation.drift.measure import Drift, measure
from forecast.features.gridded import Floats
from forecast.predictor import Predictor
from forecast.retrain.make import make_bundle
from forecast.retrain.prepare import Prepared, prepare
from forecast.retrain.stages import Stages
from forecast.tables import console
from forecast.windows.panel import Panel
from forecast.wording import digits, percent

#: Days of a month, for rates.
_MONTH = 30

#: Versions are as old as in a week of daily runs: their data ends so many days before a check.
_AGES = (1, 2, 3, 4, 5, 6, 7)

#: Events are put in every so many days.
_EVERY = 6

#: Simulated sites: winter into spring, each with its own machines, work and weather.
_SITE = (
    "source=simulator",
    "source.until=2026-03-16",
    "source.fleet.start=2026-01-12",
    "source.fleet.days=132",
    "source.fleet.step_s=900",
    "source.fleet.rows=["
    "{hall: hall-a, sku: h100-air, racks: 3, servers_per_rack: 4},"
    "{hall: hall-a, sku: gb200-tray, racks: 1, servers_per_rack: 12, inference_ratio: 0.34},"
    "{hall: hall-b, sku: cpu-2s, racks: 2, servers_per_rack: 10, inference_ratio: 0.5}]",
    "window.step_s=900",
    "window.context_steps=672",
    "window.horizon_steps=96",
)
_SEEDS = (21, 22)

#: Measured worlds: settings, and the day on which the version is made.
_MEASURED = {
    "BioHPC": ("source=biohpc", "evaluation.origins=null", "source.until=2024-03-01"),
    "Google PDUs": ("source=google_pdu", "source.until=2019-05-22"),
}

_QUICK = ("training.steps=100", "evaluation.origin_every_h=24", "evaluation.test_h=72", "evaluation.validation_h=96")


@dataclass(frozen=True, eq=False)
class World:
    """A version and all that came, before and after it was made."""

    name: str
    bundle: Bundle
    prepared: Prepared

    @classmethod
    def of(cls, name: str, settings: tuple[str, ...], cache: Path) -> "World":
        """Make the version from what had come by `source.until`."""
        config = configured((*settings, *_QUICK, f"cache={cache}"))
        with TemporaryDirectory() as folder:
            known = prepare(config, Stages(7, console()))
            bundle, _ = make_bundle(config, known, "version", Path(folder), Stages(5, console()))
        everything = replace(config, source=replace(config.source, until=None))
        return cls(name, bundle, prepare(everything, Stages(2, console())))

    @property
    def panel(self) -> Panel:
        return self.prepared.panel

    @property
    def day(self) -> int:
        """Steps of a day."""
        return self.prepared.spec.day_steps

    @property
    def made(self) -> int:
        """The first whole day after the version was made."""
        return -(-self.panel.step(datetime.fromisoformat(self.bundle.manifest.training["watermark"])) // self.day)

    @property
    def days(self) -> range:
        """At whose ends can be checked a version that is as old as any."""
        return range(self.made + max(_AGES), self.panel.steps // self.day + 1)

    def check(self, end: int, age: int, values: Floats | None = None, bundle: Bundle | None = None) -> Drift:
        """Measure drift at the end of day number `end`, of a version whose data ends `age` days before.

        Args:
            end: days from the panel's beginning.
            age: days.
            values: what came until then, instead of what did, `[C, N, T]`.
            bundle: the version, instead of the world's.
        """
        panel, bundle = self.panel, bundle or self.bundle
        watermark = panel.time((end - age) * self.day - 1).isoformat()
        manifest = replace(bundle.manifest, training=bundle.manifest.training | {"watermark": watermark})
        came = panel.read(0, end * self.day) if values is None else values
        version, topology = replace(bundle, manifest=manifest), self.prepared.trace.topology

        def tell(fleet: Topology) -> Predictor:
            return Predictor(version, topology=fleet)

        return measure(version, tell, replace(panel, chunks=(came,)), topology, lambda _: None)


def quiet(world: World, every: int) -> dict[str, object]:
    """Check a world in which nothing is known to have happened, every so many days."""
    checks = [(day, world.check(day, _AGES[day % len(_AGES)])) for day in world.days[::every]]
    alarms = [(day, drift) for day, drift in checks if drift.drifted]
    for day, drift in alarms:
        print(f"  {world.name}, {world.panel.time(day * world.day):%Y-%m-%d}: {drift.reason}", flush=True)
    kinds = [row.kind for _, drift in alarms for row in drift.rows[:1]]
    return {
        "world": world.name,
        "checks": len(checks),
        "alarms": len(alarms),
        "a_month": round(len(alarms) / len(checks) * _MONTH, 2),
        "first_kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
    }


@dataclass(frozen=True, eq=False)
class Event:
    """Something that happens to a world from a step on: changes `values [C, N, T]`, or what the version knows."""

    name: str
    change: Callable[[World, Floats, int], None] = lambda *_: None
    forget: Callable[[World], Bundle] = lambda world: world.bundle


def firmware(world: World, values: Floats, start: int) -> None:
    """10 % more power of one SKU for the same work; its dies warm as they always did with power, its feeds carry it."""
    table = world.prepared.trace.topology.table
    power, heat = (world.panel.channels.index(name) for name in ("power_w", "temperature_c"))
    for server in np.flatnonzero(_leaves(world) & (table["sku"] == "h100-air").to_numpy()).tolist():
        more = 0.1 * values[power, server, start:]
        watts, degrees = values[power, server, :start], values[heat, server, :start]
        known = ~np.isnan(watts + degrees)
        values[power, [server, *_above(world, server)], start:] += more
        values[heat, server, start:] += np.polyfit(watts[known], degrees[known], 1)[0] * more


def chiller(world: World, values: Floats, start: int) -> None:
    """4 K warmer air in one hall, and so all that is in it."""
    inside = np.array(["hall-a" in entity for entity in world.panel.entities])
    for name in ("inlet_c", "temperature_c"):
        values[world.panel.channels.index(name), inside, start:] += 4


def silence(world: World, values: Floats, start: int) -> None:
    """Every other server tells nothing any more."""
    values[:, np.flatnonzero(_leaves(world))[::2], start:] = np.nan


def without_trays(world: World) -> Bundle:
    """The version as if made before one of the SKUs came."""
    manifest, sku = world.bundle.manifest, "gb200-tray"
    known = Topology.of(manifest.topology.table.filter(pl.col("sku") != sku))
    return replace(
        world.bundle,
        manifest=replace(manifest, topology=known, skus=tuple(name for name in manifest.skus if name != sku)),
    )


EVENTS = (
    Event("firmware: +10 % power of an SKU", firmware),
    Event("failed chiller: +4 K in a hall", chiller),
    Event("half the servers silent", silence),
    Event("a new SKU", forget=without_trays),
)


def _leaves(world: World) -> NDArray[np.bool_]:
    leaves: NDArray[np.bool_] = (world.prepared.trace.topology.table["level"] == "server").to_numpy()
    return leaves


def _above(world: World, server: int) -> list[int]:
    topology = world.prepared.trace.topology
    above = topology.ancestors().filter(leaf_id=topology.entities[server])["ancestor_id"]
    return [topology.entities.index(entity) for entity in above]


def eventful(world: World, event: Event) -> Iterator[tuple[bool, bool, str]]:
    """Whether an event is seen one and two days after it began, on days all over the world's; and as what."""
    for start in world.days[:-2:_EVERY]:
        found = []
        for age in (1, 2):
            values = world.panel.read(0, (start + age) * world.day)
            event.change(world, values, start * world.day)
            found.append(world.check(start + age, age, values, event.forget(world)))
        yield (
            found[0].drifted,
            found[0].drifted or found[1].drifted,
            next((f"{drift.rows[0].kind} of {drift.rows[0].by}" for drift in found if drift.drifted), "nothing"),
        )


def detection(worlds: list[World], event: Event) -> dict[str, object]:
    """How often an event is seen, over all worlds."""
    seen = [each for world in worlds for each in eventful(world, event)]
    told = [first for _, _, first in seen]
    return {
        "event": event.name,
        "times": len(seen),
        "within_1_day": round(sum(one for one, _, _ in seen) / len(seen), 3),
        "within_2_days": round(sum(two for _, two, _ in seen) / len(seen), 3),
        "mostly_as": max(set(told), key=told.count),
    }


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("var/bench/drift"))
    parser.add_argument("--every", type=int, default=1, help="check quiet days only every so many")
    parser.add_argument("--seeds", type=int, default=len(_SEEDS), help="simulated worlds")
    chosen = parser.parse_args()
    sites = [
        World.of(
            f"simulated {seed}",
            (*_SITE, f"source.fleet.seed={seed}", f"source.path={chosen.cache}/{seed}"),
            chosen.cache,
        )
        for seed in _SEEDS[: chosen.seeds]
    ]
    measured = [World.of(name, settings, chosen.cache) for name, settings in _MEASURED.items()]
    begin = monotonic()
    calm = [quiet(world, chosen.every) for world in (*sites, *measured)]
    seconds = (monotonic() - begin) / sum(int(str(row["checks"])) for row in calm)
    noticed = [detection(sites, event) for event in EVENTS]
    _print(calm, noticed, seconds)
    record(
        "drift",
        int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        _figures(calm, noticed),
        quiet=calm,
        events=noticed,
        seconds_a_check=round(seconds, 2),
    )


def _figures(calm: list[dict[str, object]], noticed: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    def rate(rows: list[dict[str, object]]) -> float:
        alarms, checks = (sum(int(str(row[name])) for row in rows) for name in ("alarms", "checks"))
        return round(alarms / checks * _MONTH, 2)

    simulated = [row for row in calm if str(row["world"]).startswith("simulated")]
    real = [row for row in calm if row not in simulated]
    return {
        "alarms_a_month_simulated": {"value": rate(simulated), "goal": 1.0, "better": "lower"},
        "alarms_a_month_measured": {"value": rate(real), "goal": 1.0, "better": "lower"},
        **{
            f"{row['event']}, within 2 days": {"value": row["within_2_days"], "goal": 0.95, "better": "higher"}
            for row in noticed
        },
    }


def _print(calm: list[dict[str, object]], noticed: list[dict[str, object]], seconds: float) -> None:
    print(f"{'quiet world':<20}{'checks':>8}{'alarms':>8}{'a month':>9}  first seen as")
    for row in calm:
        print(f"{row['world']:<20}{row['checks']:>8}{row['alarms']:>8}{row['a_month']:>9}  {row['first_kinds'] or ''}")
    print(f"{'event':<36}{'times':>6}{'1 day':>8}{'2 days':>8}  mostly as")
    for row in noticed:
        shares = [percent(float(str(row[name])), 0) for name in ("within_1_day", "within_2_days")]
        print(f"{row['event']:<36}{row['times']:>6}{shares[0]:>8}{shares[1]:>8}  {row['mostly_as']}")
    print(f"{digits(seconds)} s a check")


if __name__ == "__main__":
    main()
