"""What starting from the version in service is worth: daily retraining anew, and from its weights with fewer steps.

Run as `python -m benchmarks.warm_start`; writes `benchmarks/results/warm_start.json`. The data grows a day at a time.
Every way has its own line of versions, which all begin with the same one; each day's version is scored on a range that
its weights never saw, with `evaluation.range=validation`: the number of steps is chosen by these figures.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from time import process_time
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.tasks import LEVELS, configured
from benchmarks.machine import record
from forecast.evaluation.metrics import Tally
from forecast.models.graph import ForecastGraph
from forecast.retrain.config import JobConfig
from forecast.retrain.learn import Learner
from forecast.retrain.prepare import Prepared, prepare
from forecast.retrain.pretrained import Pretrained
from forecast.retrain.stages import Stages
from forecast.retrain.start import Start
from forecast.traces.trace import parse_utc
from forecast.training.config import CHAMPION

#: Sites as overrides, each with the end of its first day.
SITES = {
    "simulated, 16 GPU servers": (
        (
            "source=simulator",
            "source.path=var/bench/warm-start",
            "source.fleet.days=49",
            "source.fleet.seed=71",
            "source.fleet.rows=[{hall: hall-a, sku: h100-air, racks: 4, servers_per_rack: 4}]",
            "evaluation.test_h=96",
            "evaluation.validation_h=96",
            "evaluation.origin_every_h=4",
        ),
        "2026-02-23",
    ),
    "google_pdu, 3 PDUs": (("source=google_pdu", "evaluation.origin_every_h=2"), "2019-05-26"),
}

#: Ways to train a day's version: what differs from the default training. The first is what others are compared with.
WAYS: dict[str, dict[str, Any]] = {
    "anew": {},
    "champion": {"start_from": CHAMPION},
    "champion, 300 steps": {"start_from": CHAMPION, "steps": 300},
    "champion, 100 steps": {"start_from": CHAMPION, "steps": 100},
}

#: Windows scored at most: neighbours tell the same.
_MOST = 6000


@dataclass(frozen=True, eq=False)
class Version:
    """One day's version of one way: its weights, WQL per target and level, and what training took."""

    weights: Pretrained
    wql: np.ndarray
    cpu_s: float
    step: int


def trained(config: JobConfig, prepared: Prepared, start: Pretrained | None) -> Version:
    """Train, calibrate and score as a run would."""
    learner = Learner.of(replace(config, training=replace(config.training, start_from=None)), prepared)
    skus = prepared.trace.topology.skus
    if start is not None:
        learner = replace(learner, model=start.build(prepared.spec.unplanned, skus), start=Start(start, "yesterday"))
    begin = process_time()
    fitted = learner.train_model(config, lambda *_: None)
    cpu_s = process_time() - begin
    graph = learner.calibrate(fitted)
    return Version(learner.learnt(config.model, graph, skus), scores(graph, learner, prepared), cpu_s, fitted.step)


def scores(graph: ForecastGraph, learner: Learner, prepared: Prepared) -> np.ndarray:
    """WQL of every target at every level of the tree that has a load, on the windows of the scored range."""
    asked = np.array([(entity, origin) for origin, those in prepared.split.origins.items() for entity in those])
    asked = asked[np.unique(np.linspace(0, len(asked) - 1, min(len(asked), _MOST)).astype(int))]
    chosen = [prepared.spec.quantile_levels.index(level) for level in LEVELS]
    tally = Tally(len(asked), len(prepared.spec.targets), LEVELS, np.zeros(prepared.spec.horizon_steps, int))
    for rows in np.array_split(np.arange(len(asked)), -(-len(asked) // 256)):
        entity, origin = torch.from_numpy(asked[rows].T)
        batch = learner.windows.batch(entity, origin)
        with torch.no_grad():
            quantiles = graph(batch.past, batch.future, batch.static)[0][:, :, chosen]
        tally.add(rows, batch.target.numpy(), quantiles.numpy())
    level = prepared.trace.topology.table["level"].to_numpy()[asked[:, 0]]
    return np.array(
        [
            tally.wql(level == name, target)
            for name in prepared.trace.topology.levels
            for target in range(len(prepared.spec.targets))
        ]
    )


def days_of(site: str, days: int, seed: int, overrides: Sequence[str]) -> list[dict[str, object]]:
    """A row per day and way."""
    settings, first = SITES[site]
    rows: list[dict[str, object]] = []
    champions: dict[str, Pretrained] = {}
    for day in range(days + 1):
        until = (parse_utc(first, "the first day") + timedelta(days=day)).isoformat()
        config = configured(
            (*settings, "evaluation.range=validation", f"source.until='{until}'", f"seed={seed}", *overrides)
        )
        prepared = prepare(config, Stages(2))
        if not champions:
            champions = dict.fromkeys(WAYS, trained(config, prepared, None).weights)
            continue
        anew: Version | None = None
        for way, changes in WAYS.items():
            other = replace(config, training=replace(config.training, **changes))
            found = trained(other, prepared, champions[way] if changes else None)
            champions[way] = found.weights
            anew = anew or found
            ratio = float(np.exp(np.log(found.wql / anew.wql).mean()))
            rows.append(
                {
                    "site": site, "seed": seed, "day": day, "way": way, "wql": round(float(found.wql.mean()), 5),
                    "ratio": round(ratio, 4), "cpu_s": round(found.cpu_s, 1), "kept_step": found.step,
                }
            )  # fmt: skip
            print(*rows[-1].values(), sep="\t", flush=True)
    return rows


def summary(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """A row per site and way: the geometric mean of the ratios, their standard error over days and seeds, the cost."""
    table = []
    for site in dict.fromkeys(row["site"] for row in rows):
        for way in WAYS:
            mine = [row for row in rows if (row["site"], row["way"]) == (site, way)]
            logs = np.log([float(str(row["ratio"])) for row in mine])
            error = float(logs.std(ddof=1) / np.sqrt(len(logs))) if len(logs) > 1 else float("nan")
            cpu_s = float(np.mean([float(str(row["cpu_s"])) for row in mine]))
            table.append(
                {
                    "site": site, "way": way, "runs": len(mine), "ratio": round(float(np.exp(logs.mean())), 4),
                    "error": round(error, 4), "cpu_s": round(cpu_s, 1),
                }
            )  # fmt: skip
    return table


def main() -> None:
    """Measure, print and record."""
    chosen = _arguments()
    rows = [
        row
        for site in SITES
        if chosen.site in site
        for seed in chosen.seeds
        for row in days_of(site, chosen.days, seed, chosen.overrides)
    ]
    table = summary(rows)
    print(f"\n{'site':<28}{'way':<32}{'runs':>5}{'WQL / anew':>12}{'±':>8}{'CPU s':>8}")
    for row in table:
        print(f"{row['site']:<28}{row['way']:<32}{row['runs']:>5}{row['ratio']:>12}{row['error']:>8}{row['cpu_s']:>8}")
    if not chosen.site and not chosen.overrides:
        figures = {
            f"{row['site']}, {row['way']}": {"value": row["ratio"], "goal": 1.0, "better": "lower"} for row in table
        }
        record("warm_start", torch.get_num_threads(), figures, table=table, rows=rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warm_start", description=__doc__)
    parser.add_argument("--site", default="", help=f"part of one of: {'; '.join(SITES)}; others are left out")
    parser.add_argument("--days", type=int, default=4)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1])
    parser.add_argument("overrides", nargs="*", help="of the configuration")
    return parser.parse_args()


if __name__ == "__main__":
    main()
