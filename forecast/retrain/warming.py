"""How hot machines that are drawn get under their load, and how their fans answer; ranges [K] as in `prior`."""

from dataclasses import dataclass

import numpy as np

from forecast.retrain.draws import Ends, between, wandering
from forecast.simulator.arrays import Floats

#: Time constants of die, sink and chassis, seconds, and the rise at the ceiling, kelvin [K].
_STAGES_S, _RISE_K = ((5.0, 60.0), (60.0, 600.0), (600.0, 7200.0)), (8.0, 60.0)

#: Fans of so many open from the first of these shares of the rise to the second. Resistance falls with flow to such a
#: power, as in the simulator.
_FANS, _OPENS, _FULL, _LEAST_FLOW, _FLOW_EXPONENT = 0.6, (0.0, 0.6), (0.6, 1.2), 0.4, -0.8

#: Fans that hold a temperature: such shares of the rise; they sum up what is off, and answer to a part of it at once.
#: Ten kelvin off they go from the least to the full flow within such seconds.
_WANTED, _ACTS_S, _AT_ONCE, _OFF_K = (0.4, 1.0), (60.0, 1800.0), 0.3, 10.0

#: Nobody sets fans so low that it gets hotter, above the inlet.
_TOO_HOT_K = 70.0

#: Inlets: °C, and their drift in kelvin, over so many seconds [K].
_INLET_C, _INLET_DRIFT_K, _INLET_OVER_S = (16.0, 32.0), (0.05, 1.5), (600.0, 36_000.0)


@dataclass(frozen=True)
class Heat:
    """What one kind of machines is drawn from; for the meaning of each see the constant.

    Attributes:
        parts: what each stage has of the rise, as a Dirichlet distribution's.
        late_s: fans follow the temperature so late, in seconds; None is at once.
        back: what of the chassis' rise the inlet's sensor feels, at most.
        controls: of the fans that follow so many hold a temperature, for as long as they can.
        slower: who has less air, for longer goes on getting warmer: a time constant is resistance times capacity.
    """

    rise_k: Ends = _RISE_K
    inlet_drift_k: Ends = _INLET_DRIFT_K
    inlet_over_s: Ends = _INLET_OVER_S
    stages_s: tuple[Ends, ...] = _STAGES_S
    parts: tuple[float, ...] = (1.0, 1.0, 1.0)
    fans: float = _FANS
    late_s: Ends | None = None
    back: float = 0.0
    controls: float = 0.0
    slower: bool = False


def warmed(
    random: np.random.Generator, ranges: Heat, load: Floats, step_s: int, flow: Floats | None
) -> tuple[Floats, Floats]:
    """Temperature of the hottest part and of its inlet, °C, under `load`; all `[N, T]`.

    Args:
        flow: what fans that are set move over what they mostly do; where it varies they follow no temperature.
    """
    entities, steps = load.shape
    drift = wandering(random, between(random, ranges.inlet_over_s, entities) / step_s, steps)
    inlet = random.uniform(*_INLET_C, (entities, 1)) + between(random, ranges.inlet_drift_k, entities, 1) * drift
    keep = np.stack([np.exp(-step_s / between(random, ends, entities)) for ends in ranges.stages_s], axis=1)
    rise = between(random, ranges.rise_k, entities)
    part = random.dirichlet(ranges.parts, entities) * rise[:, None]
    fans = _Fans.drawn(random, ranges, rise, step_s)
    feels = random.uniform(0, ranges.back, (entities, 1)) if ranges.back else np.zeros((entities, 1))
    if flow is None:
        flow = np.ones_like(load)
    fans.follow &= (flow == 1).all(1)
    stages = part * (load * flow**_FLOW_EXPONENT)[:, :1]
    rises, chassis = np.empty_like(load), np.empty_like(load)
    for step in range(steps):
        rose = stages.sum(1)
        least = np.where(rose > _TOO_HOT_K, 1.0, 0.0)
        air = np.maximum(flow[:, step], least) * fans.move(rose) / _LEAST_FLOW
        resists = air[:, None] ** _FLOW_EXPONENT
        steady = part * load[:, step, None] * resists
        stages = steady + (stages - steady) * (keep ** (1 / resists) if ranges.slower else keep)
        rises[:, step], chassis[:, step] = stages.sum(1), stages[:, -1]
    return inlet + rises, inlet + feels * chassis


@dataclass
class _Fans:
    """Fans of machines, each `[N]`. Flows are shares of the full one; what a kelvin opens is such a share.

    Attributes:
        follow: they open with the rise, from `opens` on, by `opening` for each kelvin.
        hold: of those they keep the rise at `wanted` instead; what is off is summed up by so much with each step.
        late: what is left after a step of what they lag behind.
        summed, moved: the sum, and the flow.
    """

    follow: np.ndarray
    opens: Floats
    opening: Floats
    late: Floats
    hold: np.ndarray
    wanted: Floats
    acts: Floats
    summed: Floats
    moved: Floats

    @classmethod
    def drawn(cls, random: np.random.Generator, ranges: Heat, rise: Floats, step_s: int) -> "_Fans":
        """Of machines that get so much hotter at the ceiling `[N]`."""
        entities = len(rise)
        opens, full = (random.uniform(*ends, entities) * rise for ends in (_OPENS, _FULL))
        opening = (1 - _LEAST_FLOW) / np.maximum(full - opens, 1.0)
        follow = random.random(entities) < ranges.fans
        late = np.exp(-step_s / between(random, ranges.late_s, entities)) if ranges.late_s else np.zeros(entities)
        hold, wanted, acts = np.zeros(entities, bool), rise, np.zeros(entities)
        if ranges.controls:
            hold = random.random(entities) < ranges.controls
            wanted, acts = rise * random.uniform(*_WANTED, entities), step_s / between(random, _ACTS_S, entities)
        least = np.full(entities, _LEAST_FLOW)
        return cls(follow, opens, opening, late, hold, wanted, acts, least, least)

    def move(self, rose: Floats) -> Floats:
        """The flow of the next step, of parts that are so many kelvin above their inlet `[N]`."""
        off = (1 - _LEAST_FLOW) * (rose - self.wanted) / _OFF_K
        self.summed = np.clip(self.summed + self.acts * off, _LEAST_FLOW, 1.0)
        follows = _LEAST_FLOW + self.opening * (rose - self.opens)
        asked = np.where(self.hold, self.summed + _AT_ONCE * off, follows)
        asked = np.where(self.follow, np.clip(asked, _LEAST_FLOW, 1.0), _LEAST_FLOW)
        self.moved = asked + (self.moved - asked) * self.late
        return self.moved
