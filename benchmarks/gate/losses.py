"""Losses by day of models that differ by their seed alone, on a long range that none of them saw.

They lie beside this file. `python -m benchmarks.gate.losses NAME` makes one anew: it trains the models, minutes each,
and replays them.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from forecast.bundle.load import Bundle, load
from forecast.contracts.topology import Topology
from forecast.evaluation.paired import CHALLENGER, Array, Paired, PairedTally
from forecast.predictor import Predictor
from forecast.retrain.make import make_bundle
from forecast.retrain.prepare import Prepared, prepare
from forecast.retrain.pretrain import composed
from forecast.retrain.stages import MAKING, Stages

#: Settings and number of seeds of each record; what `test_h` holds is recorded, and training sees what is before it.
RECORDS = {
    "simulated": (("source=simulator", "evaluation.test_h=1176"), 3),
    "simulated_warm": (("source=simulator", "evaluation.test_h=1176", "training.start_from=pretrained"), 3),
    "google_pdu": (("source=google_pdu", "evaluation.test_h=336"), 3),
    "biohpc": (("source=biohpc", "evaluation.origins=null", "window.horizon_steps=24", "evaluation.test_h=12000"), 4),
}

#: Days that are kept: a year and a little.
_DAYS = 400

#: What tells the models apart, and what is the same for all.
_OWN, _SHARED = ("loss", "inside", "squares"), ("magnitude", "count", "limited")


@dataclass(frozen=True, eq=False)
class Losses:
    """Sums like those of `Paired`, by the day a forecast was issued.

    Entities of one level, SKU and site are summed up: the gate asks for no smaller part.

    Attributes:
        targets, topology: of the last two axes.
        own: `loss`, `inside` and `squares` of each model, `[models, 2, D, N, T]`: what came on the same day and on the
            next one.
        shared: `magnitude`, `count` and `limited`, `[2, D, N, T]`.
    """

    targets: tuple[str, ...]
    topology: Topology
    own: dict[str, Array]
    shared: dict[str, Array]

    @classmethod
    def read(cls, name: str) -> "Losses":
        with np.load(_path(name), allow_pickle=False) as file:
            arrays = dict(file)
        parts = zip(*(arrays[kind].tolist() for kind in ("level", "sku", "site")), strict=True)
        own, shared = ({each: arrays[each].astype(np.float64) for each in names} for names in (_OWN, _SHARED))
        return cls(tuple(arrays["targets"].tolist()), _grouped(parts), own, shared)

    def write(self, name: str) -> None:
        kinds = {kind: self.topology.table[kind].to_numpy().astype(str) for kind in ("level", "sku", "site")}
        sums = {each: values.astype(np.float32) for each, values in (self.own | self.shared).items()}
        arrays: dict[str, Any] = {"targets": np.array(self.targets), **kinds, **sums}
        np.savez_compressed(_path(name), **arrays)

    @property
    def models(self) -> int:
        return len(self.own["loss"])

    @property
    def days(self) -> int:
        return int(self.own["loss"].shape[2])

    def retraining(self, random: np.random.Generator, days: int, ratio: float | None) -> Paired:
        """Draw two models and a stretch of days, as a backtest of so many days would tally them.

        Args:
            random: draws.
            days: of the test range.
            ratio: of the challenger's losses to the champion's, true over all days; None leaves them as they are.
        """
        champion, challenger = random.choice(self.models, 2, replace=False).tolist()
        first = int(random.integers(self.days - days + 1))
        own = {name: self._stretch(values[[champion, challenger]], first, days) for name, values in self.own.items()}
        shared = {name: self._stretch(values, first, days) for name, values in self.shared.items()}
        if ratio is not None:
            for name in ("loss", "squares"):
                own[name][CHALLENGER] *= ratio / self._apart(name, champion, challenger)
        return Paired(self.targets, self.topology, **own, **shared)

    def _stretch(self, values: Array, first: int, days: int) -> Array:
        """`[..., 2, D, N, T]` by day of issue to `[..., days, N, T]` by day it came; the last day issues nothing."""
        same, following = (values[..., part, first : first + days - 1, :, :] for part in (0, 1))
        came = np.zeros((*values.shape[:-4], days, *values.shape[-2:]))
        came[..., :-1, :, :] += same
        came[..., 1:, :, :] += following
        return came

    def _apart(self, name: str, champion: int, challenger: int) -> float | Array:
        """The true ratio of two models: of the WQL on the whole, and of the Brier score of each target."""
        sums = self.own[name][[champion, challenger]].sum(axis=(1, 2))
        if name == "squares":
            squares: Array = np.divide(*sums.sum(axis=1)[::-1])
            return squares
        level = self.topology.table["level"].to_numpy()
        cells = np.stack([sums[:, level == each].sum(axis=1) for each in self.topology.levels], axis=-1)
        return float(np.exp(np.log(cells[1] / cells[0]).mean()))


def _path(name: str) -> Path:
    return Path(__file__).parent / f"{name}.npz"


def _grouped(parts: Iterable[tuple[str, str, str]]) -> Topology:
    """A topology whose entities are the (level, sku, site) of another."""
    rows = [
        {"entity_id": " ".join(part), "level": part[0], "sku": part[1], "site": part[2], "time_zone": "UTC"}
        for part in parts
    ]
    nothing = {"parent_id": pl.String, "power_limit_w": pl.Float64, "temperature_limit_c": pl.Float64}
    missing = [pl.lit(None, kind).alias(name) for name, kind in nothing.items()]
    return Topology.of(pl.DataFrame(rows).with_columns(missing))


def recorded(name: str) -> Losses:
    """Train, replay and sum up."""
    settings, seeds = RECORDS[name]
    config = composed(*settings, "registry.publish=false")
    prepared = prepare(config, Stages(2))
    bundles = []
    for seed in range(seeds):
        out = Path("var/bench/gate") / name / str(seed)
        if not (out / "gate.json").exists():
            # It is replayed below: one origin will do.
            last = max(prepared.split.origins)
            once = replace(prepared, split=replace(prepared.split, origins={last: prepared.split.origins[last]}))
            make_bundle(replace(config, seed=seed), once, f"seed-{seed}", out, Stages(MAKING))
        bundles.append(load(out / "bundle"))
    return _replayed(bundles, prepared, config.evaluation.origin_every_h)


def _replayed(bundles: Sequence[Bundle], prepared: Prepared, every_h: float) -> Losses:
    predictors = [Predictor(bundle, prepared.ahead) for bundle in bundles]
    panel, spec, topology = prepared.panel, prepared.spec, prepared.trace.topology
    step_of_day = (panel.start.hour * 3600 + panel.start.minute * 60) // spec.step_s
    test = int(prepared.split.test.max())
    begin = test + -(test + step_of_day) % spec.day_steps
    midnights = list(range(begin, panel.steps - spec.day_steps + 1, spec.day_steps))[: _DAYS + 1]
    days = []
    for midnight, following in pairwise(midnights):
        origins = list(range(midnight, following, round(every_h * 3600 / spec.step_s)))
        tally = PairedTally(spec, topology, origins, len(predictors))
        for origin in origins:
            actual, context = (
                panel.read(*steps)[: len(spec.targets)].transpose(1, 0, 2)
                for steps in ((origin, origin + spec.horizon_steps), (origin - spec.context_steps, origin))
            )
            actual[np.isnan(context).all(-1)] = np.nan
            outputs = [predictor.at(panel, origin).outputs for predictor in predictors]
            tally.add(origin, np.arange(len(topology.entities)), actual, outputs)
        days.append(tally.result())
        print(f"{panel.time(midnight):%Y-%m-%d}", flush=True)
    return _by_part(days, topology)


def _by_part(days: Sequence[Paired], topology: Topology) -> Losses:
    """Sums over the entities of each part, of days of issue that hold two days each."""
    kinds = topology.table.select("level", "sku", "site").rows()
    grouped = _grouped(dict.fromkeys(kinds))
    parts = grouped.table.select("level", "sku", "site").rows()
    belongs = np.array([[kind == part for kind in kinds] for part in parts], np.float64)

    def summed(name: str) -> Array:
        values = np.stack([getattr(day, name) for day in days], axis=-3)
        total: Array = np.einsum("gn,...nt->...gt", belongs, values)
        return total

    own, shared = ({name: summed(name) for name in names} for names in (_OWN, _SHARED))
    return Losses(days[0].targets, grouped, own, shared)


def main() -> None:
    """Make one record anew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate.losses", description=__doc__)
    parser.add_argument("name", choices=sorted(RECORDS))
    name = parser.parse_args().name
    recorded(name).write(name)


if __name__ == "__main__":
    main()
