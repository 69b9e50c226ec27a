"""What recent forecasts missed moves the next ones: online conformal adaptation, as state of the predictor.

Per kind of entity (its level of the fleet tree), target and side, the state holds how far the quantile levels 0.1, 0.9
and the outermost two are shifted, in normal scores: 0.2 at 0.9 makes the forecast tell its quantile at 0.93. The graph
takes the shifts as static inputs (`SHIFTS`) and moves all quantiles, headroom and exceedance by them.

A shift is learnt as adaptive conformal inference does (Gibbs and Candès, 2021): up by a rate times the share of misses,
down by the rate times the share allowed. As in the quantile tracker of conformal PID control (Angelopoulos, Candès and
Tibshirani, 2023), every outcome is judged by today's shift, not by the one it was issued with: a label that comes a
horizon late teaches the same, and the loop cannot swing.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple
from zipfile import BadZipFile, is_zipfile

import numpy as np
from numpy.typing import NDArray

from forecast.contracts.errors import DataError
from forecast.contracts.signals import LEVELS
from forecast.contracts.specs import SHIFTS, SIDES, ForecastSpec
from forecast.contracts.topology import Topology
from forecast.disk import write_whole
from forecast.features.gridded import Floats

Array = NDArray[np.float64]

#: Telemetry as it is known now: start of a step (UTC seconds) to values of every target and entity, `[T, N]`.
Observed = Callable[[int], Floats]

FORMAT = 1

#: Per side, how far a horizon of labels moves the shift if every one of them misses, in normal scores. Chosen on
#: validation ranges; the outermost levels miss so rarely that a slower rate would learn nothing in a week.
_RATES = np.array([3.0, 1.0, 1.0, 3.0])

#: No shift of a side goes further, whatever comes: with its neighbours at rest, 0.1 stays below 0.5 below 0.9.
_FARTHEST = np.array([2.0, 1.0, 1.0, 2.0])

#: A score further out is as far as can be.
_FAR = 5.0

#: Labels of a forecast that are followed: one in each of so many parts of the horizon, another one every time.
_PROBES = 8

#: Entities of a kind that are followed; more of them tell no more of what they share.
_FOLLOWED = 256

#: A forecast waits for its labels so many horizons.
_PATIENCE = 2

#: Labels that come at once count no more than this share of a horizon: after an outage the world is not a day's worth
#: of steps away.
_AT_ONCE = 0.25


@dataclass(frozen=True, eq=False)
class _Issued:
    """A forecast whose labels are awaited.

    Attributes:
        at_s: forecast time, UTC seconds.
        weight: of each label of an entity of each kind `[G]`, so that those of a horizon sum to one.
        quantiles: `[M, T, Q, P]`, of the entities that are followed, at the probes.
        scores: `[G, T, Q]`, normal scores that those quantiles stand at.
        leads: `[P]`, steps ahead of the probes.
        learnt: `[M, T, P]`, which labels have come.
    """

    at_s: int
    weight: Array
    quantiles: Floats
    scores: Array
    leads: NDArray[np.int64]
    learnt: NDArray[np.bool_]


#: What `save` keeps of each forecast.
_KEPT = ("at_s", "weight", "quantiles", "scores", "leads", "learnt")


class _Labels(NamedTuple):
    """What came of forecasts: normal score, weight, kind and target of each, `[L]`."""

    score: Array
    weight: Array
    kind: NDArray[np.int64]
    target: NDArray[np.int64]


class Adaptation:
    """The state of one bundle's predictor.

    Args:
        spec: the graph's interface; without `SHIFTS` among its static inputs there is nothing to adapt.
        topology: the entities; those of one level share their shifts.
        bundle_id: whose forecasts it follows; those of another bundle say nothing of this one.
    """

    def __init__(self, spec: ForecastSpec, topology: Topology, bundle_id: str) -> None:
        self.spec = spec
        self.bundle_id = bundle_id
        self.kind = np.array([LEVELS.index(level) + 1 for level in topology.table["level"]], np.int64)
        self.now_s: int | None = None
        knots = (spec.quantile_levels[0], 0.1, 0.9, spec.quantile_levels[-1])
        self._knots, self._scores = np.array(knots), _normal(knots)
        self._followed = _spread_by_kind(self.kind)
        self._shift = np.zeros((len(LEVELS) + 1, len(spec.targets), len(SIDES)))
        self._issued: list[_Issued] = []

    @classmethod
    def load(cls, path: Path, spec: ForecastSpec, topology: Topology, bundle_id: str) -> "Adaptation":
        """The state that `save` left; a fresh one where there is none, or one of another bundle.

        Raises:
            DataError: the file is damaged, or a folder.
        """
        state = cls(spec, topology, bundle_id)
        if not path.exists():
            return state
        if path.is_dir():
            raise DataError(f"{path}: a folder; name a file in it that keeps the state, such as {path / 'state.npz'}.")
        try:
            if not is_zipfile(path):
                raise BadZipFile("no .npz")  # of which NumPy would say how to load it unsafely
            with np.load(path, allow_pickle=False) as kept:
                arrays = {name: kept[name] for name in kept.files}
            if (int(arrays["format"]), str(arrays["bundle_id"])) == (FORMAT, bundle_id):
                state._restore(arrays)
        except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, BadZipFile, zlib.error) as error:
            what = f"a damaged state of adaptation, or none at all ({error})"
            raise DataError(f"{path}: {what}; delete it to begin anew, or name another.") from error
        return state

    def save(self, path: Path) -> None:
        """Keep the state in `path`, an .npz, whole or not at all.

        Raises:
            OSError: the disk refused.
        """
        arrays: dict[str, Any] = {
            "format": FORMAT,
            "bundle_id": self.bundle_id,
            "now_s": -1 if self.now_s is None else self.now_s,
            "shift": self._shift,
        }
        if self._issued:
            arrays |= {name: np.stack([getattr(each, name) for each in self._issued]) for name in _KEPT}
        write_whole(path, lambda file: np.savez_compressed(file, **arrays))

    def _restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take over what `save` wrote.

        Raises:
            ValueError, KeyError: it is not of this fleet and interface.
        """
        if arrays["shift"].shape != self._shift.shape or not np.isfinite(arrays["shift"]).all():
            raise ValueError("its shifts are not of this forecast")
        self._shift = np.clip(arrays["shift"].astype(np.float64), -_FARTHEST, _FARTHEST)
        self.now_s = None if arrays["now_s"] < 0 else int(arrays["now_s"])
        parts, targets, levels = len(_probes(self.spec.horizon_steps, 0)), *self._shift.shape[1:2], self._levels
        shape = (len(self._followed), targets, levels, parts)
        for row in range(len(arrays.get("at_s", ()))):
            each = _Issued(int(arrays["at_s"][row]), *(arrays[name][row] for name in _KEPT[1:]))
            if each.quantiles.shape != shape or each.learnt.shape != (*shape[:2], parts):
                raise ValueError("its forecasts are not of this fleet")
            self._issued.append(each)

    @property
    def _levels(self) -> int:
        return len(self.spec.quantile_levels)

    def shifts(self) -> Floats:
        """The shift of each entity, target and side, `[N, T, len(SIDES)]`, in normal scores."""
        shifts: Floats = self._shift[self.kind].astype(np.float32)
        return shifts

    def follows(self, at_s: int) -> bool:
        """Whether a forecast at `at_s` can be adapted: its graph takes shifts, and it is not before the newest."""
        return set(SHIFTS) <= set(self.spec.static) and (self.now_s is None or at_s >= self.now_s)

    def learn(self, now_s: int, observed: Observed) -> None:
        """Take in the labels that have come by `now_s`; none is counted twice, and none from `now_s` on is looked at.

        Args:
            now_s: UTC seconds; before the newest time that was told, nothing is learnt.
            observed: NaN where a value has not come.
        """
        if self.now_s is not None and now_s < self.now_s:
            return
        self.now_s = now_s
        patience_s = _PATIENCE * self.spec.horizon_steps * self.spec.step_s
        self._issued = [
            each
            for place, each in enumerate(self._issued, start=1)
            if now_s - each.at_s <= patience_s and not (each.learnt.all() and place < len(self._issued))
        ]
        come = _together([self._labels(each, now_s, observed) for each in self._issued])
        for kind in np.unique(come.kind):
            for target in range(len(self.spec.targets)):
                mine = (come.kind == kind) & (come.target == target)
                if mine.any():
                    self._step(int(kind), target, come.score[mine], come.weight[mine])

    def remember(self, at_s: int, quantiles: Floats) -> None:
        """Await the labels of a forecast `[N, T, Q, H]` that was issued at `at_s` with today's shifts."""
        newest = self._issued[-1].at_s if self._issued else at_s - self.spec.step_s
        if at_s <= newest or (self.now_s is not None and at_s < self.now_s):
            return
        horizon = self.spec.horizon_steps
        leads = _probes(horizon, at_s // self.spec.step_s)
        share = min((at_s - newest) / (self.spec.step_s * horizon), 1.0) / len(leads)
        count = np.bincount(self.kind[self._followed], minlength=len(LEVELS) + 1)
        chosen = quantiles[self._followed][..., leads]
        self._issued.append(
            _Issued(
                at_s,
                share / np.maximum(count, 1),
                np.maximum.accumulate(chosen, axis=2).astype(np.float32),
                self._standing(),
                leads,
                np.zeros((len(self._followed), len(self.spec.targets), len(leads)), bool),
            )
        )

    def _standing(self) -> Array:
        """The normal score at which each quantile level stands under today's shifts, `[G, T, Q]`."""
        levels = self.spec.quantile_levels
        standing: Array = np.maximum.accumulate(_normal(levels) + self._shift @ between_sides(levels), axis=-1)
        return standing

    def _labels(self, issued: _Issued, now_s: int, observed: Observed) -> _Labels:
        """The labels of a forecast that have newly come."""
        parts = []
        due = (issued.at_s + (issued.leads + 1) * self.spec.step_s <= now_s) & ~issued.learnt.all((0, 1))
        for probe in np.flatnonzero(due).tolist():
            value = observed(issued.at_s + int(issued.leads[probe]) * self.spec.step_s)[:, self._followed].T
            new = ~np.isnan(value) & ~issued.learnt[..., probe]
            new &= ~np.isnan(issued.quantiles[..., probe]).any(-1)
            issued.learnt[..., probe] |= new
            entity, target = np.nonzero(new)
            kind = self.kind[self._followed[entity]]
            score = _score(value[new], issued.quantiles[entity, target, :, probe], issued.scores[kind, target])
            parts.append(_Labels(score, issued.weight[kind], kind, target))
        return _together(parts)

    def _step(self, kind: int, target: int, score: Array, weight: Array) -> None:
        """Move the shifts of one kind and target by labels `[L]`."""
        amount = weight.sum()
        shift = self._shift[kind, target]
        missed = (score > (self._scores + shift)[:, None]) @ weight
        moved = _RATES * (missed - amount * (1 - self._knots)) * min(1.0, _AT_ONCE / amount)
        self._shift[kind, target] = np.clip(shift + moved, -_FARTHEST, _FARTHEST)


def _together(parts: Sequence[_Labels]) -> _Labels:
    if not parts:
        return _Labels(np.empty(0), np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))
    return _Labels(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def between_sides(levels: Sequence[float]) -> Array:
    """How the shifts of `SIDES` move each level, `[K, Q]`: linear in the normal score, nothing at the median."""
    knots, moves = _normal([levels[0], 0.1, 0.5, 0.9, levels[-1]]), np.eye(5)[[0, 1, 3, 4]]
    if levels[0] >= 0.1:  # the outermost quantiles are those at 0.1 and 0.9: one shift moves them
        knots, moves = knots[1:4], moves[:, 1:4]
    return np.stack([np.interp(_normal(levels), knots, move) for move in moves])


def _normal(levels: Sequence[float]) -> Array:
    return np.array([NormalDist().inv_cdf(level) for level in levels])


def _spread_by_kind(kind: NDArray[np.int64]) -> NDArray[np.int64]:
    """The entities that are followed: of each kind at most so many, evenly spaced."""
    chosen = []
    for code in np.unique(kind):
        mine = np.flatnonzero(kind == code)
        chosen.append(mine[np.linspace(0, mine.size - 1, min(mine.size, _FOLLOWED)).astype(np.int64)])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)


def _probes(horizon: int, turn: int) -> NDArray[np.int64]:
    """One lead in each part of the horizon; over consecutive turns all of them."""
    width = -(-horizon // _PROBES)
    leads = np.arange(0, horizon, width) + turn % width
    return np.minimum(leads, horizon - 1)


def _score(value: Floats, quantiles: Floats, scores: Array) -> Array:
    """The normal score at which each value `[L]` lies among its quantiles `[L, Q]`, which stand at `scores [L, Q]`.

    At a value that several quantiles share, the lowest of theirs: it is at or below all of them.
    """
    rows = np.arange(len(value))
    above = np.clip((quantiles < value[:, None]).sum(1), 1, quantiles.shape[1] - 1)
    low, high = quantiles[rows, above - 1].astype(np.float64), quantiles[rows, above].astype(np.float64)
    least = 1e-6 + 1e-4 * np.abs(quantiles).max(1)
    share = (value - low) / np.maximum(high - low, least)
    found = scores[rows, above - 1] + share * (scores[rows, above] - scores[rows, above - 1])
    bounded: Array = np.clip(found, -_FAR, _FAR)
    return bounded
