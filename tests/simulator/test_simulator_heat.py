"""Golden numbers are solutions of the heat equations worked out by hand, not by the code under test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.simulator.config import RowConfig, SimulatorConfig
from forecast.simulator.fleet import Fleet
from forecast.simulator.heat import DieHeat, exact_step
from forecast.simulator.units import Units


def one_server(sku: str) -> Fleet:
    return Fleet.of(SimulatorConfig(rows=[RowConfig("hall-a", sku, 1, 1)]))


def nominal(fleet: Fleet) -> Units:
    ones = np.ones(len(fleet.server_ids))
    return Units(ones, ones, ones, fleet.column("approach_low_k"), ones)


def heated(sku: str, power_w: float, inlet_c: float, flow: float, steps: list[float]) -> DieHeat:
    """Return a server that was at its inlet temperature, after `steps` (in s) of constant power."""
    fleet = one_server(sku)
    heat = DieHeat(fleet, nominal(fleet), 1.0)
    heat.chassis_c = np.array([inlet_c])
    for step_s in steps:
        stepper = DieHeat(fleet, nominal(fleet), step_s)
        stepper.die_k, stepper.sink_k, stepper.chassis_c = heat.die_k, heat.sink_k, heat.chassis_c
        inlet, rate = np.array([inlet_c]), np.array([flow])
        stepper.advance(stepper.outlook(inlet, rate), np.array([power_w]), inlet)
        heat = stepper
    return heat


@pytest.mark.parametrize(
    ("sku", "power_w", "flow", "rise_k"),
    [
        ("h100-air", 700.0, 1.0, 700 * (0.025 + 0.042) + 3.5),
        ("h100-air", 700.0, 0.5, 700 * (0.025 + 0.042 * 1.741101) + 3.5),  # 0.5^-0.8 = 1.741101
        ("gb200-tray", 1000.0, 1.0, 1000 * 0.042 + 3.5),
        ("cpu-2s", 140.0, 1.0, 140 * 0.16 + 1.75),  # half of peak, so half of the downstream 3.5 K
    ],
)
def test_steady_state_is_inlet_plus_resistance_times_power(
    sku: str, power_w: float, flow: float, rise_k: float
) -> None:
    heat = heated(sku, power_w, 25.0, flow, [86_400.0])
    assert heat.die_c[0] == pytest.approx(25.0 + rise_k, abs=1e-3)


def test_each_stage_reaches_63_percent_after_its_time_constant() -> None:
    share = 1 - np.exp(-1)
    assert heated("h100-air", 700.0, 25.0, 1.0, [2.0]).die_k[0] == pytest.approx(share * 17.5)
    assert heated("h100-air", 700.0, 25.0, 1.0, [60.0]).sink_k[0] == pytest.approx(share * 29.4)
    assert heated("h100-air", 700.0, 25.0, 1.0, [180.0]).chassis_c[0] == pytest.approx(25 + share * 3.5)


@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=6), st.floats(0.4, 1.0), st.floats(0, 1500))
def test_under_constant_power_only_elapsed_time_matters(steps: list[float], flow: float, power_w: float) -> None:
    pieces = heated("h100-air", power_w, 25.0, flow, steps)
    whole = heated("h100-air", power_w, 25.0, flow, [sum(steps)])
    assert pieces.die_c[0] == pytest.approx(whole.die_c[0], abs=1e-6)


@given(st.floats(0, 1500), st.floats(1, 3600), st.floats(10, 45))
def test_the_outlook_foretells_the_step(power_w: float, step_s: float, inlet_c: float) -> None:
    fleet = one_server("gb200-tray")
    heat = DieHeat(fleet, nominal(fleet), step_s)
    inlet = np.array([inlet_c])
    outlook = heat.outlook(inlet, heat.flow())
    heat.advance(outlook, np.array([power_w]), inlet)
    assert heat.die_c[0] == pytest.approx(outlook.free_c[0] + outlook.gain_k_per_w[0] * power_w)


def test_fans_idle_when_cool_and_open_fully_near_the_limit() -> None:
    fleet = one_server("h100-air")
    heat = DieHeat(fleet, nominal(fleet), 60.0)
    flows = []
    for die_c in (40.0, 66.0, 82.0, 95.0):
        heat.chassis_c = np.array([die_c])
        flows.append(heat.flow()[0])
    assert flows == pytest.approx([0.4, 0.7, 1.0, 1.0])


def test_exact_step_rotates_by_the_angle_passed() -> None:
    """dx/dt = Jx turns the plane; after a quarter turn the axes have moved onto each other."""
    keep, _ = exact_step(np.array([[0.0, -1.0], [1.0, 0.0]]), np.zeros(2), np.pi / 2)
    assert keep == pytest.approx(np.array([[0.0, -1.0], [1.0, 0.0]]), abs=1e-12)


@given(st.floats(1e-4, 10.0), st.floats(1e-3, 1e3))
def test_exact_step_of_one_stage_is_the_exponential(rate: float, step_s: float) -> None:
    keep, gain = exact_step(np.array([[-rate]]), np.array([rate]), step_s)
    assert keep[0, 0] == pytest.approx(np.exp(-rate * step_s), abs=1e-9)
    assert gain[0] == pytest.approx(-np.expm1(-rate * step_s), rel=1e-6, abs=1e-9)
