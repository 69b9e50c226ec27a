import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.simulator.config import CoolingConfig, RowConfig, SimulatorConfig
from forecast.simulator.fleet import Fleet
from forecast.simulator.plant import MAX_CAPACITY_RATIO, Plant, chiller_capacity_ratio, chiller_power_ratio

RATED_C = np.array(6.67)
WARM_NIGHT_C = 20.0  # wet bulb, well above free cooling


def cop(outdoor_c: float, load_ratio: float = 1.0) -> float:
    capacity = chiller_capacity_ratio(np.array(outdoor_c), RATED_C)
    return float(load_ratio * capacity / chiller_power_ratio(capacity, np.array(load_ratio)))


def plant(ratio: float = 0.5) -> Plant:
    """One hall of 100 CPU servers of 1 kW."""
    config = SimulatorConfig(rows=[RowConfig("hall-a", "cpu-2s", 10, 10)])
    return Plant(Fleet.of(config), CoolingConfig(capacity_ratio=ratio), 60.0)


@pytest.mark.parametrize(("outdoor_c", "expected"), [(15, 3.97), (25, 3.50), (35, 2.96), (45, 2.54)])
def test_cop_at_full_load_as_published(outdoor_c: float, expected: float) -> None:
    assert cop(outdoor_c) == pytest.approx(expected, abs=0.005)


def test_cop_at_half_load_is_12_percent_better() -> None:
    assert cop(35, 0.5) / cop(35) == pytest.approx(1.12, abs=0.005)


@given(st.floats(10, 50), st.floats(0.5, 10))
def test_a_chiller_weakens_and_wastes_more_as_it_gets_hotter_outside(outdoor_c: float, hotter_k: float) -> None:
    now, later = (chiller_capacity_ratio(np.array(t), RATED_C) for t in (outdoor_c, outdoor_c + hotter_k))
    assert later < now or now == MAX_CAPACITY_RATIO
    assert cop(outdoor_c + hotter_k) < cop(outdoor_c)


def test_capacity_is_clamped_where_its_curve_turns_unphysical() -> None:
    assert chiller_capacity_ratio(np.array(-20.0), RATED_C) == 1.6


def test_the_supply_stays_at_its_set_point_while_heat_is_within_capacity() -> None:
    hall = plant()
    for _ in range(600):
        power_w = hall.advance(np.array([45_000.0]), 35.0, WARM_NIGHT_C)
    assert hall.overshoot_k[0] == pytest.approx(0.0, abs=1e-9)
    # 45 kW of 47.24 kW available: pf(0.94484)·lf(0.95255)·50 kW·0.94484/3 by constants.md §5, and air handlers of 5 %.
    assert power_w[0] == pytest.approx(1.013314 * 0.941409 * 50_000 * 0.94484 / 3 + 2250, rel=1e-4)


def test_more_heat_than_capacity_warms_the_supply_until_the_chiller_keeps_up() -> None:
    hall = plant()
    warmest = []
    for _ in range(5):
        for _ in range(24 * 60):
            hall.advance(np.array([55_000.0]), 35.0, WARM_NIGHT_C)
        warmest.append(hall.overshoot_k[0])
    # Balance: cap(Δ = −x) = 1.1, or 0.001855x² + 0.05701x − 0.15516 = 0, so x = 2.5156 K.
    assert warmest[-1] == pytest.approx(2.5156, abs=0.01)
    assert warmest == sorted(warmest)
    for _ in range(2 * 24 * 60):
        hall.advance(np.array([20_000.0]), 35.0, WARM_NIGHT_C)
    assert hall.overshoot_k[0] == pytest.approx(0.0, abs=1e-6)


def test_an_uncooled_loop_warms_by_10_k_in_20_minutes_less_what_walls_take_up() -> None:
    hall = plant(ratio=0.5)
    hall._state[0] = -1000.0  # so cold that no cooling is called for
    before = hall.overshoot_k[0]
    hall._state[1] = before  # walls as cold as the air
    for _ in range(20):
        hall.advance(np.array([50_000.0]), 35.0, WARM_NIGHT_C)
    assert 8.5 < hall.overshoot_k[0] - before < 10.0


def test_below_the_wet_bulb_set_point_chillers_rest() -> None:
    heat_w = np.array([40_000.0])
    cold, mild, warm = (plant().advance(heat_w, 12.0, wet_bulb_c)[0] for wet_bulb_c in (5.0, 8.0, 11.0))
    assert cold == pytest.approx(2000.0)  # air handlers only
    assert cold < mild < warm


@given(st.floats(0, 200_000), st.floats(-20, 45), st.floats(0, 1))
def test_a_plant_never_makes_cold_it_was_not_asked_for(heat_w: float, outdoor_c: float, load: float) -> None:
    hall = plant()
    for _ in range(5):
        assert hall.advance(np.array([heat_w * load]), outdoor_c, outdoor_c - 3)[0] >= 0
        assert hall.overshoot_k[0] >= -1e-9
