"""The predictor that serves, replayed at rolling origins beside the baselines."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from forecast.contracts.signals import TARGETS
from forecast.evaluation.baselines import baselines, seasonal_mae
from forecast.evaluation.brier import BrierTally
from forecast.evaluation.metrics import Tally
from forecast.evaluation.paired import Paired, PairedTally
from forecast.evaluation.splits import EvaluationConfig, Split
from forecast.predictor import Predictor
from forecast.windows.panel import Panel
from forecast.wording import OURS

#: The report's resolution of lead time.
_LEAD_PARTS = 24


@dataclass(frozen=True, eq=False)
class Backtest:
    """Scores of every method on the same windows.

    Attributes:
        scores: a row per target, level and method: `target, level, method, wql, mae, mase, coverage_80, coverage_98,
            windows`.
        calibration: of ours: `target, nominal, observed`.
        horizon: `target, method, lead_h, wql`.
        exceedance: of ours, a row per target and bin of probability that its limit is passed: `target, forecast,
            observed, count`, and the scores of the target: `brier, climatology, skill`.
        paired: of the champion and ours, on the same windows; None without a champion.
    """

    scores: pl.DataFrame
    calibration: pl.DataFrame
    horizon: pl.DataFrame
    exceedance: pl.DataFrame
    paired: Paired | None = None


def backtest(
    predictor: Predictor,
    panel: Panel,
    split: Split,
    config: EvaluationConfig,
    progress: Callable[[float, str], None],
    champion: Predictor | None = None,
) -> Backtest:
    """Forecast at every origin of `split` with what was known then, and score what came.

    A target that its context (the champion's too) never saw has no forecast, only a safe bound: that window scores for
    no method.

    Args:
        panel: channels and entities as the predictor's.
        progress: told the share done and the origin.
        champion: of the same targets, steps and levels, to be compared with; its channels are among the panel's.
    """
    spec = predictor.spec
    observed = panel.of_channels(len(spec.targets))
    naives = [naive.fit(observed, split) for naive in baselines(spec, config.seasons_h)]
    parts = np.arange(spec.horizon_steps) * min(_LEAD_PARTS, spec.horizon_steps) // spec.horizon_steps
    tallies = {
        name: Tally(len(panel.entities), len(spec.targets), spec.quantile_levels, parts)
        for name in (OURS, *(naive.name for naive in naives))
    }
    passed = Passed(predictor, observed, split)
    paired = PairedTally(spec, predictor.topology, list(split.origins)) if champion else None
    seen = min(spec.context_steps, champion.spec.context_steps if champion else spec.context_steps)
    rivals = [predictor, champion] if champion else [predictor]
    # A graph runs on one core: two run beside each other.
    with ThreadPoolExecutor(len(rivals)) as pool:
        for done, (origin, tested) in enumerate(split.origins.items(), start=1):
            context, actual = (
                observed.read(*steps).transpose(1, 0, 2)[tested]
                for steps in ((origin - seen, origin), (origin, origin + spec.horizon_steps))
            )
            actual[np.isnan(context).all(-1)] = np.nan
            outputs, *others = pool.map(lambda rival, at=origin: rival.at(panel, at).outputs, rivals)
            tallies[OURS].add(tested, actual, outputs.quantiles[tested])
            passed.add(tested, actual, outputs.exceedance[tested])
            if paired:
                paired.add(origin, tested, actual, (*others, outputs))
            for naive in naives:
                tallies[naive.name].add(tested, actual, naive.predict(observed, origin)[tested])
            progress(done / len(split.origins), f"origin {done} of {len(split.origins)}")
    tables = _tables(predictor, tallies, seasonal_mae(observed, spec, split.validation), parts, passed.table())
    return replace(tables, paired=paired.result() if paired else None)


class Passed:
    """Tallies of the probability that each target passes its limit, beside the share of the training range."""

    def __init__(self, predictor: Predictor, panel: Panel, split: Split) -> None:
        self.targets = predictor.spec.targets
        table = predictor.topology.table
        self.limits = np.stack([table[TARGETS[name].limit].to_numpy().astype(np.float64) for name in self.targets], 1)
        values = panel.read(0, panel.steps)[: len(self.targets)].transpose(1, 0, 2)
        trained = ~np.isnan(values) & (np.arange(panel.steps) < split.validation[:, None, None])
        over = (values > self.limits[..., None]) & trained
        self.usual = over.sum(-1) / np.maximum(trained.sum(-1), 1)
        self.tallies = [BrierTally() for _ in self.targets]

    def add(self, tested: np.ndarray, actual: np.ndarray, probability: np.ndarray) -> None:
        """Add forecasts `[M, T, H]` of the entities `tested [M]`."""
        limits = self.limits[tested][..., None]
        came = np.where(np.isnan(actual) | np.isnan(limits), np.nan, actual > limits)
        for at, tally in enumerate(self.tallies):
            tally.add(probability[:, at], came[:, at], self.usual[tested, at, None])

    def table(self) -> pl.DataFrame:
        """`Backtest.exceedance`; empty where no limit is known."""
        scored = [(name, tally.result()) for name, tally in zip(self.targets, self.tallies, strict=True)]
        return pl.concat(
            found.reliability.select(
                pl.lit(name).alias("target"),
                pl.all(),
                brier=pl.lit(found.score),
                climatology=pl.lit(found.climatology),
                skill=pl.lit(found.skill),
            )
            for name, found in scored
        )


def _tables(
    predictor: Predictor, tallies: Mapping[str, Tally], naive: np.ndarray, parts: np.ndarray, exceedance: pl.DataFrame
) -> Backtest:
    spec, topology = predictor.spec, predictor.topology
    level = topology.table["level"].to_numpy()
    part_h = [float((np.flatnonzero(parts == part).mean() + 0.5) * spec.step_s / 3600) for part in np.unique(parts)]
    everyone = np.ones(len(level), bool)
    scores, calibration, horizon = [], [], []
    for index, target in enumerate(spec.targets):
        covered = tallies[OURS].covered(everyone, index)
        pairs = zip(spec.quantile_levels, covered, strict=True)
        calibration += [{"target": target, "nominal": nominal, "observed": share} for nominal, share in pairs]
        for method, tally in tallies.items():
            lead = {"target": target, "method": method}
            by_part = zip(part_h, tally.wql_by_part(everyone, index), strict=True)
            horizon += [{**lead, "lead_h": hours, "wql": wql} for hours, wql in by_part]
            for name in topology.levels:
                group = level == name
                if tally.count[group, index].any():
                    row = {"target": target, "level": name, "method": method}
                    scores.append({**row, **_score(tally, group, index, naive)})
    return Backtest(pl.DataFrame(scores), pl.DataFrame(calibration), pl.DataFrame(horizon), exceedance)


def _score(tally: Tally, group: np.ndarray, target: int, naive: np.ndarray) -> dict[str, float]:
    return {
        "wql": tally.wql(group, target),
        "mae": tally.mae(group, target),
        "mase": tally.mase(group, target, naive),
        "coverage_80": tally.coverage(group, target, 0.8),
        "coverage_98": tally.coverage(group, target, 0.98),
        "windows": int(tally.windows[group, target].sum()),
    }
