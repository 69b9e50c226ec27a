"""Persistence for entities that were never seen: the quantiles of its errors on all others, pooled."""

import numpy as np

from benchmarks.accuracy.peers.peer import Peer, filled
from benchmarks.accuracy.tasks import LEVELS, Asked, History
from forecast.features.gridded import Floats

#: Steps between the origins whose errors are pooled.
_STRIDE = 10


class PooledPersistence(Peer):
    """Repeats the last value; its errors are those of every entity that was learnt from."""

    name = "persistence"

    def fit(self, history: History) -> None:
        spec = history.spec
        self._targets = len(spec.targets)
        pairs = [
            (entity, origin)
            for entity, end in enumerate(history.end)
            for origin in range(spec.context_steps, int(end) - spec.horizon_steps + 1, _STRIDE)
        ]
        entity, origin = np.array(pairs).T
        past = history.contexts(entity, origin, spec.context_steps)
        came = history.contexts(entity, origin + spec.horizon_steps, spec.horizon_steps)[:, : self._targets]
        errors = came - self._last(past)
        usable = ~np.isnan(errors).all(axis=(1, 2))
        self._offsets = np.nanquantile(errors[usable], LEVELS, axis=0).transpose(1, 0, 2).astype(np.float32)

    def forecast(self, asked: Asked) -> Floats:
        answer: Floats = self._last(asked.past)[:, :, None] + self._offsets
        return answer

    def _last(self, past: Floats) -> Floats:
        """The newest observation, `[M, T, 1]`."""
        return filled(past[:, : self._targets])[..., -1:]
