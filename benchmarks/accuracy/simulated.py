"""Task F: what the job schedule is worth. Simulated fleets, forecast with and without it, beside LightGBM.

Run as `make bench-known-ahead`, or `python -m benchmarks.accuracy.simulated`; writes
`benchmarks/results/known_ahead.json`. With and without, Fleetcast begins with the weights that ship for what it is
told, as the first version of a site does. Training and test share no seed of the simulator; one fleet of the test is
of machines that training never saw. A schedule can turn out wrong: fleets whose jobs fail, end early or start late far
more often than in training, and schedules that come a day late. And a model that was trained with one can be told none.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from benchmarks.accuracy.peers.told import ToldLightGBM
from benchmarks.accuracy.tasks import configured
from benchmarks.machine import record
from forecast.calibration.conformal import fit_offsets
from forecast.contracts.specs import CALENDAR, ForecastSpec
from forecast.contracts.topology import Topology
from forecast.evaluation.metrics import WQL_LEVELS, Tally
from forecast.features.gridded import Floats
from forecast.features.outlook import OUTLOOK_NAMES
from forecast.models.graph import ForecastGraph
from forecast.retrain.config import JobConfig
from forecast.retrain.prepare import spec_of
from forecast.retrain.pretrained import SHIPPED, Pretrained
from forecast.simulator.config import RowConfig, SimulatorConfig, WorkConfig
from forecast.traces.simulated import SimulatedSource
from forecast.training.fit import fit, spread
from forecast.windows.ahead import Ahead
from forecast.windows.gather import Windows
from forecast.windows.inputs import Constants
from forecast.windows.panel import Panel
from forecast.windows.store import Store

_SITES = Path("var/bench/simulated")
_SCHEDULE = ("scheduled_power_w", *OUTLOOK_NAMES)
_SETTINGS = ("source=simulator", "training.steps=800", "training.validate_every=100")
_TOLD = (
    f"window.future=[{','.join((*CALENDAR, *_SCHEDULE))}]",
    "training.gaps.untold=0.3",
    "training.gaps.mistold=0.1",
)
_CHUNK = 256
_CALIBRATION_WINDOWS = 4096
_START = "2026-01-12"

TRAIN_SEEDS, TEST_SEEDS, STRANGE_SEED = tuple(range(100, 107)), (300, 301, 302, 303, 304), 305
_TRAIN_DAYS, _VALIDATION_DAYS, _TEST_DAYS = 35, 7, 15

#: So many windows of the hourly origins are scored, drawn at random: trees take a second for a few of them.
_SCORED = 2_000

#: Two halls of the kinds of machines that training sees, and one row of a kind that it does not.
_ROWS = (
    RowConfig("hall-a", "h100-air", racks=4, servers_per_rack=2),
    RowConfig("hall-a", "h100-air", racks=4, servers_per_rack=2),
    RowConfig("hall-a", "gb200-tray", racks=4, servers_per_rack=4, inference_ratio=0.25),
    RowConfig("hall-b", "cpu-2s", racks=2, servers_per_rack=6),
    RowConfig("hall-b", "h100-air", racks=4, servers_per_rack=2),
)
_STRANGE = (*_ROWS[:2], RowConfig("hall-b", "b200-air", racks=4, servers_per_rack=2, inference_ratio=0.25))

#: Worlds whose schedules turn out wrong: failures 100 times as often, limits five times too long, starts 4 h late.
_WRONG = {
    "jobs fail": WorkConfig(failures_per_gpu_h=2e-3),
    "jobs end early": WorkConfig(overestimate=5.0),
    "jobs start late": WorkConfig(start_delay_s=4 * 3600.0),
}
_WRONG_SEEDS = (310, 311)

#: What nobody can tell, as a bound of what a schedule can be worth; true where all jobs are known from the beginning.
_PROPHECIES = {"known jobs with their true times": False, "all jobs with their true times": True}
_STRANGER = "a kind of machine never seen"
_NONE = "no schedule"


@dataclass(frozen=True, eq=False)
class Fleet:
    """Simulated sites as one panel.

    Attributes:
        jobs: contract JOB_SCHEDULE.
    """

    panel: Panel
    topology: Topology
    jobs: pl.DataFrame

    @property
    def level(self) -> np.ndarray:
        """`[N]`, of each entity."""
        return np.array(self.topology.table["level"])

    def windows(self, spec: ForecastSpec, skus: tuple[str, ...], jobs: pl.DataFrame | None) -> Windows:
        """Windows that are told `jobs`; None is no schedule."""
        ahead = Ahead.of(self.topology, spec, None if jobs is None else jobs.lazy(), None)
        return Windows(self.panel, Constants.of(self.topology, skus, ahead), spec, torch.device("cpu"))


def site(
    seed: int, days: int, rows: tuple[RowConfig, ...] = _ROWS, work: WorkConfig | None = None, name: str = ""
) -> Fleet:
    """One simulated site, its panel cached under its seed and `name`."""
    label = "-".join(["site", str(seed), *name.split()])
    config = SimulatorConfig(seed=seed, start=_START, days=days, site=label, rows=list(rows), work=work or WorkConfig())
    trace = SimulatedSource(fleet=config, path=str(_SITES / label / "fleet")).read()
    panel = Store(_SITES / label / "panel").update(trace, spec_of(configured(_SETTINGS).window), label).panel
    assert trace.jobs is not None
    jobs = trace.jobs.with_columns(job_id=pl.concat_str(pl.lit(f"{label}-"), "job_id")).collect()
    return Fleet(panel, trace.topology, jobs)


def together(sites: list[Fleet]) -> Fleet:
    """Sites of the same time as one forest."""
    topology = Topology.of(pl.concat([each.topology.table for each in sites]))
    at = {entity: index for index, entity in enumerate(topology.entities)}
    panel = sites[0].panel
    values = np.full((len(panel.channels), len(at), panel.steps), np.nan, np.float32)
    for each in sites:
        values[:, [at[entity] for entity in each.panel.entities]] = each.panel.read(0, panel.steps)
    joined = Panel(panel.start, panel.step_s, panel.channels, topology.entities, (values,))
    return Fleet(joined, topology, pl.concat([each.jobs for each in sites]))


@dataclass(frozen=True, eq=False)
class Scores:
    """Sums of a method over windows.

    Attributes:
        level: `[M]`, of each window.
        tally: per window.
    """

    level: np.ndarray
    tally: Tally

    def wql(self, target: int = 0, level: str | None = None) -> float:
        """Of one target, over all windows or those of one level."""
        chosen = np.ones(len(self.level), bool) if level is None else self.level == level
        return self.tally.wql(chosen, target)

    def row(self) -> dict[str, float]:
        """Load over all and per level; temperature and coverage of load where they are told."""
        levels = {f"load_{level}": self.wql(0, level) for level in dict.fromkeys(self.level)}
        more = {"temperature": self.wql(1)} if self.tally.pinball.shape[1] > 1 else {}
        everyone = np.ones(len(self.level), bool)
        covered = {
            f"coverage_{int(share * 100)}": self.tally.coverage(everyone, 0, share)
            for share, level in ((0.8, 0.9), (0.98, 0.99))
            if level in self.tally.levels
        }
        return {"load": self.wql(), **levels, **more, **covered}


#: Gives quantiles `[M, T, Q, H]` for pairs of some windows.
Answer = Callable[[Windows, Tensor], Floats]


@dataclass(frozen=True, eq=False)
class Method:
    """A forecaster that was trained: its name, what it is told, the levels of its quantiles, and how long it learnt."""

    name: str
    spec: ForecastSpec
    levels: tuple[float, ...]
    answer: Answer
    train_s: float = 0.0

    def scores(self, fleet: Fleet, skus: tuple[str, ...], jobs: pl.DataFrame | None) -> Scores:
        """On windows of `fleet` at full hours, drawn alike for every method, told `jobs`; None is no schedule."""
        windows = fleet.windows(self.spec, skus, jobs)
        first = torch.zeros(len(fleet.topology.entities), dtype=torch.long)
        begin, end = first + self.spec.context_steps, first + fleet.panel.steps
        hourly = windows.pairs(begin, end, 3600 // self.spec.step_s)
        pairs = hourly[torch.randperm(len(hourly), generator=torch.Generator().manual_seed(0))[:_SCORED]]
        quantiles = self.answer(windows, pairs)
        actual = np.concatenate([windows.batch(*part.T).target.numpy() for part in pairs.split(_CHUNK)])
        actual = actual[:, : quantiles.shape[1]]
        tally = Tally(len(quantiles), quantiles.shape[1], self.levels, np.zeros(actual.shape[2], int))
        tally.add(np.arange(len(quantiles)), actual, quantiles)
        return Scores(fleet.level[pairs[:, 0].numpy()], tally)


def ours(name: str, settings: JobConfig, learn: Fleet, seed: int) -> Method:
    """Fleetcast, trained on from the weights that ship and calibrated on `learn`, the last days of which validate."""
    spec, skus = spec_of(settings.window), learn.topology.skus
    windows = learn.windows(spec, skus, learn.jobs)
    train, validation = _ranges(learn, windows)
    torch.manual_seed(seed)
    model = Pretrained.find(SHIPPED, spec).build(spec, skus)
    begin = time.process_time()
    how = settings.training, settings.trainer
    fit(model, windows, train, validation, *how, seed, lambda *_: None, learnt_before=True)
    offsets = fit_offsets(model, windows, spread(validation, _CALIBRATION_WINDOWS))
    return _deployed(name, ForecastGraph(model, offsets, spec), spec, time.process_time() - begin)


def shipped(name: str, settings: JobConfig, skus: tuple[str, ...]) -> Method:
    """Fleetcast as it ships, which saw none of these sites and learns nothing from them."""
    spec = spec_of(settings.window)
    found = Pretrained.find(SHIPPED, spec)
    return _deployed(name, ForecastGraph(found.build(spec, skus), found.offsets_for(spec), spec), spec)


def _deployed(name: str, graph: ForecastGraph, spec: ForecastSpec, train_s: float = 0.0) -> Method:
    graph.eval()

    def answer(asked: Windows, pairs: Tensor) -> Floats:
        with torch.no_grad():
            parts = [graph(*asked.batch(*part.T)[:3])[0].numpy() for part in pairs.split(_CHUNK)]
        return np.concatenate(parts)

    return Method(name, spec, spec.quantile_levels, answer, train_s)


def lightgbm(name: str, spec: ForecastSpec, learn: Fleet) -> Method:
    """The peer, told what `spec` names."""
    windows = learn.windows(spec, learn.topology.skus, learn.jobs)
    begin = time.process_time()
    forest = ToldLightGBM(WQL_LEVELS)
    forest.fit(windows, torch.cat(_ranges(learn, windows)))
    return Method(name, spec, WQL_LEVELS, forest.forecast, time.process_time() - begin)


def _ranges(learn: Fleet, windows: Windows) -> tuple[Tensor, Tensor]:
    """Pairs that train and those that validate, origins of the latter an hour apart."""
    first = torch.zeros(len(learn.topology.entities), dtype=torch.long)
    cut = learn.panel.steps - _VALIDATION_DAYS * windows.spec.day_steps
    hour = 3600 // windows.spec.step_s
    return windows.pairs(first, first + cut), windows.pairs(first + cut, first + learn.panel.steps, hour)


def same_time_of_the_days_before(spec: ForecastSpec) -> Method:
    """The quantiles of the values at the same time of each day of the context."""

    def answer(asked: Windows, pairs: Tensor) -> Floats:
        day, found = spec.day_steps, []
        for part in pairs.split(_CHUNK):
            past = asked.batch(*part.T).past[:, : len(spec.targets)]
            days = past.unflatten(2, (-1, day))[..., : spec.horizon_steps]
            found.append(days.nanquantile(torch.tensor(spec.quantile_levels), dim=2).permute(1, 2, 0, 3).numpy())
        return np.concatenate(found)

    return Method("same time of the days before", spec, spec.quantile_levels, answer)


def late(jobs: pl.DataFrame) -> pl.DataFrame:
    """A schedule that arrives a day late."""
    return jobs.with_columns(pl.col("available_at") + timedelta(days=1))


def prophetic(jobs: pl.DataFrame, everything: bool) -> pl.DataFrame:
    """A schedule that tells when each job will really begin and end, from the moment that it is known at all.

    Args:
        jobs: contract JOB_SCHEDULE.
        everything: all jobs are known from the beginning, even those that nobody has submitted.
    """
    job = ["job_id", "entity_id"]
    told = jobs.group_by(job).agg(told_at=pl.col("available_at").min())
    last = jobs.sort("available_at").group_by(job, maintain_order=True).last().join(told, on=job)
    ran = last.filter(pl.col("status") != "queued")
    known = pl.lit(jobs["available_at"].min()) if everything else pl.min_horizontal("told_at", "start_time")
    moments = {"reserved": known, "running": pl.col("start_time") + timedelta(seconds=1), "done": pl.col("end_time")}
    rows = [ran.with_columns(status=pl.lit(status), available_at=at) for status, at in moments.items()]
    return pl.concat(rows).select(jobs.columns)


def main() -> None:
    """Train, score, print, and record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.simulated", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="of Fleetcast's training")
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    learn = together([site(seed, _TRAIN_DAYS) for seed in TRAIN_SEEDS])
    skus = learn.topology.skus
    told, untold = (configured((*_SETTINGS, *more)) for more in (_TOLD, ()))
    usual = together([site(seed, _TEST_DAYS) for seed in TEST_SEEDS])
    rows: dict[str, dict[str, float]] = {}

    def scored(group: list[Method]) -> list[Method]:
        name = group[0].name
        rows[name] = _mean([method.scores(usual, skus, usual.jobs).row() for method in group])
        rows[name]["train_s"] = float(np.mean([method.train_s for method in group]))
        print(name, {key: round(value, 4) for key, value in rows[name].items()}, flush=True)
        return group

    with_schedule = scored([ours("Fleetcast", told, learn, seed) for seed in seeds])
    without = scored([ours("Fleetcast without the schedule", untold, learn, seed) for seed in seeds])
    scored([shipped("the weights that ship", told, skus)])
    scored([shipped("the weights that ship, without the schedule", untold, skus)])
    scored([same_time_of_the_days_before(spec_of(untold.window))])
    changes = _worlds(usual, skus, with_schedule, without)
    scored([lightgbm("LightGBM", spec_of(told.window), learn)])
    scored([lightgbm("LightGBM without the schedule", spec_of(untold.window), learn)])
    rows |= _foreseen(told, learn, usual)
    figures = _figures(rows, changes)
    for name, figure in figures.items():
        print(f"{name:<55}{figure['value']:>10}{figure['goal']:>10}")
    rounded = [{"method": name} | {key: round(value, 5) for key, value in row.items()} for name, row in rows.items()]
    record("known_ahead", 1, figures, rows=rounded, worlds=changes, seeds=len(seeds))


def _figures(
    rows: Mapping[str, Mapping[str, float]], worlds: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float | str]]:
    """What the schedule gains; what it costs where it turns out wrong, and where a model that knew one is told none."""
    wrong = [world["change_percent"] for name, world in worlds.items() if name not in (_NONE, _STRANGER)]
    untold = worlds[_NONE]["change_percent"]
    return {
        "load_wql_percent_below_no_schedule": _figure(
            _below(rows, "Fleetcast", "Fleetcast without the schedule"), 25.0
        ),
        "load_wql_percent_below_lightgbm": _figure(_below(rows, "Fleetcast", "LightGBM"), 10.0),
        "worst_percent_above_no_schedule_when_wrong": _figure(max(wrong), 2.0, "lower"),
        "percent_above_trained_without_when_none_is_told": _figure(untold, 2.0, "lower"),
    }


def _foreseen(told: JobConfig, learn: Fleet, usual: Fleet) -> dict[str, dict[str, float]]:
    rows = {}
    for name, everything in _PROPHECIES.items():
        seer = ours(name, told, replace(learn, jobs=prophetic(learn.jobs, everything)), 0)
        scores = seer.scores(usual, learn.topology.skus, prophetic(usual.jobs, everything))
        rows[name] = scores.row() | {"train_s": seer.train_s}
        print(name, {key: round(value, 4) for key, value in rows[name].items()}, flush=True)
    return rows


def _worlds(
    usual: Fleet, skus: tuple[str, ...], with_schedule: list[Method], without: list[Method]
) -> dict[str, dict[str, float]]:
    """Load's WQL with and without the schedule where it is missing, late or wrong, and for machines never seen."""
    strange = site(STRANGE_SEED, _TEST_DAYS, _STRANGE)
    worlds: dict[str, tuple[Fleet, pl.DataFrame | None]] = {
        _NONE: (usual, None),
        "a day late": (usual, late(usual.jobs)),
        _STRANGER: (strange, strange.jobs),
    }
    for name, work in _WRONG.items():
        fleet = together([site(seed, _TEST_DAYS, work=work, name=name) for seed in _WRONG_SEEDS])
        worlds[name] = fleet, fleet.jobs
    changes = {}
    for name, (fleet, jobs) in worlds.items():
        a, b = (
            float(np.mean([method.scores(fleet, skus, jobs).wql() for method in group]))
            for group in (with_schedule, without)
        )
        changes[name] = {"with": round(a, 5), "without": round(b, 5), "change_percent": round(100 * (a / b - 1), 2)}
        print(name, changes[name], flush=True)
    return changes


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _below(rows: Mapping[str, Mapping[str, float]], ours: str, theirs: str) -> float:
    return 100 * (1 - rows[ours]["load"] / rows[theirs]["load"])


def _figure(value: float, goal: float, better: str = "higher") -> dict[str, float | str]:
    return {"value": round(value, 2), "goal": goal, "better": better}


if __name__ == "__main__":
    main()
