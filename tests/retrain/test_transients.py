"""What pretraining learns from of machines that hold a load: every transient, few of the windows that tell the same."""

from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from forecast.contracts.specs import ForecastSpec
from forecast.retrain.pretrain import Site, _site
from forecast.retrain.prior import drawn
from forecast.windows.gather import Windows
from forecast.windows.inputs import Constants
from forecast.windows.panel import Panel

PAST = ("power_w", "temperature_c")
SPEC = ForecastSpec(15, 40, 40, PAST, PAST, (0.1, 0.5, 0.9))

#: One machine stays as warm as it is; the other warms up from the first of these steps to the second.
WARMS = (400, 420)


@pytest.fixture
def windows() -> Windows:
    topology = drawn(SPEC, seed=1, entities=2, days=1)[1]
    values = np.full((2, 2, 1000), 50.0, np.float32)
    values[1, 1] += np.interp(np.arange(1000), WARMS, (0.0, 20.0))
    panel = Panel(datetime(2025, 1, 6, tzinfo=UTC), 15, PAST, topology.entities, (values,))
    return Windows(panel, Constants.of(topology, ()), SPEC, torch.device("cpu"))


def origins(site: Site, entity: int) -> set[int]:
    return set(site.train[site.train[:, 0] == entity, 1].tolist())


def test_all_transients_are_learnt_from_and_few_of_the_rest(windows: Windows) -> None:
    site = _site(windows, every=16, transients=True)
    every = {origin for origin in range(1, 761) if origin % 16 == 0}
    assert origins(site, 0) == every
    among = origins(site, 1)
    assert set(range(WARMS[0] + 3, WARMS[1] + 10)) <= among, "as long as the last steps lie above those before"
    assert among - every <= set(range(WARMS[0], WARMS[1] + 13))


def test_elsewhere_transients_are_as_few_as_the_rest(windows: Windows) -> None:
    assert origins(_site(windows, every=16), 1) == origins(_site(windows, every=16), 0)
    assert len(origins(_site(windows), 0)) > 15 * len(origins(_site(windows, every=16), 0))


def test_the_end_validates_as_it_does_elsewhere(windows: Windows) -> None:
    assert torch.equal(_site(windows, every=16, transients=True).validation, _site(windows).validation)
