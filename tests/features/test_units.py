"""Telemetry in the wrong unit is refused; telemetry of odd but possible fleets is not."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import MONDAY, node, samples, tree_of

from forecast.contracts.errors import DataError
from forecast.contracts.topology import Topology
from forecast.features.grid import grid
from forecast.features.gridded import Gridded
from forecast.features.units import check_units, jobs_like_kw, typical

TREE = tree_of(node("a"), node("b", power_limit_w=10_000.0, temperature_limit_c=80.0))


def typically(
    signal: str, *values: float | None, topology: Topology = TREE, entity: str = "a"
) -> dict[str, float | None]:
    into = Gridded.empty(MONDAY, 60, (signal,), topology.entities, 60)
    grid(samples(*((entity, index, value) for index, value in enumerate(values)), signal=signal), into)
    return typical(into, topology)


def check(signal: str, *values: float | None, topology: Topology = TREE, entity: str = "a") -> None:
    check_units(typically(signal, *values, topology=topology, entity=entity), "day.csv")


@pytest.mark.parametrize("watts", [300.0, 40.0, 990.0, 1500.0])
def test_watts_pass_and_the_same_as_kilowatts_or_milliwatts_do_not(watts: float) -> None:
    check("power_w", watts)
    with pytest.raises(DataError, match=r"day.csv: power_w is typically .* fits kW .*units: {power_w: kW}\.$"):
        check("power_w", watts / 1000)
    limits = r"units: {power_w: mW}; or the power limits are in kW: give them in W\.$"
    with pytest.raises(DataError, match=rf"day.csv: power_w is typically .* × nameplate, which fits mW .*{limits}"):
        check("power_w", watts * 1000)


def test_idle_boards_are_not_taken_for_kilowatts() -> None:
    """An idle A40 draws about 30 W of its 300 W, an idle L4 some 12 W of 72 W; the lowest on record is 4 %."""
    check("power_w", 40.0, 41.0, 39.0)
    check("power_w", 0.0, 0.0, 400.0, 410.0, 390.0)


def test_machines_that_draw_nothing_are_not_taken_for_kilowatts() -> None:
    """Racks that are not in service, or a site without power: 0 W is 0 kW too."""
    check("power_w", *[0.0] * 8, 400.0)
    assert typically("power_w", 0.0, 0.0) == {"power_w": None}
    with pytest.raises(DataError, match="fits kW"):
        check("power_w", *[0.0] * 8, 0.4)


@pytest.mark.parametrize("celsius", [45.0, 60.0, 85.0])
def test_hot_boards_pass_and_the_same_in_fahrenheit_do_not(celsius: float) -> None:
    check("temperature_c", celsius)
    with pytest.raises(DataError, match=r"temperature_c typically exceeds any limit.*units: {temperature_c: degF}"):
        check("temperature_c", celsius * 1.8 + 32)


@pytest.mark.parametrize("celsius", [18.0, 27.0, 35.0])
def test_inlet_air_passes_and_the_same_in_fahrenheit_does_not(celsius: float) -> None:
    check("inlet_c", celsius)
    with pytest.raises(DataError, match=r"inlet_c typically exceeds .*units: {inlet_c: degF}"):
        check("inlet_c", celsius * 1.8 + 32)


def test_each_entity_is_judged_by_its_own_nameplate() -> None:
    check("power_w", 50.0, entity="a")
    check("power_w", 40.0, entity="b")
    with pytest.raises(DataError, match="power_w"):
        check("power_w", 20.0, entity="b")


@given(st.integers(0, 4), st.sampled_from([0.0, 1e6, 2_147_483_632.0, float("nan"), None]))
def test_a_minority_of_glitches_does_not_condemn_the_rest(glitches: int, value: float | None) -> None:
    check("power_w", *[300.0] * 5, *[value] * glitches)


def test_missing_values_written_as_nan_are_missing() -> None:
    assert typically("power_w", 300.0, *[float("nan")] * 9) == {"power_w": pytest.approx(0.3)}


@pytest.mark.parametrize("signal", ["power_w", "temperature_c"])
def test_nothing_is_judged_without_a_limit_or_a_value(signal: str) -> None:
    unknown = tree_of(node("a", power_limit_w=None, temperature_limit_c=None))
    assert typically(signal, 1e-6, 9e5, topology=unknown) == {signal: None}
    assert typically(signal, None, None) == {signal: None}
    assert typically(signal, 1e-6, entity="stranger") == {signal: None}
    check_units({signal: None}, "day.csv")
    check_units({}, "day.csv")


def test_a_long_panel_is_judged_by_steps_from_all_of_it() -> None:
    """Half a million cells, in kW for the second half and half a step more: what is looked at is spread over time."""
    into = Gridded.empty(MONDAY, 60, ("power_w",), TREE.entities, 250_000)
    into.values[0, 0, :124_000] = 400.0
    into.values[0, 0, 124_000:] = 0.4
    assert typical(into, TREE)["power_w"] == pytest.approx(0.4e-3)
    into.values[0, 0, :126_000] = 400.0
    assert typical(into, TREE)["power_w"] == pytest.approx(0.4)


def test_jobs_in_kilowatts_are_told_and_plans_and_watts_are_not() -> None:
    def told(power_w: float | None, kind: str = "batch") -> list[str]:
        rows = {"entity_id": ["a", "b", "who"], "kind": kind, "planned_power_w": [power_w, power_w, 900.0]}
        return list(jobs_like_kw(pl.LazyFrame(rows, schema_overrides={"planned_power_w": pl.Float64}), TREE))

    (line,) = told(0.7)
    assert line.startswith("has jobs of typically 0.7 W, 0.00039 × nameplate; if that is kW, tell units:")
    assert told(700.0) == told(0.0) == told(None) == told(0.7, "plan") == []
