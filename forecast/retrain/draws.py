"""Numbers that what is drawn is made of, whatever it is."""

import numpy as np

from forecast.simulator.arrays import Floats

Ends = tuple[float, float]


def between(random: np.random.Generator, ends: Ends, *shape: int) -> Floats:
    """As likely between 1 and 10 as between 10 and 100."""
    return np.asarray(np.exp(random.uniform(np.log(ends[0]), np.log(ends[1]), shape)))


def wandering(random: np.random.Generator, over: Floats, steps: int) -> Floats:
    """Ornstein-Uhlenbeck processes of unit spread `[N, T]` that forget within `over [N]` steps."""
    keep = np.exp(-1 / over)
    fresh = random.standard_normal((steps, len(over)))
    fresh[1:] *= np.sqrt(1 - keep**2)
    for step in range(1, steps):
        fresh[step] += keep * fresh[step - 1]
    return fresh.T
