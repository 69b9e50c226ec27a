"""A season: every morning a run of the job, then a day of forecasts by whatever it left in service."""

import json
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from time import monotonic

import polars as pl

from benchmarks.soak.contest import MODELS, NEVER, SERVED, UNGATED, Sums, Truth, ask, scored, times
from benchmarks.soak.lake import Lake
from benchmarks.soak.world import World
from forecast.bundle.load import Bundle, load
from forecast.contracts.errors import ExitCode, ending
from forecast.predictor import Forecast
from forecast.registry.store import Registry
from forecast.retrain.config import JobConfig
from forecast.retrain.job import run
from forecast.retrain.prepare import spec_of
from forecast.retrain.record import MANIFEST
from forecast.simulator.simulate import simulate
from forecast.traces.files import read_topology

#: Ends of a run that are as they should be: published, nothing new, not good enough, telemetry refused.
EXPECTED = {ExitCode.PUBLISHED, ExitCode.NOTHING_NEW, ExitCode.REJECTED, ExitCode.DATA_REFUSED}

#: A first version may be refused, as it must be better than what anyone could do without one.
_COMMISSIONING_DAYS = 7


@dataclass(frozen=True)
class Day:
    """What became of one day of the season.

    Attributes:
        day: 0 is the first.
        date: of it, UTC.
        event: what happened on it; empty for nothing.
        code: how the run of its morning ended.
        why: what the run said of it, in a line.
        seconds: the run took.
        forecasts: that were served, of so many `asked`.
        sums: of each model; empty where one had no forecast.
    """

    day: int
    date: str
    event: str
    code: int
    why: str
    seconds: float
    forecasts: int
    asked: int
    sums: dict[str, Sums]


class Season:
    """The site's lake, registry and runs in one folder.

    Args:
        world: whose record is made there.
        config: of the job; where it reads and publishes is set here.
        folder: that does not exist yet.
    """

    def __init__(self, world: World, config: JobConfig, folder: Path) -> None:
        self.world, self.folder = world, folder
        simulate(world.fleet, folder / "record")
        simulate(world.unbroken, folder / "unbroken")
        registry = replace(config.registry, root=str(folder / "registry"), publish=True)
        self._config = replace(config, cache=str(folder / "cache"), registry=registry)
        self._registry = Registry(Path(registry.root), config.name, registry.keep)
        self._lake = Lake(folder / "record", folder / "lake", world.fleet.origin)
        whole = folder / "unbroken" / "telemetry" / "*" / "*.parquet"
        self._truth = Truth(pl.scan_parquet(whole, hive_partitioning=False))
        self._models: dict[str, Bundle] = {}

    def live(self, told: Callable[[Day], None]) -> list[Day]:
        """Go through the season, telling each day as it ends."""
        self._commission()
        happenings = self.world.happenings()
        days = []
        for day in range(self.world.days):
            begin = monotonic()
            code, why = self._run(day)
            seconds = monotonic() - begin
            served, asked, sums = self._forecast(self.world.morning(day))
            date = self.world.morning(day).date().isoformat()
            days.append(Day(day, date, happenings.get(day, ""), code, why, seconds, served, asked, sums))
            told(days[-1])
            self._lake.arrive()
        return days

    def _commission(self) -> None:
        """Let the history in; run on the mornings of its last week until something is in service."""
        while self._lake.until < self.world.morning(0):
            self._lake.arrive()
            day = (self._lake.until - self.world.morning(0)).days
            if -_COMMISSIONING_DAYS <= day < 0 and self._registry.current() is None:
                self._run(day)

    def _run(self, day: int) -> tuple[ExitCode, str]:
        """Run the job as a scheduler would, and take up the models that it left; returns how it ended and why."""
        out = self.folder / "runs" / f"{day:03d}"
        with (self.folder / "job.log").open("a") as log, redirect_stdout(log):
            try:
                code = run(replace(self._config, source=self._lake.source()), out)
                told = json.loads((out / MANIFEST).read_text())
                why = told["gate"]["reason"] if "gate" in told else told.get("nothing_new", "")
            except Exception as error:  # a bug of ours ends a run, and no season
                traceback.print_exc(file=log)
                why, code = ending(error, "the telemetry")
                why = why.replace(f"{self.folder}/", "")
        if code == ExitCode.DATA_REFUSED:
            self._lake.mend()
        if (out / "scores.json").exists():
            self._models[UNGATED] = load(out / "bundle")
        if (current := self._registry.current()) is not None:
            self._models[SERVED] = load(current)
            self._models.setdefault(NEVER, self._models[SERVED])
        return code, why

    def _forecast(self, morning: datetime) -> tuple[int, int, dict[str, Sums]]:
        """Forecast one day; returns how many forecasts were served, of how many asked, and the losses of all models."""
        topology, spec = read_topology(str(self._lake.tree), {}), spec_of(self._config.window)
        days = 2 + -(-(spec.context_steps + spec.day_steps) // spec.day_steps)
        made: dict[str, list[Forecast]] = {name: [] for name in MODELS}
        asked, served = times(morning, spec), 0
        for at in asked:
            telemetry = self._lake.live(at, days)
            answers = {name: ask(bundle, topology, telemetry, at) for name, bundle in self._models.items()}
            served += answers.get(SERVED) is not None
            if all(answers.get(name) is not None for name in MODELS):
                for name, forecast in answers.items():
                    made[name] += [forecast] if forecast else []
        return served, len(asked), scored(made, self._truth)
