"""Telemetry drawn from a prior: what no simulated site holds, for pretrained models to have seen.

A few sites of some dozen racks have no smooth sum of thousands of machines, no clock that is off, and no sensor but
their own. As models of any series learn from drawn ones (ForecastPFN: Dooley et al., 2023; KernelSynth of Chronos:
Ansari et al., 2024), so does this one from entities that share their physics and little else:

    load         jobs arrive at random and leave after exponential times (M/M/∞), in three kinds, at rates that follow
                 the hour and the day of the week, drift, and now and then change for good: a few jobs are a machine
                 that is idle or busy, a million are a fleet that breathes with its users
    temperature  the inlet, and a rise with the load through three first-order stages, while fans turn up (`warming`)
    readings     noise, digits, a nameplate that is seldom reached, and sensors that do not exist

Three more kinds are drawn beside: fleets whose weeks repeat, GPU servers that few people share (`campaigns`), and
machines that hold one load at a time (`held`).

Each is drawn by itself. Ranges are orders of magnitude, common knowledge of the trade [K] as in the simulator: none was
fitted to a public data set, though which of them to draw was judged by forecasts of some (docs/experiments.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import polars as pl

from forecast.contracts.signals import LEVELS
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.tables import TOPOLOGY
from forecast.contracts.topology import Topology
from forecast.retrain.campaigns import campaigns
from forecast.retrain.draws import Ends, between, wandering
from forecast.retrain.held import held
from forecast.retrain.warming import Heat, warmed
from forecast.simulator.arrays import Floats
from forecast.simulator.services import Traffic
from forecast.windows.panel import Panel

#: Days of a record, and of one at the pace of a thermal transient: as of the simulated sites.
_DAYS, _DAYS_OF_SECONDS = 63, 2

#: Loads are drawn this fine at least, and averaged.
_FINEST_S = 300

#: Jobs at work at once, from one server to a fleet; a thermal transient is one of a single machine.
_JOBS, _JOBS_OF_ONE = (0.3, 1e6), (0.1, 10.0)

#: Kinds of jobs in one load, and how many steps they last: requests are over at once, training takes days [K]. Seen at
#: the pace of a transient a machine is busy or idle for minutes or hours.
_KINDS, _LASTS, _LASTS_OF_ONE = 3, (1.0, 1000.0), (30.0, 10_000.0)

#: Most follow the rhythm of the day as a whole.
_FOLLOWS = 0.7

#: The log of the rate of arrivals. The swing of a day, as a standard deviation; harmonics of a day, which decay with
#: their number to these powers; what the hours of a week have of their own, of the swing.
_SWING, _HARMONICS, _DECAY = (0.02, 0.8), 8, (1.0, 2.5)
_WEEKDAY, _HARMONICS_OF_WEEK, _DECAY_OF_WEEK = (0.03, 0.6), 28, (0.2, 1.5)

#: So many have days that people make: base and swing of use, hours that they are late, and the share of leisure [K].
_PEOPLE, _TRAFFIC = 0.4, ((0.1, 0.5), (0.2, 0.8), (-3.0, 3.0), (0.0, 1.0))

#: Weekends have less, as far as such a normal draw of the swing, and are flatter; not everybody has one, and clocks of
#: published records are often nominal.
_LESS, _FLATTER, _WEEKENDS, _NOMINAL = 1.5, (0.2, 1.0), 0.7, 0.3

#: A weekend comes and goes within twice so many days.
_TURNS_DAYS = (0.0, 0.4)

#: Drifts, two of them, over so many steps; a trend, from end to end; a change for good once in so many steps for one
#: entity in three.
_DRIFT, _DRIFTS_OVER, _TREND, _CHANGE, _CHANGES_EVERY = (0.005, 0.3), (30.0, 3000.0), 0.1, 0.3, 6000

#: Drifts fall with such a power of the jobs: what each user does alone averages out, what all do together stays.
_AVERAGES_OUT = 0.2

#: No rate is further above its mean, as a log.
_MOST = 4.0

#: The ceiling over the mean load, the share of it that an idle machine draws, and the nameplate over the ceiling: what
#: is rated is seldom drawn (Fan, Weber and Barroso, 2007).
_CEILING, _IDLE, _RATED = (1.2, 6.0), (0.0, 0.6), (1.0, 4.0)

#: Noise and digits of a power meter, over its mean.
_POWER_NOISE, _POWER_DIGIT = (1e-4, 2e-2), (1e-4, 1e-2)

#: Noise of a sensor, and its digits, most often whole degrees, K [K].
_NOISE_K, _DIGITS_K = (0.01, 0.1), (0.1, 0.5, 1.0, 1.0)

#: The share of entities that have each sensor, and whose nameplate is known.
_HAVE = {"power_w": 0.85, "temperature_c": 0.5, "inlet_c": 0.6, "utilization_ratio": 0.3}
_KNOWN = 0.8

_LIMIT_W, _LIMIT_C = 1000.0, 90.0
_BEGIN = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday


@dataclass(frozen=True)
class Ranges:
    """What one kind of entities is drawn from; for the meaning of each see the constant.

    Attributes:
        campaigns: servers that few people share, instead of jobs that arrive at random.
        held: machines that hold one load at a time, likewise.
        leaks: so much more power is drawn for each kelvin of the rise, at most.
        rest: what draws power and heats nothing that is measured, of all that can be drawn, at most.
    """

    jobs: Ends = _JOBS
    swing: Ends = _SWING
    weekday: Ends = _WEEKDAY
    drift: Ends = _DRIFT
    heat: Heat = field(default_factory=Heat)
    rated: Ends = _RATED
    have: Mapping[str, float] = field(default_factory=lambda: _HAVE)
    campaigns: bool = False
    held: bool = False
    leaks: float = 0.0
    rest: float = 0.0


#: Fleets of many users, each of whose weeks is like the one before. Accelerators are rated for what they draw, get hot,
#: stand in rooms that follow weather and seasons, and tell their temperature.
#: Who holds a load has a die of seconds and a sink of minutes, fans that follow late, an inlet inside the chassis, and
#: draws more the hotter it is.
KINDS = {
    "any": Ranges(),
    "weekly": Ranges(jobs=(1e4, 1e7), swing=(0.05, 0.8), weekday=(0.1, 0.8), drift=(0.02, 0.5)),
    "shared": Ranges(
        heat=Heat(rise_k=(25.0, 80.0), inlet_drift_k=(0.1, 2.0), inlet_over_s=(3600.0, 864_000.0)),
        rated=(1.0, 1.15),
        have={"power_w": 0.85, "temperature_c": 0.9, "inlet_c": 0.6, "utilization_ratio": 0.7},
        campaigns=True,
    ),
    "held": Ranges(
        heat=Heat(
            stages_s=((3.0, 60.0), (60.0, 900.0), (600.0, 7200.0)),
            parts=(0.5, 2.0, 1.0),
            fans=0.5,
            late_s=(5.0, 600.0),
            back=0.3,
            controls=0.5,
            slower=True,
        ),
        leaks=0.006,
        rest=0.85,
        held=True,
    ),
}


def drawn(
    spec: ForecastSpec, seed: int, entities: int = 32, days: int | None = None, kind: str = "any"
) -> tuple[Panel, Topology]:
    """So many entities that have nothing to do with each other, in the steps of `spec`: the same for the same seed.

    Args:
        days: of the record; None is as many as the simulated sites have.
        kind: of `KINDS`.
    """
    ranges = KINDS[kind]
    random = np.random.default_rng([seed, *kind.encode()] if kind != "any" else seed)
    fine = spec.step_s < _FINEST_S
    step_s = min(spec.step_s, _FINEST_S)
    steps = (days or (_DAYS_OF_SECONDS if fine else _DAYS)) * 86_400 // step_s
    flow = None
    if ranges.campaigns or ranges.held:
        jobs = np.ones(entities)
    if ranges.campaigns:
        load, counted = campaigns(random, entities, steps, step_s)
    elif ranges.held:
        load, flow = held(random, entities, steps, step_s)
        counted = load
    else:
        jobs = between(random, _JOBS_OF_ONE if fine else ranges.jobs, entities)
        lasts = _LASTS_OF_ONE if fine else _LASTS
        load = counted = _load(random, jobs, lasts, _rates(random, ranges, jobs, steps, step_s))
    always = "temperature_c" if fine else "power_w"
    temperature, inlet = warmed(random, ranges.heat, load, step_s, flow)
    if ranges.leaks:
        load = load * (1 + random.uniform(0, ranges.leaks, (entities, 1)) * (temperature - inlet))
    if ranges.rest:
        rest = random.uniform(0, ranges.rest, (entities, 1))
        load = rest + (1 - rest) * load
    said = _readings(random, ranges, load, counted, temperature, inlet, always)
    topology = _topology(jobs, random.random(entities) < _KNOWN)
    order = [int(name.removeprefix("drawn-")) for name in topology.entities]
    channels = [said[name][order].reshape(entities, -1, spec.step_s // step_s).mean(2) for name in spec.past]
    return Panel(_BEGIN, spec.step_s, spec.past, topology.entities, (np.stack(channels).astype(np.float32),)), topology


def _load(random: np.random.Generator, jobs: Floats, lasts: Ends, rates: Floats) -> Floats:
    """Shares of the ceiling `[N, T]` under so many jobs at once `[N]`, whose rates vary by exp of `rates [N, T]`."""
    each = (len(jobs), _KINDS)
    follows = np.where(random.random(each) < _FOLLOWS, 1.0, random.random(each))
    stay = np.exp(-1 / between(random, lasts, *each))
    weight = random.dirichlet(np.ones(_KINDS), len(jobs)) / jobs[:, None]
    running = random.poisson(np.broadcast_to(jobs[:, None], each))
    load = np.empty_like(rates)
    for step, rate in enumerate(rates.T[..., None]):
        come = jobs[:, None] * np.exp(np.minimum(follows * rate, _MOST)) * (1 - stay)
        running = random.binomial(running, stay) + random.poisson(come)
        load[:, step] = (running * weight).sum(1)
    ceiling = between(random, _CEILING, len(jobs), 1) * load.mean(1, keepdims=True).clip(1e-6)
    idle = random.uniform(*_IDLE, (len(jobs), 1))
    return np.asarray(idle + (1 - idle) * np.minimum(load / ceiling, 1.0))


def _rates(random: np.random.Generator, ranges: Ranges, jobs: Floats, steps: int, step_s: int) -> Floats:
    """Log of the rate of arrivals over its mean, `[N, T]`, of loads of so many jobs `[N]`."""
    entities = len(jobs)
    rhythm = _rhythm(random, ranges, entities, np.arange(steps) * step_s / 86_400)
    alone = jobs[:, None] ** -_AVERAGES_OUT
    drift = np.zeros((entities, steps))
    for _ in range(2):
        size, over = between(random, ranges.drift, entities, 1), between(random, _DRIFTS_OVER, entities)
        drift += alone * size * wandering(random, over, steps)
    trend = _TREND * random.standard_normal((entities, 1)) * np.linspace(-1, 1, steps)
    changing = (random.random((entities, steps)) < 1 / _CHANGES_EVERY) & (random.random((entities, 1)) < 1 / 3)
    changes = (changing * random.normal(0, _CHANGE, (entities, steps))).cumsum(1)
    return np.asarray(rhythm + drift + trend + changes)


def _rhythm(random: np.random.Generator, ranges: Ranges, entities: int, day: Floats) -> Floats:
    """What days and weeks make of the rate `[N, T]` at times `day [T]`."""
    swing = between(random, ranges.swing, entities, 1)
    people = random.random((entities, 1)) < _PEOPLE
    course = np.where(people, _of_people(random, entities, day), _waves(random, entities, day, _HARMONICS, _DECAY))
    course *= swing / course.std(1, keepdims=True)
    late = random.integers(0, 7, (entities, 1)) * (random.random((entities, 1)) < _NOMINAL)
    weekend = ((day.astype(int) + late) % 7 >= 5) & (random.random((entities, 1)) < _WEEKENDS)
    free = _smoothed(weekend, random.uniform(*_TURNS_DAYS, (entities, 1)) / (day[1] - day[0]))
    less = swing * np.abs(random.normal(0, _LESS, (entities, 1)))
    own = _waves(random, entities, day / 7, _HARMONICS_OF_WEEK, _DECAY_OF_WEEK)
    own *= between(random, ranges.weekday, entities, 1) * swing / own.std(1, keepdims=True)
    flatter = random.uniform(*_FLATTER, (entities, 1))
    return np.asarray((1 - free * (1 - flatter)) * course - free * less + own)


def _waves(random: np.random.Generator, entities: int, turns: Floats, harmonics: int, decay: Ends) -> Floats:
    """Courses `[N, T]` that recur with each of `turns [T]`."""
    number = np.arange(1, harmonics + 1)
    heights = random.standard_normal((2, entities, harmonics)) * number ** -random.uniform(*decay, (entities, 1))
    angle = 2 * np.pi * number[:, None] * turns
    return np.asarray(heights[0] @ np.cos(angle) + heights[1] @ np.sin(angle))


def _of_people(random: np.random.Generator, entities: int, day: Floats) -> Floats:
    """Days of services `[N, T]` as in the simulator: of work, of leisure, of both."""
    base, swing, phase_h, evening = (random.uniform(*ends, entities) for ends in _TRAFFIC)
    traffic = Traffic(base, swing, phase_h, evening, np.ones(entities))
    return np.asarray(np.log(traffic.expected(day % 1 * 24, np.zeros(len(day), bool))).T)


def _smoothed(values: np.ndarray, steps: Floats) -> Floats:
    """Means of `values [N, T]` over so many steps on either side, `steps [N, 1]`."""
    sums = np.concatenate([np.zeros((len(values), 1)), values.cumsum(1)], axis=1)
    at, width = np.arange(values.shape[1]), steps.astype(int)
    begin, end = np.maximum(at - width, 0), np.minimum(at + width + 1, values.shape[1])
    return np.asarray((np.take_along_axis(sums, end, 1) - np.take_along_axis(sums, begin, 1)) / (end - begin))


def _readings(
    random: np.random.Generator,
    ranges: Ranges,
    load: Floats,
    counted: Floats,
    temperature: Floats,
    inlet: Floats,
    always: str,
) -> dict[str, Floats]:
    """What sensors say, by channel, `[N, T]`; NaN where there is none. Everybody has that of `always`."""
    one = (len(load), 1)
    power = load * (1 + between(random, _POWER_NOISE, *one) * random.standard_normal(load.shape)).clip(0)
    digit = between(random, _POWER_DIGIT, *one) * load.mean(1, keepdims=True)
    power = _LIMIT_W / between(random, ranges.rated, *one) * _rounded(power, digit)
    said = {"power_w": power, "utilization_ratio": counted}
    for name, values in (("temperature_c", temperature), ("inlet_c", inlet)):
        noise = between(random, _NOISE_K, *one) * random.standard_normal(load.shape)
        said[name] = _rounded(values + noise, random.choice(_DIGITS_K, one))
    have = {name: random.random(one) < share for name, share in ranges.have.items()}
    have[always][:] = True
    return {name: np.where(have[name], values, np.nan) for name, values in said.items()}


def _rounded(values: Floats, digit: Floats) -> Floats:
    return np.asarray(np.round(values / digit) * digit)


def _topology(jobs: Floats, known: np.ndarray) -> Topology:
    """No tree: a level for each order of magnitude of jobs, and a nameplate where it is `known [N]`."""
    rank = np.floor(np.log10(jobs) + 0.5).clip(1, len(LEVELS) - 1).astype(int)
    rows = [
        {
            "entity_id": f"drawn-{index}",
            "parent_id": None,
            "level": LEVELS[rank[index]],
            "sku": "unknown",
            "power_limit_w": _LIMIT_W if known[index] else None,
            "temperature_limit_c": _LIMIT_C,
            "site": "drawn",
            "time_zone": "UTC",
        }
        for index in range(len(jobs))
    ]
    return Topology.of(pl.DataFrame(rows, schema=dict(TOPOLOGY.required)))
