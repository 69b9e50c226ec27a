"""What came lately, as daily signatures: values, how they hang together, and how much came at all.

Loads differ so much from day to day that 10 % more power for the same work hides among them. What a signal owes to
those that cause it hides nothing: power is told by use, a die's temperature by power and inlet, an inlet by the inlets
of other halls, which the same weather warms.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.contracts.signals import SIGNALS
from forecast.contracts.topology import Topology
from forecast.evaluation.drift.judge import RELATION_K, Array, Series, luck_of
from forecast.evaluation.drift.segments import followed, halls_of, segments_of
from forecast.features.gridded import Floats
from forecast.windows.panel import Panel

Flags = NDArray[np.bool_]

#: Each signal and what explains it (constants.md §5); `elsewhere` is its own mean over the leaves of other halls.
_CAUSES = {
    "power_w": ("utilization_ratio",),
    "temperature_c": ("power_w", "inlet_c"),
    "inlet_c": ("elsewhere",),
}

#: Samples of a day: one each half hour. What lasts less moves no day.
_SAMPLES = 48

#: Quantiles that tell a day's values: their mean distance from those of another day is the first Wasserstein distance.
_QUANTILES = np.linspace(0.05, 0.95, 19)

#: An interquartile range is at least this share of the signal's typical scale, or of the usual value where it has none:
#: the digits of a sensor at rest are no load.
_AT_REST = 0.1

#: An entity that came in less of the reference tells nothing of what is usual.
_KNOWN_SHARE = 0.05

#: Keeps a fit solvable where a cause never changed.
_RIDGE = 1e-6


def input_series(panel: Panel, topology: Topology, end: int, days: int, known: int) -> list[Series]:
    """Signatures of the `days` days before step `end`, of which the first `known` are the reference.

    Args:
        panel: entities as the topology's.
        topology: of the fleet as it is now.
    """
    sampled = _Sampled.of(panel, topology, end, days, known)
    segments = [(each, np.flatnonzero(np.isin(sampled.places, each.entities))) for each in segments_of(topology)]
    series = []
    for channel, signal in enumerate(panel.channels):
        usual = sampled.usual(channel)
        scaled, unexplained = sampled.scaled(channel), sampled.unexplained(signal)
        came = ~np.isnan(sampled.values[channel])
        for segment, members in segments:
            told = members[usual[members]]
            if not told.size:
                continue
            of = (segment.by, segment.name, signal)
            series.append(
                Series("values", *of, _quantiles(np.moveaxis(scaled[told], 1, 0).reshape(days, -1), _QUANTILES))
            )
            series.append(Series("observed", *of, came[told].mean((0, 2))[:, None], luck_of(told.size)))
            if unexplained is not None:
                series.append(Series("relation", *of, unexplained.of(told)))
    return series


@dataclass(frozen=True, eq=False)
class _Unexplained:
    """What the causes of a signal leave of it, summed over each day: `[M, D]` each, and what it is told in units of."""

    rest: Array
    size: Array

    def of(self, members: NDArray[np.int64]) -> Array:
        """The share that is unexplained, per day, `[D, 1]`; NaN where nothing was told."""
        rest, size = self.rest[members].sum(0), self.size[members].sum(0)
        share: Array = np.divide(rest, size, out=np.full_like(rest, np.nan), where=size > 0)
        return share[:, None]


@dataclass(frozen=True, eq=False)
class _Sampled:
    """Some values of some entities, by day.

    Attributes:
        values: `[C, M, D, S]`.
        channels: names of the first axis.
        places: `[M]`, of the entities on the panel's entity axis.
        halls: `[M]`, the hall each leaf lies in; -1 where there is none.
        known: days from the first that are the reference.
    """

    values: Floats
    channels: tuple[str, ...]
    places: NDArray[np.int64]
    halls: NDArray[np.int64]
    known: int

    @classmethod
    def of(cls, panel: Panel, topology: Topology, end: int, days: int, known: int) -> "_Sampled":
        day, places = 86_400 // panel.step_s, followed(topology)
        apart = max(day // _SAMPLES, 1)
        parts = [panel.read(first, first + day)[:, places, ::apart] for first in range(end - days * day, end, day)]
        return cls(np.stack(parts, axis=2), panel.channels, places, halls_of(topology)[places], known)

    def usual(self, channel: int) -> Flags:
        """Who came often enough in the reference, `[M]`."""
        often: Flags = (~np.isnan(self.values[channel, :, : self.known])).mean((1, 2)) >= _KNOWN_SHARE
        return often

    def scaled(self, channel: int) -> Floats:
        """Values `[M, D, S]` in interquartile ranges from the middle of each entity's reference."""
        values = self.values[channel]
        low, middle, high = _quantiles(values[:, : self.known].reshape(len(values), -1), np.array([0.25, 0.5, 0.75])).T
        typical = SIGNALS[self.channels[channel]].typical_scale
        scale = np.maximum(high - low, _AT_REST * (np.abs(middle) if typical is None else typical))
        scaled: Floats = (values - middle[:, None, None]) / np.where(scale > 0, scale, 1)[:, None, None]
        return scaled.astype(np.float32)

    def unexplained(self, signal: str) -> _Unexplained | None:
        """What its causes leave of a signal, by least squares over each entity's reference; None without causes.

        Where a cause lies outside what the reference showed of it, nothing is told: a line does not go on for ever.
        """
        causes = list(self._causes(signal))
        if not causes:
            return None
        told = self.values[self.channels.index(signal)].astype(np.float64)
        inputs = np.stack([np.ones_like(told), *causes], axis=-1)
        whole = ~np.isnan(told) & np.logical_and.reduce([_within(cause, self.known) for cause in causes])
        told, inputs = np.where(whole, told, 0.0), np.where(whole[..., None], inputs, 0.0)
        fitted = _fitted(inputs, told, self.known)
        power = SIGNALS[signal].unit == "W"
        return _Unexplained((told - fitted).sum(-1), np.abs(fitted).sum(-1) if power else RELATION_K * whole.sum(-1))

    def _causes(self, signal: str) -> Iterator[Array]:
        for name in _CAUSES.get(signal, ()):
            if name == "elsewhere" and len(np.unique(self.halls[self.halls >= 0])) > 1:
                yield self._elsewhere(self.values[self.channels.index(signal)])
            elif name in self.channels:
                yield self.values[self.channels.index(name)].astype(np.float64)

    def _elsewhere(self, values: Floats) -> Array:
        """The mean of `[M, D, S]` over the leaves of other halls, per leaf; NaN for what is no leaf of a hall."""
        count = self.halls.max() + 1
        one_of = (self.halls[:, None] == np.arange(count)).astype(np.float64)
        total = np.einsum("mh,mds->hds", one_of, np.nan_to_num(values))
        came = np.einsum("mh,mds->hds", one_of, ~np.isnan(values))
        others = (total.sum(0) - total) / np.where(came.sum(0) > came, came.sum(0) - came, np.nan)
        return np.where(self.halls[:, None, None] >= 0, others[self.halls], np.nan)


def _within(values: Array, known: int) -> Flags:
    """Which of `[M, D, S]` lie within what each entity's first `known` days showed; none that is NaN."""
    reference = values[:, :known].reshape(len(values), -1)
    low = np.where(np.isnan(reference), np.inf, reference).min(1)[:, None, None]
    high = np.where(np.isnan(reference), -np.inf, reference).max(1)[:, None, None]
    within: Flags = (values >= low) & (values <= high)
    return within


def _fitted(inputs: Array, told: Array, known: int) -> Array:
    """What a linear fit per entity to the first `known` days says of `told [M, D, S]`, given `inputs [M, D, S, F]`."""
    reference = inputs[:, :known].reshape(len(inputs), -1, inputs.shape[-1])
    gram = np.einsum("mtf,mtg->mfg", reference, reference)
    seen = np.einsum("mtf,mt->mf", reference, told[:, :known].reshape(len(told), -1))
    ridge = _RIDGE * np.einsum("mff->mf", gram) + np.finfo(float).tiny
    weights = np.linalg.solve(gram + ridge[:, :, None] * np.eye(gram.shape[-1]), seen[..., None])[..., 0]
    fitted: Array = np.einsum("mdsf,mf->mds", inputs, weights)
    return fitted


def _quantiles(values: Floats, levels: Array) -> Array:
    """Quantiles of each row `[R, L]` at `levels [Q]`, the nearest value each, `[R, Q]`; NaN for a row of NaN."""
    ordered = np.sort(values, axis=-1)  # NaN come last
    count = (~np.isnan(ordered)).sum(-1)
    at = np.rint(levels * np.maximum(count - 1, 0)[:, None]).astype(np.int64)
    found: Array = np.take_along_axis(ordered, at, axis=-1).astype(np.float64)
    return found
