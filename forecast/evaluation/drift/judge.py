"""What counts as drift.

What is watched is a series of signatures, one a day: a few numbers of a segment and a signal, such as quantiles of a
load or the coverage of an interval. A stretch has drifted when its mean signature lies farther from that of the
reference, the days the version knows, than stretches of the reference lie from each other. Nothing is assumed about
loads: what weekends, holidays and bursts of jobs did in the reference is usual, and what was there once is no news.
Weekdays are not told apart for that reason: beside Mondays alone, a holiday on a Monday would be drift.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forecast.contracts.signals import SIGNALS
from forecast.wording import digits, percent, quantity, target_title

Array = NDArray[np.float64]

#: How often inputs, and how often calibration, may be called drifted when nothing happened: once in so many checks.
ALARM = 1 / 200

#: Fewer days of reference tell nothing of what is usual; a stretch needs so many of its length.
FEWEST_DAYS, _FEWEST_STRETCHES = 7, 4

#: A wobble of neighbouring days is followed up to here: beyond, no reference would be long enough.
_MOST_CORRELATED = 0.95

#: Variance that is only rounding.
_STILL = 1e-12

#: Farther than any stretch of the reference means by so much: what was there once, a bit stronger, is no news [K].
_NEWS = 1.25

#: What matters, however sure it is [K]: a quarter of the range that half of the values lie in, one sensor in twenty,
#: half of what an 80 % interval leaves out, twice what a 98 % interval does.
LEAST = {
    "values": 0.25,
    "relation": 0.02,
    "observed": 0.05,
    "entities": 0.10,
    "coverage_80": 0.10,
    "coverage_98": 0.04,
    "pit": 0.04,
}

#: Shares are compared as arcsin √share, whose noise is the same near 1, where most of them are (Anscombe, 1948).
_SHARES = {"observed", "coverage_80", "coverage_98"}

#: A relation is off by a share of the load, or by kelvins over this: 0.5 K matters like 2 % of power [K].
RELATION_K = 25.0

#: Points of an integral under a smooth curve.
_POINTS = 500

#: Signals that are no target, for people.
_NAMES = {
    "inlet_c": "Inlet",
    "utilization_ratio": "Use",
    "cooling_power_w": "Cooling power",
    "fan_speed_rpm": "Fan speed",
}


def signal_title(signal: str) -> str:
    """Name a signal for people."""
    return _NAMES.get(signal, target_title(signal))


@dataclass(frozen=True, eq=False)
class Series:
    """What is watched of one segment and signal.

    Attributes:
        kind: a key of `LEAST`.
        by, segment: what the segment has in common (level, sku, hall or site), and which it is.
        signal: a channel or target.
        signatures: `[D, K]`, one a day, oldest first; NaN where nothing can be said of a day.
        luck: how far a day's signature may be off by luck alone, for a reference that saw none.
    """

    kind: str
    by: str
    segment: str
    signal: str
    signatures: Array
    luck: float = 0.0


@dataclass(frozen=True)
class Row:
    """One comparison of a newest stretch with the reference.

    Attributes:
        kind, by, segment, signal: as of the series.
        days: length of the stretch.
        was, now: mean of the signature over the reference and the stretch, in the unit of the kind: interquartile
            ranges from the usual middle (values), the share of power, or units of `RELATION_K`, that nothing explains
            (relation), shares (the rest).
        statistic: distance between the two signatures, their mean absolute difference; of shares, of arcsin √share.
        usual: root mean square of that distance over the stretches of the reference, and of luck.
        p: how often a quiet world shows this anywhere, at most; None where there is nothing to compare with.
        drifted: p is small, no stretch of the reference was as far, and the distance matters.
    """

    kind: str
    by: str
    segment: str
    signal: str
    days: int
    was: float
    now: float
    statistic: float
    usual: float
    p: float | None
    drifted: bool

    @property
    def times(self) -> float:
        """The distance in units of the usual one."""
        return self.statistic / self.usual if self.usual > 0 else math.inf if self.statistic > 0 else 0.0

    def finding(self) -> str:
        """What was found, for people."""
        of = f"{signal_title(self.signal).lower()} of {self.by} {self.segment}"
        match self.kind:
            case "values":
                return f"{of}: values {digits(self.statistic)} interquartile ranges from the usual"
            case "relation":
                return f"{of}: {self._unexplained()} what explains it"
            case "observed":
                return f"{of}: {percent(self.now, 0)} observed, usually {percent(self.was, 0)}"
            case "entities":
                new = "a new SKU" if self.by == "sku" else f"{percent(self.now, 0)} of the entities are new"
                return f"{self.by} {self.segment}: {new}"
            case "pit":
                return f"{of}: outcomes {percent(self.statistic)} from their usual places among the quantiles"
            case _:
                share = self.kind.removeprefix("coverage_")
                return f"{of}: {share} % intervals cover {percent(self.now, 0)}, usually {percent(self.was, 0)}"

    def sentence(self) -> str:
        """The same, with how long and how unusual."""
        if self.p is None:
            return self.finding()
        return f"{self.finding()} (over {self.days} d, {digits(self.times)} × the usual variation)"

    def _unexplained(self) -> str:
        change = self.now - self.was
        side = "above" if change > 0 else "below"
        if SIGNALS[self.signal].unit == "W":
            return f"{percent(abs(change))} {side}"
        return f"{quantity(abs(change) * RELATION_K, 'K')} {side}"


def judge(series: Sequence[Series], known: int, stretches: Sequence[int]) -> list[Row]:
    """Compare the newest stretches of some series with the reference.

    The ratio of a distance to the usual one is judged by Student's t. Its degrees of freedom are what the days of the
    reference are worth, n (1 - r) / (1 + r) of n whose neighbours correlate by r (Bartlett, 1935, for an AR(1)), over
    the length of the stretch; or fewer, where distances of the reference have the kurtosis of a t with so few: loads
    that mostly rest have heavy tails. What p says is corrected for all comparisons made here (Bonferroni).

    Args:
        series: as long as each other, oldest day first.
        known: the days from the first that are the reference.
        stretches: lengths compared, days.
    """
    found = [
        (each, days, measured)
        for each in series
        for days in stretches
        if (measured := _measured(each, known, days)) is not None
    ]
    return [_row(each, days, measured, len(found)) for each, days, measured in found]


def luck_of(entities: int) -> float:
    """How far a day's share is off by luck, as arcsin √share: an entity's outcomes of a day count as one [K]."""
    return 1 / (2 * math.sqrt(entities))


@dataclass(frozen=True)
class _Measured:
    """A newest stretch beside the reference: see `Row`.

    Attributes:
        farthest: the greatest distance of the reference.
        independent: stretches that the reference is worth.
        kurtosis: of its distances, taken with either sign; 3 for normal ones.
    """

    was: float
    now: float
    statistic: float
    usual: float
    farthest: float
    independent: float
    kurtosis: float

    @property
    def p(self) -> float:
        """How often chance alone is as far, in one comparison."""
        ratio, freedom = self.statistic / self.usual if self.usual else math.inf, max(self.independent - 1, 1.0)
        if self.kurtosis > 3 and (tails := 4 + 6 / (self.kurtosis - 3)) < freedom:
            freedom, ratio = tails, ratio * math.sqrt(tails / (tails - 2))  # whose variance is not 1
        return _tails(ratio, freedom)


def _measured(series: Series, known: int, days: int) -> _Measured | None:
    """Distances of the newest `days` and of every such stretch of the reference; None where there are too few."""
    reference, newest = _told(series.signatures[:known]), _told(series.signatures[-days:])
    count = len(reference)
    if count < max(FEWEST_DAYS, _FEWEST_STRETCHES * days) or not len(newest):
        return None
    was, now = float(reference.mean()), float(newest.mean())
    if series.kind in _SHARES:
        reference, newest = np.arcsin(np.sqrt(reference)), np.arcsin(np.sqrt(newest))
    middle = reference.mean(axis=0)
    off = reference - middle
    stretches = np.lib.stride_tricks.sliding_window_view(off, days, axis=0).mean(axis=-1)
    # A stretch is part of the mean that it is measured from; the newest is not.
    distances = np.abs(stretches).mean(axis=-1) * count / (count - days)
    correlation = float((off[1:] * off[:-1]).sum() / max((off**2).sum(), count * _STILL))
    correlation = min(max(correlation, 0.0), _MOST_CORRELATED)
    return _Measured(
        was=was,
        now=now,
        statistic=float(np.abs(newest.mean(axis=0) - middle).mean()),
        usual=math.hypot(float(np.sqrt((distances**2).mean())), series.luck / math.sqrt(days)),
        farthest=float(distances.max()),
        independent=count * (1 - correlation) / (1 + correlation) / days,
        kurtosis=float((distances**4).mean() / max((distances**2).mean() ** 2, _STILL)),
    )


def _row(series: Series, days: int, measured: _Measured, comparisons: int) -> Row:
    statistic, usual = measured.statistic, measured.usual
    of = (series.kind, series.by, series.segment, series.signal)
    row = Row(*of, days, measured.was, measured.now, statistic, usual, None, False)
    p = min(1.0, comparisons * measured.p) if statistic else 1.0
    matters = abs(row.now - row.was) if series.kind in _SHARES else statistic
    rose = series.kind == "observed" and row.now > row.was
    drifted = p < ALARM and statistic > _NEWS * measured.farthest and matters >= LEAST[series.kind] and not rose
    return replace(row, p=p, drifted=drifted)


def _told(signatures: Array) -> Array:
    """The days of which something can be said."""
    told: Array = signatures[~np.isnan(signatures).any(axis=1)]
    return told


def _tails(ratio: float, freedom: float) -> float:
    """Both tails of Student's t beyond `ratio`: with t = √freedom · tan θ, θ has a density ∝ cos θ to freedom - 1."""
    angle = np.linspace(math.atan(ratio / math.sqrt(freedom)), math.pi / 2, _POINTS)
    tail = float(np.trapezoid(np.cos(angle).clip(0) ** (freedom - 1), angle))
    return 2 * tail * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
