"""Does the thermal response learn the time constants of machines whose physics is known? On simulated telemetry.

Run as `python -m benchmarks.physics`; writes `benchmarks/results/physics.json`. Servers of one kind are recorded with
their sensors' noise and digits (whole degrees), the retraining job learns from the record as from any other, and its
step response is compared with the simulator's own: of air-cooled servers every 10 s, and of liquid-cooled ones, which
answer in a few seconds, every 5 s.

A sum of stages can be told in many ways, a stage much shorter than a step leaves little trace, and fans make the true
response bend. So both are given the same step, the power of one server as it goes from idle to busy and back, and what
is judged is the time that temperature takes to 63 % of its change; for a single stage that is its time constant. Fans
that answer to the die give each range of loads a time of its own: other steps are shown beside the judged one.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from benchmarks.accuracy.tasks import configured
from benchmarks.machine import cpu, no_arguments, record
from forecast.models.thermal import ThermalResponse
from forecast.retrain.learn import Learner
from forecast.retrain.prepare import prepare
from forecast.retrain.stages import Stages
from forecast.simulator.config import DAY_S, RowConfig, SimulatorConfig
from forecast.simulator.fleet import Fleet
from forecast.simulator.machines import Machines
from forecast.simulator.sensors import measure
from forecast.simulator.simulate import run_day
from forecast.simulator.skus import SKUS
from forecast.simulator.tree import topology
from forecast.simulator.units import draw_units
from forecast.simulator.weather import draw_weather

Doubles = NDArray[np.float64]

CONTEXT, HORIZON = 80, 60
GOAL = 0.2
FOLDER = Path("var/bench/physics")

#: Use of the server whose power steps: what is judged, and what is shown beside it.
IDLE_TO_BUSY = (0.1, 0.9)
OTHER_STEPS = ((0.1, 0.5), (0.2, 0.8), (0.4, 0.6), (0.5, 0.9))


@dataclass(frozen=True)
class Kind:
    """How a kind of server is recorded: its name here, the sampling, and how often its work changes."""

    name: str
    step_s: int
    change_s: float


KINDS = {"h100-air": Kind("air", 10, 300.0), "gb200-tray": Kind("liquid", 5, 60.0)}


@dataclass(frozen=True)
class Found:
    """What was learnt of one kind of server, and what is true; seconds.

    Attributes:
        t63_s, true_t63_s: of the step from idle to busy and back.
        others: use before and after, `t63_s` and `true_t63_s` of each other step.
        tau_s: of each stage.
        share: of each stage, in what power adds from a quarter of the nameplate to half, and to three quarters.
    """

    t63_s: float
    true_t63_s: float
    others: list[tuple[float, float, float, float]]
    tau_s: list[float]
    share: list[list[float]]

    @property
    def error(self) -> float:
        return abs(self.t63_s / self.true_t63_s - 1)


def main() -> None:
    """Learn, compare, print, and record."""
    no_arguments("benchmarks.physics", __doc__)
    torch.set_num_threads(1)
    found = {kind.name: learnt(sku) for sku, kind in KINDS.items()}
    for name, one in found.items():
        print(f"{name}: 63 % of a step after {one.t63_s:.0f} s, truly {one.true_t63_s:.0f} s ({one.error:.0%} off)")
        for low, high, t63, true in one.others:
            print(f"    between {low:.0%} and {high:.0%} of use {t63:.0f} s, truly {true:.0f} s")
    figures = {
        f"t63_error_{name}": {"value": round(one.error, 3), "goal": GOAL, "better": "lower"}
        for name, one in found.items()
    }
    record("physics", 1, figures, found={name: vars(one) for name, one in found.items()})
    print(f"on {cpu()}")


def learnt(sku: str) -> Found:
    """Record servers of one kind, train on them, and take the response apart."""
    folder, kind = FOLDER / sku, KINDS[sku]
    shutil.rmtree(folder, ignore_errors=True)
    _write(sku, folder)
    config = configured(
        [
            "source=stepping",
            f"source.path={folder / 'telemetry.parquet'}",
            f"source.topology={folder / 'topology.parquet'}",
            f"cache={folder / 'cache'}",
            f"window.step_s={kind.step_s}",
            f"window.context_steps={CONTEXT}",
            f"window.horizon_steps={HORIZON}",
            "window.targets=[power_w,temperature_c]",
            "window.past=[power_w,temperature_c,inlet_c]",
            "window.future=[day_sin,day_cos,planned_power_w]",
            "model=linear",
            "training.steps=200",
            "evaluation.test_h=2",
            "evaluation.validation_h=4",
        ]
    )
    learner = Learner.of(config, prepare(config, Stages(2)))
    learner.train_model(config, lambda *_: None)
    assert learner.answering is not None
    answer = learner.answering[0].what_if.temperature
    assert answer is not None
    judged = _both(sku, answer.response, IDLE_TO_BUSY)
    others = [(*uses, *_both(sku, answer.response, uses)) for uses in OTHER_STEPS]
    return Found(*judged, others, *_stages(answer.response))


def _both(sku: str, response: ThermalResponse, uses: tuple[float, float]) -> tuple[float, float]:
    """The time to 63 % of a step between two uses, s: as learnt, and truly."""
    power_w, die_c = stepped(sku, *uses)
    learnt_c = answered(response, power_w, SKUS[sku].nameplate_w)
    learnt_s, true_s = (round(t63_s(path, KINDS[sku].step_s), 2) for path in (learnt_c, die_c))
    return learnt_s, true_s


def site(sku: str) -> SimulatorConfig:
    """Two racks of six servers."""
    return SimulatorConfig(rows=[RowConfig("hall-a", sku, 2, 6)], step_s=KINDS[sku].step_s)


def _write(sku: str, folder: Path) -> None:
    """A day of servers whose work changes at random times to random levels: queues of jobs would take weeks to tell."""
    kind = KINDS[sku]
    config = site(sku)
    fleet, random = Fleet.of(config), np.random.default_rng(0)
    units, steps = draw_units(fleet), DAY_S // kind.step_s
    changes = random.random((steps, len(fleet.server_ids))) < kind.step_s / kind.change_s
    levels = random.random((steps, len(fleet.server_ids)))
    newest = np.maximum.accumulate(np.where(changes, np.arange(steps)[:, None], 0), axis=0)
    work = np.take_along_axis(levels, newest, axis=0)
    truth = run_day(Machines(fleet, units), work, 0, config, draw_weather(config))
    folder.mkdir(parents=True)
    table = measure(fleet, units, 0, truth).table(fleet.entity_ids)
    table.filter(pl.col("entity_id").is_in(fleet.server_ids)).write_parquet(folder / "telemetry.parquet")
    servers = topology(fleet).filter(pl.col("entity_id").is_in(fleet.server_ids))
    servers.with_columns(parent_id=pl.lit(None, pl.String)).write_parquet(folder / "topology.parquet")


def _stages(response: ThermalResponse) -> tuple[list[float], list[list[float]]]:
    """Time constants, and the shares that `Found` tells."""
    added = np.diff(_drive(response, np.array([0.25, 0.5, 0.75])), axis=0)
    share = (added / added.sum(1, keepdims=True)).round(3).tolist()
    return [round(tau, 1) for tau in response.tau_s().tolist()], share


def _drive(response: ThermalResponse, power: Doubles) -> Doubles:
    """Where each stage would end, °C `[S, K]`, at `power [S]` in nameplates, of the one kind there is."""
    told = torch.from_numpy(power).float()[None]
    drive = response.drive(told, torch.zeros_like(told), torch.ones(1, dtype=torch.long))
    ends: Doubles = drive[0].T.detach().double().numpy()
    return ends


def stepped(sku: str, low: float, high: float) -> tuple[Doubles, Doubles]:
    """Power and hottest die `[2 · hour]` of one server that goes from `low` use to `high` and back, others at half.

    As sensors without noise would tell it, from the last instant before each change on; an hour of each.
    """
    kind = KINDS[sku]
    config = site(sku)
    fleet, hour = Fleet.of(config), 3600 // kind.step_s
    work = np.full((4 * hour, len(fleet.server_ids)), 0.5)
    work[:, 0] = np.repeat([low, low, high, low], hour)
    machines, weather = Machines(fleet, draw_units(fleet)), draw_weather(config)
    outdoor_c, wet_bulb_c = (float(part[0]) for part in weather.at(np.zeros(1)))
    readings = [machines.advance(now, 1.0, outdoor_c, wet_bulb_c) for now in work]
    power_w, die_c = (np.array([getattr(one, name)[0] for one in readings]) for name in ("power_w", "temperature_c"))
    return power_w[2 * hour - 1 :], die_c[2 * hour - 1 :]


def answered(response: ThermalResponse, power_w: Doubles, nameplate_w: float) -> Doubles:
    """What the learnt response makes of the same power, °C, from rest."""
    decay, read = (part.detach().double().numpy() for part in response.decays())
    drive = _drive(response, power_w / nameplate_w)
    state, path = drive[0], []
    for now in drive:
        path.append((read * state + (1 - read) * now).sum())
        state = decay * state + (1 - decay) * now
    return np.array(path)


def t63_s(path: Doubles, step_s: int) -> float:
    """How long a path takes to 1 - 1/e of its change, up and then down, on average; on lines between samples."""
    hour, target = 3600 // step_s, 1 - np.exp(-1)
    times = []
    for first in (0, hour):
        part = path[first : first + hour + 1]
        done = (part - part[0]) / (part[-1] - part[0])
        at = int(np.argmax(done >= target))
        times.append(step_s * (at - (done[at] - target) / (done[at] - done[at - 1])))
    return float(np.mean(times))


if __name__ == "__main__":
    main()
