"""Conformal calibration per level of the fleet tree, target, part of the horizon, and quantile."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.contracts.signals import LEVELS
from forecast.contracts.specs import ForecastSpec
from forecast.models.base import QuantileModel
from forecast.models.recalibrate import beyond_unit, normal_scores, part_steps, score
from forecast.windows.gather import Gatherer

#: A group's own offset counts half when it holds this many independent windows; the rest is the offset over all groups.
HALF_TRUSTED = 20.0

#: Calibration narrows half of what it should where it was fitted on so many days, a year: what a few weeks or a season
#: find too wide the next ones need. It widens in full.
_HALF_NARROWED_DAYS = 360.0

#: How far outwards a level lies counts half by itself where it was fitted on so many draws; the rest is one factor for
#: all levels.
_HALF_SHAPED = 3.0

#: The training range is looked at so many lengths of the validation range back.
_BACK = 4


@torch.no_grad()
def fit_offsets(
    model: QuantileModel,
    windows: Gatherer,
    pairs: Tensor,
    trained: Tensor | None = None,
    learnt: bool = True,
    wider: float = 1.0,
) -> Tensor:
    """Offsets `[G, T, Q, H]` in normal scores that make each quantile cover its share of `pairs`.

    G counts the level codes, 0 for unknown. For level q the offset is the q-quantile of the scores at which the model's
    quantiles held what came, less the score of q: distributional conformal prediction (Chernozhukov, Wüthrich and Zhu,
    2021), fitted once. Windows of one entity on one day tell much the same; a group with few such days leans on all
    groups together. Intervals are as much wider as few days leave open, and move as far as those can tell: a draw from
    a normal distribution varies √(1 + 1/n) times as much about the mean of n others as about its true centre.

    Args:
        model: in evaluation mode.
        pairs: `[M, 2]` of (entity, origin), none of which the model was trained on.
        trained: likewise, of the training range; they count as much as `pairs` together. A few days of validation say
            more of those days than of the days to come.
        learnt: whether learning from `trained` brought the model anything; where not, their days count too when widths
            are told.
        wider: levels lie so many times as far from the median besides: for sites that `pairs` say little of.
    """
    parts = [_scored(model, windows, each) for each in (pairs, trained) if each is not None and len(each)]
    scores, level, weight = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    day = (pairs[:, 1] // windows.spec.day_steps).cpu().numpy()
    code_of_pair = windows.level_code[pairs[:, 0]].cpu().numpy()
    entity_days = torch.stack([pairs[:, 0], pairs[:, 1] // windows.spec.day_steps], 1).cpu().numpy()
    draws = _draws(pairs, windows.spec)
    honest = pairs if trained is None or learnt else torch.cat([trained, pairs])
    stretch = wider * math.sqrt(1 + 1 / _draws(honest, windows.spec))
    pooled = _offsets(scores, weight, stretch, windows.spec)
    offsets = np.repeat(pooled[None], len(LEVELS) + 1, axis=0)
    for code in np.unique(level):
        group = level == code
        independent = len(np.unique(entity_days[code_of_pair == code], axis=0))
        trust = independent / (independent + HALF_TRUSTED)
        offsets[code] = trust * _offsets(scores[group], weight[group], stretch, windows.spec) + (1 - trust) * pooled
    days = len(np.unique(day))
    return torch.from_numpy(_cautious(offsets, draws, days / (days + _HALF_NARROWED_DAYS), windows.spec)).float()


def newest(trained: Tensor, validation: Tensor) -> Tensor:
    """Of the pairs `[M, 2]` of the training range, those of the same entities not long before the validation range.

    Where entities are validated that were never trained on, none: what is learnt by heart says nothing of strangers.
    """
    first, last = validation[:, 1].min(), validation[:, 1].max()
    near = trained[:, 1] >= first - _BACK * (last - first)
    return trained[near & torch.isin(trained[:, 0], validation[:, 0])]


def _draws(pairs: Tensor, spec: ForecastSpec) -> float:
    """How many draws `pairs [M, 2]` hold.

    What the loads of a few entities have in common over a horizon is one draw, at however many steps it shows; where
    there are more entities than horizons, each is one.
    """
    horizons = float(pairs[:, 1].max() - pairs[:, 1].min()) / spec.horizon_steps + 1
    return max(horizons, len(pairs[:, 0].unique()))


def _cautious(offsets: NDArray[np.float64], draws: float, trust: float, spec: ForecastSpec) -> NDArray[np.float64]:
    """Offsets `[G, T, Q, H]` that narrow central intervals by the share `trust` of what they would, and move them less.

    The mean of n draws lies 1/√n from its true centre by chance: of a move by m the share m² / (m² + 1/n) is told,
    which would err least were m the true one (Thompson, 1968). Nor do few draws tell how much further out one level
    lies than another: the fewer they are, the more all levels go out by one factor.
    """
    normal = normal_scores(spec.quantile_levels).double().numpy()[:, None]
    mirrored = offsets[:, :, ::-1]
    centre, outward = (offsets + mirrored) / 2, (offsets - mirrored) / 2
    squared = (centre * centre).mean(2, keepdims=True)
    alike = (outward * normal).sum(2, keepdims=True) / (normal * normal).sum() * normal
    own = draws / (draws + _HALF_SHAPED)
    outward = own * outward + (1 - own) * alike
    moved, widened = squared / (squared + 1 / draws), np.where(outward * normal < 0, trust, 1.0)
    kept: NDArray[np.float64] = moved * centre + widened * outward
    return kept


def _scored(
    model: QuantileModel, windows: Gatherer, pairs: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    """Scores `[M, T, H]`, NaN where not observed; level codes `[M]`; and weights `[M]`, which sum to one."""
    scores = torch.cat([_scores(model, windows, chunk) for chunk in pairs.split(512)]).cpu().numpy()
    return scores, windows.level_code[pairs[:, 0]].cpu().numpy(), np.full(len(pairs), 1 / len(pairs))


def _scores(model: QuantileModel, windows: Gatherer, pairs: Tensor) -> Tensor:
    batch = windows.batch(pairs[:, 0], pairs[:, 1])
    raw = model(batch.past, batch.future, batch.static)
    unit = beyond_unit(batch.past[:, : len(windows.spec.targets)])
    return score(batch.target, raw, unit, normal_scores(windows.spec.quantile_levels).to(raw))


def _offsets(
    scores: NDArray[np.float32], weight: NDArray[np.float64], stretch: float, spec: ForecastSpec
) -> NDArray[np.float64]:
    """`[T, Q, H]` from `[M, T, H]`: one value per part of the horizon; 0 where nothing was observed."""
    normal, median = normal_scores(spec.quantile_levels).numpy(), spec.quantile_levels.index(0.5)
    offsets = np.zeros((scores.shape[1], len(normal), spec.horizon_steps))
    width = part_steps(spec)
    for begin in range(0, spec.horizon_steps, width):
        part = slice(begin, begin + width)
        for target in range(scores.shape[1]):
            block = scores[:, target, part]
            seen = ~np.isnan(block)
            if seen.any():
                counts = np.broadcast_to(weight[:, None], block.shape)[seen]
                found = _quantiles(block[seen], counts, spec.quantile_levels)
                told = found[median] + stretch * (found - found[median])
                offsets[target, :, part] = (told - normal)[:, None]
    return offsets


def _quantiles(
    values: NDArray[np.float32], weight: NDArray[np.float64], levels: tuple[float, ...]
) -> NDArray[np.float64]:
    """Weighted quantiles, linear between the middles of the values' shares."""
    order = np.argsort(values)
    share = np.cumsum(weight[order])
    found: NDArray[np.float64] = np.interp(np.array(levels) * share[-1], share - weight[order] / 2, values[order])
    return found
