"""Inference services: traffic that follows the local day and week, each in its own way, with noise and bursts."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecast.simulator.arrays import Bools, Floats
from forecast.simulator.clock import local_hours
from forecast.simulator.config import DAY_S, SimulatorConfig
from forecast.simulator.streams import stream

_NOISE_TAU_S = 5400.0  # [K] demand wanders over an hour or two
_NOISE = 0.07
_BURSTS_PER_DAY = 0.4  # [K] a product launch, a retry storm
_BURST_TAU_S = 1800.0


@dataclass(frozen=True)
class Traffic:
    """What sets services apart; every array `[services]`.

    Attributes:
        base, swing: utilisation at the quietest hour, and what the busiest adds. Busy serving draws 0.45 of a GPU's
            power and idle gaps 0.25 (constants.md §2); fleets at scale are packed tighter [K].
        phase_h: users that live further west (positive) or east.
        evening: share of leisure use, which peaks at night, over office use.
        weekend: weekend demand over weekday demand.
    """

    base: Floats
    swing: Floats
    phase_h: Floats
    evening: Floats
    weekend: Floats

    @classmethod
    def draw(cls, config: SimulatorConfig, count: int) -> "Traffic":
        rng = stream(config.seed, "services")
        draws = rng.random((count, 5))  # by service, so that another service leaves the first ones as they are
        low, high = np.array([[0.15, 0.30, -2.0, 0.0, 0.45], [0.35, 0.60, 3.0, 0.8, 1.05]])
        base, swing, phase_h, evening, weekend = (low + draws * (high - low)).T
        return cls(base, swing, phase_h, evening, weekend)

    def expected(self, hours: Floats, weekends: Bools) -> Floats:
        """Return utilisation without noise at local `hours` `[steps]`: `[steps, services]`."""
        shifted = hours[:, None] - self.phase_h
        office, leisure = _bump(shifted, 13.5, 3.6), _bump(shifted, 20.5, 2.6)
        shape = (1 - self.evening) * office + self.evening * leisure
        weekly = np.where(weekends[:, None], self.weekend, 1.0)
        return np.asarray(self.base + self.swing * shape * weekly)

    @property
    def mean(self) -> Floats:
        """Mean utilisation over a week, which is what a capacity planner would write down."""
        hours = np.arange(7 * 24) % 24
        weekends = np.arange(7 * 24) >= 5 * 24
        return np.asarray(self.expected(hours.astype(np.float64), weekends).mean(axis=0))


class Services:
    """Demand of every service, day after day."""

    def __init__(self, config: SimulatorConfig, count: int) -> None:
        self.config = config
        self.traffic = Traffic.draw(config, count)
        self._noise: Floats = np.zeros(count)
        self._burst: Floats = np.zeros(count)

    def day(self, day: int) -> Floats:
        """Return utilisation over one UTC day, `[substeps, services]`; days are to be asked for in order."""
        step_s = self.config.substep_s
        steps, count = DAY_S // step_s, len(self._noise)
        first = self.config.origin + timedelta(days=day)
        expected = self.traffic.expected(*local_hours(first, steps, step_s, self.config.time_zone))
        rng = stream(self.config.seed, "traffic", day)
        shocks = rng.normal(0.0, _NOISE * np.sqrt(-np.expm1(-2 * step_s / _NOISE_TAU_S)), (steps, count))
        starts = rng.random((steps, count)) < _BURSTS_PER_DAY / steps
        bursts = np.where(starts, rng.uniform(0.15, 0.5, (steps, count)), 0.0)
        keep_noise, keep_burst = np.exp(-step_s / _NOISE_TAU_S), np.exp(-step_s / _BURST_TAU_S)
        for step in range(steps):
            self._noise = keep_noise * self._noise + shocks[step]
            self._burst = keep_burst * self._burst + bursts[step]
            expected[step] *= 1 + self._noise + self._burst
        return np.clip(expected, 0.0, 1.0)


def _bump(hours: Floats, peak_h: float, width_h: float) -> Floats:
    """Return a smooth daily peak of height 1 that wraps around midnight (von Mises shape)."""
    sharpness = (24 / (2 * np.pi * width_h)) ** 2
    return np.asarray(np.exp(sharpness * (np.cos(2 * np.pi * (hours - peak_h) / 24) - 1)))
