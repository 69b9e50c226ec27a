"""LightGBM that is told what is known ahead: features of the window, of the step, and what is told of it.

Entities are ones that were never seen and of all sizes, so powers count in nameplates; level, kind and nameplate are
features, entities are not.
"""

import lightgbm
import numpy as np
from torch import Tensor

from benchmarks.accuracy.peers import features
from forecast.contracts.specs import FUTURE
from forecast.features.gridded import Floats
from forecast.training.sampling import LevelSampler
from forecast.windows.gather import Windows

#: Training windows, drawn as ours are, and steps ahead drawn of each.
_WINDOWS, _AHEAD = 8_000, 8

#: How many targets are forecast.
_TARGETS = 1

#: Windows that are asked for at once: their rows fit the memory.
_CHUNK = 128

_TREES, _RATE = 200, 0.06


class ToldLightGBM:
    """A boosted forest per quantile of load, the first target.

    Args:
        levels: of the quantiles.
        leaves, in_leaf: size of a tree, and the fewest rows of a leaf.
        features_share: drawn for each tree.
    """

    def __init__(
        self, levels: tuple[float, ...], leaves: int = 31, in_leaf: int = 100, features_share: float = 0.5
    ) -> None:
        self.levels, self.leaves, self.in_leaf, self.features_share = levels, leaves, in_leaf, features_share

    def fit(self, windows: Windows, pairs: Tensor) -> None:
        """Learn from `pairs [M, 2]`, drawn so that few sites are not drowned by many servers."""
        sampler = LevelSampler(pairs, windows.level_code[pairs[:, 0]], _WINDOWS, seed=0)
        drawn = next(iter(sampler))
        random = np.random.default_rng(0)
        horizon = windows.spec.horizon_steps
        evenly = random.integers(horizon, size=(_WINDOWS, _AHEAD // 2))
        near = horizon ** random.random((_WINDOWS, _AHEAD - _AHEAD // 2))
        ahead = np.concatenate([evenly, near.astype(np.int64) - 1], axis=1)
        self._forests = []
        parts = [self._asked(windows, drawn[at : at + _CHUNK], ahead[at : at + _CHUNK])
                 for at in range(0, _WINDOWS, _CHUNK)]  # fmt: skip
        for target in range(_TARGETS):
            rows, anchor, truth = (np.concatenate([part[target][of] for part in parts]) for of in range(3))
            known = ~np.isnan(truth)
            data = lightgbm.Dataset(rows[known], (truth - anchor)[known], free_raw_data=False)
            self._forests.append([self._train(data, level) for level in self.levels])

    def forecast(self, windows: Windows, pairs: Tensor) -> Floats:
        """Quantiles `[M, T, Q, H]` in the targets' units, never crossing."""
        horizon = windows.spec.horizon_steps
        answers = np.empty((len(pairs), len(self._forests), len(self.levels), horizon), np.float32)
        for begin in range(0, len(pairs), _CHUNK):
            part = pairs[begin : begin + _CHUNK]
            ahead = np.broadcast_to(np.arange(horizon), (len(part), horizon))
            for target, (rows, anchor, _) in enumerate(self._asked(windows, part, ahead)):
                found = np.stack([anchor + forest.predict(rows, num_threads=1) for forest in self._forests[target]])
                shaped = found.reshape(len(self.levels), len(part), horizon).transpose(1, 0, 2)
                scale = _scales(windows, part)[:, target]
                answers[begin : begin + len(part), target] = shaped * scale[:, None, None]
        answers.sort(axis=2)
        return answers

    def _asked(self, windows: Windows, pairs: Tensor, ahead: np.ndarray) -> list[tuple[Floats, Floats, Floats]]:
        """Per target: features `[M · A, F]`, what is subtracted, and the truth, `[M · A]`, powers in nameplates."""
        spec, day = windows.spec, windows.spec.day_steps
        past, future, static, came = (part.numpy() for part in windows.batch(pairs[:, 0], pairs[:, 1]))
        limit = static[:, spec.static.index("power_limit_w")][:, None]
        past = past.copy()
        past[:, spec.past.index("power_w")] /= limit
        told = np.stack([future[:, at] / (limit if FUTURE[name].typical_scale is None else 1.0)
                         for at, name in enumerate(spec.future)], axis=-1)  # fmt: skip
        told = np.take_along_axis(told, ahead[..., None], axis=1)
        clock = features.Clock(spec.step_s, 0.0)
        scale = _scales(windows, pairs)
        found = []
        for target in range(_TARGETS):
            anchor = np.nan_to_num(past[:, target, -1])
            own = past.copy()
            own[:, target] -= anchor[:, None]
            same = features.of_window(own, target, day)
            constant = np.concatenate([same, anchor[:, None], static], axis=1).astype(np.float32)
            steps = features.of_steps(own, target, day, pairs[:, 1].numpy(), ahead, clock)
            repeated = np.broadcast_to(constant[:, None], (*ahead.shape, constant.shape[1]))
            rows = np.concatenate([repeated, steps, told], axis=2)
            truth = np.take_along_axis(came[:, target], ahead, axis=1) / scale[:, target, None]
            found.append((rows.reshape(-1, rows.shape[2]), np.repeat(anchor, ahead.shape[1]), truth.ravel()))
        return found

    def _train(self, data: lightgbm.Dataset, level: float) -> lightgbm.Booster:
        settings = {
            "objective": "quantile",
            "alpha": level,
            "learning_rate": _RATE,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.in_leaf,
            "feature_fraction": self.features_share,
            "num_threads": 1,
            "deterministic": True,
            "seed": 0,
            "verbose": -1,
        }
        return lightgbm.train(settings, data, num_boost_round=_TREES)


def _scales(windows: Windows, pairs: Tensor) -> np.ndarray:
    """Nameplate of each window for power, 1 for the rest, `[M, T]`."""
    limit = windows.batch(pairs[:, 0], pairs[:, 1]).static[:, windows.spec.static.index("power_limit_w")].numpy()
    ones = np.ones_like(limit)
    return np.stack([limit if name == "power_w" else ones for name in windows.spec.targets], axis=1)
