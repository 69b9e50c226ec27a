"""Where the fleet is tight, on a forecast small enough to read."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from small_fleet import topology_of

from forecast.bundle.session import Outputs
from forecast.contracts.errors import ConfigError
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.headroom import tightest
from forecast.predictor import Forecast

NAN = float("nan")
TIME = datetime(2026, 3, 9, 12, tzinfo=UTC)


def forecast(spec: ForecastSpec, topology: Topology, worst: list[list[list[float]]]) -> Forecast:
    """A forecast whose headroom at the 0.1 quantile is `worst [N][T][H]`; lower levels leave less, higher ones more."""
    least = np.array(worst, np.float32)
    shift = np.array([-5.0, 0.0, 100.0, 200.0, 205.0], np.float32)
    headroom = least[:, :, None] + shift[:, None]
    entities = len(topology.entities)
    return Forecast(
        time=TIME,
        outputs=Outputs(1000 - headroom, headroom, np.zeros(least.shape, np.float32)),
        source=["model"] * entities,
        status=["ok"] * entities,
        data_time=[TIME] * entities,
        bundle_id="made-by-hand",
        spec=spec,
        topology=topology,
    )


@pytest.fixture
def spec() -> ForecastSpec:
    return ForecastSpec(
        step_s=3600,
        context_steps=24,
        horizon_steps=3,
        targets=("power_w", "temperature_c"),
        past=("power_w", "temperature_c"),
        quantile_levels=(0.05, 0.1, 0.5, 0.9, 0.95),
    )


WORST = [
    [[300.0, 200.0, 400.0], [9.0, 18.0, 27.0]],
    [[50.0, -20.0, 60.0], [45.0, 45.0, 45.0]],
    [[100.0, 100.0, NAN], [NAN, NAN, NAN]],
]


def test_by_hand(spec: ForecastSpec) -> None:
    table = tightest(forecast(spec, topology_of(["server", "server", "rack"]), WORST))
    columns = ["entity_id", "level", "target", "unit", "headroom", "share"]
    assert table.columns == [*columns[:2], "time_zone", *columns[2:], "confidence", "until"]
    rows = table.select(columns).rows()
    expected = [  # limits are 1,000 W and 90 °C
        ("e01", "server", "power_w", "W", -20.0, -0.02),
        ("e02", "rack", "power_w", "W", 100.0, 0.1),
        ("e00", "server", "power_w", "W", 200.0, 0.2),
        ("e00", "server", "temperature_c", "°C", 9.0, 0.1),
        ("e01", "server", "temperature_c", "°C", 45.0, 0.5),
    ]
    assert [row[:4] for row in rows] == [row[:4] for row in expected]
    np.testing.assert_allclose([row[4:] for row in rows], [row[4:] for row in expected])
    assert table["until"].unique().to_list() == [TIME + timedelta(hours=3)]
    assert table["confidence"].unique().to_list() == [0.9]


def test_more_confidence_leaves_less_headroom(spec: ForecastSpec) -> None:
    made = forecast(spec, topology_of(["server"]), WORST[:1])
    least = {confidence: tightest(made, confidence)["headroom"][0] for confidence in (0.5, 0.9, 0.95)}
    assert least == {0.5: 300.0, 0.9: 200.0, 0.95: 195.0}


def test_without_a_limit_there_is_no_headroom_to_tell(spec: ForecastSpec) -> None:
    worst = [[[NAN] * 3, [9.0, 18.0, 27.0]]]
    table = tightest(forecast(spec, topology_of(["server"], power_limit_w=None), worst))
    assert table["target"].to_list() == ["temperature_c"]


def test_what_was_never_observed_is_not_said_to_be_tight(spec: ForecastSpec) -> None:
    """A safe bound leaves no headroom; that is no chance of anything."""
    made = forecast(spec, topology_of(["server", "server"]), WORST[:2])
    made.outputs.headroom[1, 1], made.outputs.quantiles[1, 1] = 0.0, 90.0
    made.outputs.exceedance[1, 1] = NAN
    made.outputs.headroom[0, 0], made.outputs.exceedance[0, 0] = NAN, NAN  # observed, and without a limit
    assert made.unobserved.tolist() == [[False, False], [False, True]]
    assert tightest(made).select("entity_id", "target").rows() == [("e01", "power_w"), ("e00", "temperature_c")]


def test_a_confidence_between_the_levels_is_refused_with_those_there_are(spec: ForecastSpec) -> None:
    made = forecast(spec, topology_of(["server"]), WORST[:1])
    with pytest.raises(ConfigError, match=r"confidence 0\.8.*0\.05, 0\.1, 0\.5, 0\.9, 0\.95"):
        tightest(made, 0.8)
