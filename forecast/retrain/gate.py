"""May this bundle go into service? A verdict as data: against the champion, or against what anyone could do without us.

A test range has few days and a fleet has dozens of segments, so chance has a say in every figure. Each rule says how
much (`make bench-gate` counts how often they are right):

- On the whole the challenger must be better beyond chance: the upper bound of the relative WQL is at most 1.00. It is
  the geometric mean over targets and levels of the fleet tree: a sum of watts would ask about the site alone, a mean
  over entities about the servers alone. Who tells too few days for a bound is not promoted.
- A segment rejects when it is more than 5 % worse, and worse beyond chance. If the figure alone decided, one of fifty
  sound segments would be above 1.05 by luck in many a week, and a better model be refused for it.
- Coverage rejects when it is more than 3 points off, and farther off than the champion's, both beyond chance. A week
  unlike those before is hard on both, and refusing the one that is no farther would keep the other in service.
- The Brier score rejects when it is worse beyond chance, and by more than next to nothing.

All but the first share one chance of a false alarm, so their bounds are the wider the more of them there are.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from forecast.bundle.load import Bundle
from forecast.contracts.topology import Topology
from forecast.evaluation.backtest import Backtest
from forecast.evaluation.bootstrap import Array, Bounds, Resamples
from forecast.evaluation.paired import CHALLENGER, CHAMPION, INTERVAL, Mask, Paired
from forecast.evaluation.verdict_table import verdict_row
from forecast.retrain.config import GateConfig
from forecast.retrain.cost import Cost
from forecast.retrain.rival import Rival
from forecast.wording import OURS

#: What the relative WQL on the whole must not pass, beyond chance: by rule, and when the champion is too old.
BETTER, AS_GOOD = 1.0, 1.02

#: No segment may be worse by more than this.
WORST_SEGMENT = 1.05

#: The interval's coverage may be off by this.
COVERAGE = 0.03

#: The Brier score may be worse by this, a chance of one in a hundred squared: where nothing comes near a limit, two
#: models differ surely, and by next to nothing.
BRIER = 1e-4

#: With which a challenger that is no better may pass the rule on the whole.
LUCK = 0.1

#: With which one that is nowhere worse may fail any of the other rules; they share it.
BAD_LUCK = 0.05

Verdict = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One rule on one segment.

    Attributes:
        rule: `overall`, `segment`, `coverage`, `brier` or `budget`.
        segment: `all`, or kind and name, say `level rack`.
        target: a signal, or `all`.
        metric: `wql`, `coverage_90`, `brier`, `size_mb` or `ms_per_1000`.
        champion, challenger: its values, of the best baseline where there is no champion.
        value: what `limit` is for: the challenger's relative to the champion's for WQL, less the champion's for the
            Brier score, less what is nominal for coverage, else as it is.
        lower, upper: bounds of `value`; None where chance has no say, or too few days tell.
        limit: of `value`, or of its upper bound for the rule `overall`.
        passed: whether the rule holds.
    """

    rule: str
    segment: str
    target: str
    metric: str
    champion: float | None
    challenger: float | None
    value: float | None
    lower: float | None
    upper: float | None
    limit: float
    passed: bool


class Segment(NamedTuple):
    """Some entities: kind and name, say `sku h100-air`, and which, `[N]`."""

    name: str
    entities: Mask


def judge(tested: Backtest, challenger: Bundle, rival: Rival, settings: GateConfig) -> Verdict:
    """Judge a challenger by its backtest.

    Returns:
        Plain data: `passed`, `reason` (one line), `champion` (its key, or None) and `rows`, a `Row` each.
    """
    if tested.paired is None:
        rows = against_baselines(tested.scores)
    else:
        old = rival.age_days > settings.champion_max_age_days
        rows = compare(tested.paired, AS_GOOD if old else BETTER)
    return verdict_on([*rows, *_budgets(Cost.of(challenger), rival.cost, settings)], rival)


def verdict_on(rows: list[Row], rival: Rival) -> Verdict:
    """Sum up the rules: what `judge` returns."""
    return {
        "passed": all(row.passed for row in rows),
        "reason": _reason(rows, rival),
        "champion": rival.key,
        "rows": [_finite(asdict(row)) for row in rows],
    }


def compare(paired: Paired, limit: float, seed: int = 0) -> list[Row]:
    """The rules that ask the paired windows.

    Args:
        paired: of champion and challenger.
        limit: of the upper bound of the relative WQL on the whole.
        seed: of the draws.
    """
    paired = paired.seen()
    resamples = Resamples(paired.days, seed)
    parts = segments(paired.topology)
    targets = range(len(paired.targets))
    everyone = parts[0]
    asked = [(part, [target]) for part in parts for target in targets]
    harm = BAD_LUCK / (len(asked) + 2 * len(targets))
    rows = [_relative("overall", everyone, list(targets), paired, resamples, LUCK, limit)]
    rows += [_relative("segment", *each, paired, resamples, harm, WORST_SEGMENT) for each in asked]
    rows += [_coverage(target, paired, resamples, harm) for target in targets]
    rows += [_brier(target, paired, resamples, harm) for target in targets]
    return [row for row in rows if row is not None]


def segments(topology: Topology) -> list[Segment]:
    """Everyone, and each level, SKU and site; one that holds the same entities as another before it is left out."""
    table = topology.table
    found = {np.ones(len(table), bool).tobytes(): Segment("all", np.ones(len(table), bool))}
    for kind in ("level", "sku", "site"):
        for name in table[kind].unique(maintain_order=True):
            entities = (table[kind] == name).to_numpy()
            found.setdefault(entities.tobytes(), Segment(f"{kind} {name}", entities))
    return list(found.values())


def _relative(
    rule: str, part: Segment, targets: list[int], paired: Paired, resamples: Resamples, chance: float, limit: float
) -> Row | None:
    """The challenger's WQL relative to the champion's; None where nothing came."""
    cells = list(_cells(part, targets, paired))
    if not cells:
        return None
    losses = np.stack([_by_day(paired.loss, *cell) for cell in cells], axis=-1)
    sizes = np.array([paired.magnitude[:, entities, target].sum() for entities, target in cells])
    log = resamples.bounds(losses, _log_ratio, chance)
    ratio = Bounds(*np.exp(log).tolist())  # what JSON knows
    with np.errstate(divide="ignore", invalid="ignore"):
        champion, challenger = (_typical(losses[:, which].sum(axis=0) / sizes) for which in (CHAMPION, CHALLENGER))
    # Without bounds the figure of a segment decides alone, and what is not a number fails.
    passed = ratio.upper <= limit if rule == "overall" else ratio.value <= limit or ratio.lower <= 1
    name = paired.targets[targets[0]] if len(targets) == 1 else "all"
    return Row(rule, part.name, name, "wql", champion, challenger, *ratio, limit, passed)


def _cells(part: Segment, targets: list[int], paired: Paired) -> Iterator[tuple[Mask, int]]:
    """What a mean counts once each: the entities of a level, and a target, if anything of them came."""
    level = paired.topology.table["level"].to_numpy()
    for target in targets:
        for name in paired.topology.levels:
            entities = part.entities & (level == name)
            if paired.count[:, entities, target].any():
                yield entities, target


def _by_day(sums: Array, entities: Mask, target: int) -> Array:
    """Sums over entities by day and forecast, `[D, 2]`."""
    summed: Array = sums[:, :, entities, target].sum(axis=-1).T
    return summed


def _log_ratio(losses: Array) -> Array:
    """Mean over cells of the log of challenger over champion, of `[..., 2, cells]`; two that never err are equal."""
    champion, challenger = losses[..., CHAMPION, :], losses[..., CHALLENGER, :]
    both_perfect = (champion == 0) & (challenger == 0)
    logs: Array = np.log(np.where(both_perfect, 1.0, challenger / champion)).mean(axis=-1)
    return logs


def _typical(values: Array) -> float:
    """Geometric mean."""
    return float(np.exp(np.log(values).mean()))


def _coverage(target: int, paired: Paired, resamples: Resamples, chance: float) -> Row | None:
    """How far the coverage of the interval is from nominal, and whether farther than the champion's."""
    count = paired.count[:, :, target].sum(axis=-1)
    if not count.any() or np.isnan(paired.inside).any():
        return None
    nominal = INTERVAL[1] - INTERVAL[0]
    everyone = np.ones(len(paired.topology.entities), bool)
    sums = np.column_stack([_by_day(paired.inside, everyone, target), count])

    def off(drawn: Array) -> Array:
        return drawn[..., CHALLENGER] / drawn[..., -1] - nominal

    def farther(drawn: Array) -> Array:
        distance: Array = np.abs(drawn[..., :-1] / drawn[..., -1:] - nominal)
        return distance[..., CHALLENGER] - distance[..., CHAMPION]

    found = resamples.bounds(sums, off, chance)
    away = found.lower > COVERAGE or found.upper < -COVERAGE
    passed = not (away and resamples.bounds(sums, farther, chance).lower > 0)
    champion, challenger = (sums.sum(axis=0)[:-1] / count.sum()).tolist()
    return Row("coverage", "all", paired.targets[target], "coverage_90", champion, challenger, *found, COVERAGE, passed)


def _brier(target: int, paired: Paired, resamples: Resamples, chance: float) -> Row | None:
    """The challenger's Brier score less the champion's."""
    count = paired.limited[:, :, target].sum(axis=-1)
    if not count.any():
        return None
    everyone = np.ones(len(paired.topology.entities), bool)
    squares = _by_day(paired.squares, everyone, target)
    champion, challenger = (squares.sum(axis=0) / count.sum()).tolist()
    sums = np.stack([squares[:, CHALLENGER] - squares[:, CHAMPION], count], axis=-1)
    worse = resamples.bounds(sums, lambda drawn: drawn[..., 0] / drawn[..., 1], chance)
    passed = worse.value <= BRIER or worse.lower <= 0
    return Row("brier", "all", paired.targets[target], "brier", champion, challenger, *worse, BRIER, passed)


def _budgets(cost: Cost, champion: Cost | None, settings: GateConfig) -> list[Row]:
    budgets = {"size_mb": settings.max_bundle_mb, "ms_per_1000": settings.max_ms_per_1000}
    rows = []
    for metric, limit in budgets.items():
        value, was = getattr(cost, metric), getattr(champion, metric, None)
        rows.append(Row("budget", "all", "all", metric, was, value, value, None, None, limit, value <= limit))
    return rows


def against_baselines(scores: pl.DataFrame) -> list[Row]:
    """Ours beside the best baseline of each target and level: better on the whole, and nowhere much worse."""
    ours = scores.filter(pl.col("method") == OURS).select("target", "level", ours="wql")
    rivals = scores.filter(pl.col("method") != OURS).group_by("target", "level", maintain_order=True)
    table = ours.join(rivals.agg(best=pl.col("wql").min()), on=["target", "level"], maintain_order="left")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = table["ours"].to_numpy() / table["best"].to_numpy()
        best, own, overall = (_typical(np.asarray(each)) for each in (table["best"], table["ours"], ratios))
    rows = [Row("overall", "all", "all", "wql", best, own, overall, None, None, BETTER, overall < BETTER)]
    for (target, level, mine, theirs), ratio in zip(table.iter_rows(), ratios.tolist(), strict=True):
        passed = ratio <= WORST_SEGMENT
        rows.append(
            Row("segment", f"level {level}", target, "wql", theirs, mine, ratio, None, None, WORST_SEGMENT, passed)
        )
    return rows


def _reason(rows: list[Row], rival: Rival) -> str:
    """The first row that failed, or the one on the whole."""
    failed = [row for row in rows if not row.passed]
    told = verdict_row(asdict((failed or rows)[0]))
    reason = f"{told.rule}: {told.challenger} beside {told.champion} of {rival.key or 'the best baselines'}"
    reason += f", {told.change}" if told.change else ""
    reason += f" ({told.bounds})" if told.bounds else ""
    reason += f", limit {told.limit}" if failed else ""
    reason += f"; and {len(failed) - 1} more" if len(failed) > 1 else ""
    return reason if rival.key else f"{reason}; {rival.why}"


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in row.items()}
