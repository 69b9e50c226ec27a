"""LightGBM, direct: a boosted forest per quantile, the step ahead as a feature, one model for all entities."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Literal

import lightgbm
import numpy as np

from benchmarks.accuracy.peers import features
from benchmarks.accuracy.peers.peer import Peer, filled
from benchmarks.accuracy.tasks import LEVELS, Asked, History
from forecast.features.gridded import Floats

Anchor = Literal["nothing", "day", "last"]

#: Windows that are asked for at once: their rows fit the memory.
_CHUNK = 256


class LightGBM(Peer):
    """Quantile regression on hand-made features.

    Args:
        origin_stride: steps between the training origins of an entity.
        ahead: steps of the horizon drawn per origin: half of them evenly, half evenly in their logarithm, or the trees
            would hardly look at the first ones.
        anchor: what is subtracted from the target and from its features: the mean of the last day, the newest
            observation, or nothing.
        strangers: the entities and the clock of the test are none that could be learnt; they are no features.
        leaves, in_leaf: size of a tree, and the fewest rows of a leaf.
        threads: of LightGBM.
    """

    name = "LightGBM"
    libraries: ClassVar[tuple[str, ...]] = ("lightgbm", "numpy")

    def __init__(
        self,
        origin_stride: int = 1,
        ahead: int = 8,
        anchor: Anchor = "nothing",
        leaves: int = 31,
        in_leaf: int = 100,
        features_share: float = 1.0,
        threads: int = 1,
        strangers: bool = False,
    ) -> None:
        self.strangers = strangers
        self.origin_stride, self.ahead, self.anchor = origin_stride, ahead, anchor
        self.leaves, self.in_leaf, self.features_share, self.threads = leaves, in_leaf, features_share, threads

    @property
    def settings(self) -> Mapping[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_") and name != "threads"}

    def fit(self, history: History) -> int:
        spec = self._spec = history.spec
        self._told = history.told
        self._clock = features.Clock(spec.step_s, _local_hours_of_week(history))
        entity, origin, ahead = self._sample(history)
        past = history.contexts(entity, origin, spec.context_steps)
        self._forests = []
        for target in range(len(spec.targets)):
            truth = history.values[target, entity[:, None], origin[:, None] + ahead].ravel()
            rows, anchor = self._rows(Asked(entity, origin, past, history.told_from(entity, origin)), target, ahead)
            known = ~np.isnan(truth)
            data = lightgbm.Dataset(rows[known], (truth - anchor)[known], categorical_feature=[0], free_raw_data=False)
            self._forests.append([self._train(data, level) for level in LEVELS])
        leaves = [
            tree["num_leaves"] for forests in self._forests for f in forests for tree in f.dump_model()["tree_info"]
        ]
        return int(2 * sum(leaves))  # a split and a value per leaf, about

    def forecast(self, asked: Asked) -> Floats:
        horizon = self._spec.horizon_steps
        answers = np.empty((len(asked.entity), len(self._forests), len(LEVELS), horizon), np.float32)
        for begin in range(0, len(asked.entity), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            some = Asked(asked.entity[part], asked.origin[part], asked.past[part], asked.told[part])
            ahead = np.broadcast_to(np.arange(horizon), (len(some.entity), horizon))
            for target, forests in enumerate(self._forests):
                rows, anchor = self._rows(some, target, ahead)
                found = [anchor + forest.predict(rows, num_threads=1) for forest in forests]
                answers[part, target] = np.stack(found).reshape(len(LEVELS), *ahead.shape).transpose(1, 0, 2)
        answers.sort(axis=2)
        return answers

    def _sample(self, history: History) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Training windows: entity and origin `[M]`, steps ahead `[M, A]`; every horizon lies inside the history."""
        spec, random = history.spec, np.random.default_rng(0)
        pairs = [
            (entity, origin)
            for entity, end in enumerate(history.end)
            for origin in range(
                min(spec.day_steps, spec.context_steps), int(end) - spec.horizon_steps + 1, self.origin_stride
            )
            if not np.isnan(history.values[: len(spec.targets), entity, origin - 1]).any()
        ]
        entity, origin = np.array(pairs).T
        evenly = random.integers(spec.horizon_steps, size=(len(pairs), self.ahead // 2))
        near = spec.horizon_steps ** random.random((len(pairs), self.ahead - self.ahead // 2))
        return entity, origin, np.concatenate([evenly, near.astype(np.int64) - 1], axis=1)

    def _rows(self, asked: Asked, target: int, ahead: np.ndarray) -> tuple[Floats, Floats]:
        """Features `[M · A, F]`, the entity's number first, and what is subtracted from the target `[M · A]`."""
        day, entity = self._spec.day_steps, asked.entity
        anchor = self._anchor(asked.past[:, target], day)
        past = asked.past.copy()
        past[:, target] -= anchor[:, None]
        same = features.of_window(past, target, day)
        number = np.zeros_like(entity) if self.strangers else entity
        per_window = np.concatenate([number[:, None], same], axis=1).astype(np.float32)
        per_step = features.of_steps(past, target, day, asked.origin, ahead, self._clock)
        if self.strangers:
            per_step[..., features.CLOCK] = 0  # a constant is never split on
        told = [
            features.of_told(filled(past[:, channel]), filled(asked.told[:, at]), ahead)
            for at, channel in enumerate(self._told)
        ]
        repeated = np.broadcast_to(per_window[:, None], (*ahead.shape, per_window.shape[1]))
        rows = np.concatenate([repeated, per_step, *told], axis=2)
        return rows.reshape(-1, rows.shape[2]), np.repeat(anchor, ahead.shape[1])

    def _anchor(self, own: Floats, day: int) -> Floats:
        """`[M]`, in the target's unit; 0 where it is unknown."""
        if self.anchor == "nothing":
            return np.zeros(len(own), np.float32)
        anchor: Floats = np.nan_to_num(filled(own)[:, -1] if self.anchor == "last" else features.mean(own[:, -day:]))
        return anchor

    def _train(self, data: lightgbm.Dataset, level: float) -> lightgbm.Booster:
        settings = {
            "objective": "quantile",
            "alpha": level,
            "learning_rate": 0.06,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.in_leaf,
            "feature_fraction": self.features_share,
            "num_threads": self.threads,
            "deterministic": True,
            "seed": 0,
            "verbose": -1,
        }
        return lightgbm.train(settings, data, num_boost_round=200)


def _local_hours_of_week(history: History) -> float:
    """Local hours since Monday's midnight at step 0."""
    local = history.start + timedelta(hours=history.clock_offset_h)
    return local.weekday() * 24 + local.hour + local.minute / 60
