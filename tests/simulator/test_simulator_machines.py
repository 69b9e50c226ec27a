import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.simulator.arrays import Floats
from forecast.simulator.config import CoolingConfig, RowConfig, SimulatorConfig
from forecast.simulator.fleet import Fleet
from forecast.simulator.machines import Machines, Reading
from forecast.simulator.power import PowerModel, nominal_wall_w, wall_power_w
from forecast.simulator.skus import SKUS, sku
from forecast.simulator.units import draw_units

GENEROUS = CoolingConfig(capacity_ratio=2.0)
SCARCE = CoolingConfig(capacity_ratio=0.2)


def site(cooling: CoolingConfig = GENEROUS, sku: str = "h100-air") -> Fleet:
    return Fleet.of(SimulatorConfig(rows=[RowConfig("hall-a", sku, 2, 4)], cooling=cooling))


def settled(
    fleet: Fleet, utilization: Floats | float, cap_ratio: float = 1.0, hours: int = 12
) -> tuple[Machines, Reading]:
    """Return the site after `hours` of constant work on a 30 °C day."""
    machines = Machines(fleet, draw_units(fleet))
    level = np.broadcast_to(utilization, (len(fleet.server_ids),)).astype(np.float64)
    for _ in range(60 * hours):
        reading = machines.advance(level, cap_ratio, 30.0, 22.0)
    return machines, reading


def test_conversion_losses_as_published() -> None:
    # ((1000 + 13)/0.98 + 17)/0.96, by hand
    assert wall_power_w(1000.0) == pytest.approx(1094.4515, abs=1e-3)


def test_a_rack_of_eighteen_trays_at_full_load_draws_about_120_kw() -> None:
    fleet = site(sku="gb200-tray")
    assert 18 * nominal_wall_w(fleet, np.array([0]), np.array([1.0]))[0] == pytest.approx(120_000, rel=0.02)


def test_an_h100_server_at_full_load_draws_the_measured_maximum() -> None:
    _, reading = settled(site(), 1.0)
    assert reading.power_w.max() == pytest.approx(8400, rel=0.03)  # constants.md §3


@pytest.mark.parametrize("name", SKUS)
def test_even_the_hungriest_unit_stays_below_its_label(name: str) -> None:
    fleet, kind = site(sku=name), sku(name)
    model = PowerModel(fleet)
    hottest_c = np.full(8, kind.slowdown_c)
    die_w = model.die_w(np.ones(8)) * 1.0285 + model.leakage_w(hottest_c)
    assert (model.server_w(die_w, np.ones(8), np.ones(8)) < kind.nameplate_w).all()


@pytest.mark.parametrize("name", SKUS)
def test_in_steady_state_the_die_is_its_resistance_times_its_power_above_the_inlet(name: str) -> None:
    fleet = site(sku=name)
    kind, units = sku(name), draw_units(fleet)
    machines, reading = settled(fleet, 0.5)
    leakage_w = 0.0045 * kind.die_idle_w * (reading.temperature_c - 60)
    power_w = 0.5 * (kind.die_idle_w + kind.die_peak_w) * units.hot_power_ratio + leakage_w
    k_per_w = kind.die_sink_k_per_w + kind.sink_supply_k_per_w * machines.heat.flow() ** -0.8
    rise_k = power_w * (k_per_w * units.resistance_ratio + kind.downstream_k / kind.die_peak_w)
    assert reading.temperature_c - reading.inlet_c == pytest.approx(rise_k, rel=1e-6)


def test_throttling_holds_the_hottest_die_at_its_slowdown_limit() -> None:
    fleet = site(SCARCE)
    _, reading = settled(fleet, 1.0)
    assert reading.temperature_c == pytest.approx(89.0, abs=1e-6)
    _, cooled = settled(site(GENEROUS), 1.0)
    assert (reading.power_w < 0.97 * cooled.power_w).all()


def test_power_returns_once_it_is_cool_again() -> None:
    machines, throttled = settled(site(SCARCE), 1.0)
    for _ in range(12 * 60):
        machines.advance(np.zeros(8), 1.0, 30.0, 22.0)
    again = machines.advance(np.ones(8), 1.0, 30.0, 22.0)
    assert (again.power_w > throttled.power_w).all()
    assert (again.temperature_c < 89.0).all()


def test_a_cap_limits_what_dies_draw() -> None:
    _, free = settled(site(), 1.0)
    _, capped = settled(site(), 1.0, cap_ratio=0.6)
    saved_w = free.power_w - capped.power_w
    # 8 dies save 0.4 · 700 W each, through both converters; fans and leakage fall along.
    assert (saved_w > 8 * 280 / 0.98 / 0.96).all()
    _, below = settled(site(), 0.3, cap_ratio=0.6)
    _, same = settled(site(), 0.3)
    assert np.array_equal(below.power_w, same.power_w)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8), st.integers(0, 7), st.floats(0.01, 1))
def test_more_work_anywhere_cools_nobody(level: list[float], server: int, extra: float) -> None:
    fleet = site(CoolingConfig(capacity_ratio=0.4))
    busier = np.array(level)
    busier[server] = min(1.0, busier[server] + extra)
    _, before = settled(fleet, np.array(level), hours=2)
    _, after = settled(fleet, busier, hours=2)
    # Fans answer a hotter die, but never so much that it ends up colder.
    assert (after.temperature_c >= before.temperature_c - 1e-6).all()
    assert (after.inlet_c >= before.inlet_c - 1e-9).all()


def test_top_of_rack_breathes_warmer_air_than_bottom() -> None:
    _, reading = settled(site(), 0.8)
    first_rack = reading.inlet_c[:4]
    assert (np.diff(first_rack) > 0).all()
    # supply 23 °C and an approach within constants.md §5, which idling racks halve
    assert first_rack[0] > 23 + 3.8 / 2
    assert first_rack[-1] < 23 + 5.3


def test_units_of_one_sku_differ_as_published() -> None:
    fleet = Fleet.of(SimulatorConfig(rows=[RowConfig("hall-a", "cpu-2s", 50, 20)]))
    units = draw_units(fleet)
    assert units.hot_power_ratio.max() - units.hot_power_ratio.min() < 0.057
    assert (units.hot_power_ratio >= units.mean_power_ratio).all()
    assert units.mean_power_ratio.mean() == pytest.approx(1.0, abs=0.002)
    assert np.std(np.log(units.resistance_ratio)) == pytest.approx(0.07, abs=0.01)
