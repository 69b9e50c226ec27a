"""How the forecasts of the version in service hold up: replayed day by day, with what was known on each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forecast.evaluation.drift.judge import Array, Series, luck_of
from forecast.evaluation.drift.segments import Segment, segments_of
from forecast.evaluation.metrics import Tally
from forecast.predictor import Predictor
from forecast.windows.panel import Panel

#: Central intervals whose coverage is followed.
_INTERVALS = {"coverage_80": 0.80, "coverage_98": 0.98}


@dataclass(frozen=True, eq=False)
class Replay:
    """Outcomes of a version's forecasts, one forecast a day at the same time of day, oldest first.

    Attributes:
        series: coverage and, as `pit`, the shares of outcomes at or below each quantile.
        pit: target to the shares of outcomes between its quantiles, before the newest days and on them, `[2, Q + 1]`;
            only targets with outcomes in both.
    """

    series: list[Series]
    pit: dict[str, Array]


def replay(
    predictor: Predictor, panel: Panel, ends: Sequence[int], newest: int, progress: Callable[[float], None]
) -> Replay:
    """Forecast some days as they began, and compare with what came.

    A horizon longer than a day is scored on its first day; a shorter one on the end of the day.

    Args:
        panel: entities as the predictor's topology.
        ends: one past the last step of each day, oldest first.
        newest: days that `pit` tells apart.
        progress: told the share done.
    """
    tallies = []
    for done, end in enumerate(ends, start=1):
        tallies.append(_tallied(predictor, panel, end))
        progress(done / len(ends))
    series = [each for segment in segments_of(predictor.topology) for each in _series(segment, tallies, predictor)]
    before = len(tallies) - newest
    parts = (tallies[:before], tallies[before:])
    pit = {
        name: np.stack([_between(part, target) for part in parts])
        for target, name in enumerate(predictor.spec.targets)
        if all(parts)
    }
    return Replay(series, {name: shares for name, shares in pit.items() if np.isfinite(shares).all()})


def _tallied(predictor: Predictor, panel: Panel, end: int) -> Tally:
    """The forecast of the last steps before `end`: a day, or the horizon where that is shorter."""
    spec = predictor.spec
    span = min(spec.horizon_steps, spec.day_steps)
    origin, targets = end - span, len(spec.targets)
    context, actual = (
        panel.read(*steps)[:targets].transpose(1, 0, 2)
        for steps in ((origin - spec.context_steps, origin), (origin, end))
    )
    actual[np.isnan(context).all(-1)] = np.nan  # no forecast, only a safe bound
    tally = Tally(len(panel.entities), targets, spec.quantile_levels, np.zeros(span, np.int64))
    tally.add(np.arange(len(panel.entities)), actual, predictor.at(panel, origin).outputs.quantiles[..., :span])
    return tally


def _series(segment: Segment, tallies: list[Tally], predictor: Predictor) -> list[Series]:
    members = np.isin(np.arange(len(predictor.topology.entities)), segment.entities)
    series, luck = [], luck_of(len(segment.entities))
    for target, name in enumerate(predictor.spec.targets):
        of = (segment.by, segment.name, name)
        below = np.stack([tally.covered(members, target) for tally in tallies])
        series.append(Series("pit", *of, below, luck))
        for kind, share in _INTERVALS.items():
            covered = np.array([tally.coverage(members, target, share) for tally in tallies])
            series.append(Series(kind, *of, covered[:, None], luck))
    return series


def _between(tallies: Sequence[Tally], target: int) -> Array:
    """Shares of the outcomes of some days that fell between the quantiles, `[Q + 1]`; NaN where none came."""
    below = np.sum([tally.below[:, target].sum((0, 2)) for tally in tallies], axis=0)
    count = np.sum([tally.count[:, target].sum() for tally in tallies])
    shares: Array = np.diff(below / count if count else np.full_like(below, np.nan), prepend=0.0, append=1.0)
    return shares
