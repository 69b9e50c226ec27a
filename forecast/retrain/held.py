"""Loads that are held: a machine is given one job at a time, as by tests, benchmarks and batches.

Where jobs come at random, who warms up by the second is mostly somebody whose load goes up and down, and who will cool
down again. A machine whose load was just started warms up for as long as its heat sink and its chassis take. Ranges are
common knowledge of the trade [K], as those of `prior`.
"""

import numpy as np

from forecast.retrain.draws import between, wandering
from forecast.simulator.arrays import Floats

#: Seconds that a load is held, on average; and how regular that is: the shape of a gamma distribution.
_HELD_S, _REGULAR = (500.0, 12_000.0), (1.0, 1.0, 3.0)

#: The share of the time that a machine rests, so many loads that it is given at most, and what those draw.
_RESTS, _LOADS, _DRAWS = (0.1, 0.9), 4, (0.1, 1.0)

#: Some machines' loads go on and off: so many steps from one start to the next, the share of those that is on, and what
#: is left while it is off.
_CYCLE, _PERIOD, _ON, _LEFT = 0.15, (2.0, 60.0), (0.3, 0.95), (0.0, 0.8)

#: Some start slowly, over so many steps.
_SLOW, _STARTS_OVER = 0.3, (1.0, 12.0)

#: What runs breathes: by such a share, over so many steps. Idle machines draw such a share of the ceiling.
_BREATHES, _BREATHES_OVER, _IDLE = (1e-3, 0.05), (1.0, 300.0), (0.0, 0.6)

#: Fans of some are set, and set anew after so many times as long as a load is held: to such shares of the full flow.
_SET, _SET_AFTER, _FLOW = 0.15, (1.0, 3.0), (0.15, 1.0)


def held(random: np.random.Generator, entities: int, steps: int, step_s: int) -> tuple[Floats, Floats]:
    """Shares of the ceiling, and of the flow of air that a machine has with its fans as they mostly are; both `[N, T]`.

    Where that is not 1 fans are set, and do not follow the temperature.
    """
    typical = between(random, _HELD_S, entities) / step_s
    load = np.stack([_load(random, each, steps) for each in typical])
    idle = random.uniform(*_IDLE, (entities, 1))
    load = idle + (1 - idle) * load
    slow = random.random(entities) < _SLOW
    nearer = np.where(slow, 1 / between(random, _STARTS_OVER, entities), 1.0)
    for step in range(1, steps):
        load[:, step] = load[:, step - 1] + nearer * (load[:, step] - load[:, step - 1])
    breath = between(random, _BREATHES, entities, 1) * wandering(
        random, between(random, _BREATHES_OVER, entities), steps
    )
    flow = np.stack([_flow(random, each, steps) for each in typical])
    return np.clip(load * (1 + breath), 0.0, 1.0), flow


def _load(random: np.random.Generator, typical: float, steps: int) -> Floats:
    """What one machine's loads draw `[T]`, each held for `typical` steps on average; 0 while it rests."""
    draws = between(random, _DRAWS, int(random.integers(1, _LOADS + 1)))
    regular, rests = random.choice(_REGULAR), random.uniform(*_RESTS)
    cycles, period = random.random() < _CYCLE, float(between(random, _PERIOD))
    on, left = random.uniform(*_ON), random.uniform(*_LEFT)
    load = np.zeros(steps)
    begin = 0
    while begin < steps:
        end = min(begin + max(int(random.gamma(regular, typical / regular)), 1), steps)
        if random.random() > rests:
            load[begin:end] = random.choice(draws)
            if cycles:
                turn = (np.arange(end - begin) / period + random.random()) % 1
                load[begin:end] *= np.where(turn < on, 1.0, left)
        begin = end
    return load


def _flow(random: np.random.Generator, typical: float, steps: int) -> Floats:
    """What one machine's fans are set to over what they mostly are, `[T]`; 1 where nobody sets them."""
    flow = np.ones(steps)
    if random.random() < _SET:
        after = typical * random.uniform(*_SET_AFTER)
        begin = 0
        while begin < steps:
            end = begin + max(int(random.exponential(after)), 1)
            flow[begin:end] = between(random, _FLOW)
            begin = end
        flow /= np.median(flow)
    return flow
