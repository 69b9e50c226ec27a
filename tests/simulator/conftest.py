from pathlib import Path

import pytest

from forecast.simulator.config import RowConfig, SimulatorConfig, WorkConfig
from forecast.simulator.simulate import simulate


@pytest.fixture(scope="session")
def small() -> SimulatorConfig:
    """Four days of a site with one rack of everything, at a failure rate high enough to see restarts."""
    return SimulatorConfig(
        days=4,
        rows=[
            RowConfig(hall="hall-a", sku="h100-air", racks=3, servers_per_rack=2, inference_ratio=0.34),
            RowConfig(hall="hall-a", sku="gb200-tray", racks=2, servers_per_rack=3, inference_ratio=0.0),
            RowConfig(hall="hall-b", sku="cpu-2s", racks=2, servers_per_rack=3),
        ],
        work=WorkConfig(failures_per_gpu_h=2e-3),
    )


@pytest.fixture(scope="session")
def record(small: SimulatorConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of `small`; read only."""
    out = tmp_path_factory.mktemp("fleet") / "record"
    simulate(small, out)
    return out
