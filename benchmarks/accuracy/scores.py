"""Scores of forecasts on a task's windows, and how sure their differences are.

The sums are those of `forecast.evaluation.metrics`: a window takes the place of an entity there, so that any set of
windows can be scored, and drawn again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.accuracy.tasks import LEVELS, Task
from forecast.evaluation.baselines import seasonal_mae
from forecast.evaluation.metrics import WQL_LEVELS, Tally
from forecast.features.gridded import Floats

_DRAWS = 2000

#: A block is at least the horizon, and long enough for about so many to span the range.
_BLOCKS = 25

#: Parts of the horizon by which coverage is looked at.
_QUARTERS = 4


@dataclass(frozen=True, eq=False)
class Losses:
    """A method's loss per window and target: WQL over any windows is Σ loss / Σ size.

    Attributes:
        loss: `[M, T]`, mean over the deciles of twice the summed pinball loss.
        size: `[M, T]`, summed magnitude of what came.
    """

    loss: np.ndarray
    size: np.ndarray


def tally_of(task: Task, quantiles: Floats) -> Tally:
    """Sums per window, target and part of the horizon: the quarters, the first of which is cut after `first_steps`."""
    horizon, first = task.history.spec.horizon_steps, task.outline.first_steps
    steps = np.arange(horizon)
    parts = (steps * _QUARTERS // horizon) + (steps >= first)
    tally = Tally(len(quantiles), quantiles.shape[1], LEVELS, parts)
    tally.add(np.arange(len(quantiles)), task.actual, quantiles)
    return tally


def losses_of(tally: Tally) -> Losses:
    """Losses per window, from sums per window."""
    chosen = [tally.levels.index(level) for level in WQL_LEVELS]
    return Losses(2 * tally.pinball[:, :, chosen].sum(-1).mean(-1), tally.magnitude.sum(-1))


def score(task: Task, tally: Tally, target: int) -> dict[str, float]:
    """The columns of the leaderboard for one target."""
    everyone = np.ones(len(task.asked.entity), bool)
    return {
        "wql": tally.wql(everyone, target),
        "wql_first": float(tally.wql_by_part(everyone, target)[0]),
        "mae": tally.mae(everyone, target),
        "mase": _mase(task, tally, target),
        "coverage_80": tally.coverage(everyone, target, 0.8),
        "coverage_98": tally.coverage(everyone, target, 0.98),
        **{f"coverage_80_quarter_{at + 1}": share for at, share in enumerate(_by_quarter(tally, target))},
    }


def _mase(task: Task, tally: Tally, target: int) -> float:
    """Mean over entities of their MAE over that of the daily difference on the training range; NaN without days."""
    prepared = task.prepared
    naive = seasonal_mae(prepared.panel, prepared.spec, prepared.split.validation)
    found = [
        tally.mae(task.asked.entity == entity, target) / naive[entity, target]
        for entity in np.unique(task.asked.entity)
    ]
    seen = [ratio for ratio in found if np.isfinite(ratio)]
    return float(np.mean(seen)) if seen else float("nan")


def _by_quarter(tally: Tally, target: int) -> list[float]:
    """Coverage of the central 80 % per quarter of the horizon."""
    below, count = tally.below[:, target].sum(0), tally.count[:, target].sum(0)
    inside = below[LEVELS.index(0.9)] - below[LEVELS.index(0.1)]
    inside, count = (np.array([part[:2].sum(), *part[2:]]) for part in (inside, count))
    shares: list[float] = (inside / count).tolist()
    return shares


def interval(
    when: np.ndarray, horizon: int, ours: Sequence[Losses], theirs: Losses, target: int, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of (their WQL − ours) by a circular moving-block bootstrap over time.

    Blocks of consecutive times are drawn with replacement, all that was forecast then together (Politis and Romano,
    1992); a block spans the horizon at least. Our WQL is the mean over seeds.

    Args:
        when: `[M]`, steps.
        horizon: steps.
        ours: of each seed; theirs: of the peer.
        target: index.
        seed: of the draws.
    """
    times, slot = np.unique(when, return_inverse=True)
    slots, stride = len(times), max(int(np.median(np.diff(times))), 1) if len(times) > 1 else 1
    length = -(-max(horizon, slots * stride // _BLOCKS) // stride)
    sizes = _per_slot(theirs.size[:, target], slot, slots)
    gaps = theirs.loss[:, target] - np.mean([seed.loss[:, target] for seed in ours], axis=0)
    starts = np.random.default_rng(seed).integers(slots, size=(_DRAWS, -(-slots // length)))
    lost, size = (_drawn(sums, starts, length) for sums in (_per_slot(gaps, slot, slots), sizes))
    low, high = np.quantile(lost / size, [0.025, 0.975])
    return float(low), float(high)


def _per_slot(values: np.ndarray, slot: np.ndarray, slots: int) -> np.ndarray:
    """Sums of `values [M]` over the windows of each time, `[slots]`; what is NaN counts nothing."""
    return np.bincount(slot, np.nan_to_num(values), slots)


def _drawn(sums: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Sums over the drawn blocks, `[draws]`; a block that reaches the end goes on at the beginning."""
    running = np.concatenate([[0.0], np.cumsum(np.concatenate([sums, sums[:length]]))])
    total: np.ndarray = (running[starts + length] - running[starts]).sum(1)
    return total
